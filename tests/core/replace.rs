//! Many files replaced as one, on the simulated disk: killed at every call, without power at every call,
//! refused at every call, and with another program that changes files meanwhile.
//!
//! The changes lie in the run's folder and in the project: files that come, go and change, permission
//! bits, folders that come and go, a file that becomes a folder and the other way round, links.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::AddAssign as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use waymark::error::Result;
use waymark::model::cancel::Cancel;
use waymark::model::object::ObjectId;
use waymark::model::progress::Progress;
use waymark::store::disk::{Disk, EntryKind};
use waymark::store::folder::Folder;
use waymark::store::journal::{
    Change, Changes, Ident, New, NoContents, Recovered, Scene, Source, Unfinished, What, recover,
    replace_all,
};

use crate::sim_disk::{Call, Rng, SimDisk};
use crate::world::{MINUTE_MS, START_MS, World, code};

const SEEDS: u64 = 20;
const PROJECT: &str = "/project";

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Thing {
    File(Vec<u8>, u32),
    Folder(u32),
    Link(Vec<u8>),
}

impl Thing {
    fn is_folder(&self) -> bool {
        matches!(self, Self::Folder(_))
    }
}

/// All of the project by its paths, without Waymark's own folder of the run.
type Sight = BTreeMap<String, Thing>;

fn walk(folder: &dyn Folder, path: &[u8], sight: &mut Sight) {
    for (name, kind) in folder.list(path).unwrap() {
        let inside = match path {
            b"" => name,
            path => [path, b"/", &name].concat(),
        };
        let text = String::from_utf8(inside.clone()).unwrap();
        if text.ends_with("checkpoints/.waymark") || text.ends_with("run.json.lock") {
            continue;
        }
        let mode = folder.found(&inside).unwrap().mode;
        let thing = match kind {
            EntryKind::Directory => {
                walk(folder, &inside, sight);
                Thing::Folder(mode)
            }
            EntryKind::Symlink => Thing::Link(folder.read_link(&inside).unwrap()),
            _ => {
                let mut bytes = Vec::new();
                let mut take = |piece: &[u8]| {
                    bytes.extend_from_slice(piece);
                    Ok(())
                };
                folder.read(&inside, &mut take).unwrap();
                Thing::File(bytes, mode)
            }
        };
        sight.insert(text, thing);
    }
}

fn sight(disk: &SimDisk) -> Sight {
    let mut sight = Sight::new();
    let folder = disk.open_folder(Path::new(PROJECT)).unwrap();
    walk(folder.as_ref(), b"", &mut sight);
    // Folders that only staged files lie in; empty ones may stay.
    sight.remove(".waymark/journal");
    sight.remove(".waymark");
    sight
}

fn file(text: &str) -> Ident {
    Ident::File(ObjectId::of(text.as_bytes()))
}

fn put(old: Option<Ident>, text: &str, mode: Option<u32>) -> What {
    What::Put {
        old,
        new: New {
            ident: file(text),
            mode,
            modified_ns: Some(1_000),
            source: Source::Bytes(text.as_bytes().to_vec()),
        },
    }
}

fn put_link(old: Option<Ident>, target: &str) -> What {
    What::Put {
        old,
        new: New {
            ident: Ident::Link(target.into()),
            mode: None,
            modified_ns: None,
            source: Source::Link,
        },
    }
}

/// The changes, made anew for each use. `many` is enough that all is synced at once.
fn changes(many: bool) -> Changes {
    let mut changes = Vec::new();
    let mut add = |area, path: &str, what| {
        changes.push(Change {
            area,
            path: path.into(),
            what,
        });
    };
    let folder_goes = |must| What::RemoveFolder { mode: 0o755, must };
    let folder_comes = |mode| What::CreateFolder { mode };
    let goes = |text| What::Delete { old: file(text) };
    add(0, "gone.json", goes("gone"));
    add(1, "src/gone.txt", goes("gone"));
    add(1, "old/deep/file", goes("old"));
    add(1, "becomes-folder", goes("a file"));
    add(1, "becomes-file/inner", goes("inner"));
    add(1, "old/deep", folder_goes(false));
    add(1, "old", folder_goes(false));
    add(1, "becomes-file", folder_goes(true));
    add(1, "new", folder_comes(0o750));
    add(1, "new/tight", folder_comes(0o555));
    add(1, "new/tight/file", put(None, "new", Some(0o600)));
    add(1, "new/deep", folder_comes(0o755));
    add(1, "new/deep/file", put(None, "deep", None));
    add(1, "new/link", put_link(None, "tight/file"));
    add(1, "becomes-folder", folder_comes(0o755));
    add(1, "becomes-folder/inner", put(None, "inner", None));
    add(1, "becomes-file", put(None, "a file", Some(0o640)));
    add(
        1,
        "src/changed.txt",
        put(Some(file("before")), "after", None),
    );
    add(
        1,
        "src/tool.sh",
        What::SetMode {
            old: 0o644,
            new: 0o755,
        },
    );
    add(
        1,
        "link",
        put_link(Some(Ident::Link(b"here".to_vec())), "there"),
    );
    add(1, "becomes-link", put_link(Some(file("a file")), "there"));
    let link = Some(Ident::Link(b"here".to_vec()));
    add(1, "was-link", put(link, "a file", Some(0o644)));
    if many {
        add(1, "new/deep/empty", folder_comes(0o700));
        add(1, "hollow", folder_comes(0o500));
        for at in 0..12 {
            add(1, &format!("many/{at}"), put(None, "one of many", None));
        }
    }
    add(0, "state.json", put(Some(file("before")), "after", None));
    add(0, "run.json", put(Some(file("before")), "after", None));
    Changes {
        areas: vec![None, Some(PathBuf::from(PROJECT))],
        changes,
    }
}

/// A run and its project before the changes.
#[derive(Clone)]
struct Ground {
    world: World,
    many: bool,
}

impl Ground {
    fn new(exchange: bool, many: bool) -> Self {
        let world = World::new();
        let project = Path::new(PROJECT);
        let dirs = ["src", "old", "old/deep", "becomes-file", "many", "mine"];
        for dir in dirs {
            world.disk.plant_dir(&project.join(dir));
        }
        for (name, text) in [
            ("src/gone.txt", "gone"),
            ("src/changed.txt", "before"),
            ("src/tool.sh", "tool"),
            ("src/mine.txt", "mine"),
            ("old/deep/file", "old"),
            ("becomes-folder", "a file"),
            ("becomes-file/inner", "inner"),
            ("becomes-link", "a file"),
        ] {
            world.disk.plant_file(&project.join(name), text.as_bytes());
        }
        for name in ["link", "was-link"] {
            let to = Path::new("here");
            world.disk.plant_symlink(&project.join(name), to);
        }
        for (name, text) in [
            ("gone.json", "gone"),
            ("state.json", "before"),
            ("run.json", "before"),
        ] {
            world.put(name, text);
        }
        world.run.create_private(&world.disk).unwrap();
        world.disk.settle();
        if !exchange {
            world.disk.without_exchange();
        }
        Self { world, many }
    }

    fn disk(&self) -> &SimDisk {
        &self.world.disk
    }

    /// An independent copy, its calls counted from 0.
    fn fork(&self) -> Self {
        self.on(self.disk().fork())
    }

    fn on(&self, disk: SimDisk) -> Self {
        Self {
            world: self.world.on(disk),
            ..self.clone()
        }
    }

    fn replace(&self) -> Result<()> {
        let scene = Scene {
            disk: self.disk(),
            run: &self.world.run,
            cancel: &Cancel::default(),
            progress: &Progress::default(),
        };
        replace_all(&scene, &NoContents, &changes(self.many))
    }

    fn recover(&self, unfinished: Unfinished) -> Result<Recovered> {
        self.recover_after(MINUTE_MS, unfinished)
    }

    fn recover_after(&self, ms: i64, unfinished: Unfinished) -> Result<Recovered> {
        let now_ms = START_MS + ms;
        let (disk, run) = (self.disk(), &self.world.run);
        disk.set_now(now_ms);
        recover(disk, run, unfinished, now_ms, &Cancel::default())
    }

    /// The names in Waymark's own folder that stay only when something was cut off.
    fn leftovers(&self) -> Vec<String> {
        let private = self.world.run.private();
        let entries = self.disk().list(&private).unwrap();
        let names = entries.iter().map(|entry| entry.name.to_string_lossy());
        names
            .filter(|name| name.starts_with("staged-") || name.starts_with("restore."))
            .map(std::borrow::Cow::into_owned)
            .collect()
    }
}

struct Clean {
    before: Sight,
    after: Sight,
    calls: u64,
}

impl Clean {
    fn of(ground: &Ground) -> Self {
        let done = ground.fork();
        let before = sight(done.disk());
        done.replace().unwrap();
        let clean = Self {
            before,
            after: sight(done.disk()),
            calls: done.disk().calls(),
        };
        assert_eq!(done.leftovers(), Vec::<String>::new());
        let at = |path: &str| clean.after.get(path).cloned();
        let text = |text: &str, mode| Some(Thing::File(text.into(), mode));
        assert_eq!(at("src/gone.txt"), None);
        assert_eq!(at("old"), None);
        assert_eq!(at("new/tight"), Some(Thing::Folder(0o555)));
        assert_eq!(at("new/tight/file"), text("new", 0o600));
        assert_eq!(at("new/deep/file"), text("deep", 0o644));
        assert_eq!(at("new/link"), Some(Thing::Link(b"tight/file".to_vec())));
        assert_eq!(at("becomes-folder"), Some(Thing::Folder(0o755)));
        assert_eq!(at("becomes-folder/inner"), text("inner", 0o644));
        assert_eq!(at("becomes-file"), text("a file", 0o640));
        assert_eq!(at("src/changed.txt"), text("after", 0o644));
        assert_eq!(at("src/tool.sh"), text("tool", 0o755));
        assert_eq!(at("src/mine.txt"), text("mine", 0o644));
        assert_eq!(at("link"), Some(Thing::Link(b"there".to_vec())));
        assert_eq!(at("becomes-link"), Some(Thing::Link(b"there".to_vec())));
        assert_eq!(at("was-link"), text("a file", 0o644));
        clean
    }

    fn names(&self, found: &Sight) -> Vec<String> {
        let names = self.before.keys().chain(self.after.keys());
        let mut names: Vec<String> = names.chain(found.keys()).cloned().collect();
        names.sort();
        names.dedup();
        names
    }

    /// What holds right after a crash, before any recovery.
    fn check_raw(&self, disk: &SimDisk, when: &str) {
        let found = sight(disk);
        for name in self.names(&found) {
            if name.starts_with(".waymark") {
                continue;
            }
            let sides = [self.before.get(&name), self.after.get(&name)];
            let thing = found.get(&name);
            let folder = |one: Option<&Thing>| one.is_some_and(Thing::is_folder);
            // A path that becomes a folder, or was one, may be nothing for a moment; and a folder that
            // will be read-only is not yet.
            if sides.into_iter().any(folder) && (thing.is_none() || folder(thing)) {
                continue;
            }
            assert!(
                sides.contains(&thing),
                "{when}: {name} is neither old nor new: {thing:?}"
            );
        }
    }

    /// True if everything is new, false if everything is old, but for some paths and what is around
    /// them.
    fn all_or_nothing(&self, ground: &Ground, but: &[&str], when: &str) -> bool {
        let found = sight(ground.disk());
        let around = |name: &str| {
            but.iter().any(|but| {
                *but == name
                    || but.starts_with(&format!("{name}/"))
                    || name.starts_with(&format!("{but}/"))
            })
        };
        let differs = |side: &Sight| -> Vec<String> {
            let names = self.names(&found).into_iter();
            names
                .filter(|name| !around(name) && side.get(name) != found.get(name))
                .collect()
        };
        let (from_old, from_new) = (differs(&self.before), differs(&self.after));
        assert!(
            from_old.is_empty() || from_new.is_empty(),
            "{when}: {from_old:?} are not old, {from_new:?} are not new"
        );
        assert_eq!(ground.leftovers(), Vec::<String>::new(), "{when}");
        from_new.is_empty()
    }
}

fn grounds() -> Vec<(Ground, &'static str)> {
    vec![
        (Ground::new(true, false), "exchange"),
        (Ground::new(false, false), "no exchange"),
        (Ground::new(true, true), "many"),
    ]
}

fn recovered(ground: &Ground, unfinished: Unfinished, when: &str) -> Recovered {
    // Late enough for the runner's lock of an earlier recovery to be stale.
    ground
        .recover_after(2 * MINUTE_MS, unfinished)
        .unwrap_or_else(|error| panic!("{when}: recover: {}", error.full_message()))
}

fn check_crashes(loss: impl Fn(&SimDisk) -> Vec<(String, SimDisk)>) {
    for (ground, which) in grounds() {
        let clean = Clean::of(&ground);
        for n in 1..=clean.calls + 1 {
            let dying = ground.fork();
            dying.disk().crash_at(n);
            let result = dying.replace();
            for (how, disk) in loss(dying.disk()) {
                for unfinished in [Unfinished::Finish, Unfinished::Undo] {
                    let calls = clean.calls;
                    let when =
                        format!("{which}, died at call {n} of {calls}, {how}, {unfinished:?}");
                    let found = ground.on(disk.fork());
                    clean.check_raw(found.disk(), &when);
                    let recovered = recovered(&found, unfinished, &when);
                    let new = clean.all_or_nothing(&found, &[], &when);
                    match recovered {
                        Recovered::Finished => assert!(new, "{when}: told as finished"),
                        Recovered::Undone => assert!(!new, "{when}: told as undone"),
                        Recovered::Nothing => {}
                    }
                    if unfinished == Unfinished::Finish {
                        assert!(new || result.is_err(), "{when}: told as done, but undone");
                    }
                    assert_eq!(
                        found.recover(unfinished).unwrap(),
                        Recovered::Nothing,
                        "{when}: again"
                    );
                }
            }
        }
    }
}

#[test]
fn a_killed_replacement_is_all_or_nothing() {
    check_crashes(|disk| {
        disk.kill();
        vec![("killed".to_owned(), disk.fork())]
    });
}

#[test]
fn power_loss_leaves_a_replacement_all_or_nothing() {
    check_crashes(|disk| {
        let lost = |seed| (format!("power loss {seed}"), disk.power_loss(seed));
        (0..SEEDS).map(lost).collect()
    });
}

/// The recovery of a killed replacement dies as well, at every call, and is repeated.
#[test]
fn a_recovery_that_is_cut_off_is_repeated() {
    for (at, (ground, which)) in grounds().into_iter().enumerate() {
        let clean = Clean::of(&ground);
        // Every pair of calls is too many: each ground takes its share.
        for n in (1..=clean.calls).skip(at % 3).step_by(3) {
            let dying = ground.fork();
            dying.disk().crash_at(n);
            let _ = dying.replace();
            dying.disk().kill();
            for unfinished in [Unfinished::Finish, Unfinished::Undo] {
                let whole = dying.fork();
                whole.recover(unfinished).unwrap();
                for m in 1..=whole.disk().calls() {
                    let again = dying.fork();
                    again.disk().crash_at(m);
                    let _ = again.recover(unfinished);
                    for seed in 0..3 {
                        let when = format!(
                            "{which}, killed at call {n}, {unfinished:?} cut off at call {m}, {seed}"
                        );
                        let disk = if seed == 0 {
                            let disk = again.disk().fork();
                            disk.kill();
                            disk
                        } else {
                            let seed = Rng::new(n << 32 | m << 8 | seed).next();
                            again.disk().power_loss(seed)
                        };
                        let found = ground.on(disk);
                        clean.check_raw(found.disk(), &when);
                        recovered(&found, unfinished, &when);
                        clean.all_or_nothing(&found, &[], &when);
                    }
                }
            }
        }
    }
}

/// Every call is refused once; what is told as failed was put back, now or by the next operation.
#[test]
fn a_refused_call_puts_everything_back() {
    let kinds = [
        (ErrorKind::Other, "ERR_IO"),
        (ErrorKind::StorageFull, "ERR_DISK_FULL"),
        (ErrorKind::ReadOnlyFilesystem, "ERR_RUN_READ_ONLY"),
    ];
    for (ground, which) in grounds() {
        let clean = Clean::of(&ground);
        for n in 1..=clean.calls {
            for (kind, expected) in kinds {
                let found = ground.fork();
                found.disk().fail_at(n, kind);
                let result = found.replace();
                let call = found.disk().trace()[usize::try_from(n).unwrap() - 1].clone();
                let when = format!(
                    "{which}, call {n} of {} ({} {}) failed with {kind}",
                    clean.calls,
                    call.verb,
                    call.path.display()
                );
                clean.check_raw(found.disk(), &when);
                let decided = [found.world.run.journal(), found.world.run.undo()]
                    .iter()
                    .any(|path| found.disk().content(path).is_some());
                match result {
                    Ok(()) => assert!(
                        ["remove_file", "remove_dir", "sync_dir"].contains(&call.verb),
                        "{when}, and it told nobody"
                    ),
                    Err(error) => {
                        let code = error.code();
                        assert!(
                            code == expected || code == "ERR_NOT_DURABLE",
                            "{when}: {code}"
                        );
                        if !decided {
                            assert!(!clean.all_or_nothing(&found, &[], &when), "{when}: told");
                        }
                    }
                }
                recovered(&found, Unfinished::Finish, &when);
                clean.all_or_nothing(&found, &[], &when);
            }
        }
    }
}

/// The files that another program changes.
const FOREIGN: [&str; 10] = [
    "src/changed.txt",
    "src/gone.txt",
    "becomes-link",
    "old/deep/file",
    "becomes-file/inner",
    ".claude/context/runs/run-1/state.json",
    "src/mine.txt",
    "new",
    "new/foreign.txt",
    "new/deep/file",
];

#[test]
fn what_was_changed_after_a_crash_stays() {
    for (ground, which) in grounds() {
        let clean = Clean::of(&ground);
        for n in 1..=clean.calls {
            let dying = ground.fork();
            dying.disk().crash_at(n);
            let _ = dying.replace();
            dying.disk().kill();
            for name in FOREIGN {
                for unfinished in [Unfinished::Finish, Unfinished::Undo] {
                    let path = Path::new(PROJECT).join(name);
                    let when = format!(
                        "{which}, killed at call {n}, then {name} was changed, {unfinished:?}"
                    );
                    let found = dying.fork();
                    if found.disk().metadata(path.parent().unwrap()).is_err()
                        || matches!(found.disk().metadata(&path), Ok(there) if there.kind == EntryKind::Directory)
                    {
                        continue;
                    }
                    if found.disk().metadata(path.parent().unwrap()).unwrap().kind
                        != EntryKind::Directory
                    {
                        continue;
                    }
                    found.disk().plant_file(&path, b"foreign");
                    recovered(&found, unfinished, &when);
                    let kept = found.disk().content(&path);
                    assert_eq!(kept.as_deref(), Some(&b"foreign"[..]), "{when}");
                    clean.all_or_nothing(&found, &[name, "becomes-file"], &when);
                }
            }
        }
    }
}

type Meddle = fn(&SimDisk, &Path);

fn written_anew(disk: &SimDisk, path: &Path) {
    let folder = path.parent().unwrap();
    let is_folder = |path: &Path| {
        disk.metadata(path)
            .is_ok_and(|found| found.kind == EntryKind::Directory)
    };
    if is_folder(folder) && !is_folder(path) {
        disk.plant_file(path, b"foreign");
    }
}

fn written_into(disk: &SimDisk, path: &Path) {
    if disk.content(path).is_some() {
        disk.write_into(path, b"foreign");
    }
}

fn is_foreign(disk: &SimDisk, path: &Path) -> bool {
    disk.content(path).as_deref() == Some(b"foreign")
}

/// Another program changes a file right before any call: it keeps what it wrote.
#[test]
fn what_is_changed_meanwhile_stays_and_all_is_put_back() {
    for (ground, which) in [
        (Ground::new(true, false), "exchange"),
        (Ground::new(true, true), "many"),
    ] {
        let clean = Clean::of(&ground);
        let mut stale = 0;
        for n in 1..=clean.calls {
            for (meddle, how) in [
                (written_anew as Meddle, "written anew"),
                (written_into as Meddle, "written into"),
            ] {
                for name in FOREIGN {
                    let when = format!("{which}, {name} {how} right before call {n}");
                    let path = Path::new(PROJECT).join(name);
                    let found = ground.fork();
                    let at = path.clone();
                    found.disk().meddle_at(n, move |disk| {
                        meddle(disk, &at);
                    });
                    let result = found.replace();
                    let told = result.as_ref().err().map(waymark::error::Error::code);
                    let wrote = found.disk().trace().len() as u64 >= n;
                    assert!(wrote, "{when}");
                    let but = [name, "becomes-file"];
                    let new = clean.all_or_nothing(&found, &but, &when);
                    match told {
                        None => assert!(new, "{when}: told as done"),
                        Some("ERR_PLAN_STALE" | "ERR_RESTORE_UNVERIFIED") => {
                            assert!(!new, "{when}: told as refused");
                            assert!(is_foreign(found.disk(), &path), "{when}: not kept");
                            stale += 1;
                        }
                        // Something that is no folder stands where one is needed.
                        Some("ERR_PATH_SYMLINK" | "ERR_IO") => assert!(!new, "{when}"),
                        Some(code) => panic!("{when}: {code}"),
                    }
                    // A file that is there is the other program's, unless it was written in a folder
                    // that was gone, or into a name that was.
                    if let Some(found) = found.disk().content(&path) {
                        let ours = clean.before.get(name) == clean.after.get(name);
                        assert!(
                            found == b"foreign" || !ours || how == "written into",
                            "{when}: {:?}",
                            String::from_utf8_lossy(&found)
                        );
                    }
                }
            }
        }
        assert!(stale > 50, "{which}: {stale}");
    }
}

/// The process dies right after another program changed a file: what it wrote is still there after
/// recovery, wherever the file's name had been moved to.
#[test]
fn what_is_changed_right_before_a_crash_stays() {
    for (ground, which) in [
        (Ground::new(true, false), "exchange"),
        (Ground::new(true, true), "many"),
    ] {
        let clean = Clean::of(&ground);
        for n in 1..=clean.calls {
            for dies in 0..4 {
                for name in FOREIGN {
                    for unfinished in [Unfinished::Finish, Unfinished::Undo] {
                        let when = format!(
                            "{which}, {name} was changed before call {n}, died {dies} later, {unfinished:?}"
                        );
                        let path = Path::new(PROJECT).join(name);
                        let found = ground.fork();
                        let at = path.clone();
                        let wrote = Arc::new(AtomicBool::new(false));
                        let note = Arc::clone(&wrote);
                        found.disk().meddle_at(n, move |disk| {
                            written_anew(disk, &at);
                            note.store(is_foreign(disk, &at), Ordering::Relaxed);
                        });
                        found.disk().crash_at(n + dies);
                        let _ = found.replace();
                        found.disk().kill();
                        let found = found.fork();
                        recovered(&found, unfinished, &when);
                        if wrote.load(Ordering::Relaxed) {
                            assert!(is_foreign(found.disk(), &path), "{when}: it is lost");
                        }
                        clean.all_or_nothing(&found, &[name, "becomes-file"], &when);
                    }
                }
            }
        }
    }
}

/// A folder that is about to come as a whole.
fn is_moved(call: &Call) -> bool {
    call.verb == "rename_new" && call.to.as_deref() == Some(Path::new("/project/new"))
}

/// A missing folder comes with all that is in it by one rename.
#[test]
fn a_missing_folder_comes_by_one_rename() {
    for (ground, which) in grounds() {
        ground.replace().unwrap();
        let trace = ground.disk().trace();
        assert_eq!(trace.iter().filter(|call| is_moved(call)).count(), 1);
        let inside = |call: &&Call| {
            let to = call.to.as_deref().unwrap_or(&call.path);
            to != Path::new("/project/new") && to.starts_with("/project/new")
        };
        let verbs: Vec<_> = trace.iter().filter(inside).map(|call| call.verb).collect();
        // Nothing in it is made or moved by itself; only bits that must wait, and their sync.
        assert_eq!(verbs, ["set_mode", "sync_dir"], "{which}");
    }
}

/// Another program makes the folder that is about to come, right before any call: what it put there
/// stays, and what comes is put beside it, or nothing is done at all.
#[test]
fn a_folder_that_appears_meanwhile_is_filled_one_by_one() {
    let mine = Path::new("/project/new/mine.txt");
    for (ground, which) in grounds() {
        let clean = Clean::of(&ground);
        let (mut filled, mut refused) = (0, 0);
        for n in 1..=clean.calls {
            for (name, clashes) in [("new/mine.txt", false), ("new/deep", true)] {
                for dies in [None, Some(0), Some(3)] {
                    for unfinished in [Unfinished::Finish, Unfinished::Undo] {
                        let when = format!(
                            "{which}, {name} was made before call {n}, died {dies:?} later, {unfinished:?}"
                        );
                        let path = Path::new(PROJECT).join(name);
                        let found = ground.fork();
                        let at = path.clone();
                        found.disk().meddle_at(n, move |disk| {
                            if disk.metadata(mine.parent().unwrap()).is_err() {
                                disk.plant_dir(mine.parent().unwrap());
                                disk.plant_file(&at, b"foreign");
                            }
                        });
                        let Some(dies) = dies else {
                            let result = found.replace();
                            let new = clean.all_or_nothing(&found, &[name], &when);
                            assert_eq!(new, result.is_ok(), "{when}: {result:?}");
                            if is_foreign(found.disk(), &path) {
                                assert!(!(new && clashes), "{when}: told as done");
                                (if new { &mut filled } else { &mut refused }).add_assign(1);
                            }
                            continue;
                        };
                        found.disk().crash_at(n + dies);
                        let _ = found.replace();
                        found.disk().kill();
                        let made = is_foreign(found.disk(), &path);
                        let found = found.fork();
                        recovered(&found, unfinished, &when);
                        assert_eq!(is_foreign(found.disk(), &path), made, "{when}");
                        clean.all_or_nothing(&found, &[name], &when);
                    }
                }
            }
        }
        assert!(filled > 20 && refused > 20, "{which}: {filled}, {refused}");
    }
}

/// After a crash another program moves the folder that came as a whole: nothing comes back in its place.
#[test]
fn a_folder_that_was_moved_away_after_a_crash_stays_there() {
    for (ground, which) in grounds() {
        let clean = Clean::of(&ground);
        for n in 1..=clean.calls {
            let dying = ground.fork();
            dying.disk().crash_at(n);
            let _ = dying.replace();
            dying.disk().kill();
            let new = Path::new("/project/new");
            if dying.disk().metadata(new).is_err() {
                continue;
            }
            for unfinished in [Unfinished::Finish, Unfinished::Undo] {
                let when = format!("{which}, killed at call {n}, {unfinished:?}");
                let found = dying.fork();
                let away = Path::new("/project/away");
                found.disk().rename(new, away).unwrap();
                recovered(&found, unfinished, &when);
                assert!(found.disk().metadata(new).is_err(), "{when}");
                let kept = found.disk().content(&away.join("deep/file"));
                assert_eq!(kept.as_deref(), Some(&b"deep"[..]), "{when}");
                clean.all_or_nothing(&found, &["new", "away"], &when);
            }
        }
    }
}

/// A folder on the way is replaced by a link that leads out.
#[test]
fn a_link_on_the_way_is_refused() {
    let ground = Ground::new(true, false);
    let clean = Clean::of(&ground);
    ground.disk().plant_dir(Path::new("/outside"));
    let outside = Path::new("/outside/changed.txt");
    ground.disk().plant_file(outside, b"before");
    for n in 1..=clean.calls {
        let found = ground.fork();
        found.disk().meddle_at(n, |disk| {
            let src = Path::new("/project/src");
            disk.rename(src, Path::new("/project/aside")).unwrap();
            disk.plant_symlink(src, Path::new("/outside"));
        });
        let result = found.replace();
        let when = format!("swapped before call {n}: {result:?}");
        let kept = found.disk().content(outside);
        assert_eq!(kept.as_deref(), Some(&b"before"[..]), "{when}");
        let names = found.disk().list(Path::new("/outside")).unwrap();
        assert_eq!(names.len(), 1, "{when}");
        if result.is_err() {
            let code = code(result);
            assert!(
                ["ERR_PATH_SYMLINK", "ERR_PLAN_STALE"].contains(&code),
                "{when}: {code}"
            );
            assert!(
                !clean.all_or_nothing(&found, &["src", "aside"], &when),
                "{when}"
            );
        }
    }
}
