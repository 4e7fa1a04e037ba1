//! The questions that are asked by doing: each in a folder of its own.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use crate::error::Result;
use crate::model::cancel::Cancel;
use crate::store::disk::Disk;
use crate::store::probe::Clock;
use crate::store::probe::facts::{Answer, CreateOnly, Names, PathReach, Sparse, Times, Trials};
use crate::store::real_disk::RealDisk;

/// How often a sync is timed.
const ROUNDS: usize = 7;
/// How long file times are watched for a change.
const WATCH: Duration = Duration::from_millis(50);
/// A clock that stands still must not make the watching endless.
const WATCHES: usize = 10_000;
/// The longest name that is tried, and that file systems commonly have.
const NAME_MAX: usize = 255;
/// Paths are made a little longer than Linux takes as a whole.
const PATH_ENOUGH: usize = 4200;
/// The size of the file with a hole.
const HOLLOW: u64 = 1 << 20;

/// Asks everything, unless the caller no longer wants to know.
pub(super) fn all(base: &Path, clock: Clock<'_>, cancel: &Cancel) -> Result<Trials> {
    let asking = Asking { base, cancel };
    Ok(Trials {
        sync_file: asking.ask("sync-file", |at| sync_file(at, clock))?,
        sync_folder: if cfg!(unix) {
            asking.ask("sync-folder", |at| sync_folder(at, clock))?
        } else {
            Answer::NotTried("this platform can't sync a folder, NTFS journals names by itself")
        },
        replace: asking.ask("replace", replace)?,
        create_only: asking.ask("create-only", create_only)?,
        hard_links: asking.ask("hard-links", hard_links)?,
        symlinks: asking.ask("symlinks", symlinks)?,
        locks: asking.ask("locks", locks)?,
        case: asking.ask("case", |at| names(at, "Aa", "aA"))?,
        // é as one character, and as e with an accent.
        unicode: asking.ask("unicode", |at| names(at, "\u{e9}", "e\u{301}"))?,
        raw_names: unix_only(asking, "raw-names", raw_names)?,
        name_bytes: asking.ask("name-bytes", name_bytes)?,
        paths: asking.ask("paths", paths)?,
        times: asking.ask("times", |at| times(at, clock))?,
        sparse: unix_only(asking, "sparse", sparse)?,
        reflink: if cfg!(target_os = "linux") {
            asking.ask("reflink", reflink)?
        } else {
            Answer::NotTried("only asked on Linux")
        },
        modes: unix_only(asking, "modes", modes)?,
    })
}

#[derive(Clone, Copy)]
struct Asking<'a> {
    base: &'a Path,
    cancel: &'a Cancel,
}

impl Asking<'_> {
    fn ask<T>(
        self,
        name: &str,
        question: impl FnOnce(&Path) -> io::Result<T>,
    ) -> Result<Answer<T>> {
        self.cancel.check()?;
        let at = self.base.join(name);
        let made = RealDisk.create_dir(&at);
        Ok(made.and_then(|()| question(&at)).into())
    }
}

fn unix_only<T>(
    asking: Asking<'_>,
    name: &str,
    question: impl FnOnce(&Path) -> io::Result<T>,
) -> Result<Answer<T>> {
    if cfg!(unix) {
        asking.ask(name, question)
    } else {
        Ok(Answer::NotTried("this platform has no such thing"))
    }
}

/// A new file with these bytes; not synced.
fn put(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    Ok(file)
}

fn holds(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    Ok(fs::read(path)? == bytes)
}

fn odd(words: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn median(mut times: Vec<Duration>) -> u64 {
    times.sort();
    times.get(times.len() / 2).copied().map_or(0, nanoseconds)
}

fn sync_file(at: &Path, clock: Clock<'_>) -> io::Result<u64> {
    let mut times = Vec::with_capacity(ROUNDS);
    for n in 0..ROUNDS {
        let mut file = RealDisk.create(&at.join(n.to_string()))?;
        file.write_all(&[b'w'; 4096])?;
        let begin = clock();
        file.finish()?;
        times.push(clock().saturating_sub(begin));
    }
    Ok(median(times))
}

fn sync_folder(at: &Path, clock: Clock<'_>) -> io::Result<u64> {
    let mut times = Vec::with_capacity(ROUNDS);
    for n in 0..ROUNDS {
        // Without a new name there would be nothing to do.
        put(&at.join(n.to_string()), b"")?;
        let begin = clock();
        RealDisk.sync_dir(at)?;
        times.push(clock().saturating_sub(begin));
    }
    Ok(median(times))
}

fn replace(at: &Path) -> io::Result<bool> {
    let (old, new) = (at.join("old"), at.join("new"));
    drop(put(&old, b"old")?);
    drop(put(&new, b"new")?);
    RealDisk.rename(&new, &old)?;
    Ok(holds(&old, b"new")? && !new.try_exists()?)
}

fn create_only(at: &Path) -> io::Result<CreateOnly> {
    let (one, two, name) = (at.join("one"), at.join("two"), at.join("name"));
    drop(put(&one, b"one")?);
    drop(put(&two, b"two")?);
    let way = if knows_no_replace(at, &two)? {
        CreateOnly::Rename
    } else {
        CreateOnly::Link
    };
    RealDisk.rename_new(&one, &name)?;
    match RealDisk.rename_new(&two, &name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
        Ok(()) => return Ok(CreateOnly::Replaces),
    }
    if holds(&name, b"one")? && !one.try_exists()? {
        Ok(way)
    } else {
        Ok(CreateOnly::Replaces)
    }
}

/// Whether `RENAME_NOREPLACE` is known: by a rename to a taken name, which changes nothing.
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
fn knows_no_replace(at: &Path, taken: &Path) -> io::Result<bool> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    let from = at.join("from");
    drop(put(&from, b"from")?);
    match renameat_with(CWD, &from, CWD, taken, RenameFlags::NOREPLACE) {
        Err(Errno::EXIST) => Ok(true),
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Ok(false),
        Err(error) => Err(error.into()),
        Ok(()) => Err(odd("a rename that must not replace did".to_owned())),
    }
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
#[allow(
    clippy::unnecessary_wraps,
    reason = "elsewhere the question can be refused"
)]
fn knows_no_replace(_at: &Path, _taken: &Path) -> io::Result<bool> {
    Ok(false)
}

fn hard_links(at: &Path) -> io::Result<bool> {
    let (one, two) = (at.join("one"), at.join("two"));
    let mut file = put(&one, b"first")?;
    // Not the disk's own `link`, which makes do with a copy.
    fs::hard_link(&one, &two)?;
    file.write_all(b", second")?;
    holds(&two, b"first, second")
}

fn symlinks(at: &Path) -> io::Result<bool> {
    let (link, target) = (at.join("link"), Path::new("no-such-file"));
    #[cfg(unix)]
    std::os::unix::fs::symlink(target, &link)?;
    #[cfg(windows)]
    std::os::windows::fs::symlink_file(target, &link)?;
    Ok(fs::symlink_metadata(&link)?.is_symlink() && fs::read_link(&link)? == target)
}

fn locks(at: &Path) -> io::Result<bool> {
    let file = at.join("lock");
    let first = RealDisk.try_lock(&file, "first")?;
    let refused = RealDisk.try_lock(&file, "second")?.is_none();
    let had = first.is_some();
    drop(first);
    Ok(had && refused && RealDisk.try_lock(&file, "third")?.is_some())
}

fn names(at: &Path, made: &str, other: &str) -> io::Result<Names> {
    drop(put(&at.join(made), b"")?);
    if !lists(at, OsStr::new(made))? {
        return Ok(Names::Changed);
    }
    match fs::symlink_metadata(at.join(other)) {
        Ok(_) => Ok(Names::Folded),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Names::Exact),
        Err(error) => Err(error),
    }
}

fn lists(at: &Path, name: &OsStr) -> io::Result<bool> {
    Ok(RealDisk.list(at)?.iter().any(|entry| entry.name == name))
}

#[cfg(unix)]
fn raw_names(at: &Path) -> io::Result<bool> {
    use std::os::unix::ffi::OsStrExt;
    let name = OsStr::from_bytes(b"raw-\xff-\x80");
    drop(put(&at.join(name), b"")?);
    lists(at, name)
}

fn name_bytes(at: &Path) -> io::Result<usize> {
    let fits = |bytes: usize| match put(&at.join("n".repeat(bytes)), b"") {
        Ok(_) => Ok(true),
        Err(error) if too_long(&error) => Ok(false),
        Err(error) => Err(error),
    };
    let (mut known, mut over) = (0, NAME_MAX + 1);
    let mut next = NAME_MAX;
    while known + 1 < over {
        if fits(next)? {
            known = next;
        } else {
            over = next;
        }
        next = usize::midpoint(known, over);
    }
    Ok(known)
}

fn too_long(error: &io::Error) -> bool {
    // Windows takes a path that is too long for one that is not there.
    error.kind() == io::ErrorKind::InvalidFilename
        || (cfg!(windows) && error.kind() == io::ErrorKind::NotFound)
}

fn paths(at: &Path) -> io::Result<PathReach> {
    let mut path = at.to_path_buf();
    let mut bytes = 100;
    while bytes > 0 && path.as_os_str().len() < PATH_ENOUGH {
        let longer = path.join("d".repeat(bytes));
        match RealDisk.create_dir(&longer) {
            Ok(()) => path = longer,
            Err(error) if too_long(&error) => bytes /= 2,
            Err(error) => return Err(error),
        }
    }
    let whole = path.as_os_str().len();
    let stepwise = step_by_step(&path)?;
    Ok(PathReach { whole, stepwise })
}

/// Goes on from folder to folder, where no path is given as a whole.
#[cfg(unix)]
fn step_by_step(path: &Path) -> io::Result<usize> {
    use rustix::fs::{Mode, OFlags, mkdirat, openat};
    let mut length = path.as_os_str().len();
    let mut folder = File::open(path)?;
    let name = "d".repeat(100);
    while length < PATH_ENOUGH {
        if mkdirat(&folder, &name, Mode::RWXU).is_err() {
            break;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        folder = openat(&folder, &name, flags, Mode::empty())?.into();
        length += 1 + name.len();
    }
    Ok(length)
}

#[cfg(not(unix))]
#[allow(
    clippy::unnecessary_wraps,
    reason = "elsewhere the question can be refused"
)]
fn step_by_step(path: &Path) -> io::Result<usize> {
    Ok(path.as_os_str().len())
}

fn times(at: &Path, clock: Clock<'_>) -> io::Result<Times> {
    let path = at.join("set");
    let file = put(&path, b"")?;
    // An odd second, and no two digits alike below it.
    let (seconds, rest) = (1_700_000_001, 123_456_789);
    file.set_modified(UNIX_EPOCH + Duration::new(seconds, rest))?;
    let given = 1_700_000_001_123_456_789;
    let seen = RealDisk.metadata(&path)?.stamp.modified_ns;
    let stored_ns = [
        1,
        100,
        1_000,
        1_000_000,
        10_000_000,
        1_000_000_000,
        2_000_000_000,
    ]
    .into_iter()
    .find(|unit: &u64| {
        let whole = i64::try_from(*unit).is_ok_and(|unit| seen % unit == 0);
        whole && seen.abs_diff(given) < *unit
    })
    .ok_or_else(|| {
        odd(format!(
            "a time that was set came back {} ms away",
            seen.abs_diff(given) / 1_000_000
        ))
    })?;
    Ok(Times {
        stored_ns,
        step_ns: smallest_step(&at.join("row"), clock)?,
    })
}

fn smallest_step(path: &Path, clock: Clock<'_>) -> io::Result<Option<u64>> {
    let begin = clock();
    let mut smallest: Option<u64> = None;
    let mut last = None;
    let mut changes = 0;
    for _ in 0..WATCHES {
        RealDisk.overwrite(path, b"touched")?;
        let now = RealDisk.metadata(path)?.stamp.modified_ns;
        let step = last.map_or(0, |last| now.abs_diff(last));
        last = Some(now);
        if step > 0 {
            changes += 1;
            smallest = Some(smallest.map_or(step, |known| known.min(step)));
        }
        if changes >= 5 || clock().saturating_sub(begin) > WATCH {
            break;
        }
    }
    Ok(smallest)
}

#[cfg(unix)]
fn sparse(at: &Path) -> io::Result<Sparse> {
    use std::io::{Seek, SeekFrom};
    use std::os::unix::fs::MetadataExt;
    let path = at.join("hollow");
    let mut file = put(&path, b"")?;
    file.seek(SeekFrom::Start(HOLLOW - 1))?;
    file.write_all(b"x")?;
    let found = fs::symlink_metadata(&path)?;
    Ok(Sparse {
        saves: found.blocks().saturating_mul(512) < HOLLOW / 2,
        found: finds_hole(&file),
    })
}

#[cfg(target_os = "linux")]
#[allow(clippy::unnecessary_wraps, reason = "elsewhere it is not asked")]
fn finds_hole(file: &File) -> Option<bool> {
    use rustix::fs::{SeekFrom, seek};
    match seek(file, SeekFrom::Hole(0)) {
        Ok(at) => Some(at == 0),
        Err(_) => Some(false),
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
fn finds_hole(_file: &File) -> Option<bool> {
    None
}

#[cfg(target_os = "linux")]
fn reflink(at: &Path) -> io::Result<bool> {
    use rustix::io::Errno;
    let (path, bytes) = (at.join("one"), vec![b'r'; 128 << 10]);
    drop(put(&path, &bytes)?);
    let (one, two) = (File::open(&path)?, put(&at.join("two"), b"")?);
    match rustix::fs::ioctl_ficlone(&two, &one) {
        Ok(()) => holds(&at.join("two"), &bytes),
        Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL | Errno::XDEV | Errno::NOSYS) => {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(unix)]
fn modes(at: &Path) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    let path = at.join("file");
    drop(put(&path, b"")?);
    for mode in [0o751, 0o640, 0o400] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        if fs::symlink_metadata(&path)?.permissions().mode() & 0o7777 != mode {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Stands in where a question makes no sense and is not asked.
#[cfg(not(unix))]
macro_rules! not_asked {
    ($($name:ident -> $seen:ty),*) => {$(
        fn $name(_at: &Path) -> io::Result<$seen> {
            Err(io::ErrorKind::Unsupported.into())
        }
    )*};
}
#[cfg(not(unix))]
not_asked!(raw_names -> bool, sparse -> Sparse, modes -> bool);
#[cfg(not(target_os = "linux"))]
fn reflink(_at: &Path) -> io::Result<bool> {
    Err(io::ErrorKind::Unsupported.into())
}
