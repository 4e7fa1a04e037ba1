//! Asks the system which file system a folder lies on, and how much fits there.

use std::path::Path;

use crate::store::probe::facts::{Answer, FileSystem, Space};

/// Which file system a folder lies on. Linux tells; elsewhere only whether it is read-only.
pub(super) fn file_system(path: &Path) -> FileSystem {
    #[cfg(target_os = "linux")]
    let mut found = linux(path);
    #[cfg(not(target_os = "linux"))]
    let mut found = FileSystem::default();
    #[cfg(unix)]
    if let Ok(told) = rustix::fs::statvfs(path) {
        let read_only = told.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
        found.read_only = Some(read_only);
    }
    #[cfg(not(unix))]
    let _ = (path, &mut found);
    found
}

#[cfg(target_os = "linux")]
fn linux(path: &Path) -> FileSystem {
    use crate::store::probe::mount::{kind_of, mount_of};
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let mut found = mount_of(&String::from_utf8_lossy(&mounts), &real).unwrap_or_default();
    found.magic = rustix::fs::statfs(path)
        .ok()
        .map(|told| told.f_type.cast_unsigned());
    if found.kind.is_none() {
        found.kind = found.magic.and_then(kind_of).map(str::to_owned);
    }
    found
}

/// How much fits.
#[cfg(unix)]
pub(super) fn space(path: &Path) -> Answer<Space> {
    let told = rustix::fs::statvfs(path).map_err(std::io::Error::from);
    told.map(|told| Space {
        total: told.f_blocks.saturating_mul(told.f_frsize),
        free: told.f_bavail.saturating_mul(told.f_frsize),
        // Some make inodes as they need them, and tell 0.
        inodes: (told.f_files > 0).then_some((told.f_files, told.f_favail)),
    })
    .into()
}

/// How much fits.
#[cfg(not(unix))]
pub(super) fn space(_path: &Path) -> Answer<Space> {
    Answer::NotTried("this platform tells it in another way")
}
