//! A large registry, which is not parsed whole again: what comes of it is what comes of parsing it whole.

use waymark::model::retention::Retention;
use waymark::model::step::Step;
use waymark::ops;
use waymark::ops::create::{Created, Request, STATE_MAX};

use crate::sim_disk::Rng;
use crate::world::World;

fn artifact(number: usize, note: &str) -> String {
    let fill = "the gate asks for a schema ".repeat(16);
    format!(
        "\"art-{number:05}.md\": {{\n      \"agent\": \"dev\",\n      \"note\": \"{note}\",\n      \
         \"fill\": \"{fill}\",\n      \"metadata\": {{\n        \"validation_status\": \"pass\"\n      \
         }}\n    }}"
    )
}

fn registry(artifacts: &[String]) -> String {
    format!(
        "{{\n  \"run_id\": \"run-1\",\n  \"artifacts\": {{\n    {}\n  }},\n  \"x_unknown\": [\n    1\n  \
         ],\n  \"updated_at\": \"O\"\n}}",
        artifacts.join(",\n    ")
    )
}

fn create(world: &World) -> Created {
    let request = Request {
        step: Step::Number(1.0),
        state: br#"{"a": 1}"#,
        retention: Some(Retention::newest(3)),
        max_state_bytes: STATE_MAX,
        capture: None,
        max_store_bytes: None,
        facts: None,
        environment: None,
    };
    let made = world.act(|context| ops::create::create(context, &request));
    made.unwrap()
}

fn large() -> World {
    let world = World::new();
    let artifacts: Vec<String> = (0..900).map(|number| artifact(number, "")).collect();
    world.put("artifact-registry.json", &registry(&artifacts));
    world
}

/// What the runner does to its registry at a step.
fn edit(world: &World, rng: &mut Rng, step: usize) {
    let text = world.text("artifact-registry.json").unwrap();
    let edited = match rng.below(6) {
        0 => text,
        1 => {
            let at = rng.below(900);
            let name = format!("\"art-{at:05}.md\": {{\n      \"agent\": \"dev\"");
            text.replacen(&name, &name.replace("dev", "somebody else"), 1)
        }
        2 => {
            let name = format!("    \"art-{:05}.md\"", rng.below(900));
            match text.find(&name) {
                Some(at) => {
                    let new = artifact(20_000 + step, "in the middle");
                    format!("{}    {new},\n{}", &text[..at], &text[at..])
                }
                None => text,
            }
        }
        // No longer laid out: nothing of it is known any more.
        3 => text.replacen("\"x_unknown\": [", "\"x_unknown\":  [", 1),
        _ => {
            let new: Vec<String> = (0..=rng.below(40))
                .map(|number| artifact(10_000 + step * 100 + number, "new"))
                .collect();
            let end = "\n  },\n  \"x_unknown\"";
            text.replacen(end, &format!(",\n    {}{end}", new.join(",\n    ")), 1)
        }
    };
    world.put("artifact-registry.json", &edited);
}

#[test]
fn with_the_note_as_without() {
    for seed in 0..6 {
        let mut rng = Rng::new(seed);
        let (mut with, mut without) = (large(), large());
        for step in 0..12 {
            let seed = rng.next();
            for world in [&mut with, &mut without] {
                world.now_ms += 1_000;
                edit(world, &mut Rng::new(seed), step);
            }
            let note = without.run.outline();
            if without.disk.content(&note).is_some() {
                waymark::store::publish::remove(&without.disk, &note).unwrap();
            }
            if step > 0 && rng.percent(10) {
                // A note of something else: whole, but of no use, or damaged.
                with.disk
                    .plant_file(&with.run.outline(), b"WMO2 and then nothing of sense");
            }
            let (one, other) = (create(&with), create(&without));
            assert_eq!(one.dropped, other.dropped);
            assert_eq!(one.checksum, other.checksum, "step {step}");
            assert_eq!(with.sight(), without.sight(), "step {step}");
        }
        with.assert_tidy("at the end");
        assert_eq!(with.verified().damaged, []);
        assert!(with.disk.content(&with.run.outline()).is_some());
    }
}

#[test]
fn a_small_registry_has_no_note() {
    let world = World::with_checkpoints(2);
    assert!(world.disk.content(&world.run.outline()).is_none());
}

/// Most of a large registry is written before it is known what becomes of it.
#[test]
fn what_is_written_ahead_is_what_stays() {
    let own = |name: &str| {
        artifact(0, "")
            .replace("\"dev\"", "\"checkpoint-manager\"")
            .replace("art-00000.md", name)
    };
    let entries = |name: &str, place: usize| {
        let mut entries: Vec<String> = (0..900).map(|number| artifact(number, "")).collect();
        entries.insert(place, own(name));
        registry(&entries)
    };
    // An entry without a checkpoint goes, wherever it stands and whatever its name looks like.
    for (name, place) in [
        ("checkpoint-step-1-1.json", 900),
        ("checkpoint-step-1-1.json", 450),
        ("else.json", 450),
        ("else.json", 0),
    ] {
        let text = entries(name, place);
        // Of one that is not laid out all is printed anew.
        let loose = text.replacen("\"x_unknown\": [", "\"x_unknown\":  [", 1);
        let made = [text, loose].map(|text| {
            let mut world = World::new();
            world.put("artifact-registry.json", &text);
            create(&world);
            world.now_ms += 1_000;
            create(&world);
            world.assert_tidy("at the end");
            world.text("artifact-registry.json").unwrap()
        });
        assert_eq!(made[0], made[1], "{name} at {place}");
        assert!(!made[0].contains(name));
        assert!(made[0].contains("\"art-00899.md\""));
    }
}
