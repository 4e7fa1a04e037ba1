//! The budget: the store never outgrows it, and what can't fit changes nothing.

use base64::Engine as _;

use waymark::error::Result;
use waymark::model::step::Step;
use waymark::ops;
use waymark::ops::create::{Created, Request, STATE_MAX};
use waymark::ops::restore::Choice;

use crate::world::World;

const MAX: u64 = 2 << 20;

/// A state that hardly compresses.
fn state(seed: u64, len: usize) -> String {
    let mut bytes = vec![0; len * 3 / 4];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    format!("{{\"text\":\"{text}\"}}")
}

fn create(world: &mut World, step: u32, state: &str) -> Result<Created> {
    world.now_ms += 1_000;
    let request = Request {
        step: Step::Number(f64::from(step)),
        state: state.as_bytes(),
        retention: None,
        max_state_bytes: STATE_MAX,
        capture: None,
        max_store_bytes: Some(MAX),
        facts: None,
        environment: None,
    };
    world.act(|context| ops::create::create(context, &request))
}

#[test]
fn the_store_stays_within_its_budget() {
    let mut world = World::new();
    let mut dropped = 0;
    for step in 0..40 {
        let made = create(&mut world, step, &state(step.into(), 150_000)).unwrap();
        let used = world.store.used_bytes(&world.disk).unwrap();
        assert!(used <= MAX, "step {step}: {used}");
        if !made.dropped.is_empty() {
            assert!(
                made.warnings.iter().any(|text| text.contains("budget")),
                "{made:?}"
            );
        }
        dropped += made.dropped.len();
        let left = world.act(ops::list::list).unwrap().scan;
        assert!(
            left.damaged.is_empty(),
            "step {step}: {:?} after {made:?}, {:?}",
            left.damaged,
            world.store.packs(&world.disk)
        );
        assert_eq!(
            (left.good.len() + dropped, left.damaged.len()),
            (step as usize + 1, 0)
        );
        // The oldest went first.
        let steps: Vec<u64> = left
            .good
            .iter()
            .filter_map(|good| good.header.sequence)
            .collect();
        let newest = u64::from(step) + 1;
        let wanted: Vec<u64> = (0..left.good.len() as u64)
            .map(|back| newest - back)
            .collect();
        assert_eq!(steps, wanted);
    }
    assert!(dropped > 25, "{dropped}");
    let back = world
        .act(|context| ops::restore::restore(context, &ops::restore::Request::of(Choice::Newest)))
        .unwrap();
    assert_eq!(back.step, Step::Number(39.0));
}

#[test]
fn what_can_never_fit_changes_nothing() {
    let mut world = World::new();
    for step in 0..5 {
        create(&mut world, step, &state(step.into(), 100_000)).unwrap();
    }
    let before = (world.sight(), world.store.packs(&world.disk).unwrap());
    let error = create(&mut world, 5, &state(5, 3_000_000)).unwrap_err();
    assert_eq!(error.code(), "ERR_STORE_BUDGET");
    assert!(error.to_string().contains("maxBytes"), "{error}");
    let after = (world.sight(), world.store.packs(&world.disk).unwrap());
    assert_eq!(before, after);
    // A smaller one still fits.
    create(&mut world, 6, &state(6, 100_000)).unwrap();
}
