//! Tells what a restore would do, and holds a restore to what was told.

use serde::{Deserialize, Serialize};

use super::files::{FilesPlan, Look, Root, Row};
use super::rescue::StateNow;
use super::select::Selection;
use super::{Choice, Chosen, History, Part, Prepared, Request, ground, state, state_changes};
use crate::error::{Error, IoContext, Result, Skipped};
use crate::model::ids::CheckpointId;
use crate::model::object::ObjectId;
use crate::model::plan::{OnConflict, Totals};
use crate::model::registry::Registry;
use crate::model::step::Step;
use crate::ops::Context;
use crate::ops::state::open_store;
use crate::store::journal::{Change, What};
use crate::store::publish::{Staged, remove};

/// How long a plan can be applied, in milliseconds.
pub const PLAN_MS: i64 = 15 * 60 * 1000;
/// How many plans of a run are kept at most.
const PLANS_MAX: usize = 16;

/// What a restore would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// What to name when it is applied.
    pub id: String,
    /// Until when it can be applied, in milliseconds since 1970.
    pub expires_ms: i64,
    /// The checkpoint that would be restored.
    pub checkpoint_id: CheckpointId,
    /// Its step.
    pub step: Step,
    /// Its creation time, ISO 8601.
    pub timestamp: String,
    /// Damaged checkpoints that are passed over.
    pub skipped: Vec<Skipped>,
    /// The files of the state that would change.
    pub state: Vec<StateRow>,
    /// The captured folders.
    pub roots: Vec<Root>,
    /// What would become of their paths.
    pub rows: Vec<Row>,
    /// How many there are of each kind.
    pub totals: Totals,
    /// Checkpoints that are newer than this one: the work that would be left behind.
    pub newer: Vec<CheckpointId>,
}

/// What would become of a file of the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateRow {
    /// Its name.
    pub name: String,
    /// Whether there is none now.
    pub created: bool,
}

/// Plans a restore, and changes nothing.
pub fn plan(context: &Context<'_>, request: &Request) -> Result<Planned> {
    context.cancel.check()?;
    context.run.check(context.disk)?;
    context.run.create_private(context.disk)?;
    let history = History::read(context)?;
    let (mut planned, skipped) = history.first_whole(context, &request.choice, |chosen| {
        let now = StateNow::read(context, &chosen.opened()?.opened())?;
        one(context, request, &history, &chosen, &now)
    })?;
    planned.skipped = skipped;
    Ok(planned)
}

fn one(
    context: &Context<'_>,
    request: &Request,
    history: &History,
    chosen: &Chosen,
    now: &StateNow,
) -> Result<Planned> {
    let parsed = chosen.opened()?;
    let opened = parsed.opened();
    let registry = opened
        .registry()
        .map_err(|damage| chosen.damaged(context, damage))?;
    let now_json = now.registry_json(context)?;
    let registries = [registry, Registry::new(now_json.root()).unwrap_or(registry)];
    let project = request
        .files
        .as_ref()
        .map(|files| files.capture.project.as_path());
    let selection = Selection::new(&request.only, project, registry)?;
    let mut files = FilesPlan::default();
    if let Some(ground) = ground(request, history, chosen, &selection) {
        let store = open_store(context)?;
        let look = Look {
            context,
            store: store.as_ref(),
            ground: &ground,
            registries: &registries,
            run_files: now.run_files(),
            has_others: now.has_others,
        };
        files = look.plan(&look.now(None)?)?;
    }
    let (state, artifacts) = state(context, &opened, history, chosen)
        .map_err(|damage| chosen.damaged(context, damage))?;
    let prepared = Prepared {
        selection: &selection,
        state,
        artifacts,
        files,
    };
    let changes = state_changes(context, &prepared)?;
    let rows = rows(&prepared, &changes);
    let expires_ms = context.now_ms.saturating_add(PLAN_MS);
    let noted = Expected {
        checkpoint_id: chosen.header.checkpoint_id.clone(),
        expires_ms,
        files: request.files.is_some(),
        only: request.only.iter().map(NotedPart::from).collect(),
        on_conflict: request
            .files
            .as_ref()
            .and_then(|files| files.on_conflict)
            .map(|policy| policy.name().to_owned()),
        rows,
    };
    let id = noted.keep(context)?;
    Ok(Planned {
        id,
        expires_ms,
        checkpoint_id: chosen.header.checkpoint_id.clone(),
        step: chosen.header.step.clone(),
        timestamp: chosen.header.timestamp.clone(),
        skipped: Vec::new(),
        state: changes
            .iter()
            .map(|change| StateRow {
                name: String::from_utf8_lossy(&change.path).into_owned(),
                created: matches!(change.what, What::Put { old: None, .. }),
            })
            .collect(),
        newer: history.newer(&chosen.header.checkpoint_id),
        roots: prepared.files.roots,
        rows: prepared.files.rows,
        totals: prepared.files.totals,
    })
}

/// What a plan says of each path, shortened: the path, and a name for the rest.
fn rows(prepared: &Prepared<'_>, state: &[Change]) -> Vec<(String, String)> {
    let short = |text: String| ObjectId::of(text.as_bytes()).to_string()[..16].to_owned();
    let of_files = prepared.files.rows.iter().map(|row| {
        let root = &prepared.files.roots[row.root];
        let path = String::from_utf8_lossy(&row.plan.path);
        let shown = format!("{}:{path}", root.path);
        (shown, short(format!("{:?}", row.plan)))
    });
    // The new content has the time in it.
    let of_state = state.iter().map(|change| {
        let old = match &change.what {
            What::Put { old, .. } => format!("{old:?}"),
            _ => String::new(),
        };
        (
            String::from_utf8_lossy(&change.path).into_owned(),
            short(old),
        )
    });
    of_files.chain(of_state).collect()
}

/// A plan as it was noted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Expected {
    checkpoint_id: CheckpointId,
    expires_ms: i64,
    files: bool,
    only: Vec<NotedPart>,
    on_conflict: Option<String>,
    rows: Vec<(String, String)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum NotedPart {
    State,
    Registry,
    Root(String),
    Glob(String),
    StepNumber(f64),
    StepName(String),
    Path(String, Vec<u8>),
}

impl From<&Part> for NotedPart {
    fn from(part: &Part) -> Self {
        match part {
            Part::State => Self::State,
            Part::Registry => Self::Registry,
            Part::Root(name) => Self::Root(name.clone()),
            Part::Glob(glob) => Self::Glob(glob.clone()),
            Part::Step(Step::Number(number)) => Self::StepNumber(*number),
            Part::Step(Step::Name(name)) => Self::StepName(name.clone()),
            Part::Path { root, path } => Self::Path(root.clone(), path.clone()),
        }
    }
}

impl From<&NotedPart> for Part {
    fn from(part: &NotedPart) -> Self {
        match part {
            NotedPart::State => Self::State,
            NotedPart::Registry => Self::Registry,
            NotedPart::Root(name) => Self::Root(name.clone()),
            NotedPart::Glob(glob) => Self::Glob(glob.clone()),
            NotedPart::StepNumber(number) => Self::Step(Step::Number(*number)),
            NotedPart::StepName(name) => Self::Step(Step::Name(name.clone())),
            NotedPart::Path(root, path) => Self::Path {
                root: root.clone(),
                path: path.clone(),
            },
        }
    }
}

fn unknown(context: &Context<'_>, id: &str, reason: &'static str) -> Error {
    Error::PlanNotFound {
        run_id: context.run.run_id().to_string(),
        plan_id: crate::model::ids::shorten(id),
        reason,
    }
}

/// A plan that was made before.
pub(super) fn expected(context: &Context<'_>, id: &str) -> Result<Expected> {
    let path = context
        .run
        .plan(id)
        .ok_or_else(|| unknown(context, id, "no_plan_id"))?;
    let bytes = match context.disk.read(&path, 256 << 20) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(unknown(context, id, "unknown"));
        }
        Err(error) => return Err(Error::io("read", &path, error)),
    };
    let expected = serde_json::from_slice::<Expected>(&bytes)
        .ok()
        .filter(|expected| expected.id() == id)
        .ok_or_else(|| unknown(context, id, "damaged"))?;
    if context.now_ms > expected.expires_ms {
        return Err(unknown(context, id, "expired"));
    }
    Ok(expected)
}

/// Forgets a plan that was applied.
pub(super) fn forget(context: &Context<'_>, id: &str) {
    if let Some(path) = context.run.plan(id) {
        // It would only be found stale.
        let _ = remove(context.disk, &path);
    }
}

impl Expected {
    fn id(&self) -> String {
        let text = serde_json::to_vec(self).unwrap_or_default();
        format!("plan-{}", &ObjectId::of(&text).to_string()[..16])
    }

    fn keep(&self, context: &Context<'_>) -> Result<String> {
        let (disk, folder) = (context.disk, context.run.plans());
        match disk.create_dir(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::io("create", &folder, error));
            }
            _ => {}
        }
        // The oldest go; what is not a plan is nobody's.
        let mut old: Vec<_> = disk
            .list(&folder)
            .context("read", &folder)?
            .into_iter()
            .map(|entry| folder.join(entry.name))
            .map(|path| {
                (
                    disk.metadata(&path).map_or(0, |found| found.modified_ms),
                    path,
                )
            })
            .collect();
        old.sort();
        let too_many = (old.len() + 1).saturating_sub(PLANS_MAX);
        for (_, path) in &old[..too_many] {
            remove(disk, path)?;
        }
        let id = self.id();
        let text = serde_json::to_vec(self).map_err(|error| Error::Internal {
            message: error.to_string(),
        })?;
        let Some(path) = context.run.plan(&id) else {
            return Ok(id);
        };
        // Beside each other: two may be made at once.
        let aside = folder.join(format!("{id}-{}.new", std::process::id()));
        let _ = remove(disk, &aside);
        Staged::write(disk, aside, &text)?.publish_over(&path)?;
        Ok(id)
    }

    /// The request that was planned, with what only the caller can give.
    pub(super) fn request(&self, given: &Request) -> Request {
        let mut request = Request {
            choice: Choice::Id(self.checkpoint_id.clone()),
            only: self.only.iter().map(Part::from).collect(),
            ..given.clone()
        };
        if !self.files {
            request.files = None;
        }
        if let Some(files) = &mut request.files {
            files.on_conflict = self.on_conflict.as_deref().and_then(OnConflict::parse);
        }
        request
    }

    /// Refuses what is not what was planned.
    pub(super) fn check(
        &self,
        context: &Context<'_>,
        prepared: &Prepared<'_>,
        state: &[Change],
    ) -> Result<()> {
        let now = rows(prepared, state);
        if now == self.rows {
            return Ok(());
        }
        let planned: std::collections::BTreeSet<_> = self.rows.iter().collect();
        let now: std::collections::BTreeSet<_> = now.iter().collect();
        let differs = now.symmetric_difference(&planned).next();
        let path = differs.map_or("", |(path, _)| path.as_str());
        Err(Error::PlanStale {
            path: match path.split_once(':') {
                Some((root, path)) => std::path::Path::new(root).join(path),
                None => context.run.path().join(path),
            },
            reason: "another thing would be done there now",
        })
    }
}
