//! How fast the parts of a checkpoint that only compute are, beside copying the same bytes.
//!
//! Each round runs every part once, so that all of them see the same noise; the medians are
//! compared. A ratio of 10 means: ten times as long as `memcpy`.

#![allow(clippy::print_stdout, reason = "a bench prints its results")]
#![allow(missing_docs, reason = "no public items")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use waymark::model::json::{Json, MAX_DEPTH};

const ROUNDS: usize = 15;
const ENTRIES: usize = 5_000;

/// A registry as the runner writes it: about 1 KB per entry.
fn registry(entries: usize) -> Vec<u8> {
    let mut text = "{\n  \"run_id\": \"bench\",\n  \"artifacts\": {\n".to_owned();
    for at in 0..entries {
        let comma = if at + 1 < entries { "," } else { "" };
        write!(
            text,
            r#"    "artifact-{at:05}.json": {{
      "name": "artifact-{at:05}.json",
      "step": {step},
      "agent": "developer",
      "created_at": "2026-11-21T06:00:00.000Z",
      "updated_at": "2026-11-21T06:00:01.000Z",
      "path": "/home/me/project/.claude/context/runtime/runs/bench/artifacts/artifact-{at:05}.json",
      "dependencies": [
        "artifact-{before:05}.json"
      ],
      "version": 1,
      "validationStatus": "pass",
      "schema": ".claude/schemas/artifact.schema.json",
      "gate_path": "/home/me/project/.claude/context/runtime/runs/bench/gates/gate-{at}.json",
      "publishable": false,
      "published": false,
      "published_at": null,
      "publish_targets": [],
      "publish_attempts": [],
      "publish_status": null,
      "publish_error": null,
      "metadata": {{
        "size": {size},
        "type": "document",
        "validation_status": "pass",
        "publishable": false,
        "published": false,
        "published_at": null,
        "publish_targets": [],
        "publish_attempts": [],
        "publish_status": null,
        "publish_error": null
      }}
    }}{comma}
"#,
            step = at / 4,
            before = at.saturating_sub(1),
            size = 1024 + at,
        )
        .expect("a String takes everything");
    }
    text.push_str("  }\n}");
    text.into_bytes()
}

/// One part: its name, the bytes it reads, what it does.
type Part<'a> = (&'a str, usize, Box<dyn Fn() + 'a>);

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[allow(clippy::cast_precision_loss, reason = "megabytes")]
fn main() {
    let text = registry(ENTRIES);
    let json = Json::parse(&text, MAX_DEPTH).expect("valid");
    let mut compact = Vec::new();
    json.root().write_compact(&mut compact);
    // As a fresh process finds it: memory that was never touched is part of the cost of each.
    let parts: Vec<Part<'_>> = vec![
        (
            "memcpy",
            text.len(),
            Box::new(|| drop(black_box(black_box(&text).clone()))),
        ),
        (
            "Json::parse",
            text.len(),
            Box::new(|| {
                black_box(Json::parse(black_box(&text), MAX_DEPTH).expect("valid"));
            }),
        ),
        (
            "write_compact",
            text.len(),
            Box::new(|| {
                let mut out = Vec::with_capacity(text.len());
                json.root().write_compact(&mut out);
                black_box(&out);
            }),
        ),
        (
            "write_pretty",
            text.len(),
            Box::new(|| {
                let mut out = Vec::with_capacity(text.len());
                json.root().write_pretty(&mut out, 0);
                black_box(&out);
            }),
        ),
        (
            "sha256 of the compact text",
            compact.len(),
            Box::new(|| {
                black_box(Sha256::digest(black_box(&compact)));
            }),
        ),
        (
            "blake3",
            text.len(),
            Box::new(|| {
                black_box(blake3::hash(black_box(&text)));
            }),
        ),
    ];

    let mut times = vec![Vec::with_capacity(ROUNDS); parts.len()];
    for _ in 0..=ROUNDS {
        for ((_, _, part), times) in parts.iter().zip(&mut times) {
            let from = Instant::now();
            part();
            times.push(from.elapsed());
        }
    }

    // The first round warms up.
    let rates: Vec<f64> = parts
        .iter()
        .zip(times)
        .map(|((_, bytes, _), mut times)| {
            times.remove(0);
            *bytes as f64 / 1e6 / median(times).as_secs_f64()
        })
        .collect();
    println!(
        "registry of {ENTRIES} entries, {:.1} MB ({:.1} MB compact), median of {ROUNDS}",
        text.len() as f64 / 1e6,
        compact.len() as f64 / 1e6
    );
    println!("{:28} {:>9} {:>12}", "", "MB/s", "× memcpy");
    for ((name, _, _), rate) in parts.iter().zip(&rates) {
        println!("{name:28} {rate:9.0} {:12.1}", rates[0] / rate);
    }
}
