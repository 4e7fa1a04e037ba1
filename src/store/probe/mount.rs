//! Reads what Linux tells of its mounts.

use std::path::{Path, PathBuf};

use crate::store::probe::facts::FileSystem;

/// The types that `statfs` names by a number. Source: linux/magic.h and the file systems' own.
const MAGICS: [(u64, &str); 24] = [
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x2fc1_2fc1, "zfs"),
    (0xf2f5_2010, "f2fs"),
    (0xca45_1a4e, "bcachefs"),
    (0x0102_1994, "tmpfs"),
    (0x8584_58f6, "ramfs"),
    (0x794c_7630, "overlay"),
    (0x6573_5546, "fuse"),
    (0x6969, "nfs"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb3"),
    (0x517b, "smbfs"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "ceph"),
    (0x0bd0_0bd0, "lustre"),
    (0x5346_414f, "afs"),
    (0x0116_1970, "gfs2"),
    (0x7461_636f, "ocfs2"),
    (0x4d44, "vfat"),
    (0x2011_bab0, "exfat"),
    (0x7366_746e, "ntfs3"),
    (0x7371_7368, "squashfs"),
];

/// The type that `statfs` means; `ext4` stands for its older relatives, too.
pub(in crate::store) fn kind_of(magic: u64) -> Option<&'static str> {
    MAGICS
        .iter()
        .find(|(known, _)| *known == magic)
        .map(|(_, kind)| *kind)
}

/// Finds the mount that a path, without links in it, lies on: the longest mount point above it, and
/// of several on one point the last, which covers the others.
pub(super) fn mount_of(mountinfo: &str, path: &Path) -> Option<FileSystem> {
    let mut found: Option<(usize, FileSystem)> = None;
    for mount in mountinfo.lines().filter_map(parse) {
        let Some(point) = mount.mount_point.as_deref() else {
            continue;
        };
        let depth = point.components().count();
        if path.starts_with(point) && found.as_ref().is_none_or(|(best, _)| depth >= *best) {
            found = Some((depth, mount));
        }
    }
    found.map(|(_, mount)| mount)
}

/// One line: `36 35 98:0 /root /point rw,noatime master:1 - ext4 /dev/sda1 rw,errors=continue`.
fn parse(line: &str) -> Option<FileSystem> {
    let (place, kind) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(4);
    let (point, own) = (place.next()?, place.next()?);
    let mut kind = kind.split(' ');
    let (name, source, shared) = (kind.next()?, kind.next()?, kind.next().unwrap_or(""));
    let mut options: Vec<String> = own.split(',').map(unescape).collect();
    for option in shared.split(',').map(unescape) {
        // A mount can be read-only on a file system that is not: there the mount's word counts.
        if !(option.is_empty() || option == "rw" || options.contains(&option)) {
            options.push(option);
        }
    }
    Some(FileSystem {
        kind: Some(unescape(name)),
        source: Some(unescape(source)),
        mount_point: Some(PathBuf::from(unescape(point))),
        read_only: Some(options.iter().any(|option| option == "ro")),
        options,
        magic: None,
    })
}

/// Blanks, tabs, line ends and backslashes stand as `\` and three octal digits.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let octal = (first == b'\\')
            .then(|| after.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(byte) = octal {
            bytes.push(byte);
            rest = &after[3..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 22 0:25 / /mnt rw shared:5 - nfs4 server:/export rw,vers=4.2,hard
31 22 0:26 / /mnt/my\\040disk ro,nosuid master:1 shared:7 - fuse.sshfs me@host:/ rw,user_id=0
32 22 0:27 / /data rw - xfs /dev/sdb rw
33 32 0:28 / /data rw - tmpfs none rw,size=4k
broken line
";

    fn at(path: &str) -> FileSystem {
        mount_of(INFO, Path::new(path)).unwrap_or_default()
    }

    #[test]
    fn the_longest_mount_point_wins_by_whole_names() {
        for (path, kind) in [
            ("/", "ext4"),
            ("/home/me", "ext4"),
            ("/mntx", "ext4"),
            ("/mnt", "nfs4"),
            ("/mnt/my", "nfs4"),
            ("/mnt/my disk/runs", "fuse.sshfs"),
        ] {
            assert_eq!(at(path).kind.as_deref(), Some(kind), "{path}");
        }
    }

    #[test]
    fn a_later_mount_covers_an_earlier_one() {
        assert_eq!(at("/data/runs").kind.as_deref(), Some("tmpfs"));
    }

    #[test]
    fn the_mount_and_the_file_system_tell_their_options() {
        let found = at("/mnt/my disk");
        assert_eq!(found.options, ["ro", "nosuid", "user_id=0"]);
        assert_eq!(found.read_only, Some(true));
        assert_eq!(found.source.as_deref(), Some("me@host:/"));
        assert_eq!(found.mount_point, Some(PathBuf::from("/mnt/my disk")));
        assert_eq!(at("/").options, ["rw", "relatime", "discard"]);
        assert_eq!(at("/").read_only, Some(false));
    }

    #[test]
    fn no_mount_is_no_answer() {
        assert_eq!(mount_of("", Path::new("/")), None);
        assert_eq!(unescape("a\\134b\\0"), "a\\b\\0");
    }

    #[test]
    fn magics_are_named() {
        assert_eq!(kind_of(0x0102_1994), Some("tmpfs"));
        assert_eq!(kind_of(1), None);
    }
}
