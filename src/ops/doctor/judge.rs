//! Which of Waymark's promises hold, by what was seen. No disk, no clock.

use std::io;

use crate::ops::create::STATE_MAX;
use crate::store::probe::facts::{
    Answer, CreateOnly, Facts, FileSystem, Names, Refusal, Space, Trials,
};

/// No medium confirms a write in less time, in nanoseconds.
const QUICKEST_SYNC: u64 = 5_000;
/// Syncs that are slower than this make every checkpoint felt, in nanoseconds.
const SLOW_SYNC: u64 = 100_000_000;
/// A checkpoint is written beside its predecessor, which goes only afterwards.
const FREE_BYTES: u64 = 2 * STATE_MAX;
/// Free space worth a warning.
const SCARCE_BYTES: u64 = 1 << 30;
/// Fewer free inodes than one run with a few checkpoints takes.
const FREE_INODES: u64 = 256;
/// Rounding of file times from which changes in a row look alike, in nanoseconds.
const COARSE_TIME: u64 = 1_000_000_000;
/// The longest name that Waymark gives: a checkpoint's id with its ending.
const NAME_BYTES: usize = 255;
/// A path that runs in a deep project need.
const PATH_BYTES: usize = 1024;

/// Whether a promise holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// That could not be told.
    Unknown,
}

impl Holds {
    /// As JavaScript gets it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }
}

/// What kind of place a file system keeps its files in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A disk of this machine.
    Local,
    /// Memory, which power loss empties.
    Memory,
    /// Another machine, or the host of this virtual one.
    Network,
    /// A program of this machine (FUSE).
    Fuse,
    /// A layer over another file system, as containers have it.
    Overlay,
    /// The system does not say.
    Unknown,
}

impl Class {
    /// As JavaScript gets it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Memory => "memory",
            Self::Network => "network",
            Self::Fuse => "fuse",
            Self::Overlay => "overlay",
            Self::Unknown => "unknown",
        }
    }

    fn of(kind: Option<&str>) -> Self {
        let Some(kind) = kind else {
            return Self::Unknown;
        };
        match kind {
            "tmpfs" | "ramfs" | "devtmpfs" | "rootfs" | "hugetlbfs" => Self::Memory,
            "overlay" | "aufs" | "fuse.fuse-overlayfs" | "fuse.unionfs" => Self::Overlay,
            "nfs" | "nfs3" | "nfs4" | "cifs" | "smb" | "smb3" | "smbfs" | "9p" | "ceph"
            | "lustre" | "glusterfs" | "afs" | "gfs2" | "ocfs2" | "beegfs" | "gpfs"
            | "virtiofs" | "vboxsf" | "prl_fs" | "drvfs" | "davfs" | "fuse.sshfs"
            | "fuse.glusterfs" | "fuse.vmhgfs-fuse" | "fuse.s3fs" | "fuse.gcsfuse"
            | "fuse.rclone" | "fuse.ceph-fuse" | "fuse.juicefs" => Self::Network,
            // ntfs-3g and its like, on a block device.
            "fuseblk" => Self::Local,
            _ if kind == "fuse" || kind.starts_with("fuse.") => Self::Fuse,
            _ => Self::Local,
        }
    }
}

/// Whether one promise holds, why, and what to do if it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The promise.
    pub name: &'static str,
    /// Whether it holds.
    pub holds: Holds,
    /// One sentence.
    pub why: String,
    /// What to do; nothing where it holds.
    pub advice: Option<&'static str>,
}

/// What the facts mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The kind of place.
    pub class: Class,
    /// One finding per promise.
    pub findings: Vec<Finding>,
    /// What deserves attention, though no promise breaks by it.
    pub warnings: Vec<String>,
}

impl Judgement {
    /// Whether every promise holds.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.holds == Holds::Yes)
    }
}

/// A finding in the making.
type Verdict = (Holds, String, Option<&'static str>);

fn yes(why: impl Into<String>) -> Verdict {
    (Holds::Yes, why.into(), None)
}

fn no(why: impl Into<String>, advice: &'static str) -> Verdict {
    (Holds::No, why.into(), Some(advice))
}

fn unknown(why: impl Into<String>, advice: &'static str) -> Verdict {
    (Holds::Unknown, why.into(), Some(advice))
}

const ELSEWHERE: &str =
    "keep the runs on a local disk: pass runsDir (--runs-dir), or set WAYMARK_RUNS_DIR";
const WRITABLE: &str =
    "make the folder writable for this user, or keep the runs elsewhere (WAYMARK_RUNS_DIR)";
const ROOM: &str = "free some space (waymark cleanup drops old failed runs)";
const REPORT: &str = "look at the probe's row, and check the disk";

/// Says which promises hold.
#[must_use]
pub fn judge(facts: &Facts) -> Judgement {
    let file_system = &facts.file_system;
    let class = Class::of(file_system.kind.as_deref());
    let verdicts: [(&'static str, Verdict); 5] = match &facts.trials {
        Answer::Saw(trials) => [
            ("durable", durable(trials, file_system, class)),
            ("atomic", atomic(trials, file_system)),
            ("exclusive", exclusive(trials, file_system, class)),
            ("exact_files", exact_files(trials)),
            ("bounded", bounded(&facts.space)),
        ],
        Answer::Refused(refusal) => {
            let verdict = || not_writable(refusal);
            [
                ("durable", verdict()),
                ("atomic", verdict()),
                ("exclusive", verdict()),
                ("exact_files", verdict()),
                ("bounded", bounded(&facts.space)),
            ]
        }
        Answer::NotTried(why) => ["durable", "atomic", "exclusive", "exact_files", "bounded"]
            .map(|name| (name, unknown(*why, REPORT))),
    };
    Judgement {
        class,
        findings: verdicts
            .into_iter()
            .map(|(name, (holds, why, advice))| Finding {
                name,
                holds,
                why,
                advice,
            })
            .collect(),
        warnings: warnings(facts, class),
    }
}

fn not_writable(refusal: &Refusal) -> Verdict {
    let Refusal { kind, words } = refusal;
    match kind {
        io::ErrorKind::ReadOnlyFilesystem => no(
            "the file system is mounted read-only: no checkpoint can be taken",
            "mount it writable, or keep the runs elsewhere (WAYMARK_RUNS_DIR)",
        ),
        _ if full(refusal) => no(format!("nothing more fits: {words}"), ROOM),
        _ => no(
            format!("nothing can be written here ({words}): no checkpoint can be taken"),
            WRITABLE,
        ),
    }
}

/// Whether a refusal tells of a full disk only, and nothing of what was asked.
pub(super) fn full(refusal: &Refusal) -> bool {
    matches!(
        refusal.kind,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// The verdict on an answer that should have been `Saw`, if it was refused.
fn refused<T>(answer: &Answer<T>, what: &str, advice: &'static str) -> Option<Verdict> {
    match answer {
        Answer::Refused(refusal) if full(refusal) => Some(unknown(
            format!("{what} can't be tried: {}", refusal.words),
            ROOM,
        )),
        Answer::Refused(refusal) => {
            Some(no(format!("{what} is refused: {}", refusal.words), advice))
        }
        _ => None,
    }
}

fn named(file_system: &FileSystem) -> &str {
    file_system.kind.as_deref().unwrap_or("unknown")
}

fn durable(trials: &Trials, file_system: &FileSystem, class: Class) -> Verdict {
    let kind = named(file_system);
    if class == Class::Memory {
        return no(
            format!("{kind} keeps files in memory: they survive a killed process, no power loss"),
            ELSEWHERE,
        );
    }
    if let Some(verdict) = refused(&trials.sync_file, "fsync of a file", ELSEWHERE)
        .or_else(|| refused(&trials.sync_folder, "fsync of a folder", ELSEWHERE))
    {
        return verdict;
    }
    if let Some(option) = careless(file_system) {
        return no(
            format!("{kind} is mounted with {option}: confirmed writes can be lost with the power"),
            "mount it without that option, or keep the runs elsewhere (WAYMARK_RUNS_DIR)",
        );
    }
    match class {
        Class::Network => {
            return unknown(
                format!("{kind} hands the bytes to another machine, which may confirm too early"),
                ELSEWHERE,
            );
        }
        Class::Fuse => {
            return unknown(
                format!("{kind} is a program's file system, which may confirm too early"),
                ELSEWHERE,
            );
        }
        _ => {}
    }
    let Some(file) = trials.sync_file.saw() else {
        return unknown("fsync was not tried", REPORT);
    };
    if *file < QUICKEST_SYNC {
        return unknown(
            format!("fsync takes {file} ns, quicker than any medium: the bytes may not reach it"),
            "look for a disabled fsync (libeatmydata, a virtual disk with an unsafe cache)",
        );
    }
    match trials.sync_folder.saw() {
        Some(_) => yes("files and folders can be synced"),
        None => yes("files can be synced, and names are journalled by the file system itself"),
    }
}

/// A mount option under which a confirmed write may be lost.
fn careless(file_system: &FileSystem) -> Option<&str> {
    let options = file_system.options.iter().map(String::as_str);
    let mut bad = options.filter(|option| {
        matches!(
            *option,
            "nobarrier" | "barrier=0" | "barrier=none" | "volatile" | "sync=disabled"
        )
    });
    bad.next()
}

fn atomic(trials: &Trials, file_system: &FileSystem) -> Verdict {
    if let Some(verdict) = refused(&trials.replace, "a rename over a file", ELSEWHERE)
        .or_else(|| refused(&trials.create_only, "a rename to a free name", ELSEWHERE))
    {
        return verdict;
    }
    if trials.replace.saw() == Some(&false) {
        return no("a rename over a file does not replace it", ELSEWHERE);
    }
    if trials.create_only.saw() == Some(&CreateOnly::Replaces) {
        return no(
            "a name that is taken can't be refused: one checkpoint could replace another",
            ELSEWHERE,
        );
    }
    let kind = named(file_system);
    if matches!(kind, "vfat" | "msdos" | "exfat" | "ext2" | "minix") {
        return no(
            format!("{kind} has no journal: power loss during a rename can take both files"),
            ELSEWHERE,
        );
    }
    match (trials.replace.saw(), trials.create_only.saw()) {
        (Some(_), Some(CreateOnly::Link)) => {
            yes("renames replace files whole; new names are made by hard links")
        }
        (Some(_), Some(_)) => yes("renames replace files whole, and refuse to where they must"),
        _ => unknown("renames were not tried", REPORT),
    }
}

fn exclusive(trials: &Trials, file_system: &FileSystem, class: Class) -> Verdict {
    let advice = "let only one process at a time work on a run, or keep the runs on a local disk";
    if let Some(verdict) = refused(&trials.locks, "a lock", advice) {
        return verdict;
    }
    match trials.locks.saw() {
        None => unknown("locks were not tried", REPORT),
        Some(false) => no("two can hold one lock at the same time", advice),
        Some(true) if class == Class::Network => unknown(
            format!(
                "locks hold between processes of this machine; whether {} keeps other machines out \
                 can't be told from here",
                named(file_system)
            ),
            "let only one machine at a time work on a run",
        ),
        Some(true) => yes("a lock that is held is refused to others"),
    }
}

fn exact_files(trials: &Trials) -> Verdict {
    let mut lost: Vec<String> = Vec::new();
    let mut untold: Vec<&str> = Vec::new();
    for (answer, what) in [
        (&trials.modes, "mode bits"),
        (&trials.symlinks, "symbolic links"),
    ] {
        match answer {
            Answer::Saw(true) => {}
            Answer::Saw(false) => lost.push(format!("{what} are not kept")),
            Answer::Refused(refusal) if full(refusal) => untold.push(what),
            Answer::Refused(refusal) => lost.push(format!("{what} are refused: {}", refusal.words)),
            Answer::NotTried(_) => untold.push(what),
        }
    }
    match &trials.case {
        Answer::Saw(Names::Exact) => {}
        Answer::Saw(Names::Folded) => {
            lost.push("names that differ only in case are one file".to_owned());
        }
        Answer::Saw(Names::Changed) => lost.push("names change their case".to_owned()),
        Answer::Refused(_) | Answer::NotTried(_) => untold.push("the case of names"),
    }
    // Folding alone changes no file that was captured here.
    if trials.unicode.saw() == Some(&Names::Changed) {
        lost.push("names with accents come back encoded differently".to_owned());
    }
    if !lost.is_empty() {
        return no(
            lost.join("; "),
            "checkpoints from elsewhere may not come back exactly; restore them on a file system \
             that keeps these",
        );
    }
    if untold.is_empty() {
        yes("mode bits, symbolic links and the case of names are kept")
    } else {
        unknown(format!("not tried here: {}", untold.join(", ")), REPORT)
    }
}

fn bounded(space: &Answer<Space>) -> Verdict {
    let space = match space {
        Answer::Saw(space) => space,
        Answer::Refused(refusal) => {
            return unknown(
                format!("the free space can't be told: {}", refusal.words),
                REPORT,
            );
        }
        Answer::NotTried(why) => {
            return unknown(
                format!("the free space is not known: {why}"),
                "see to it that there is room",
            );
        }
    };
    if space.free < FREE_BYTES {
        return no(
            format!(
                "{} are free; a checkpoint can need {}, as it is written before its predecessor goes",
                size(space.free),
                size(FREE_BYTES)
            ),
            ROOM,
        );
    }
    if let Some((_, free)) = space.inodes
        && free < FREE_INODES
    {
        return no(
            format!("only {free} more files can be made (inodes)"),
            "remove small files (waymark cleanup drops old failed runs)",
        );
    }
    yes(format!(
        "{} are free, enough for the largest checkpoint beside its predecessor",
        size(space.free)
    ))
}

fn warnings(facts: &Facts, class: Class) -> Vec<String> {
    let mut warnings = Vec::new();
    let kind = named(&facts.file_system);
    if class == Class::Overlay {
        warnings.push(format!(
            "{kind}: what is written here goes when the container is removed; keep the runs on a volume"
        ));
    }
    if class == Class::Unknown {
        warnings.push(
            "the type of the file system can't be told here: on a network share the promises also \
             depend on the server"
                .to_owned(),
        );
    }
    if let Answer::Saw(space) = &facts.space
        && (FREE_BYTES..SCARCE_BYTES).contains(&space.free)
    {
        warnings.push(format!("only {} are free", size(space.free)));
    }
    if let Answer::Saw(trials) = &facts.trials {
        warnings.extend(of_trials(trials, class));
    }
    match facts.swept {
        0 => {}
        1 => warnings.push("removed a folder that a killed doctor had left".to_owned()),
        many => warnings.push(format!(
            "removed {many} folders that killed doctors had left"
        )),
    }
    for (path, refusal) in &facts.stuck {
        warnings.push(format!(
            "{} can't be removed: {}; remove it by hand",
            path.display(),
            refusal.words
        ));
    }
    warnings
}

fn of_trials(trials: &Trials, class: Class) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(ns) = trials.sync_file.saw() {
        if *ns < QUICKEST_SYNC && class != Class::Memory {
            warnings
                .push("fsync is suspiciously quick: writes may not reach the medium".to_owned());
        }
        if *ns > SLOW_SYNC {
            let ms = ns / 1_000_000;
            warnings.push(format!(
                "fsync takes {ms} ms: every checkpoint waits several times that long"
            ));
        }
    }
    if let Some(times) = trials.times.saw()
        && times.stored_ns >= COARSE_TIME
    {
        warnings.push(
            "file times are kept in seconds: files changed in a row look unchanged".to_owned(),
        );
    }
    if let Some(bytes) = trials.name_bytes.saw()
        && *bytes < NAME_BYTES
    {
        warnings.push(format!(
            "names have at most {bytes} bytes here: long run ids and steps are refused"
        ));
    }
    if let Some(reach) = trials.paths.saw()
        && reach.whole < PATH_BYTES
    {
        warnings.push(format!(
            "paths have at most {} bytes here: keep the runs near the root",
            reach.whole
        ));
    }
    if trials.unicode.saw() == Some(&Names::Folded) {
        warnings.push(
            "names that differ only in how an accent is encoded are one file here".to_owned(),
        );
    }
    warnings
}

#[allow(clippy::cast_precision_loss, reason = "shown with one decimal")]
pub(super) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut shown = String::new();
    for unit in ["KB", "MB", "GB", "TB"] {
        value /= 1024.0;
        shown = format!("{value:.1} {unit}");
        if value < 1023.95 {
            break;
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::store::probe::facts::{PathReach, Sparse, Times};

    fn trials() -> Trials {
        Trials {
            sync_file: Answer::Saw(800_000),
            sync_folder: Answer::Saw(600_000),
            replace: Answer::Saw(true),
            create_only: Answer::Saw(CreateOnly::Rename),
            hard_links: Answer::Saw(true),
            symlinks: Answer::Saw(true),
            locks: Answer::Saw(true),
            case: Answer::Saw(Names::Exact),
            unicode: Answer::Saw(Names::Exact),
            raw_names: Answer::Saw(true),
            name_bytes: Answer::Saw(255),
            paths: Answer::Saw(PathReach {
                whole: 4095,
                stepwise: 4200,
            }),
            times: Answer::Saw(Times {
                stored_ns: 1,
                step_ns: Some(4_000_000),
            }),
            sparse: Answer::Saw(Sparse {
                saves: true,
                found: Some(true),
            }),
            reflink: Answer::Saw(false),
            modes: Answer::Saw(true),
        }
    }

    fn space(free: u64, inodes: Option<(u64, u64)>) -> Answer<Space> {
        Answer::Saw(Space {
            total: 1 << 40,
            free,
            inodes,
        })
    }

    /// A healthy ext4, with something changed.
    fn facts(change: impl FnOnce(&mut Facts, &mut Trials)) -> Facts {
        let mut facts = Facts {
            path: PathBuf::from("/runs"),
            file_system: FileSystem {
                kind: Some("ext4".to_owned()),
                read_only: Some(false),
                options: vec!["rw".to_owned(), "relatime".to_owned()],
                ..FileSystem::default()
            },
            space: space(1 << 38, Some((1000, 900))),
            trials: Answer::NotTried("replaced below"),
            swept: 0,
            stuck: Vec::new(),
        };
        let mut trials = trials();
        change(&mut facts, &mut trials);
        if facts.trials.saw().is_none() && !matches!(facts.trials, Answer::Refused(_)) {
            facts.trials = Answer::Saw(Box::new(trials));
        }
        facts
    }

    fn refusal(kind: io::ErrorKind) -> Refusal {
        io::Error::from(kind).into()
    }

    /// The promises that do not hold: `name=holds`.
    fn broken(judgement: &Judgement) -> Vec<String> {
        judgement
            .findings
            .iter()
            .filter(|finding| finding.holds != Holds::Yes)
            .map(|finding| format!("{}={}", finding.name, finding.holds.as_str()))
            .collect()
    }

    fn judged(change: impl FnOnce(&mut Facts, &mut Trials)) -> Judgement {
        let judgement = judge(&facts(change));
        for finding in &judgement.findings {
            assert_eq!(
                finding.advice.is_none(),
                finding.holds == Holds::Yes,
                "{finding:?}"
            );
            assert!(!finding.why.is_empty());
        }
        assert_eq!(judgement.ok(), broken(&judgement).is_empty());
        judgement
    }

    fn kind(name: &str) -> Judgement {
        judged(|facts, _| facts.file_system.kind = Some(name.to_owned()))
    }

    #[test]
    fn on_a_healthy_disk_all_holds() {
        let judgement = judged(|_, _| {});
        assert!(judgement.ok(), "{judgement:#?}");
        assert_eq!(judgement.warnings, [""; 0]);
        let names: Vec<&str> = judgement.findings.iter().map(|one| one.name).collect();
        assert_eq!(
            names,
            ["durable", "atomic", "exclusive", "exact_files", "bounded"]
        );
    }

    #[test]
    fn types_have_their_class_and_their_weakness() {
        for (name, class, expected) in [
            ("xfs", Class::Local, &[][..]),
            ("fuseblk", Class::Local, &[]),
            ("overlay", Class::Overlay, &[]),
            ("tmpfs", Class::Memory, &["durable=no"]),
            (
                "nfs4",
                Class::Network,
                &["durable=unknown", "exclusive=unknown"],
            ),
            (
                "fuse.sshfs",
                Class::Network,
                &["durable=unknown", "exclusive=unknown"],
            ),
            ("fuse.bindfs", Class::Fuse, &["durable=unknown"]),
            ("fuse", Class::Fuse, &["durable=unknown"]),
            ("vfat", Class::Local, &["atomic=no"]),
            ("ext2", Class::Local, &["atomic=no"]),
        ] {
            let judgement = kind(name);
            assert_eq!(judgement.class, class, "{name}");
            assert_eq!(broken(&judgement), expected, "{name}");
        }
        assert!(kind("overlay").warnings[0].contains("container"));
    }

    #[test]
    fn an_unknown_type_is_judged_by_its_probes() {
        let judgement = judged(|facts, _| facts.file_system = FileSystem::default());
        assert!(judgement.ok());
        assert_eq!(judgement.class, Class::Unknown);
        assert_eq!(judgement.warnings.len(), 1);
    }

    #[test]
    fn a_quick_sync_is_not_believed() {
        let judgement = judged(|_, trials| trials.sync_file = Answer::Saw(4_999));
        assert_eq!(broken(&judgement), ["durable=unknown"]);
        assert!(judgement.findings[0].why.contains("may not reach"));
        assert!(judgement.warnings[0].contains("suspiciously quick"));
        assert!(judged(|_, trials| trials.sync_file = Answer::Saw(5_000)).ok());
        let memory = judged(|facts, trials| {
            facts.file_system.kind = Some("tmpfs".to_owned());
            trials.sync_file = Answer::Saw(300);
        });
        assert_eq!(broken(&memory), ["durable=no"]);
        assert_eq!(memory.warnings, [""; 0]);
    }

    #[test]
    fn a_slow_sync_is_a_warning() {
        let judgement = judged(|_, trials| trials.sync_file = Answer::Saw(250_000_000));
        assert!(judgement.ok());
        assert!(judgement.warnings[0].starts_with("fsync takes 250 ms"));
    }

    #[test]
    fn options_that_lose_confirmed_writes_are_seen() {
        for option in ["nobarrier", "barrier=0", "volatile"] {
            let judgement = judged(|facts, _| facts.file_system.options.push(option.to_owned()));
            assert_eq!(broken(&judgement), ["durable=no"], "{option}");
            assert!(judgement.findings[0].why.contains(option));
        }
    }

    #[test]
    fn what_is_refused_does_not_hold() {
        type Change = fn(&mut Trials, Refusal);
        let changes: [(Change, &str); 7] = [
            (|t, why| t.sync_file = Answer::Refused(why), "durable=no"),
            (|t, why| t.sync_folder = Answer::Refused(why), "durable=no"),
            (|t, why| t.replace = Answer::Refused(why), "atomic=no"),
            (|t, why| t.create_only = Answer::Refused(why), "atomic=no"),
            (|t, why| t.locks = Answer::Refused(why), "exclusive=no"),
            (|t, why| t.symlinks = Answer::Refused(why), "exact_files=no"),
            (|t, why| t.modes = Answer::Refused(why), "exact_files=no"),
        ];
        for (change, expected) in changes {
            let judgement = judged(|_, trials| change(trials, refusal(io::ErrorKind::Unsupported)));
            assert_eq!(broken(&judgement), [expected]);
        }
    }

    #[test]
    fn a_full_disk_tells_nothing_else() {
        let judgement = judged(|facts, trials| {
            let why = || refusal(io::ErrorKind::StorageFull);
            facts.space = space(0, None);
            trials.sync_file = Answer::Refused(why());
            trials.replace = Answer::Refused(why());
            trials.locks = Answer::Refused(why());
            trials.modes = Answer::Refused(why());
        });
        assert_eq!(
            broken(&judgement),
            [
                "durable=unknown",
                "atomic=unknown",
                "exclusive=unknown",
                "exact_files=unknown",
                "bounded=no"
            ]
        );
        assert_eq!(judgement.findings[1].advice, Some(ROOM));
    }

    #[test]
    fn what_is_done_wrongly_does_not_hold() {
        type Change = fn(&mut Trials);
        let changes: [(Change, &str); 7] = [
            (|t| t.replace = Answer::Saw(false), "atomic=no"),
            (
                |t| t.create_only = Answer::Saw(CreateOnly::Replaces),
                "atomic=no",
            ),
            (|t| t.locks = Answer::Saw(false), "exclusive=no"),
            (|t| t.modes = Answer::Saw(false), "exact_files=no"),
            (|t| t.symlinks = Answer::Saw(false), "exact_files=no"),
            (|t| t.case = Answer::Saw(Names::Folded), "exact_files=no"),
            (
                |t| t.unicode = Answer::Saw(Names::Changed),
                "exact_files=no",
            ),
        ];
        for (change, expected) in changes {
            assert_eq!(broken(&judged(|_, trials| change(trials))), [expected]);
        }
    }

    #[test]
    fn what_was_not_tried_is_not_known() {
        const WHY: &str = "not on this platform";
        type Change = fn(&mut Trials);
        let changes: [(Change, &[&str]); 6] = [
            // NTFS journals names by itself.
            (|t| t.sync_folder = Answer::NotTried(WHY), &[]),
            (|t| t.raw_names = Answer::NotTried(WHY), &[]),
            (
                |t| t.sync_file = Answer::NotTried(WHY),
                &["durable=unknown"],
            ),
            (|t| t.replace = Answer::NotTried(WHY), &["atomic=unknown"]),
            (|t| t.locks = Answer::NotTried(WHY), &["exclusive=unknown"]),
            (
                |t| t.modes = Answer::NotTried(WHY),
                &["exact_files=unknown"],
            ),
        ];
        for (change, expected) in changes {
            assert_eq!(broken(&judged(|_, trials| change(trials))), expected);
        }
    }

    #[test]
    fn a_hard_link_serves_as_well() {
        let judgement = judged(|_, t| t.create_only = Answer::Saw(CreateOnly::Link));
        assert!(judgement.ok());
        assert!(judgement.findings[1].why.contains("hard links"));
    }

    #[test]
    fn where_nothing_can_be_written_nothing_holds() {
        for (kind, words) in [
            (io::ErrorKind::ReadOnlyFilesystem, "read-only"),
            (io::ErrorKind::PermissionDenied, "nothing can be written"),
            (io::ErrorKind::StorageFull, "nothing more fits"),
        ] {
            let judgement = judged(|facts, _| facts.trials = Answer::Refused(refusal(kind)));
            assert_eq!(
                broken(&judgement),
                ["durable=no", "atomic=no", "exclusive=no", "exact_files=no"]
            );
            assert!(judgement.findings[0].why.contains(words), "{kind}");
        }
    }

    #[test]
    fn space_bounds_what_can_be_taken() {
        let with = |answer: Answer<Space>| judged(|facts, _| facts.space = answer);
        assert_eq!(broken(&with(space(FREE_BYTES - 1, None))), ["bounded=no"]);
        let scarce = with(space(FREE_BYTES, None));
        assert!(scarce.ok());
        assert_eq!(scarce.warnings, ["only 128.0 MB are free"]);
        assert_eq!(
            broken(&with(space(1 << 40, Some((1000, FREE_INODES - 1))))),
            ["bounded=no"]
        );
        assert!(with(space(1 << 40, Some((1000, FREE_INODES)))).ok());
        assert_eq!(
            broken(&with(Answer::NotTried("elsewhere"))),
            ["bounded=unknown"]
        );
    }

    #[test]
    fn small_limits_are_warnings() {
        let judgement = judged(|facts, trials| {
            trials.name_bytes = Answer::Saw(143);
            trials.paths = Answer::Saw(PathReach {
                whole: 259,
                stepwise: 259,
            });
            trials.times = Answer::Saw(Times {
                stored_ns: 2_000_000_000,
                step_ns: None,
            });
            trials.unicode = Answer::Saw(Names::Folded);
            facts.swept = 2;
            let refusal = refusal(io::ErrorKind::PermissionDenied);
            facts.stuck.push((PathBuf::from("/runs/~left"), refusal));
        });
        assert!(judgement.ok());
        let words = [
            "in seconds",
            "143 bytes",
            "259 bytes",
            "accent",
            "removed 2",
            "/runs/~left",
        ];
        assert_eq!(judgement.warnings.len(), words.len());
        for (warning, word) in judgement.warnings.iter().zip(words) {
            assert!(warning.contains(word), "{warning}: {word}");
        }
    }
}
