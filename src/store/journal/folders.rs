//! Which folders come as a whole: staged with all that is in them, and given their place by one rename.

use std::collections::{HashMap, HashSet};

use super::note::{Deed, Entry};

/// The folders above a path, the nearest first; not the empty path.
fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    memchr::memrchr_iter(b'/', path).map(|at| &path[..at])
}

/// Whether an entry can come inside a folder that comes as a whole.
fn fits(deed: &Deed) -> bool {
    matches!(
        deed,
        Deed::CreateFolder { .. } | Deed::Put { old: None, .. }
    )
}

/// Lets every folder come as a whole that comes with something in it, and not itself in another.
pub(super) fn join(entries: &mut [Entry]) {
    let mut tops: HashMap<(u32, Vec<u8>), usize> = HashMap::new();
    for (at, entry) in entries.iter().enumerate() {
        let area = entry.area;
        let lies_in_one = above(&entry.path).any(|way| tops.contains_key(&(area, way.to_vec())));
        if matches!(entry.deed, Deed::CreateFolder { .. }) && !lies_in_one {
            tops.insert((area, entry.path.clone()), at);
        }
    }
    let mut filled = HashSet::new();
    let mut odd = HashSet::new();
    for (at, entry) in entries.iter().enumerate() {
        let top = |way: &[u8]| tops.get(&(entry.area, way.to_vec())).copied();
        if let Some(top) = above(&entry.path).find_map(top) {
            let whole = fits(&entry.deed) && top < at;
            (if whole { &mut filled } else { &mut odd }).insert(top);
        }
    }
    for top in filled.difference(&odd) {
        if let Deed::CreateFolder { mode } = entries[*top].deed {
            entries[*top].deed = Deed::PutFolder { mode };
        }
    }
}

/// For each entry the folder it comes in, by its place among the entries, if that comes as a whole.
pub(super) fn inside(entries: &[Entry]) -> Vec<Option<usize>> {
    let mut tops: HashMap<(u32, &[u8]), usize> = HashMap::new();
    for (at, entry) in entries.iter().enumerate() {
        if matches!(entry.deed, Deed::PutFolder { .. }) {
            tops.insert((entry.area, &entry.path), at);
        }
    }
    let top = |(at, entry): (usize, &Entry)| {
        let mut ways = above(&entry.path);
        let top = ways.find_map(|way| tops.get(&(entry.area, way)).copied());
        top.filter(|top| *top < at && fits(&entry.deed))
    };
    entries.iter().enumerate().map(top).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::object::ObjectId;
    use crate::store::journal::Ident;

    fn entry(area: u32, path: &str, deed: Deed) -> Entry {
        Entry {
            area,
            path: path.into(),
            deed,
        }
    }

    fn folder(area: u32, path: &str) -> Entry {
        entry(area, path, Deed::CreateFolder { mode: 0o755 })
    }

    fn file(area: u32, path: &str, old: bool) -> Entry {
        let ident = Ident::File(ObjectId::of(b""));
        let deed = Deed::Put {
            old: old.then(|| ident.clone()),
            new: ident,
            mode: None,
        };
        entry(area, path, deed)
    }

    fn whole(entries: &[Entry]) -> Vec<&str> {
        let whole = entries
            .iter()
            .filter(|one| matches!(one.deed, Deed::PutFolder { .. }));
        whole
            .map(|one| str::from_utf8(&one.path).expect("ASCII"))
            .collect()
    }

    #[test]
    fn the_topmost_folder_that_comes_with_something_comes_as_a_whole() {
        let mut entries = [
            folder(0, "a"),
            folder(0, "a/b"),
            file(0, "a/b/c", false),
            folder(0, "ab"),
            file(0, "abc/d", false),
            file(1, "ab/d", false),
            file(0, "e", false),
        ];
        join(&mut entries);
        assert_eq!(whole(&entries), ["a"]);
        assert_eq!(
            inside(&entries),
            [None, Some(0), Some(0), None, None, None, None]
        );
    }

    #[test]
    fn a_folder_with_something_else_in_it_comes_one_by_one() {
        let mut entries = [
            folder(0, "a"),
            file(0, "a/new", false),
            file(0, "a/old", true),
            file(0, "b/early", false),
            folder(0, "b"),
            file(0, "b/late", false),
        ];
        join(&mut entries);
        assert_eq!(whole(&entries), Vec::<&str>::new());
        assert_eq!(inside(&entries), vec![None; 6]);
    }
}
