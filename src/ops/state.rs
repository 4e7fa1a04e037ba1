//! Large state: to the store, and back into the manifest that it belongs to.
//!
//! A member of a manifest that is large goes to the store in chunks, so that a conversation that grows by
//! 2 KB a step costs about 2 KB a step.

use std::borrow::Cow;

use crate::error::{Error, Result};
use crate::model::damage::Damage;
use crate::model::json::{Json, JsonError, MAX_DEPTH, Tree, Value};
use crate::model::manifest::{Header, MANIFEST_MAX, StateObject};
use crate::model::registry::Registry;
use crate::model::retention::Retention;
use crate::ops::Context;
use crate::store::manifests::{Damaged, Scan};
use crate::store::objects::{Content, CutState, Store, Writer};

/// How much of each member the manifests of a run may hold together, in bytes.
const INLINE_ALL: usize = 320 << 10;

/// A member whose text is longer goes to the store, in bytes. The manifest alone is quicker to write;
/// but what is in it is whole in each checkpoint that is kept; how many that are, the policy's bound says.
pub(super) fn inline_max(retention: Option<&Retention>) -> usize {
    let bound = retention.and_then(Retention::bound);
    let kept = bound.map_or(usize::MAX, |kept| {
        usize::try_from(kept).unwrap_or(usize::MAX)
    });
    (INLINE_ALL / kept.max(1)).clamp(16 << 10, 64 << 10)
}

/// A member of a manifest, as JSON text.
pub(super) struct Member<'a> {
    pub(super) name: &'static str,
    pub(super) text: Cow<'a, [u8]>,
}

/// Stores members, each by its difference from what it was in an earlier checkpoint.
pub(super) fn store_members<'m>(
    writer: &Writer<'_>,
    members: impl IntoIterator<Item = &'m Member<'m>>,
    earlier: &[StateObject],
) -> Result<Vec<StateObject>> {
    members
        .into_iter()
        .map(|member| put_member(writer, member.name, &cut_member(writer, member, earlier)))
        .collect()
}

/// Cuts a member into chunks, which what it was in an earlier checkpoint helps with.
pub(super) fn cut_member<'a>(
    writer: &Writer<'_>,
    member: &'a Member<'_>,
    earlier: &[StateObject],
) -> CutState<'a> {
    let earlier = earlier.iter().find(|one| one.member == member.name);
    writer.cut_state(&member.text, earlier.map(content_of).as_ref())
}

/// Stores a member that was cut.
pub(super) fn put_member(
    writer: &Writer<'_>,
    name: &str,
    cut: &CutState<'_>,
) -> Result<StateObject> {
    let stored = writer.put_cut_state(cut)?;
    Ok(StateObject {
        member: name.to_owned(),
        object: stored.object,
        chunked: stored.is_list,
        bytes: stored.size,
    })
}

pub(super) fn content_of(object: &StateObject) -> Content {
    Content {
        object: object.object,
        is_list: object.chunked,
        size: object.bytes,
        hash: None,
    }
}

/// What is wrong with a checkpoint whose objects give this error; other errors are no damage.
pub(super) fn damage_of(error: Error) -> Result<Damage> {
    match error {
        Error::ObjectMissing { id, .. } => Ok(Damage::ObjectMissing(id.to_string())),
        Error::ObjectDamaged { id, .. } => Ok(Damage::ObjectDamaged(id.to_string())),
        Error::StoreFormat { .. } => Ok(Damage::NewerFormat("of its store".to_owned())),
        Error::Io {
            action: "read",
            source,
            ..
        } => Ok(Damage::Unreadable(source.to_string())),
        error => Err(error),
    }
}

/// The store that a checkpoint's objects lie in.
pub(super) fn open_store<'a>(context: &Context<'a>) -> Result<Option<Store<'a>>> {
    match context.store {
        Some(place) => Store::open(context.disk, place, context.now_ms),
        None => Ok(None),
    }
}

/// The manifest with everything in it that it keeps in the store.
pub(super) fn whole(
    context: &Context<'_>,
    header: &Header,
    bytes: Vec<u8>,
) -> Result<std::result::Result<Vec<u8>, Damage>> {
    if header.state_objects.is_empty() {
        return Ok(Ok(bytes));
    }
    let Some(store) = open_store(context)? else {
        let lost = header.state_objects[0].object.to_string();
        return Ok(Err(Damage::ObjectMissing(lost)));
    };
    let mut texts = Vec::new();
    for object in &header.state_objects {
        match store.content(&content_of(object), MANIFEST_MAX) {
            Ok(text) => texts.push((object.member.as_str(), text)),
            Err(error) => return damage_of(error).map(Err),
        }
    }
    Ok(joined(&bytes, &texts).map_err(Into::into))
}

/// A manifest with members put in that lay elsewhere.
pub(super) fn joined(
    bytes: &[u8],
    texts: &[(&str, Vec<u8>)],
) -> std::result::Result<Vec<u8>, JsonError> {
    let json = Json::parse(bytes, MAX_DEPTH)?;
    let mut parsed = Vec::with_capacity(texts.len());
    for (member, text) in texts {
        parsed.push((*member, Json::parse(text, MAX_DEPTH)?));
    }
    let value_of = |name: &str| -> Option<Value<'_>> {
        let found = parsed.iter().find(|(member, _)| *member == name)?;
        Some(found.1.root())
    };
    let registry = value_of("artifact_registry").and_then(|value| Registry::new(value).ok());
    let names = registry.map(|registry| registry.survey().names);
    let members = Tree::members(json.root()).into_iter().map(|(key, old)| {
        let stored = parsed.iter().find(|(member, _)| key.is(member));
        let value = match (stored, &names) {
            (Some((_, json)), _) => Tree::Value(json.root()),
            (None, Some(names)) if key.is("artifacts_at_checkpoint") => {
                Tree::Array(names.iter().map(|name| Tree::Value(*name)).collect())
            }
            _ => old,
        };
        (key, value)
    });
    Ok(Tree::Object(members.collect()).to_pretty())
}

/// Moves checkpoints whose objects the store does not know to the damaged ones. It asks the index only;
/// whether the bytes are whole shows when they are read, or by a verify of the data.
pub(super) fn without_missing_objects(context: &Context<'_>, scan: &mut Scan) -> Result<()> {
    let needs = |header: &Header| !header.state_objects.is_empty() || header.snapshot.is_some();
    if !scan.good.iter().any(|good| needs(&good.header)) {
        return Ok(());
    }
    let store = open_store(context);
    let mut good = Vec::with_capacity(scan.good.len());
    for one in std::mem::take(&mut scan.good) {
        let damage = match &store {
            _ if !needs(&one.header) => None,
            Ok(store) => missing_object(store.as_ref(), &one.header)?,
            Err(Error::StoreFormat { .. }) => Some(Damage::NewerFormat("of its store".to_owned())),
            Err(error) => Some(Damage::Unreadable(error.full_message())),
        };
        match damage {
            None => good.push(one),
            Some(damage) => scan.damaged.push(Damaged {
                name: one.header.checkpoint_id.to_string(),
                modified_ms: one.stamp.map_or(0, |stamp| stamp.modified_ns / 1_000_000),
                path: one.path,
                damage,
            }),
        }
    }
    scan.good = good;
    Ok(())
}

/// What of a checkpoint's state and of its captured folders the index does not know.
pub(super) fn missing_object(store: Option<&Store<'_>>, header: &Header) -> Result<Option<Damage>> {
    let state = header.state_objects.iter().map(|one| one.object);
    let roots = header.snapshot.iter().flat_map(|snapshot| &snapshot.roots);
    for id in state.chain(roots.map(|root| root.tree)) {
        let known = match store {
            Some(store) => store.holds(&id)?,
            None => false,
        };
        if !known {
            return Ok(Some(Damage::ObjectMissing(id.to_string())));
        }
    }
    Ok(None)
}
