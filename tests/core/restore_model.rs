//! Restores of random small workspaces, against a plain map.
//!
//! Files, folders, links and permission bits are changed at random between checkpoints and restores that
//! overwrite. After a restore everything that the checkpoint has is there, what no checkpoint ever had is
//! as it was, and an undo brings back all of what was there before.

use std::collections::BTreeSet;

use proptest::prelude::*;
use waymark::model::ids::CheckpointId;
use waymark::model::plan::OnConflict;
use waymark::ops::restore::Choice;

use crate::project::{Project, Sight, Thing};

#[derive(Debug, Clone)]
enum Edit {
    Write(String, u8, u32),
    Folder(String, u32),
    Link(String, &'static str),
    Mode(String, usize),
    Remove(String),
}

#[derive(Debug, Clone)]
enum Step {
    Edits(Vec<Edit>),
    Create,
    /// Which checkpoint, and how often it is undone.
    Restore(usize, usize),
}

fn path() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    let names = prop::collection::vec(name, 1..4);
    names.prop_map(|names| format!("work/{}", names.join("/")))
}

const FILE_MODES: [u32; 4] = [0o644, 0o755, 0o600, 0o444];
const FOLDER_MODES: [u32; 3] = [0o755, 0o700, 0o750];

fn edit() -> impl Strategy<Value = Edit> {
    let file_mode = prop::sample::select(FILE_MODES.to_vec());
    let folder_mode = prop::sample::select(FOLDER_MODES.to_vec());
    let target = prop::sample::select(vec!["a", "../b", "nowhere"]);
    prop_oneof![
        5 => (path(), 0..4_u8, file_mode).prop_map(|(path, text, mode)| Edit::Write(path, text, mode)),
        1 => (path(), folder_mode).prop_map(|(path, mode)| Edit::Folder(path, mode)),
        1 => (path(), target).prop_map(|(path, target)| Edit::Link(path, target)),
        1 => (path(), 0..3_usize).prop_map(|(path, mode)| Edit::Mode(path, mode)),
        3 => path().prop_map(Edit::Remove),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(edit(), 1..8).prop_map(Step::Edits),
        2 => Just(Step::Create),
        3 => (0..8_usize, 0..3_usize).prop_map(|(which, undos)| Step::Restore(which, undos)),
    ]
}

/// Makes room for something: folders on the way, nothing at the path itself.
fn make_room(project: &Project, path: &str) {
    let names: Vec<&str> = path.split('/').collect();
    for end in 1..names.len() {
        let way = names[..end].join("/");
        let at = project.at(&way);
        if !at.is_dir() || at.is_symlink() {
            if at.exists() || at.is_symlink() {
                project.remove(&way);
            }
            std::fs::create_dir(at).unwrap();
        }
    }
    let at = project.at(path);
    if at.exists() || at.is_symlink() {
        project.remove(path);
    }
}

fn apply(project: &Project, edit: &Edit) {
    match edit {
        Edit::Write(path, text, mode) => {
            make_room(project, path);
            project.put(path, &format!("text {text}\n"));
            project.mode(path, *mode);
        }
        Edit::Folder(path, mode) => {
            make_room(project, path);
            std::fs::create_dir(project.at(path)).unwrap();
            project.mode(path, *mode);
        }
        Edit::Link(path, target) => {
            make_room(project, path);
            project.link(path, target);
        }
        Edit::Mode(path, which) => match project.sight().get(path) {
            Some(Thing::File(..)) => project.mode(path, FILE_MODES[*which]),
            Some(Thing::Folder(_)) => project.mode(path, FOLDER_MODES[*which]),
            _ => {}
        },
        Edit::Remove(path) => {
            if project.sight().contains_key(path) {
                project.remove(path);
            }
        }
    }
}

fn is_leaf(thing: &Thing) -> bool {
    !matches!(thing, Thing::Folder(_))
}

/// The workspace only.
fn workspace(project: &Project) -> Sight {
    let mut sight = project.sight();
    sight.retain(|name, _| name.starts_with("work/"));
    sight
}

fn timeless(thing: &Thing) -> Thing {
    match thing {
        Thing::File(bytes, mode, _) => Thing::File(bytes.clone(), *mode, 0),
        other => other.clone(),
    }
}

fn check_restored(before: &Sight, wanted: &Sight, after: &Sight, captured: &BTreeSet<String>) {
    for (name, thing) in wanted {
        let found = after.get(name).map(timeless);
        assert_eq!(
            found,
            Some(timeless(thing)),
            "{name} is as in the checkpoint"
        );
    }
    for (name, thing) in before
        .iter()
        .filter(|(name, _)| !wanted.contains_key(*name))
    {
        if is_leaf(thing) {
            let expected = (!captured.contains(name)).then_some(thing);
            assert_eq!(after.get(name), expected, "{name} is not in the checkpoint");
        }
    }
    for (name, thing) in after {
        let known = wanted.contains_key(name) || before.get(name) == Some(thing);
        assert!(known, "{name} came from nowhere: {thing:?}");
    }
}

fn play(steps: &[Step]) {
    let project = Project::empty_in(tempfile::tempdir().unwrap()).with_workspace(&["work"]);
    std::fs::create_dir(project.at("work")).unwrap();
    let mut taken: Vec<(CheckpointId, Sight)> = Vec::new();
    for step in steps {
        match step {
            Step::Edits(edits) => edits.iter().for_each(|edit| apply(&project, edit)),
            Step::Create if taken.len() < 5 => {
                taken.push((project.create(), workspace(&project)));
            }
            Step::Create => {}
            Step::Restore(..) if taken.is_empty() => {}
            Step::Restore(which, undos) => {
                let (id, wanted) = &taken[which % taken.len()];
                let captured: BTreeSet<String> = taken
                    .iter()
                    .flat_map(|(_, sight)| sight.keys().cloned())
                    .collect();
                let before = workspace(&project);
                let choice = Choice::Id(id.clone());
                let request = project.request(choice, Some(OnConflict::Overwrite));
                match project.restore_by(&request) {
                    Ok(_) => {}
                    // Something that stays is in the way.
                    Err(error) if error.code() == "ERR_RESTORE_CONFLICT" => {
                        assert_eq!(workspace(&project), before);
                        let in_the_way = before.iter().any(|(name, thing)| {
                            let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                            let ours = captured.contains(name);
                            let is_taken = wanted.keys().any(|path| {
                                let below =
                                    folder == path || folder.starts_with(&format!("{path}/"));
                                below && wanted.get(path).is_some_and(is_leaf)
                            });
                            is_taken && (!ours || !is_leaf(thing))
                        });
                        assert!(in_the_way, "{}", error.full_message());
                        continue;
                    }
                    Err(error) => panic!("{}", error.full_message()),
                }
                project.assert_tidy();
                let after = workspace(&project);
                check_restored(&before, wanted, &after, &captured);
                for undone in 0..*undos {
                    project
                        .undo()
                        .unwrap_or_else(|error| panic!("undo: {}", error.full_message()));
                    let expected = if undone % 2 == 0 { &before } else { &after };
                    assert_eq!(&workspace(&project), expected, "undone {undone}");
                    project.assert_tidy();
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        max_shrink_iters: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn restores_and_undos_of_random_workspaces(steps in prop::collection::vec(step(), 3..14)) {
        play(&steps);
    }
}
