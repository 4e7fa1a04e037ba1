//! A project with a run on the real disk, in a folder of its own that goes with it.

#![allow(clippy::disallowed_methods, reason = "a test's own folder")]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use waymark::error::Result;
use waymark::model::cancel::Cancel;
use waymark::model::ids::{CheckpointId, RunId};
use waymark::model::plan::OnConflict;
use waymark::model::progress::Progress;
use waymark::model::retention::Retention;
use waymark::model::step::Step;
use waymark::ops::capture::{Capture, FILE_MAX};
use waymark::ops::create::{Created, STATE_MAX};
use waymark::ops::restore::{Choice, FilesRequest, Outcome, Part, Planned, Request};
use waymark::ops::{self, Context};
use waymark::store::disk::{Disk, Entry, LockGuard, Metadata, NewFile};
use waymark::store::folder::Folder;
use waymark::store::layout::RunDir;
use waymark::store::place::StoreDir;
use waymark::store::real_disk::RealDisk;
use waymark::store::workspace::Rules;

use crate::world::{START_MS, record};

/// What another program does.
type Meddling = Box<dyn FnOnce() + Send>;

/// The real disk, on which another program does something at the worst moment: everything is checked and
/// staged, the next thing is that files are replaced.
#[derive(Clone, Default)]
pub(crate) struct Meddled(Arc<Mutex<Option<Meddling>>>);

impl Disk for Meddled {
    fn punch(&self, path: &Path, offset: u64, len: u64) -> io::Result<()> {
        RealDisk.punch(path, offset, len)
    }
    fn taken(&self, path: &Path) -> io::Result<u64> {
        RealDisk.taken(path)
    }
    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        RealDisk.metadata(path)
    }
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        RealDisk.read(path, limit)
    }
    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        RealDisk.read_at(path, offset, len)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        RealDisk.list(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir(path)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        RealDisk.create(path)
    }
    fn append(&self, path: &Path) -> io::Result<(Box<dyn NewFile>, u64)> {
        RealDisk.append(path)
    }
    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        RealDisk.truncate(path, len)
    }
    fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        RealDisk.overwrite(path, bytes)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename_new(from, to)?;
        if to.ends_with("restore.journal")
            && let Some(act) = self.0.lock().unwrap().take()
        {
            act();
        }
        Ok(())
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.link(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_file(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.sync_dir(path)
    }
    fn try_lock(&self, path: &Path, holder: &str) -> io::Result<Option<Box<dyn LockGuard>>> {
        RealDisk.try_lock(path, holder)
    }
    fn try_lock_shared(&self, path: &Path) -> io::Result<Option<Box<dyn LockGuard>>> {
        RealDisk.try_lock_shared(path)
    }
    fn open_folder(&self, path: &Path) -> io::Result<Box<dyn Folder>> {
        RealDisk.open_folder(path)
    }
    fn writable(&self, path: &Path) -> bool {
        RealDisk.writable(path)
    }
    fn is_real(&self) -> bool {
        true
    }
    fn process_alive(&self, pid: u32) -> Option<bool> {
        RealDisk.process_alive(pid)
    }
    fn pause(&self, ms: u64) {
        RealDisk.pause(ms);
    }
}

/// What stands at a path.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Thing {
    /// Content, permission bits, time of the last change in nanoseconds.
    File(Vec<u8>, u32, i128),
    Folder(u32),
    Link(PathBuf),
}

impl std::fmt::Debug for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(bytes, mode, ns) => {
                let text = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
                write!(f, "{text:?} {mode:o} {ns}")
            }
            Self::Folder(mode) => write!(f, "folder {mode:o}"),
            Self::Link(target) => write!(f, "link to {}", target.display()),
        }
    }
}

/// All of a project by its paths, but for Waymark's own files, and those of the state that a restore
/// stamps.
pub(crate) type Sight = BTreeMap<String, Thing>;

/// A project and one of its runs.
#[derive(Clone)]
pub(crate) struct Project {
    pub(crate) path: PathBuf,
    pub(crate) disk: Meddled,
    pub(crate) run: RunDir,
    pub(crate) store: StoreDir,
    pub(crate) capture: Capture,
    now_ms: Arc<AtomicI64>,
    _home: Arc<tempfile::TempDir>,
}

fn registry(run: &str) -> String {
    format!(
        "{{\"run_id\":\"{run}\",\"artifacts\":{{\"report.md\":{{\"name\":\"report.md\",\
         \"path\":\"out/report.md\",\"agent\":\"analyst\",\"step\":1,\
         \"metadata\":{{\"validation_status\":\"pass\"}}}}}}}}"
    )
}

impl Project {
    /// A project with some files, whose workspace is all of it.
    pub(crate) fn new() -> Self {
        let project = Self::empty_in(tempfile::tempdir().unwrap());
        project.put("README.md", "read me\n");
        project.put("src/main.rs", "fn main() {}\n");
        project.put("src/lib/util.rs", "pub fn util() {}\n");
        project.put("tool.sh", "#!/bin/sh\n");
        project.mode("tool.sh", 0o755);
        project.put("out/report.md", "report\n");
        project.put(".gitignore", "target/\n*.log\n");
        project.put("target/out.bin", "built\n");
        project.put("debug.log", "logged\n");
        project.link("link", "README.md");
        fs::create_dir(project.at("empty")).unwrap();
        project.put_in_run("notes.txt", "notes\n");
        project
    }

    /// A project with nothing but a run.
    pub(crate) fn empty_in(home: tempfile::TempDir) -> Self {
        // No link on the way: `/tmp` is one on some systems.
        let path = home.path().canonicalize().unwrap().join("project");
        let runs = path.join(".claude/context/runs");
        fs::create_dir_all(&runs).unwrap();
        let project = Self {
            disk: Meddled::default(),
            run: RunDir::new(&runs, RunId::parse("run-1").unwrap()),
            store: StoreDir::new(path.join(".waymark")),
            capture: Capture {
                project: path.clone(),
                run: true,
                artifacts: true,
                workspace: vec![PathBuf::from(".")],
                rules: Rules {
                    max_file_bytes: FILE_MAX,
                    ..Rules::default()
                },
                refuse_partial: false,
            },
            now_ms: Arc::new(AtomicI64::new(START_MS)),
            path,
            _home: Arc::new(home),
        };
        project.begin_run();
        project
    }

    /// Writes the files of a run that has just begun.
    pub(crate) fn begin_run(&self) {
        let id = self.run.run_id().as_str();
        fs::create_dir_all(self.run.checkpoints()).unwrap();
        self.put_in_run("run.json", &record(1, "begun").replace("run-1", id));
        self.put_in_run("artifact-registry.json", &registry(id));
    }

    /// Another run of the same project.
    pub(crate) fn other_run(&self, id: &str) -> Self {
        let other = self.of_run(id);
        other.begin_run();
        other
    }

    /// The same project, of which another run is looked at; nothing is made.
    pub(crate) fn of_run(&self, id: &str) -> Self {
        Self {
            run: RunDir::new(self.run.runs_dir(), RunId::parse(id).unwrap()),
            ..self.clone()
        }
    }

    /// The same project with other folders as its workspace.
    pub(crate) fn with_workspace(&self, folders: &[&str]) -> Self {
        let mut project = self.clone();
        project.capture.workspace = folders.iter().map(PathBuf::from).collect();
        project
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file, and the folders on the way.
    pub(crate) fn put(&self, name: &str, text: &str) {
        self.put_bytes(name, text.as_bytes());
    }

    pub(crate) fn put_bytes(&self, name: &str, bytes: &[u8]) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn put_in_run(&self, name: &str, text: &str) {
        fs::write(self.run.path().join(name), text).unwrap();
    }

    pub(crate) fn link(&self, name: &str, target: &str) {
        let path = self.at(name);
        let _ = fs::remove_file(&path);
        std::os::unix::fs::symlink(target, path).unwrap();
    }

    pub(crate) fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Removes whatever is there.
    pub(crate) fn remove(&self, name: &str) {
        let path = self.at(name);
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.at(name)).ok()
    }

    pub(crate) fn sight(&self) -> Sight {
        let mut sight = Sight::new();
        self.walk(&self.path, &mut sight);
        sight
    }

    fn walk(&self, folder: &Path, sight: &mut Sight) {
        let runs = self.run.runs_dir();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap();
            let state = [
                "checkpoints",
                "run.json",
                "run.json.lock",
                "artifact-registry.json",
            ];
            let in_run = path.parent().and_then(Path::parent) == Some(runs);
            if path == self.store.path() || (in_run && state.iter().any(|own| name == *own)) {
                continue;
            }
            let found = fs::symlink_metadata(&path).unwrap();
            let mode = found.mode() & 0o7777;
            let thing = if found.is_dir() {
                self.walk(&path, sight);
                Thing::Folder(mode)
            } else if found.is_symlink() {
                Thing::Link(fs::read_link(&path).unwrap())
            } else {
                let ns = i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec());
                Thing::File(fs::read(&path).unwrap(), mode, ns)
            };
            let shown = path.strip_prefix(&self.path).unwrap();
            sight.insert(shown.to_str().unwrap().to_owned(), thing);
        }
    }

    /// Fails if something of a restore lies around.
    #[track_caller]
    pub(crate) fn assert_tidy(&self) {
        assert!(
            !self.store.path().join("journal").exists(),
            "staged files stay"
        );
        for entry in fs::read_dir(self.run.private()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let of_restore = name.starts_with("restore.") || name.starts_with("staged-");
            assert!(!of_restore, "{name} stays");
        }
    }

    /// Another program does something right before files are replaced.
    pub(crate) fn meddle(&self, act: impl FnOnce(&Self) + Send + 'static) {
        let project = self.clone();
        *self.disk.0.lock().unwrap() = Some(Box::new(move || act(&project)));
    }

    /// Calls a verb, a second after the last one.
    pub(crate) fn act<T>(&self, verb: impl FnOnce(&Context<'_>) -> Result<T>) -> Result<T> {
        verb(&Context {
            disk: &self.disk,
            run: &self.run,
            store: Some(&self.store),
            now_ms: self.now_ms.fetch_add(1_000, Ordering::Relaxed),
            lease: None,
            cancel: &Cancel::default(),
            progress: &Progress::default(),
        })
    }

    pub(crate) fn try_create(&self) -> Result<Created> {
        let request = ops::create::Request {
            step: Step::number(1.0)?,
            state: b"{}",
            retention: Some(Retention::default()),
            max_state_bytes: STATE_MAX,
            capture: Some(self.capture.clone()),
            max_store_bytes: None,
            facts: None,
        };
        self.act(|context| ops::create::create(context, &request))
    }

    pub(crate) fn create(&self) -> CheckpointId {
        self.try_create().unwrap().checkpoint_id
    }

    /// A request for all of a checkpoint.
    pub(crate) fn request(&self, choice: Choice, on_conflict: Option<OnConflict>) -> Request {
        Request {
            files: Some(FilesRequest {
                capture: self.capture.clone(),
                on_conflict,
            }),
            ..Request::of(choice)
        }
    }

    pub(crate) fn restore_by(&self, request: &Request) -> Result<Outcome> {
        self.act(|context| ops::restore::restore(context, request))
    }

    pub(crate) fn restore(&self, id: &CheckpointId, policy: Option<OnConflict>) -> Result<Outcome> {
        self.restore_by(&self.request(Choice::Id(id.clone()), policy))
    }

    /// Restores, overwriting what was changed.
    pub(crate) fn overwrite(&self, id: &CheckpointId) -> Outcome {
        self.restore(id, Some(OnConflict::Overwrite))
            .unwrap_or_else(|error| panic!("{}", error.full_message()))
    }

    pub(crate) fn restore_only(&self, id: &CheckpointId, only: &[Part]) -> Result<Outcome> {
        self.restore_by(&Request {
            only: only.to_vec(),
            ..self.request(Choice::Id(id.clone()), Some(OnConflict::Overwrite))
        })
    }

    pub(crate) fn plan(&self, request: &Request) -> Result<Planned> {
        self.act(|context| ops::restore::plan(context, request))
    }

    pub(crate) fn undo(&self) -> Result<Outcome> {
        let request = self.request(Choice::Newest, None);
        self.act(|context| ops::restore::undo(context, &request))
    }

    pub(crate) fn gc(&self) -> ops::gc::Done {
        let now_ms = self.now_ms.load(Ordering::Relaxed) + 10 * 365 * 86_400_000;
        ops::gc::gc(
            &self.disk,
            &self.store,
            &ops::gc::Request {
                max_unused: 0.0,
                ..ops::gc::Request::default()
            },
            now_ms,
            &Cancel::default(),
            &Progress::default(),
        )
        .unwrap()
    }

    /// The rescue checkpoints that there are.
    pub(crate) fn rescues(&self) -> usize {
        fs::read_dir(self.run.rescues()).map_or(0, Iterator::count)
    }
}
