//! Begins another run where a run was at a checkpoint. The two share what lies in the store.
//!
//! The new run gets `run.json`, the registry and the other JSON files of the checkpoint, its files that were
//! captured from the run's own folder, and a first checkpoint that names the same objects. Paths to files of
//! the base run's folder become paths to those of its own. Captured files elsewhere, artifacts and the
//! workspace, are not touched; a restore of the first checkpoint puts them back.
//!
//! The run is made aside. Once it is whole and durable the base run's log of changes gets a note that the
//! checkpoint is the base of a fork, durably; then the run gets its name with one rename (*the visible
//! moment*). All that while the base run is locked, so nothing drops the checkpoint, and the writer's lock
//! keeps gc from what the two share.
//!
//! Killed before the note, a folder `~waymark-fork-…` stays beside the runs, which the next fork or import
//! removes, and perhaps objects that nobody needs, which gc drops. Killed between the note and the rename, the
//! note names a run that is not there: such a note holds nothing ([`holding_forks`]), and the next fork to a
//! run of that id replaces it.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;

use crate::error::{Error, IoContext, Result, Skipped};
use crate::model::damage::Damage;
use crate::model::event::{Event, Kind};
use crate::model::facts::{Facts, Link};
use crate::model::ids::{CheckpointId, RunId};
use crate::model::json::{Json, MAX_DEPTH, Value};
use crate::model::lifecycle::{Change, Life};
use crate::model::manifest::{Content, Header, MANIFEST_MAX, RunFile, Snapshot, StateObject};
use crate::model::progress::Phase;
use crate::model::registry::{CheckpointEntry, Registry};
use crate::model::run_record::{self, new_updated_at};
use crate::model::snapshot::{File, Node};
use crate::model::step::Step;
use crate::model::time::to_iso;
use crate::ops::aside::{self, Aside};
use crate::ops::create::{begin_writer, checked_json};
use crate::ops::restore::{Choice, Chosen, History};
use crate::ops::state::{Member, missing_object, store_members};
use crate::ops::{Context, events};
use crate::store::changes::Changes;
use crate::store::disk::Disk;
use crate::store::layout::RunDir;
use crate::store::objects::{Limit, Store, Writer};
use crate::store::workspace::lay_out::{self, NewFolder};

/// What to fork, and into what.
#[derive(Debug, Clone)]
pub struct Request {
    /// At which checkpoint of the base run.
    pub choice: Choice,
    /// The new run.
    pub run_id: RunId,
    /// The project's folder: paths in a registry may be relative to it.
    pub project: Option<PathBuf>,
    /// The store's budget, in bytes; `None` is none.
    pub max_store_bytes: Option<u64>,
}

/// A run that began from a checkpoint of another one.
#[derive(Debug, Clone, PartialEq)]
pub struct Forked {
    /// The new run.
    pub run_id: RunId,
    /// Its folder.
    pub path: PathBuf,
    /// Its first checkpoint.
    pub checkpoint_id: CheckpointId,
    /// The step it is at.
    pub step: Step,
    /// When the first checkpoint was taken, ISO 8601.
    pub timestamp: String,
    /// The checkpoint of the base run that it began from.
    pub base: CheckpointId,
    /// How many captured files were laid out in its folder.
    pub files: u64,
    /// Their sizes together, in bytes.
    pub bytes: u64,
    /// How many files are not there because their content was withheld: they hold secrets.
    pub withheld: u64,
    /// How many bytes were added to the store.
    pub added_bytes: u64,
    /// The place of the fork in the base run's log of changes.
    pub change: u64,
    /// Damaged checkpoints that were passed over; none if one was asked for by id.
    pub skipped: Vec<Skipped>,
    /// What went wrong after the run was there, and what could not be laid out, in words.
    pub warnings: Vec<String>,
}

/// Begins another run at a checkpoint of the context's run.
///
/// Gives [`Error::RunExists`] if there is a run of that id, [`Error::ChangesDamaged`] if the base run's log of
/// changes can't be trusted; of a checkpoint that is damaged or gone, what a restore gives.
pub fn fork(context: &Context<'_>, request: &Request) -> Result<Forked> {
    events::watch(context, "fork", || {
        let mut forked = fork_unnoted(context, request)?;
        let warning = note(context, request, &forked);
        forked.warnings.extend(warning);
        Ok(forked)
    })
}

/// The forks of a checkpoint because of which it must stay: those whose run is there. A note of a fork that
/// was killed before its run appeared, or whose run was removed since, holds nothing.
#[must_use]
pub fn holding_forks(disk: &dyn Disk, runs_dir: &Path, life: &Life) -> Vec<Link> {
    let holds = |link: &&Link| {
        let Ok(run_id) = RunId::parse(&link.run) else {
            return false;
        };
        let folder = RunDir::new(runs_dir, run_id);
        // Where it can't be told, it stays.
        match disk.metadata(folder.path()) {
            Ok(_) => true,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    };
    life.forks.iter().filter(holds).cloned().collect()
}

fn fork_unnoted(context: &Context<'_>, request: &Request) -> Result<Forked> {
    context.run.check(context.disk)?;
    let new = RunDir::new(context.run.runs_dir(), request.run_id.clone());
    refuse_taken(context.disk, &new)?;
    aside::remove_leftovers(context);
    // Until the end: nobody drops the checkpoint meanwhile.
    let (_lock, _) = context.begin()?;
    let log = Changes::read(context.disk, context.run)?;
    log.check(context.run)?;
    let lives = log.lives();
    let history = History::read(context)?;
    let (forked, skipped) = history.first_whole(context, &request.choice, |chosen| {
        let id = chosen.header.checkpoint_id.as_str();
        let fork = Fork {
            context,
            request,
            new: &new,
            facts: match lives.get(id) {
                Some(life) => life.facts(chosen.header.facts.as_ref())?,
                None => chosen.header.facts.clone(),
            },
        };
        fork.make(&chosen)
    })?;
    Ok(Forked { skipped, ..forked })
}

fn refuse_taken(disk: &dyn Disk, new: &RunDir) -> Result<()> {
    match disk.metadata(new.path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("read", new.path(), error)),
        Ok(_) => Err(exists(new)),
    }
}

fn exists(new: &RunDir) -> Error {
    Error::RunExists {
        run_id: new.run_id().to_string(),
        path: new.path().to_path_buf(),
    }
}

fn note(context: &Context<'_>, request: &Request, forked: &Forked) -> Option<String> {
    let (from, to) = (context.run.run_id(), &request.run_id);
    let link = |run: &RunId, id: &CheckpointId| serde_json::json!({"run": run.as_str(), "checkpoint": id.as_str()});
    let new = RunDir::new(context.run.runs_dir(), request.run_id.clone());
    let mut noted: Vec<Event> = events::damaged("fork", &forked.skipped)
        .into_iter()
        .map(|event| events::about(context.run, event))
        .collect();
    let created = Event::new(Kind::Created, "fork")
        .of(forked.checkpoint_id.as_str())
        .with("step", forked.step.to_string())
        .with("sequence", 1)
        .with("added_bytes", forked.added_bytes)
        .with("from", link(from, &forked.base));
    noted.push(events::about(&new, created));
    let updated = Event::new(Kind::Updated, "fork")
        .of(forked.base.as_str())
        .with("to", link(to, &forked.checkpoint_id))
        .with("change", forked.change);
    noted.push(events::about(context.run, updated));
    let warning = events::Ledger::from(context).note(&noted);
    for run in [&new, context.run] {
        events::end_noted(&Context { run, ..*context }, warning.as_ref());
    }
    warning
}

/// A fork under way.
struct Fork<'a> {
    context: &'a Context<'a>,
    request: &'a Request,
    new: &'a RunDir,
    /// What is said of the base now.
    facts: Option<Facts>,
}

/// The texts that a new run begins with.
struct Texts {
    record: Vec<u8>,
    /// As it is captured.
    registry: Vec<u8>,
    run_files: Vec<(String, RunFile)>,
}

/// The first checkpoint of a new run.
struct First {
    id: CheckpointId,
    manifest: Vec<u8>,
    /// The registry in which it is entered.
    registry: Vec<u8>,
}

impl<'a> Fork<'a> {
    fn make(&self, chosen: &Chosen) -> Result<Forked> {
        let (context, header) = (self.context, &chosen.header);
        let texts = self.texts(chosen)?;
        let opened = OnceCell::new();
        let writer = self.writer(chosen, &opened)?;
        let (mut state_objects, mut snapshot) =
            (header.state_objects.clone(), header.snapshot.clone());
        if let Some(writer) = &writer {
            state_objects = renewed(writer, &texts, &header.state_objects)?;
            let added_bytes = writer.write_back()?;
            if let Some(snapshot) = &mut snapshot {
                self.move_to_new(snapshot, added_bytes);
            }
        }
        let first = self.first(chosen, &texts, &state_objects, snapshot.as_ref())?;

        context.progress.enter(Phase::Writing);
        let aside = Aside::begin(context, aside::FORKING)?;
        let mut forked = Forked {
            run_id: self.request.run_id.clone(),
            path: self.new.path().to_path_buf(),
            checkpoint_id: first.id.clone(),
            step: header.step.clone(),
            timestamp: to_iso(context.now_ms),
            base: header.checkpoint_id.clone(),
            files: 0,
            bytes: 0,
            withheld: 0,
            added_bytes: 0,
            change: 0,
            skipped: Vec::new(),
            warnings: Vec::new(),
        };
        self.write(chosen, &aside, &texts, &first)?;
        if let Some(store) = opened.get() {
            self.lay_out(store, header, aside.path(), &mut forked)?;
        }
        // Objects first: a manifest never names what is not durable.
        let stored = writer.map(Writer::sync).transpose()?;
        context.cancel.check()?;
        self.publish(aside, &mut forked)?;
        if let Some(stored) = stored {
            forked.added_bytes = stored.bytes;
            if let Err(error) = stored.record() {
                forked.warnings.push(error.full_message());
            }
        }
        Ok(forked)
    }

    /// What the new run's own files say.
    fn texts(&self, chosen: &Chosen) -> Result<Texts> {
        let context = self.context;
        let parsed = chosen.opened()?;
        let opened = parsed.opened();
        let damaged = |damage| chosen.damaged(context, damage);
        let record = opened.run_record().map_err(damaged)?;
        let registry = opened.registry().map_err(damaged)?;
        let own = record.get("updated_at").and_then(Value::as_str);
        let updated_at = new_updated_at(context.now_ms, &[own.map(Cow::into_owned)]);
        let (run_id, step) = (&self.request.run_id, &chosen.header.step);
        let now = to_iso(context.now_ms);
        let moved = Moved::new(context.run, self.new, self.request.project.as_deref());
        Ok(Texts {
            record: run_record::forked(record, run_id, step, updated_at).to_pretty(),
            registry: registry
                .forked(run_id, &|path| moved.of(path), &now)
                .to_pretty(),
            run_files: opened.run_files().map_err(damaged)?,
        })
    }

    /// Keeps gc from what the two runs share, and stores what is new; `None` if nothing lies in the store.
    fn writer<'o>(
        &self,
        chosen: &Chosen,
        opened: &'o OnceCell<Store<'a>>,
    ) -> Result<Option<Writer<'o>>> {
        let (context, header) = (self.context, &chosen.header);
        if header.state_objects.is_empty() && header.snapshot.is_none() {
            return Ok(None);
        }
        let writer = match (self.request.max_store_bytes, context.store) {
            (Some(max), Some(place)) => {
                let room = max.saturating_sub(place.used_bytes(context.disk)?);
                begin_writer(context, opened, Limit::Bytes(room), u64::MAX)?
            }
            _ => begin_writer(context, opened, Limit::None, u64::MAX)?,
        };
        // Asked for when gc can't take it away any more.
        match missing_object(opened.get(), header)? {
            None => Ok(writer),
            Some(damage) => Err(chosen.damaged(context, damage)),
        }
    }

    /// The snapshot of the base as that of the new run.
    fn move_to_new(&self, snapshot: &mut Snapshot, added_bytes: u64) {
        snapshot.added_bytes = added_bytes;
        let (base, new) = (self.context.run.run_id(), self.new.run_id());
        for root in snapshot.roots.iter_mut().filter(|root| root.name == "run") {
            let path = Path::new(&root.path);
            if path.file_name().is_some_and(|name| name == base.as_str()) {
                let path = path.with_file_name(new.as_str());
                root.path = path.to_string_lossy().into_owned();
            }
        }
    }

    fn first(
        &self,
        chosen: &Chosen,
        texts: &Texts,
        state_objects: &[StateObject],
        snapshot: Option<&Snapshot>,
    ) -> Result<First> {
        let (context, step) = (self.context, &chosen.header.step);
        let created_ms = context.now_ms;
        let id = CheckpointId::parse(&format!("checkpoint-step-{}-{created_ms}", step.slug()))?;
        let whole = chosen.opened()?;
        let nothing = parse(b"null")?;
        let (record, registry) = (parse(&texts.record)?, parse(&texts.registry)?);
        let registry = Registry::new(registry.root()).map_err(internal)?;
        let mut facts = self.facts.clone().unwrap_or_default();
        facts.parent = Some(Link {
            run: context.run.run_id().to_string(),
            checkpoint: Some(chosen.header.checkpoint_id.to_string()),
        });
        let facts_text = facts.to_json();
        // One more fact may be one too many.
        let facts = Facts::parse(&facts_text)?;
        let facts_json = checked_json(&facts_text)?;
        let environment = chosen.header.environment.as_deref();
        let environment = environment
            .map(|text| checked_json(text.as_bytes()))
            .transpose()?;
        let survey = registry.survey();
        let first = Content {
            checkpoint_id: &id,
            run_id: self.new.run_id(),
            workflow_id: run_record::workflow_id(record.root(), registry.value()),
            step,
            created_ms,
            run_record: record.root(),
            registry,
            survey: &survey,
            step_state: whole.step_state().unwrap_or(nothing.root()),
            run_files: &texts.run_files,
            state_objects,
            snapshot,
            facts: Some((&facts, facts_json.root())),
            // It goes on from where the base stood.
            environment: environment.as_ref().map(Json::root),
            sequence: 1,
            parent: None,
        };
        let members = first.members();
        let mut manifest = Vec::new();
        let printed = members.print(|block| manifest.extend_from_slice(block));
        manifest.extend_from_slice(&printed.tail(&members.checksum()));
        let path = self.new.manifest(&id);
        let size = manifest.len() as u64;
        if size > MANIFEST_MAX {
            return Err(Error::FileTooLarge {
                path,
                limit: MANIFEST_MAX,
            });
        }
        let now = to_iso(created_ms);
        let entry = CheckpointEntry {
            checkpoint_id: id.clone(),
            step: step.clone(),
            created_at: now.clone(),
            path: path.to_string_lossy().into_owned(),
            size,
        };
        let registry = registry
            .edited(&|_| false, &[entry], Some(&now))
            .to_pretty();
        Ok(First {
            id,
            manifest,
            registry,
        })
    }

    /// Writes everything but the captured files.
    fn write(
        &self,
        chosen: &Chosen,
        aside: &Aside<'_>,
        texts: &Texts,
        first: &First,
    ) -> Result<()> {
        for (name, file) in &texts.run_files {
            match file {
                RunFile::Text(text) => aside.write(name, text.as_bytes())?,
                RunFile::Base64(text) => {
                    let bytes = base64::engine::general_purpose::STANDARD
                        .decode(text)
                        .map_err(|_| {
                            let damage = Damage::NotCheckpoint("a run file's base64 is not valid");
                            chosen.damaged(self.context, damage)
                        })?;
                    aside.write(name, &bytes)?;
                }
                RunFile::Skipped { .. } => {}
            }
        }
        aside.write(&format!("checkpoints/{}.json", first.id), &first.manifest)?;
        aside.write("artifact-registry.json", &first.registry)?;
        aside.write("run.json", &texts.record)?;
        aside.sync()
    }

    /// Lays out what was captured from the base run's folder.
    fn lay_out(
        &self,
        store: &Store<'_>,
        header: &Header,
        folder: &Path,
        forked: &mut Forked,
    ) -> Result<()> {
        // Only from a real disk something is captured.
        let snapshot = header
            .snapshot
            .iter()
            .filter(|_| self.context.disk.is_real());
        let roots = snapshot.flat_map(|snapshot| &snapshot.roots);
        for root in roots.filter(|root| root.name == "run") {
            let mut out = NewFolder::within(folder);
            let mut next = vec![(folder.to_path_buf(), root.tree)];
            while let Some((folder, tree)) = next.pop() {
                self.context.cancel.check()?;
                for entry in store.tree(&tree)?.entries {
                    let Some(path) = lay_out::joined(&folder, &entry.name) else {
                        let name = String::from_utf8_lossy(&entry.name);
                        let warning = format!("this system has no file of the name {name:?}");
                        forked.warnings.push(warning);
                        continue;
                    };
                    match entry.node {
                        Node::Directory { mode, tree } => {
                            out.folder(&path, Some(mode)).context("create", &path)?;
                            next.push((path, tree));
                        }
                        Node::File(file) => self.file(store, &mut out, &path, &file, forked)?,
                        Node::Symlink { target } => out.link(path, &target),
                        Node::Withheld { .. } => forked.withheld += 1,
                        Node::Skipped { .. } => {}
                    }
                }
            }
            // Last: nothing is written through them.
            for (path, error) in out.make_links() {
                let path = path.strip_prefix(folder).unwrap_or(&path);
                let warning = format!("{} was not linked: {error}", path.display());
                forked.warnings.push(warning);
            }
            out.finish()?;
        }
        Ok(())
    }

    fn file(
        &self,
        store: &Store<'_>,
        out: &mut NewFolder,
        path: &Path,
        file: &File,
        forked: &mut Forked,
    ) -> Result<()> {
        let context = self.context;
        let mut out = out.file(path).context("create", path)?;
        store.read_content(&file.into(), &mut |piece| {
            context.cancel.check()?;
            context.progress.add(0, piece.len() as u64);
            out.write(piece).context("write", path)
        })?;
        let finished = out.finish(Some(file.mode), Some(file.modified_ns));
        finished.context("write", path)?;
        context.progress.add(1, 0);
        forked.files += 1;
        forked.bytes += file.size;
        Ok(())
    }

    /// Notes the fork at its base, then gives the new run its name.
    fn publish(&self, aside: Aside<'_>, forked: &mut Forked) -> Result<()> {
        let context = self.context;
        let base = forked.base.to_string();
        let to = Link {
            run: forked.run_id.to_string(),
            checkpoint: Some(forked.checkpoint_id.to_string()),
        };
        let change = (base.clone(), Change::Fork { to }, context.now_ms);
        let (disk, run) = (context.disk, context.run);
        let new = Context {
            run: self.new,
            ..*context
        };
        let log = Changes::read(disk, run)?;
        forked.change = log.last() + 1;
        let noted = events::due(Kind::Updated, "fork", &base, Some(forked.change));
        events::begin(context, vec![noted]);
        let made = events::due(Kind::Created, "fork", forked.checkpoint_id.as_str(), None);
        events::begin(&new, vec![made]);
        log.append(disk, run, [change])?;
        match aside.publish(self.new.path(), || exists(self.new)) {
            // It is there; only the last sync was not confirmed.
            done @ (Ok(()) | Err(Error::NotDurable { .. })) => done,
            Err(error) => {
                events::end(&new);
                // If that fails too, the note holds nothing.
                if let Ok(log) = Changes::read(disk, run) {
                    let run_id = forked.run_id.to_string();
                    let change = (base, Change::Unfork { run: run_id }, context.now_ms);
                    let _ = log.append(disk, run, [change]);
                }
                Err(error)
            }
        }
    }
}

/// The objects of a state of which some members changed; those are stored by their difference.
fn renewed(writer: &Writer<'_>, texts: &Texts, before: &[StateObject]) -> Result<Vec<StateObject>> {
    let changed = [
        ("run_record", &texts.record),
        ("artifact_registry", &texts.registry),
    ];
    let members: Vec<Member<'_>> = changed
        .into_iter()
        .filter(|(name, _)| before.iter().any(|one| one.member == *name))
        .map(|(name, text)| Member {
            name,
            text: Cow::Borrowed(text),
        })
        .collect();
    let anew = store_members(writer, &members, before)?;
    let newest = |one: &StateObject| {
        let renewed = anew.iter().find(|renewed| renewed.member == one.member);
        renewed.unwrap_or(one).clone()
    };
    Ok(before.iter().map(newest).collect())
}

/// Paths to what lies in one run's folder, as paths to the same in another's.
struct Moved(Vec<(String, String)>);

impl Moved {
    fn new(base: &RunDir, new: &RunDir, project: Option<&Path>) -> Self {
        let (base, new) = (base.path(), new.path());
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut pairs = vec![(text(base), text(new))];
        if let Some(project) = project
            && let (Ok(base), Ok(new)) = (base.strip_prefix(project), new.strip_prefix(project))
        {
            let (base, new) = (text(base), text(new));
            pairs.push((format!("./{base}"), format!("./{new}")));
            pairs.push((base, new));
        }
        // Runners write slashes wherever they run.
        if std::path::MAIN_SEPARATOR == '\\' {
            let slashes = |path: &String| path.replace('\\', "/");
            let more: Vec<_> = pairs
                .iter()
                .map(|(base, new)| (slashes(base), slashes(new)))
                .collect();
            pairs.extend(more);
        }
        Self(pairs)
    }

    fn of(&self, path: &str) -> Option<String> {
        let separators = ['/', '\\'];
        // It may lead anywhere.
        if path.split(separators).any(|name| name == "..") {
            return None;
        }
        self.0.iter().find_map(|(base, new)| {
            let rest = path.strip_prefix(base.as_str())?;
            (rest.is_empty() || rest.starts_with(separators)).then(|| format!("{new}{rest}"))
        })
    }
}

fn parse(text: &[u8]) -> Result<Json<'_>> {
    Json::parse(text, MAX_DEPTH).map_err(|error| internal(error.to_string()))
}

fn internal(message: String) -> Error {
    Error::Internal { message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_into_the_base_run_are_moved_and_no_others() {
        let runs = Path::new("/p/runs");
        let run = |id: &str| RunDir::new(runs, RunId::parse(id).expect("valid"));
        let moved = Moved::new(&run("base"), &run("new"), Some(Path::new("/p")));
        for (path, to) in [
            ("/p/runs/base/a.md", Some("/p/runs/new/a.md")),
            ("runs/base/sub/base/a.md", Some("runs/new/sub/base/a.md")),
            ("./runs/base/a.md", Some("./runs/new/a.md")),
            ("/p/runs/base", Some("/p/runs/new")),
            ("/p/runs/base2/a.md", None),
            ("/p/runs/base/../base2/a.md", None),
            ("/p/runs/base/a..b.md", Some("/p/runs/new/a..b.md")),
            ("/p/out/runs/base/a.md", None),
            ("base/a.md", None),
            ("", None),
        ] {
            assert_eq!(moved.of(path).as_deref(), to, "{path}");
        }
    }
}
