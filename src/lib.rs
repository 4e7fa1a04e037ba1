//! Waymark: durable checkpoints for workflow runners.
//!
//! # The map
//!
//! Data flows one way: `binding → ops → store → model`.
//!
//! - [`model`]: values and rules; no disk, no clock.
//! - [`store`]: makes values durable; decides nothing.
//! - [`ops`]: one verb per file; the only place that combines the two.
//! - `binding` (feature `napi`): the Node boundary; converts and calls one verb.
//! - [`error`]: the one error type, with stable codes.
//!
//! # Every file on disk, and who owns it
//!
//! | file | owner |
//! |---|---|
//! | `<run>/run.json` | the runner; replaced by [`ops::restore`] |
//! | `<run>/artifact-registry.json` | the runner; entries of checkpoints by `ops::registration` |
//! | `<run>/*.json` (others) | the runner; captured by [`ops::create`], put back by [`ops::restore`] |
//! | `<run>/run.json.lock` | the runner's protocol: [`store::runner_lock`] |
//! | `<run>/checkpoints/<id>.json` | [`model::manifest`] (content), [`store::manifests`] (reading), [`ops::create`] (writing) |
//! | `<run>/checkpoints/.waymark/lock` | [`store::lock`] |
//! | `<run>/checkpoints/.waymark/records/*.json` | [`model::record`] (format), [`store::records`], for [`ops::records`] |
//! | `<run>/checkpoints/.waymark/lease`, `lease.new`, `lease.lock` | [`model::lease`] (rules), [`store::leases`], for [`ops::lease`] |
//! | `<run>/checkpoints/.waymark/restore.journal`, `restore.undo` | [`store::journal`] |
//! | `<run>/checkpoints/.waymark/restore.areas`, `staged-restore/`; `.waymark/journal/` | [`store::journal`] |
//! | `<run>/checkpoints/.waymark/restored`, `rescues/*.json`, `plans/*` | [`ops::restore`] |
//! | `<run>/checkpoints/.waymark/seen` | [`store::manifests`] |
//! | `<run>/checkpoints/.waymark/files`, `artifacts`, `*.new` | [`store::workspace`] (`stat_cache`), for [`ops::capture`] |
//! | `<run>/checkpoints/.waymark/staged-*` | [`store::publish`]; leftovers removed by [`store::journal`] |
//! | `<run>/checkpoints/.waymark/verified` | [`store::verified`], for [`ops::verify`] |
//! | `.waymark/format`, `.gitignore`, `staged-*` | [`store::place`]; leftovers removed by [`store::leftovers`] |
//! | `.waymark/objects/*.pack` | [`store::objects::pack`] (format), [`store::objects`] (`writer`, `reader`); removed by [`store::objects::collect`] for [`ops::gc`] |
//! | `.waymark/objects/*.lock` | [`store::objects`] (`writer`, `tails`, `collect`) |
//! | `.waymark/index.db`, `-wal`, `-shm`, `.damaged*` | [`store::index`]; `.damaged*` removed by [`store::leftovers`] |
//! | `.waymark/roots/*` | [`store::roots`] |
//! | `.waymark/events/*.ndjson`, `lock`, `open/*` | [`model::event`] (lines), [`store::events`], for [`ops::events`] |
//! | `.waymark/archive/<run>/*.wmk`, `.*.part-*` | [`ops::archive`], as archives; parts removed by [`store::leftovers`] |
//! | `.waymark/cache/*` | [`store::workspace`] (`stat_cache`), for [`ops::capture`] |
//! | `.waymark/lock` | [`store::objects`] (shared by writers, alone for `collect`), [`store::roots`], [`ops::gc`] |
//! | `.waymark/records/*.json`, `records.lock` | [`store::records`], for [`ops::records`] |
//! | `.waymark/gc.lock` | [`ops::gc`], [`store::objects::check`] |
//! | `<runs>/~waymark-trash-*` | [`ops::cleanup`] |
//! | `<runs>/~waymark-import-*` | [`ops::import`] (`ops::aside`) |
//! | `<runs>/~waymark-fork-*` | [`ops::fork`] (`ops::aside`) |
//! | `<runs>/~waymark-doctor-*` | [`store::probe`] |
//! | `…/reports/checkpoint-cleanup-report.md` | [`ops::cleanup`] |
//! | an archive (`*.wmk`), `.*.part-*` beside it | [`model::archive`] (contents), [`store::archive`] (format), for [`ops::export`] and [`ops::import`] |
//! | an exported folder, `.*.part-*` beside it | [`ops::export::folder`], by [`store::workspace::lay_out`] |
//! | `.gitignore`, `.waymarkignore`, `.git/info/exclude` | the user; read by [`store::workspace::rules`] |
//! | `waymark.config.json` | the user; found by [`ops::locate`], which reads `runsDir` and `store`; the rest is read by `lib/settings.js` |

pub mod error;
pub mod model;
pub mod ops;
pub mod store;

#[cfg(feature = "napi")]
pub mod binding;
