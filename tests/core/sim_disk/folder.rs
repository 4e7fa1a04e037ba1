//! Folders of the simulated disk: paths below one place, no link followed on the way.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use waymark::store::disk::{Disk, EntryKind, NewFile};
use waymark::store::folder::{Folder, Found};

use super::{Node, SimDisk, State, error};

pub(super) struct SimFolder {
    disk: SimDisk,
    base: PathBuf,
}

pub(super) fn open(disk: &SimDisk, path: &Path) -> io::Result<Box<dyn Folder>> {
    if disk.metadata(path)?.kind != EntryKind::Directory {
        return Err(error(io::ErrorKind::NotADirectory));
    }
    Ok(Box::new(SimFolder {
        disk: disk.clone(),
        base: path.to_path_buf(),
    }))
}

impl SimFolder {
    /// The path of something that is about to be changed.
    fn changing(&self, path: &[u8]) -> io::Result<PathBuf> {
        self.disk.meddle();
        self.path(path)
    }

    /// The path of something inside; everything on the way is a real folder.
    fn path(&self, path: &[u8]) -> io::Result<PathBuf> {
        let mut at = self.base.clone();
        let mut names = path
            .split(|byte| *byte == b'/')
            .filter(|_| !path.is_empty())
            .peekable();
        while let Some(name) = names.next() {
            if matches!(name, b"" | b"." | b"..") {
                return Err(error(io::ErrorKind::InvalidInput));
            }
            at.push(OsStr::from_bytes(name));
            if names.peek().is_some() && self.disk.metadata(&at)?.kind != EntryKind::Directory {
                return Err(error(io::ErrorKind::NotADirectory));
            }
        }
        Ok(at)
    }
}

fn exchanged(state: &mut State, one: &Path, other: &Path) -> io::Result<()> {
    if !state.exchanges {
        return Err(error(io::ErrorKind::Unsupported));
    }
    let (first, second) = (state.find(one)?, state.find(other)?);
    let (one_dir, one_name) = state.parent(one)?;
    let (other_dir, other_name) = state.parent(other)?;
    let names = vec![
        (one_dir, one_name.to_owned(), Some(second)),
        (other_dir, other_name.to_owned(), Some(first)),
    ];
    state.change(one_dir, names);
    Ok(())
}

impl Folder for SimFolder {
    fn folder(&self, path: &[u8]) -> io::Result<Box<dyn Folder>> {
        open(&self.disk, &self.path(path)?)
    }

    fn found(&self, path: &[u8]) -> io::Result<Found> {
        let path = self.path(path)?;
        let metadata = self.disk.metadata(&path)?;
        let state = self.disk.state();
        let ino = metadata.stamp.inode;
        let usual = if metadata.kind == EntryKind::Directory {
            0o755
        } else {
            0o644
        };
        Ok(Found {
            kind: metadata.kind,
            mode: state.modes.get(&ino).copied().unwrap_or(usual),
            len: metadata.len,
            modified_ns: state
                .times
                .get(&ino)
                .copied()
                .unwrap_or(metadata.stamp.modified_ns),
        })
    }

    fn list(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, EntryKind)>> {
        let entries = self.disk.list(&self.path(path)?)?;
        Ok(entries
            .into_iter()
            .map(|entry| (entry.name.as_bytes().to_vec(), entry.kind))
            .collect())
    }

    fn read(&self, path: &[u8], take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        take(&self.disk.read(&self.path(path)?, u64::MAX)?)
    }

    fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let path = self.path(path)?;
        let state = self.disk.state();
        match &state.nodes[&state.find(&path)?].0 {
            Node::Symlink(target) => Ok(target.as_os_str().as_bytes().to_vec()),
            _ => Err(error(io::ErrorKind::InvalidInput)),
        }
    }

    fn create(&self, path: &[u8]) -> io::Result<Box<dyn NewFile>> {
        self.disk.create(&self.changing(path)?)
    }

    fn create_dir(&self, path: &[u8], mode: u32) -> io::Result<()> {
        let path = self.changing(path)?;
        self.disk.call("create_dir", &path, None, |state| {
            let (dir, name) = state.free_name(&path)?;
            let ino = state.make(Node::Directory {
                names: BTreeMap::new(),
                durable: BTreeMap::new(),
            });
            state.modes.insert(ino, mode);
            state.change(dir, vec![(dir, name.to_owned(), Some(ino))]);
            Ok(())
        })
    }

    fn create_link(&self, path: &[u8], target: &[u8]) -> io::Result<()> {
        let path = self.changing(path)?;
        self.disk.call("create_link", &path, None, |state| {
            let (dir, name) = state.free_name(&path)?;
            let ino = state.make(Node::Symlink(PathBuf::from(OsStr::from_bytes(target))));
            state.change(dir, vec![(dir, name.to_owned(), Some(ino))]);
            Ok(())
        })
    }

    fn set_mode(&self, path: &[u8], mode: u32) -> io::Result<()> {
        let path = self.changing(path)?;
        self.disk.call("set_mode", &path, None, |state| {
            let ino = state.find(&path)?;
            state.modes.insert(ino, mode);
            Ok(())
        })
    }

    fn exchange(&self, one: &[u8], other: &[u8]) -> io::Result<()> {
        let (one, other) = (self.changing(one)?, self.changing(other)?);
        let call = |state: &mut State| exchanged(state, &one, &other);
        self.disk.call("exchange", &one, Some(&other), call)
    }

    fn rename_new(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        self.disk
            .rename_new(&self.changing(from)?, &self.changing(to)?)
    }

    fn rename(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        self.disk.rename(&self.changing(from)?, &self.changing(to)?)
    }

    fn link(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        self.disk.link(&self.changing(from)?, &self.changing(to)?)
    }

    fn remove_file(&self, path: &[u8]) -> io::Result<()> {
        self.disk.remove_file(&self.changing(path)?)
    }

    fn remove_dir(&self, path: &[u8]) -> io::Result<()> {
        let path = self.changing(path)?;
        self.disk.call("remove_dir", &path, None, |state| {
            let inside = state.folder(&path, 0)?;
            if !state.names(inside)?.is_empty() {
                return Err(error(io::ErrorKind::DirectoryNotEmpty));
            }
            let (dir, name) = state.parent(&path)?;
            state.change(dir, vec![(dir, name.to_owned(), None)]);
            Ok(())
        })
    }

    fn sync_dir(&self, path: &[u8]) -> io::Result<()> {
        self.disk.sync_dir(&self.changing(path)?)
    }

    fn sync_file(&self, path: &[u8]) -> io::Result<()> {
        let path = self.changing(path)?;
        self.disk.call("finish", &path, None, |state| {
            let ino = state.find(&path)?;
            if let Some((Node::File { content, durable }, _)) = state.nodes.get_mut(&ino) {
                *durable = Some(content.clone());
            }
            Ok(())
        })
    }

    fn sync_all(&self) -> io::Result<()> {
        self.disk.call("sync_all", &self.base, None, |state| {
            state.persist_where(|_| true);
            for (node, _) in state.nodes.values_mut() {
                if let Node::File { content, durable } = node {
                    *durable = Some(content.clone());
                }
            }
            Ok(())
        })
    }
}

impl SimDisk {
    /// From now on two names can't be exchanged at once.
    pub(crate) fn without_exchange(&self) {
        self.state().exchanges = false;
    }
}
