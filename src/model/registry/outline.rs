//! What stretches of a registry's text hold, so that those that stayed need not be parsed again.
//!
//! From one checkpoint to the next a registry changes in a few places; most of it is, byte for byte, what it
//! was. A stretch is a run of whole artifacts as the runner lays them out, each with what stands between
//! it and the next one, none of them a checkpoint's. The text is stored by its chunks, which have names; an
//! outline says of each stretch in which chunks it lies, and what it holds. Where these chunks are met again
//! the stretch is elided: what is left of the text is a registry itself, which is parsed.
//!
//! *Invariants*: what an outline says of a stretch follows from the stretch's bytes, and these from the names
//! of its chunks; so an outline is never too old, it only helps less. No name is in two stretches. An elided
//! text counts only if parsing the whole of it would find the same ([`Elided::holds`]): what is left is valid
//! JSON in the runner's layout, each stretch stands before an artifact of it, and no name is in both.

use std::collections::HashMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{CheckpointEntry, Piece, Registry, Validation, checkpoint_of};
use crate::model::json::{Json, Value, is_array_index};
use crate::model::object::ObjectId;
use crate::model::snapshot::ChunkList;

/// What an encoded outline begins with.
const MAGIC: [u8; 4] = *b"WMO2";
/// The fewest bytes that are worth a stretch.
const SHORTEST: usize = 4 << 10;
/// A stretch ends with the artifact that makes it so long, in bytes.
const LENGTH: usize = 32 << 10;
/// An outline is made anew once there are so many bytes that it does not know.
const RENEW: usize = 128 << 10;

/// What stretches of a registry's text hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    /// The run's folder and a slash: paths in it are left out.
    run: String,
    /// In order.
    stretches: Vec<Stretch>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stretch {
    /// The chunks that it lies in, one behind the other.
    chunks: Vec<ObjectId>,
    /// Where in the first of them it begins.
    start: u64,
    len: u64,
    validation: Validation,
    /// The paths that lead out of the run.
    paths: Vec<String>,
    /// A mark of four bytes for each name: equal names have equal marks.
    #[serde(with = "serde_bytes")]
    marks: Vec<u8>,
}

/// A registry's text without the stretches that an outline knows.
#[derive(Debug)]
pub struct Elided<'a> {
    /// The text that is left: a registry itself.
    pub text: Vec<u8>,
    outline: &'a Outline,
    cuts: Vec<Cut>,
}

/// A stretch that was left out.
#[derive(Debug)]
struct Cut {
    /// Where in the text that is left it belongs: before the artifact that begins there.
    at: usize,
    stretch: usize,
}

/// True for a path that leads to something in the run's own folder; `run` is the folder and a slash.
#[must_use]
pub fn leads_into(run: &str, path: &str) -> bool {
    path.starts_with(run) && !path.contains("..")
}

impl Outline {
    /// Leaves out what is known of a text, which consists of these chunks. `None` if there is nothing to
    /// gain. It counts only once what is left was parsed and [`Elided::holds`]. `run` is the run's folder
    /// and a slash.
    #[must_use]
    pub fn elide(&self, text: &[u8], chunks: &ChunkList, run: &str) -> Option<Elided<'_>> {
        if self.run != run || chunks.len() != Some(text.len() as u64) {
            return None;
        }
        let places = Places::of(chunks);
        let by_name = places.by_name();
        let mut elided = Elided {
            text: Vec::new(),
            outline: self,
            cuts: Vec::new(),
        };
        let (mut from, mut next) = (0, 0);
        for (number, stretch) in self.stretches.iter().enumerate() {
            let Some((place, range)) = places.find(&by_name, stretch, next) else {
                continue;
            };
            if range.start < from || range.end > text.len() {
                continue;
            }
            elided.text.extend_from_slice(&text[from..range.start]);
            elided.cuts.push(Cut {
                at: elided.text.len(),
                stretch: number,
            });
            from = range.end;
            // The next one may begin in the chunk that this one ends in.
            next = place + stretch.chunks.len() - 1;
        }
        if elided.text.len() + text.len() - from > text.len() / 2 {
            return None;
        }
        elided.text.extend_from_slice(&text[from..]);
        Some(elided)
    }

    /// An outline of a registry that was parsed whole, or of one that was parsed elided; the whole text
    /// consists of these chunks. `None` if the one there is will do, or if there is nothing to outline.
    #[must_use]
    pub fn renewed(
        registry: Registry<'_>,
        elided: Option<&Elided<'_>>,
        chunks: &ChunkList,
        run: &str,
    ) -> Option<Self> {
        let entries = artifacts_of(registry)?;
        let cuts = elided.map_or(&[][..], |elided| &elided.cuts);
        let mut cuts = cuts.iter().peekable();
        let mut outline = Self {
            run: run.to_owned(),
            stretches: Vec::new(),
        };
        let places = Places::of(chunks);
        // How much stands before it that was left out.
        let (mut left_out, mut new) = (0, 0);
        let mut open: Vec<Artifact<'_>> = Vec::new();
        let mut close =
            |open: &mut Vec<Artifact<'_>>, stretches: &mut Vec<Stretch>, whole: Range<usize>| {
                if whole.len() >= SHORTEST
                    && let Some((chunks, start)) = places.around(&whole)
                {
                    new += whole.len();
                    stretches.push(Stretch {
                        chunks,
                        start: start as u64,
                        len: whole.len() as u64,
                        ..Stretch::holding(open, run)
                    });
                }
                open.clear();
            };
        let last = entries.len().checked_sub(1)?;
        for (at, artifact) in entries.into_iter().enumerate() {
            let start = artifact.start;
            let cut_here = cuts.peek().is_some_and(|cut| cut.at == start);
            let own = checkpoint_of(Some(artifact.name), artifact.entry).is_some();
            let long = open
                .first()
                .is_some_and(|first| start - first.start >= LENGTH);
            // Nothing stands between the last one and a next one yet.
            if cut_here || own || long || at == last {
                let from = open.first().map_or(start, |first| first.start);
                let whole = from + left_out..start + left_out;
                close(&mut open, &mut outline.stretches, whole);
            }
            while let Some(cut) = cuts.next_if(|cut| cut.at == start) {
                if let Some(elided) = elided {
                    let known = &elided.outline.stretches[cut.stretch];
                    outline.stretches.push(known.clone());
                    left_out += elided.len_of(cut);
                }
            }
            if !own {
                open.push(artifact);
            }
        }
        let wanted = if elided.is_some() { RENEW } else { SHORTEST };
        (new >= wanted).then_some(outline)
    }

    /// The outline as it lies on the disk.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Writing into memory can't fail, and these types have no lengths unknown in advance.
        let body = postcard::to_extend(self, Vec::new()).unwrap_or_default();
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(ObjectId::of(&body).as_bytes());
        out.extend_from_slice(&body);
        out
    }

    /// Reads an encoding; `None` if it is none, or damaged.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (sum, body) = bytes.strip_prefix(&MAGIC)?.split_first_chunk::<32>()?;
        if ObjectId::of(body).as_bytes() != sum {
            return None;
        }
        match postcard::take_from_bytes(body) {
            Ok((outline, [])) => Some(outline),
            _ => None,
        }
    }
}

impl Stretch {
    /// What artifacts hold, wherever they lie.
    fn holding(artifacts: &[Artifact<'_>], run: &str) -> Self {
        let mut stretch = Self {
            chunks: Vec::new(),
            start: 0,
            len: 0,
            validation: Validation::default(),
            paths: Vec::new(),
            marks: Vec::with_capacity(4 * artifacts.len()),
        };
        for artifact in artifacts {
            stretch.validation.count(artifact.entry);
            stretch.marks.extend_from_slice(&mark(artifact.quoted));
            if let Some(path) = artifact.entry.get("path").and_then(Value::as_str)
                && !leads_into(run, &path)
            {
                stretch.paths.push(path.into_owned());
            }
        }
        stretch
    }
}

/// Where the chunks of a text lie in it.
struct Places {
    chunks: Vec<(Range<usize>, ObjectId)>,
}

impl Places {
    fn of(chunks: &ChunkList) -> Self {
        let mut at = 0;
        let pieces = chunks.pieces.iter().filter_map(|piece| {
            let start = at;
            at += usize::try_from(piece.len).ok()?;
            Some((start..at, piece.chunk?))
        });
        Self {
            chunks: pieces.collect(),
        }
    }

    fn by_name(&self) -> HashMap<ObjectId, Vec<usize>> {
        let mut by_name: HashMap<ObjectId, Vec<usize>> = HashMap::new();
        for (place, (_, id)) in self.chunks.iter().enumerate() {
            by_name.entry(*id).or_default().push(place);
        }
        by_name
    }

    /// Where the chunks of a stretch follow each other, at a chunk's place or behind it, and where the
    /// stretch lies then.
    fn find(
        &self,
        by_name: &HashMap<ObjectId, Vec<usize>>,
        stretch: &Stretch,
        next: usize,
    ) -> Option<(usize, Range<usize>)> {
        let places = by_name.get(stretch.chunks.first()?)?;
        let place = places.iter().copied().find(|&place| {
            let here = self.chunks[place..].iter().map(|(_, id)| id);
            place >= next && here.take(stretch.chunks.len()).eq(&stretch.chunks)
        })?;
        let end = self.chunks[place + stretch.chunks.len() - 1].0.end;
        let start = usize::try_from(stretch.start).ok()?;
        let start = self.chunks[place].0.start.checked_add(start)?;
        let to = start.checked_add(usize::try_from(stretch.len).ok()?)?;
        (to <= end).then_some((place, start..to))
    }

    /// The chunks that a range lies in, and where in the first of them it begins.
    fn around(&self, range: &Range<usize>) -> Option<(Vec<ObjectId>, usize)> {
        let first = self.chunks.partition_point(|(at, _)| at.end <= range.start);
        let behind = self.chunks.partition_point(|(at, _)| at.start < range.end);
        let around = self.chunks.get(first..behind)?;
        let start = range.start.checked_sub(around.first()?.0.start)?;
        Some((around.iter().map(|(_, id)| *id).collect(), start))
    }
}

impl Elided<'_> {
    /// The counts of what was left out.
    #[must_use]
    pub fn validation(&self) -> Validation {
        let mut sum = Validation::default();
        for stretch in self.stretches() {
            sum += stretch.validation;
        }
        sum
    }

    /// The paths of what was left out that lead out of the run.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        let paths = self.stretches().flat_map(|stretch| &stretch.paths);
        paths.map(String::as_str)
    }

    /// The pieces of the whole text that [`Registry::edited_text`] would keep of it. `registry` is what
    /// is left, parsed. `None` if the whole has to be parsed for it.
    #[must_use]
    pub fn edited_text(
        &self,
        registry: Registry<'_>,
        gone: &dyn Fn(&str) -> bool,
        added: &[CheckpointEntry],
        updated_at: &str,
    ) -> Option<Vec<Piece>> {
        let names = added.iter().map(CheckpointEntry::name);
        let mut marks: Vec<[u8; 4]> = names
            .map(|name| mark(format!("\"{name}\"").as_bytes()))
            .collect();
        if self.has_any(&mut marks) {
            return None;
        }
        let pieces = registry.spliced(gone, added, updated_at)?;
        let moved = pieces.into_iter().map(|piece| match piece {
            Piece::Kept(range) => Piece::Kept(self.in_whole(&range)),
            new @ Piece::New(_) => new,
        });
        Some(moved.collect())
    }

    /// The range of the whole text for one of what is left, with all that was left out of it and at its
    /// ends: a piece that is kept begins or ends before an artifact, and no two of them at the same one.
    fn in_whole(&self, range: &Range<usize>) -> Range<usize> {
        let before = |to: &dyn Fn(usize) -> bool| -> usize {
            let cuts = self.cuts.iter().take_while(|cut| to(cut.at));
            cuts.map(|cut| self.len_of(cut)).sum()
        };
        range.start + before(&|at| at < range.start)..range.end + before(&|at| at <= range.end)
    }

    fn len_of(&self, cut: &Cut) -> usize {
        usize::try_from(self.outline.stretches[cut.stretch].len).unwrap_or(0)
    }

    fn stretches(&self) -> impl Iterator<Item = &Stretch> {
        self.cuts
            .iter()
            .map(|cut| &self.outline.stretches[cut.stretch])
    }

    /// True if a name with one of these marks was left out.
    fn has_any(&self, marks: &mut [[u8; 4]]) -> bool {
        marks.sort_unstable();
        self.stretches().any(|stretch| {
            let (known, _) = stretch.marks.as_chunks::<4>();
            known.iter().any(|mark| marks.binary_search(mark).is_ok())
        })
    }

    /// True if the whole text is a registry in the runner's layout of which this is left; `json` is what
    /// is left, parsed. Otherwise the whole has to be parsed.
    #[must_use]
    pub fn holds(&self, json: &Json<'_>) -> bool {
        let Some(entries) = Registry::new(json.root()).ok().and_then(artifacts_of) else {
            return false;
        };
        let mut starts = entries.iter().map(|artifact| artifact.start).peekable();
        let in_place = self.cuts.iter().all(|cut| {
            while starts.next_if(|start| *start < cut.at).is_some() {}
            starts.peek() == Some(&cut.at)
        });
        let mut marks: Vec<[u8; 4]> = entries
            .iter()
            .map(|artifact| mark(artifact.quoted))
            .collect();
        in_place && json.verbatim().is_some() && !self.has_any(&mut marks)
    }
}

struct Artifact<'a> {
    name: Value<'a>,
    /// The name as it stands in the text.
    quoted: &'a [u8],
    start: usize,
    entry: Value<'a>,
}

/// The artifacts of a map and where they begin; `None` for another shape, another layout, or names that
/// JavaScript would put in another order.
fn artifacts_of(registry: Registry<'_>) -> Option<Vec<Artifact<'_>>> {
    let text = registry.root.json().verbatim()?;
    let entries = registry.root.get("artifacts")?.entries();
    entries
        .map(|(name, entry)| {
            let range = name.source_range()?;
            let quoted = &text[range.clone()];
            let moves = is_array_index(&quoted[1..quoted.len() - 1]);
            (!moves).then_some(Artifact {
                name,
                quoted,
                start: range.start,
                entry,
            })
        })
        .collect()
}

fn mark(quoted: &[u8]) -> [u8; 4] {
    let hash = *ObjectId::of(quoted).as_bytes();
    [hash[0], hash[1], hash[2], hash[3]]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::model::ids::CheckpointId;
    use crate::model::snapshot;
    use crate::model::step::Step;

    const RUN: &str = "/project/runs/r/";

    fn artifact(name: &str, agent: &str, path: &str, status: &str) -> String {
        let fill = name.repeat(900 / (name.len() + 1));
        format!(
            "\"{name}\": {{\n      \"agent\": \"{agent}\",\n      \"path\": \"{path}\",\n      \
             \"fill\": \"{fill}\",\n      \"none\": {{}},\n      \"metadata\": {{\n        \
             \"validation_status\": \"{status}\"\n      }}\n    }}"
        )
    }

    fn numbered(number: usize) -> String {
        let path = match number % 5 {
            0 => format!("{RUN}a/{number}"),
            1 => format!("/project/else/{number}"),
            2 => format!("{RUN}../{number}"),
            _ => format!("else/{number}"),
        };
        let status = ["pass", "fail", "pending"][number % 3];
        artifact(&format!("name-{number}.md"), "dev", &path, status)
    }

    fn own(number: usize) -> String {
        let name = format!("checkpoint-step-{number}-{number}.json");
        artifact(&name, "checkpoint-manager", "x", "pass")
    }

    fn text(artifacts: &[String], also: &str) -> String {
        format!(
            "{{\n  \"run_id\": \"r\",\n  {also}\"artifacts\": {{\n    {}\n  }},\n  \
             \"updated_at\": \"O\"\n}}",
            artifacts.join(",\n    ")
        )
    }

    fn entry(id: &str) -> CheckpointEntry {
        CheckpointEntry {
            checkpoint_id: CheckpointId::parse(id).expect("valid"),
            step: Step::Number(1.0),
            created_at: "T".to_owned(),
            path: format!("/r/{id}.json"),
            size: 7,
        }
    }

    fn printed(text: &[u8], pieces: &[Piece]) -> String {
        let mut out = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Kept(range) => out.extend_from_slice(&text[range.clone()]),
                Piece::New(new) => out.extend_from_slice(new),
            }
        }
        String::from_utf8(out).expect("UTF-8")
    }

    /// Cuts a text behind lines that their content chooses.
    fn chunks(text: &[u8]) -> ChunkList {
        let mut list = ChunkList::default();
        let mut from = 0;
        let mut at = 0;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            at += line.len();
            if at == text.len() || ObjectId::of(line).as_bytes()[0] < 30 {
                list.pieces.push(snapshot::Piece {
                    len: (at - from) as u64,
                    chunk: Some(ObjectId::of(&text[from..at])),
                });
                from = at;
            }
        }
        list
    }

    /// What is left of a text, if that helps; parsed and found good, as it is to be.
    fn elided<'a>(known: &'a Outline, text: &[u8], run: &str) -> Option<Elided<'a>> {
        let elided = known.elide(text, &chunks(text), run)?;
        let holds = Json::parse(&elided.text, 99).is_ok_and(|json| elided.holds(&json));
        holds.then_some(elided)
    }

    fn foreign_paths<'a>(
        registry: Registry<'_>,
        more: impl Iterator<Item = &'a str>,
    ) -> BTreeSet<String> {
        let paths = registry.paths().filter_map(Value::as_str);
        let paths = paths.filter(|path| !leads_into(RUN, path));
        let paths = paths.map(std::borrow::Cow::into_owned);
        paths.chain(more.map(str::to_owned)).collect()
    }

    /// What a create makes of a registry, and the outline that is known after it; holds what it makes
    /// with an outline against what it makes without. Gives whether the outline was of use, too.
    fn step(
        source: &str,
        known: Option<Outline>,
        gone: &dyn Fn(&str) -> bool,
        id: &str,
    ) -> Option<(String, Option<Outline>, bool)> {
        let bytes = source.as_bytes();
        let whole = Json::parse(bytes, 99).ok();
        let elided = known.as_ref().and_then(|known| elided(known, bytes, RUN));
        let Some(registry) = whole
            .as_ref()
            .and_then(|json| Registry::new(json.root()).ok())
        else {
            assert!(elided.is_none(), "what is no registry was elided");
            return None;
        };
        let added = [entry(id)];
        let expected = printed(bytes, &registry.edited_text(gone, &added, "U"));
        let Some(elided) = elided else {
            let outline = Outline::renewed(registry, None, &chunks(bytes), RUN);
            return Some((expected, outline.or(known), false));
        };
        let json = Json::parse(&elided.text, 99).expect("it was looked at");
        let left = Registry::new(json.root()).expect("it was looked at");
        let mut survey = left.survey();
        survey.validation += elided.validation();
        assert_eq!(survey.validation, registry.survey().validation);
        assert_eq!(survey.checkpoint_ids, registry.survey().checkpoint_ids);
        assert_eq!(
            foreign_paths(left, elided.paths()),
            foreign_paths(registry, std::iter::empty())
        );
        let pieces = elided.edited_text(left, gone, &added, "U");
        let made = pieces.map(|pieces| printed(bytes, &pieces));
        if let Some(made) = &made {
            assert_eq!(*made, expected);
        }
        let outline = Outline::renewed(left, Some(&elided), &chunks(bytes), RUN);
        Some((expected, outline.or_else(|| known.clone()), made.is_some()))
    }

    #[test]
    fn what_stayed_is_not_parsed_again() {
        let mut artifacts: Vec<String> = (0..400).map(numbered).collect();
        artifacts.push(own(1));
        let source = text(&artifacts, "");
        let (made, outline, _) = step(&source, None, &|_| false, "n").expect("good");
        let outline = outline.expect("it is large");
        let left = |text: &str| {
            let elided = elided(&outline, text.as_bytes(), RUN);
            elided.map(|elided| elided.text.len())
        };
        assert!(left(&made).expect("known") < 8 << 10);
        // One artifact in the middle is another one, one is gone, one is new.
        artifacts[200] = artifact("name-200.md", "dev", "y", "fail");
        artifacts.remove(100);
        artifacts.insert(300, numbered(1000));
        let edited = text(&artifacts, "\"x\": [],\n  ");
        let rest = left(&edited).expect("known");
        // Four places were touched, each in a stretch of 32 KiB and more.
        assert!(rest < edited.len() / 2, "{rest} of {}", edited.len());
        let (.., used) = step(&edited, Some(outline.clone()), &|_| true, "n").expect("good");
        assert!(used);
        assert_eq!(
            elided(&outline, made.as_bytes(), "/other/").map(|_| ()),
            None
        );
    }

    #[test]
    fn what_looks_like_a_stretch_elsewhere_is_none() {
        let artifacts: Vec<String> = (0..100).map(numbered).collect();
        let source = text(&artifacts, "");
        let outline = step(&source, None, &|_| false, "n").expect("good").1;
        let outline = outline.expect("it is large");
        let known = |text: &str| {
            let used = step(text, Some(outline.clone()), &|_| false, "n");
            used.is_some_and(|(.., used)| used)
        };
        assert!(known(&source));
        // In another object, which has the same layout.
        let other = format!(
            "\"other\": {{\n    {}\n  }},\n  ",
            artifacts.join(",\n    ")
        );
        assert!(!known(&text(&[numbered(500)], &other)));
        // Twice: the last one wins.
        let twice = [&artifacts[..], &[numbered(3), own(1)]].concat();
        assert!(!known(&text(&twice, "")));
        // A number goes first.
        let moved = [&artifacts[..], &[artifact("7", "dev", "", "pass")]].concat();
        assert!(!known(&text(&moved, "")));
        // No longer laid out, or no longer JSON.
        assert!(!known(
            &source.replace("\"updated_at\": ", "\"updated_at\":")
        ));
        assert!(!known(&source[..source.len() - 1]));
        assert!(!known(&source.replace("\"O\"", "\"O")));
        // The new entry has the name of one that was left out.
        let named = [
            &artifacts[..50],
            &[artifact("n.json", "dev", "", "")],
            &artifacts[50..],
        ];
        let named = text(&named.concat(), "");
        let (_, outline, _) = step(&named, None, &|_| false, "m").expect("good");
        let (.., used) = step(&named, outline, &|_| false, "n").expect("good");
        assert!(!used);
    }

    #[test]
    fn only_a_whole_note_is_read() {
        let artifacts: Vec<String> = (0..20).map(numbered).collect();
        let known = step(&text(&artifacts, ""), None, &|_| false, "n");
        let outline = known.and_then(|(_, outline, _)| outline).expect("large");
        let bytes = outline.encode();
        assert_eq!(Outline::decode(&bytes), Some(outline));
        for at in (0..bytes.len()).step_by(7) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert_eq!(Outline::decode(&damaged), None, "at {at}");
            assert_eq!(Outline::decode(&bytes[..at]), None, "cut at {at}");
        }
    }

    /// Something that a runner, or anybody, does to a registry between two creates.
    #[derive(Debug, Clone)]
    enum Edit {
        Add(Index, usize),
        AddOwn(Index, usize),
        AddNumber(Index),
        Repeat(Index, Index),
        Change(Index),
        Remove(Index, usize),
        Move(Index, Index),
        Flip(Index, u8),
    }

    fn edit() -> impl Strategy<Value = Edit> {
        let at = any::<Index>;
        prop_oneof![
            8 => (at(), 1_usize..12).prop_map(|(at, count)| Edit::Add(at, count)),
            4 => (at(), 0_usize..9).prop_map(|(at, number)| Edit::AddOwn(at, number)),
            1 => at().prop_map(Edit::AddNumber),
            1 => (at(), at()).prop_map(|(from, to)| Edit::Repeat(from, to)),
            4 => at().prop_map(Edit::Change),
            4 => (at(), 1_usize..30).prop_map(|(at, count)| Edit::Remove(at, count)),
            4 => (at(), at()).prop_map(|(from, to)| Edit::Move(from, to)),
            1 => (at(), any::<u8>()).prop_map(|(at, bits)| Edit::Flip(at, bits)),
        ]
    }

    /// The artifacts of a text that [`text`] or a step made, as they stand in it.
    fn artifacts_in(text: &str) -> (String, Vec<String>, String) {
        let (head, rest) = text.split_once("\"artifacts\": {\n    ").expect("a map");
        let (map, tail) = rest.rsplit_once("\n  },\n  \"updated_at\"").expect("a map");
        let artifacts = map.split(",\n    \"");
        let artifacts = artifacts.enumerate().map(|(at, one)| match at {
            0 => one.to_owned(),
            _ => format!("\"{one}"),
        });
        (head.to_owned(), artifacts.collect(), tail.to_owned())
    }

    fn apply(source: &str, edits: &[Edit], fresh: &mut usize) -> String {
        let (head, mut artifacts, tail) = artifacts_in(source);
        let mut flips = Vec::new();
        for edit in edits {
            let len = artifacts.len();
            match edit {
                Edit::Add(at, count) => {
                    let at = at.index(len + 1);
                    *fresh += count;
                    artifacts.splice(at..at, (*fresh - count..*fresh).map(numbered));
                }
                Edit::AddOwn(at, number) => artifacts.insert(at.index(len + 1), own(*number)),
                Edit::AddNumber(at) => {
                    artifacts.insert(at.index(len + 1), artifact("12", "dev", "", "pass"));
                }
                Edit::Repeat(from, to) if len > 0 => {
                    let copy = artifacts[from.index(len)].clone();
                    artifacts.insert(to.index(len + 1), copy);
                }
                Edit::Change(at) if len > 0 => {
                    let at = at.index(len);
                    artifacts[at] = artifacts[at].replace("\"pass\"", "\"fail\"");
                }
                Edit::Remove(at, count) if len > *count => {
                    let at = at.index(len - count);
                    artifacts.drain(at..at + count);
                }
                Edit::Move(from, to) if len > 0 => {
                    let moved = artifacts.remove(from.index(len));
                    artifacts.insert(to.index(len), moved);
                }
                Edit::Flip(at, bits) => flips.push((at, bits)),
                _ => {}
            }
        }
        let map = artifacts.join(",\n    ");
        let whole = format!("{head}\"artifacts\": {{\n    {map}\n  }},\n  \"updated_at\"{tail}");
        let mut bytes = whole.clone().into_bytes();
        for (at, bits) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= bits & 0x7f;
        }
        String::from_utf8(bytes).unwrap_or(whole)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn with_an_outline_as_without(
            count in 1_usize..120,
            steps in prop::collection::vec(prop::collection::vec(edit(), 0..4), 1..8),
            gone in 0_usize..9,
        ) {
            let mut fresh = 10_000;
            let mut source = text(&(0..count).map(numbered).collect::<Vec<_>>(), "");
            let mut known = None;
            for (at, edits) in steps.iter().enumerate() {
                let edited = apply(&source, edits, &mut fresh);
                let gone_one = format!("checkpoint-step-{gone}-{gone}");
                let gone_two = format!("new-{}", at.saturating_sub(2));
                let gone = |id: &str| id == gone_one || id == gone_two;
                let id = format!("new-{at}");
                match step(&edited, known.clone(), &gone, &id) {
                    Some((made, outline, _)) if made.contains("\n  },\n  \"updated_at\"")
                        && made.contains("\"artifacts\": {\n    ") =>
                    {
                        source = made;
                        known = outline;
                    }
                    _ => {}
                }
            }
        }
    }
}
