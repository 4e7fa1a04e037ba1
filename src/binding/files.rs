//! Captured files for JavaScript: listed in pages, read one by one.
//!
//! A page crosses as one JSON text: making its objects one by one would hold up the event loop.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use napi::bindgen_prelude::Buffer;
use napi_derive::napi;
use serde::Serialize;

use super::job::{Job, now};
use super::types::Place;
use super::{CancelToken, Handle, Pending, Reply, clock, on_run, token};
use crate::error::{Error, Result};
use crate::model::cancel::Cancel;
use crate::model::diff::{NodeInfo, NodeKind};
use crate::model::ids::CheckpointId;
use crate::model::progress::Progress;
use crate::model::step::STEP_MAX;
use crate::ops::Context;
use crate::ops::files::{Entry, Filter, Listing, read};
use crate::store::layout::RunDir;
use crate::store::place::StoreDir;
use crate::store::real_disk::RealDisk;

/// Lists the captured files of a checkpoint, page by page.
#[napi]
pub struct FileWalk(Arc<Mutex<Walk>>);

enum Walk {
    Waiting(Box<(Place, String, String, Filter)>),
    Open(Box<(RunDir, Option<StoreDir>, Listing)>),
    Ended,
}

#[derive(Serialize)]
struct Page {
    entries: Vec<EntryOut>,
    done: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EntryOut {
    root: String,
    root_path: String,
    #[serde(flatten)]
    path: PathOut,
    #[serde(flatten)]
    node: NodeOut,
}

/// A path as text, and as bytes where the text is not all of it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PathOut {
    path: String,
    /// Base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
}

/// What stands at a path.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeOut {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_bytes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// A text, and the bytes as base64 where it is not all of them.
pub(super) fn lossy(bytes: &[u8]) -> (String, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (
            String::from_utf8_lossy(bytes).into_owned(),
            Some(base64::engine::general_purpose::STANDARD.encode(bytes)),
        ),
    }
}

impl From<&[u8]> for PathOut {
    fn from(bytes: &[u8]) -> Self {
        let (path, path_bytes) = lossy(bytes);
        Self { path, path_bytes }
    }
}

impl From<&NodeInfo> for NodeOut {
    fn from(info: &NodeInfo) -> Self {
        let (target, target_bytes) = info.target.as_deref().map(lossy).unzip();
        #[allow(
            clippy::cast_precision_loss,
            reason = "milliseconds with a fraction, as fs.Stats has them"
        )]
        let modified = info.modified_ns.map(|ns| ns as f64 / 1e6);
        Self {
            kind: info.kind.name(),
            mode: info.mode,
            size: info.size,
            modified,
            hash: info.hash.map(|hash| hash.to_string()),
            target,
            target_bytes: target_bytes.flatten(),
            reason: match info.kind {
                NodeKind::Skipped(reason) => Some(reason.name()),
                _ => None,
            },
        }
    }
}

impl From<Entry> for EntryOut {
    fn from(entry: Entry) -> Self {
        Self {
            root: entry.root,
            root_path: entry.root_path,
            path: entry.path.as_slice().into(),
            node: (&entry.info).into(),
        }
    }
}

/// Prints what crosses as JSON.
pub(super) fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::Internal {
        message: format!("a result has no JSON form: {error}"),
    })
}

impl Walk {
    fn next(&mut self, count: usize, cancel: &Cancel) -> Result<String> {
        *self = match std::mem::replace(self, Self::Ended) {
            Self::Waiting(start) => {
                let (place, run_id, checkpoint_id, filter) = *start;
                let id = CheckpointId::parse(&checkpoint_id)?;
                let handle = Handle {
                    cancel: cancel.clone(),
                    progress: Arc::default(),
                    ..Handle::default()
                };
                on_run(place, &run_id, &handle, |context| {
                    let listing = Listing::open(context, &id, &filter)?;
                    let store = context.store.cloned();
                    Ok(Self::Open(Box::new((context.run.clone(), store, listing))))
                })?
            }
            other => other,
        };
        self.resume(count, cancel)
    }

    fn resume(&mut self, count: usize, cancel: &Cancel) -> Result<String> {
        let Self::Open(open) = self else {
            return to_json(&Page {
                entries: Vec::new(),
                done: true,
            });
        };
        let (run, store, listing) = &mut **open;
        let progress = Progress::default();
        let context = Context {
            disk: &RealDisk,
            run,
            store: store.as_ref(),
            now_ms: clock(),
            lease: None,
            cancel,
            progress: &progress,
        };
        let entries = listing.page(&context, count)?;
        let done = entries.len() < count;
        if done {
            *self = Self::Ended;
        }
        to_json(&Page {
            entries: entries.into_iter().map(EntryOut::from).collect(),
            done,
        })
    }
}

#[napi]
impl FileWalk {
    /// A walk that has not begun. `under` is a path in bytes.
    #[napi(constructor)]
    #[must_use]
    #[allow(
        clippy::needless_pass_by_value,
        reason = "napi hands arguments over by value"
    )]
    pub fn new(
        place: Place,
        run_id: String,
        checkpoint_id: String,
        root: Option<String>,
        under: Option<Buffer>,
    ) -> Self {
        let under = under.map(|bytes| bytes.to_vec());
        let filter = Filter { root, under };
        let start = Box::new((place, run_id, checkpoint_id, filter));
        Self(Arc::new(Mutex::new(Walk::Waiting(start))))
    }

    /// The next entries, as JSON text: `{ entries, done }`.
    #[napi(ts_return_type = "Promise<Failure | string>")]
    #[must_use]
    pub fn next(&self, count: u32, cancel: Option<&CancelToken>) -> Pending<String, String> {
        let walk = Arc::clone(&self.0);
        let handle = token(cancel);
        Job::task(move || {
            let mut walk = walk.lock().unwrap_or_else(PoisonError::into_inner);
            walk.next(count as usize, &handle.cancel)
        })
    }

    /// The next entries, as JSON text: `{ entries, done }`.
    #[napi(ts_return_type = "Failure | string")]
    #[must_use]
    pub fn next_sync(&self, count: u32) -> Reply<String> {
        now(|| {
            let mut walk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            walk.next(count as usize, &Cancel::default())
        })
    }
}

fn read_work(
    place: Place,
    run_id: String,
    checkpoint_id: String,
    root: Option<String>,
    path: Vec<u8>,
    max_bytes: f64,
    handle: Handle,
) -> impl FnOnce() -> Result<Vec<u8>> + Send {
    move || {
        let id = CheckpointId::parse(&checkpoint_id)?;
        let max_bytes = super::convert::whole("maxBytes", max_bytes, STEP_MAX)?;
        on_run(place, &run_id, &handle, |context| {
            read(context, &id, root.as_deref(), &path, max_bytes)
        })
    }
}

/// Reads one captured file, held against its hash. `path` is in bytes.
#[napi(ts_return_type = "Failure | Buffer")]
#[must_use]
#[allow(
    clippy::needless_pass_by_value,
    reason = "napi hands arguments over by value"
)]
pub fn read_file_sync(
    place: Place,
    run_id: String,
    checkpoint_id: String,
    root: Option<String>,
    path: Buffer,
    max_bytes: f64,
) -> Reply<Buffer> {
    let handle = Handle::default();
    now(read_work(
        place,
        run_id,
        checkpoint_id,
        root,
        path.to_vec(),
        max_bytes,
        handle,
    ))
}

/// Reads one captured file, held against its hash. `path` is in bytes.
#[napi(ts_return_type = "Promise<Failure | Buffer>")]
#[must_use]
#[allow(
    clippy::needless_pass_by_value,
    reason = "napi hands arguments over by value"
)]
pub fn read_file(
    place: Place,
    run_id: String,
    checkpoint_id: String,
    root: Option<String>,
    path: Buffer,
    max_bytes: f64,
    cancel: Option<&CancelToken>,
) -> Pending<Vec<u8>, Buffer> {
    Job::task(read_work(
        place,
        run_id,
        checkpoint_id,
        root,
        path.to_vec(),
        max_bytes,
        token(cancel),
    ))
}
