//! Where the store lies, and what is in its folder.
//!
//! *Invariants*: every path made here is inside the store's folder, which is a real folder.
//!
//! *Crash story*: `create` may leave a folder without `format`; it is completed the next time.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, IoContext, Result};
use crate::model::ids::{CheckpointId, RunId};
use crate::store::disk::{Disk, EntryKind};
use crate::store::publish::Staged;

/// The store's format that this version writes, and the newest it reads.
pub const FORMAT: u32 = 1;
/// How much space is set aside, in bytes: for the index's side files and a small pack.
const RESERVE: usize = 256 << 10;
/// The end of an archive's file name.
pub const ARCHIVE_SUFFIX: &str = ".wmk";
const FORMAT_TEXT: &str = "waymark store 1\n";

/// The folder of a store: `<project>/.waymark`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreDir {
    dir: PathBuf,
}

/// A pack, by the writer that fills it and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PackId {
    /// The slot: at most one process at a time writes its packs.
    pub slot: u8,
    /// Its number in the slot; the highest is the one being filled.
    pub number: u32,
}

impl PackId {
    /// As one number, for the index.
    #[must_use]
    pub fn to_row(self) -> i64 {
        (i64::from(self.slot) << 32) | i64::from(self.number)
    }

    /// From the index's number.
    #[must_use]
    pub fn from_row(row: i64) -> Option<Self> {
        Some(Self {
            slot: u8::try_from(row >> 32).ok()?,
            number: u32::try_from(row & 0xffff_ffff).ok()?,
        })
    }

    /// Its file's name.
    #[must_use]
    pub fn file_name(self) -> String {
        format!("{:02}-{:06}.pack", self.slot, self.number)
    }

    /// Reads a file's name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (slot, number) = name.strip_suffix(".pack")?.split_once('-')?;
        let id = Self {
            slot: slot.parse().ok()?,
            number: number.parse().ok()?,
        };
        (id.file_name() == name).then_some(id)
    }
}

impl StoreDir {
    /// Names a store's folder, which must be absolute.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The folder of packs.
    #[must_use]
    pub fn objects(&self) -> PathBuf {
        self.dir.join("objects")
    }

    /// A pack.
    #[must_use]
    pub fn pack(&self, id: PackId) -> PathBuf {
        self.objects().join(id.file_name())
    }

    /// The lock of a slot.
    #[must_use]
    pub fn slot(&self, slot: u8) -> PathBuf {
        self.objects().join(format!("{slot:02}.lock"))
    }

    /// The lock that writers share, and that gc takes for itself.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// Its records; see [`crate::store::records`].
    #[must_use]
    pub fn records(&self) -> PathBuf {
        self.dir.join("records")
    }

    /// The lock of those who change its records.
    #[must_use]
    pub fn records_lock(&self) -> PathBuf {
        self.dir.join("records.lock")
    }

    /// The lock of the one gc.
    #[must_use]
    pub fn gc_lock(&self) -> PathBuf {
        self.dir.join("gc.lock")
    }

    /// The index of checkpoints.
    #[must_use]
    pub fn catalog(&self) -> PathBuf {
        self.dir.join("checkpoints.db")
    }

    /// The index.
    #[must_use]
    pub fn index(&self) -> PathBuf {
        self.dir.join("index.db")
    }

    /// The registry of folders of runs whose checkpoints may need objects of this store: a folder
    /// with a file for each; see [`crate::store::roots`].
    #[must_use]
    pub fn roots(&self) -> PathBuf {
        self.dir.join("roots")
    }

    /// The folder of the audit log; see [`crate::store::events`].
    #[must_use]
    pub fn events(&self) -> PathBuf {
        self.dir.join("events")
    }

    /// The folder of stat caches.
    #[must_use]
    pub fn caches(&self) -> PathBuf {
        self.dir.join("cache")
    }

    /// The folder of archived checkpoints: a folder for each run.
    #[must_use]
    pub fn archives(&self) -> PathBuf {
        self.dir.join("archive")
    }

    /// The archived checkpoints of a run.
    #[must_use]
    pub fn archives_of(&self, run_id: &RunId) -> PathBuf {
        self.archives().join(run_id.as_str())
    }

    /// An archived checkpoint.
    #[must_use]
    pub fn archived(&self, run_id: &RunId, id: &CheckpointId) -> PathBuf {
        self.archives_of(run_id)
            .join(format!("{id}{ARCHIVE_SUFFIX}"))
    }

    /// Space kept back for cleaning up on a full disk.
    #[must_use]
    pub fn reserve(&self) -> PathBuf {
        self.dir.join("reserve")
    }

    /// The format's version.
    #[must_use]
    pub fn format(&self) -> PathBuf {
        self.dir.join("format")
    }

    /// True if there is a store; an error if it is not one that this version can read.
    pub fn exists(&self, disk: &dyn Disk) -> Result<bool> {
        for path in [&self.dir, &self.objects()] {
            match disk.metadata(path) {
                Ok(found) => match found.kind {
                    EntryKind::Directory => {}
                    EntryKind::Symlink => return Err(Error::PathSymlink { path: path.clone() }),
                    _ => return Err(Error::PathNotDirectory { path: path.clone() }),
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(Error::io("read", path, error)),
            }
        }
        let path = self.format();
        match disk.read(&path, 4096) {
            Ok(bytes) if bytes == FORMAT_TEXT.as_bytes() => Ok(true),
            Ok(bytes) => Err(Error::StoreFormat {
                path,
                found: crate::model::ids::shorten(String::from_utf8_lossy(&bytes).trim_end()),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("read", &path, error)),
        }
    }

    /// Makes the store durably, unless it is there already. `token` keeps two makers apart.
    pub fn create(&self, disk: &dyn Disk, token: &str) -> Result<()> {
        if self.exists(disk)? {
            return Ok(());
        }
        for path in [&self.dir, &self.objects(), &self.caches()] {
            match disk.create_dir(path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("create", path, error)),
            }
        }
        // Checks what was there before.
        self.exists(disk)?;
        let staged = |name: &str| self.dir.join(format!("staged-{name}-{token}"));
        Staged::write(disk, staged("ignore"), b"*\n")?
            .publish_over(&self.dir.join(".gitignore"))?;
        if let Some(parent) = self.dir.parent() {
            disk.sync_dir(parent).context("sync", parent)?;
        }
        Staged::write(disk, staged("format"), FORMAT_TEXT.as_bytes())?.publish_over(&self.format())
    }

    /// Sets space aside for cleaning up on a full disk, all of it or none. Nothing fails for the lack
    /// of it.
    pub fn keep_reserve(&self, disk: &dyn Disk) {
        if self.reserved(disk) < RESERVE as u64 {
            // Not zeros: a file system may store those without taking space.
            let mut bytes = vec![0; RESERVE];
            blake3::Hasher::new().finalize_xof().fill(&mut bytes);
            if disk.overwrite(&self.reserve(), &bytes).is_err() {
                self.release_reserve(disk);
            }
        }
    }

    /// How many bytes are set aside.
    fn reserved(&self, disk: &dyn Disk) -> u64 {
        disk.metadata(&self.reserve()).map_or(0, |found| found.len)
    }

    /// Gives the space back that was set aside; `false` if there was none.
    pub fn release_reserve(&self, disk: &dyn Disk) -> bool {
        disk.remove_file(&self.reserve()).is_ok()
    }

    /// How many bytes everything in the store takes, without the audit log, which has a bound of its own, and
    /// without archived checkpoints: those are what is to outlast its budget. What is to be set aside counts
    /// even while it is not: it is put back when there is room.
    pub fn used_bytes(&self, disk: &dyn Disk) -> Result<u64> {
        let mut bytes = (RESERVE as u64).saturating_sub(self.reserved(disk));
        for folder in [self.path(), &self.objects(), &self.caches(), &self.roots()] {
            let entries = match disk.list(folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::io("read", folder, error)),
            };
            for entry in entries.iter().filter(|one| one.kind == EntryKind::File) {
                let path = folder.join(&entry.name);
                let bytes_of = |path| disk.metadata(path).map(|found| found.len);
                let is_pack = entry.name.to_str().and_then(PackId::parse).is_some();
                // What is gone meanwhile takes no space.
                bytes += if is_pack {
                    disk.taken(&path)
                } else {
                    bytes_of(&path)
                }
                .unwrap_or(0);
            }
        }
        Ok(bytes)
    }

    /// How many bytes each pack takes, in order: its length without its holes.
    pub fn packs_taken(&self, disk: &dyn Disk) -> Result<Vec<(PackId, u64)>> {
        let mut packs = self.packs(disk)?;
        for (pack, bytes) in &mut packs {
            *bytes = disk.taken(&self.pack(*pack)).unwrap_or(*bytes);
        }
        Ok(packs)
    }

    /// The packs and their lengths in bytes, in order; none if there is no store.
    pub fn packs(&self, disk: &dyn Disk) -> Result<Vec<(PackId, u64)>> {
        let folder = self.objects();
        let entries = match disk.list(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("read", &folder, error)),
        };
        let mut packs = Vec::new();
        for entry in entries {
            let Some(id) = entry.name.to_str().and_then(PackId::parse) else {
                continue;
            };
            let path = folder.join(&entry.name);
            match disk.metadata(&path) {
                Ok(found) if found.kind == EntryKind::File => packs.push((id, found.len)),
                Ok(_) => {}
                // A gc removed it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("read", &path, error)),
            }
        }
        packs.sort_unstable();
        Ok(packs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pack_names_and_back() {
        let id = PackId {
            slot: 7,
            number: 1_234_567,
        };
        assert_eq!(id.file_name(), "07-1234567.pack");
        assert_eq!(PackId::parse(&id.file_name()), Some(id));
        assert_eq!(PackId::from_row(id.to_row()), Some(id));
        for bad in [
            "",
            "x.pack",
            "1-1.pack",
            "00-1.pack",
            "00-000001.pack.tmp",
            "+0-000001.pack",
        ] {
            assert_eq!(PackId::parse(bad), None, "{bad}");
        }
    }
}
