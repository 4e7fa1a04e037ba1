//! Stores state: by its chunks, and those by their difference from the chunks before.
//!
//! *Invariants*: the pieces of a content, one behind the other, are the content; each was held against
//! its name, or got its name from its bytes. What is known of an earlier content only says where a border
//! may be: the borders are those that cutting anew would find.
//!
//! *Crash story*: that of [`Writer`].
//!
//! *Limits*: where a known chunk does not fit, the content is cut anew up to the next chunk that is known.

use std::collections::HashMap;

use crate::error::Result;
use crate::model::object::ObjectId;
use crate::model::snapshot::{ChunkList, Piece};
use crate::store::chunker::STATE;
use crate::store::objects::pack::{self, DEPTH_MAX};
use crate::store::objects::writer::{Filler, LEVEL_STATE};
use crate::store::objects::{Content, Writer};

/// A state, cut into the chunks that it is stored by.
pub struct CutState<'a> {
    state: &'a [u8],
    /// Its chunks; none is a hole.
    pub chunks: ChunkList,
    earlier: Option<Content>,
    /// What the earlier one consists of.
    known: ChunkList,
}

impl<'s> Writer<'s> {
    /// Stores a state, by its difference from an earlier one where that helps.
    pub fn put_state(&self, state: &[u8], earlier: Option<&Content>) -> Result<Content> {
        self.put_cut_state(&self.cut_state(state, earlier))
    }

    /// Cuts a state into chunks; those of an earlier one help to find the borders.
    #[must_use]
    pub fn cut_state<'a>(&self, state: &'a [u8], earlier: Option<&Content>) -> CutState<'a> {
        let known = match earlier {
            // Only ever a help: without it everything is stored.
            Some(earlier) if earlier.is_list => self.store().list(&earlier.object).ok(),
            Some(earlier) => Some(ChunkList {
                pieces: vec![Piece {
                    len: earlier.size,
                    chunk: Some(earlier.object),
                }],
            }),
            None => None,
        };
        let known = known.unwrap_or_default();
        CutState {
            state,
            chunks: ChunkList {
                pieces: cut(state, &known.pieces),
            },
            earlier: earlier.copied(),
            known,
        }
    }

    /// Stores a state that was cut.
    pub fn put_cut_state(&self, cut: &CutState<'_>) -> Result<Content> {
        let result = self.put_chunks(cut);
        if result.is_err() {
            self.fail();
        }
        result
    }

    fn put_chunks(&self, cut: &CutState<'_>) -> Result<Content> {
        let ids: Vec<ObjectId> = cut.ids().collect();
        let wanted = self.claim_all(&ids)?;
        let mut lane = Filler::new(self, LEVEL_STATE);
        let mut rest = cut.state;
        let mut at = 0_u64;
        let mut bases = cut.known.pieces.iter();
        let mut base_end = 0;
        let mut base = None;
        for ((piece, id), wanted) in cut.chunks.pieces.iter().zip(&ids).zip(wanted) {
            let len = usize::try_from(piece.len).unwrap_or(usize::MAX);
            let (chunk, after) = rest.split_at(len.min(rest.len()));
            rest = after;
            while base_end <= at
                && let Some(piece) = bases.next()
            {
                base_end += piece.len;
                base = piece.chunk;
            }
            if wanted {
                match base {
                    Some(base) if base_end > at => self.put_delta(&mut lane, *id, chunk, base)?,
                    _ => lane.add(*id, chunk)?,
                }
            }
            at += piece.len;
        }
        let size = cut.state.len() as u64;
        if let [only] = ids[..] {
            lane.flush()?;
            return Ok(Content {
                object: only,
                is_list: false,
                size,
                hash: Some(only),
            });
        }
        let list = cut.chunks.encode();
        let id = ObjectId::of(&list);
        if self.claim(&id)? {
            match &cut.earlier {
                Some(earlier) if earlier.is_list => {
                    self.put_delta(&mut lane, id, &list, earlier.object)?;
                }
                _ => lane.add(id, &list)?,
            }
        }
        lane.flush()?;
        Ok(Content {
            object: id,
            is_list: true,
            size,
            hash: None,
        })
    }

    /// Stores an object that was claimed by its difference from a base, or as it is.
    fn put_delta(
        &self,
        lane: &mut Filler<'_, 's>,
        id: ObjectId,
        bytes: &[u8],
        base: ObjectId,
    ) -> Result<()> {
        let depth = self.store().find(&base)?.map(|at| at.depth);
        if let Some(depth) = depth.filter(|depth| *depth < DEPTH_MAX)
            && let Ok(base_bytes) = self.store().get(&base)
        {
            let made = pack::delta(id, bytes, (base, &base_bytes), depth + 1, LEVEL_STATE)
                .map_err(|error| self.packing(error))?;
            if let Some(block) = made {
                return self.append(&block);
            }
        }
        lane.add(id, bytes)
    }
}

impl CutState<'_> {
    fn ids(&self) -> impl Iterator<Item = ObjectId> {
        self.chunks.pieces.iter().filter_map(|piece| piece.chunk)
    }
}

/// Cuts a content into the chunks that [`STATE`] would cut it into, and names them. Where the chunks of
/// an earlier content fit, which their names tell, no border has to be looked for.
fn cut(content: &[u8], known: &[Piece]) -> Vec<Piece> {
    let mut chunks = Vec::with_capacity(known.len() + 8);
    let piece = |chunk: &[u8], id| Piece {
        len: chunk.len() as u64,
        chunk: Some(id),
    };
    let mut places = None;
    let mut rest = content;
    let mut next = Some(0);
    while !rest.is_empty() {
        if let Some(place) = next
            && let Some((chunk, id)) = fitting(rest, known, place)
        {
            chunks.push(piece(chunk, id));
            rest = &rest[chunk.len()..];
            next = Some(place + 1);
            continue;
        }
        let (chunk, after) = rest.split_at(STATE.first(rest));
        let id = ObjectId::of(chunk);
        let places = places.get_or_insert_with(|| places_of(known));
        next = places.get(&id).map(|place| place + 1);
        chunks.push(piece(chunk, id));
        rest = after;
    }
    chunks
}

/// The chunk at `place` of an earlier content, if `rest` begins with it. The last chunk ended where the
/// content did, which need not be a border: it fits at the end only.
fn fitting<'a>(rest: &'a [u8], known: &[Piece], place: usize) -> Option<(&'a [u8], ObjectId)> {
    let piece = known.get(place)?;
    let (id, len) = (piece.chunk?, usize::try_from(piece.len).ok()?);
    let at_border = place + 1 < known.len() || len == rest.len();
    if !at_border || len == 0 || len > STATE.max {
        return None;
    }
    let chunk = rest.get(..len)?;
    (ObjectId::of(chunk) == id).then_some((chunk, id))
}

fn places_of(known: &[Piece]) -> HashMap<ObjectId, usize> {
    let named = known.iter().enumerate();
    named
        .filter_map(|(place, piece)| Some((piece.chunk?, place)))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces(content: &[u8]) -> Vec<Piece> {
        STATE
            .split(content)
            .map(|chunk| Piece {
                len: chunk.len() as u64,
                chunk: Some(ObjectId::of(chunk)),
            })
            .collect()
    }

    fn content(seed: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[seed]).finalize_xof().fill(&mut bytes);
        bytes
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_known_changes_no_border(
            len in 0_usize..400_000,
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..30_000, 0_usize..30_000), 0..4),
            spoilt in prop::option::of((any::<prop::sample::Index>(), 0_u64..100_000)),
        ) {
            let before = content(0, len);
            let mut after = before.clone();
            for (seed, (at, gone, new)) in edits.into_iter().enumerate() {
                let at = at.index(after.len() + 1);
                let end = (at + gone).min(after.len());
                after.splice(at..end, content(u8::try_from(seed).expect("four at most") + 1, new));
            }
            let mut known = pieces(&before);
            if let Some((at, len)) = spoilt && !known.is_empty() {
                let at = at.index(known.len());
                known[at].len = len;
            }
            prop_assert_eq!(cut(&after, &known), pieces(&after));
        }
    }
}
