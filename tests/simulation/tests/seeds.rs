//! Seeds of the simulation: others each day, which are printed.

use std::env;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use simulation::{Run, shrink};

/// How many are run, unless `SIMULATE_SEEDS` says otherwise.
const SEEDS: u64 = 200;
/// At a time.
const JOBS: usize = 2;

/// The first seed of today.
fn first() -> u64 {
    const A_DAY: u64 = 24 * 3_600;
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / A_DAY * 1_000_000
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_simulate"))
}

#[test]
fn whatever_a_seed_draws_the_contract_holds() {
    let seeds = env::var("SIMULATE_SEEDS").ok().map_or(SEEDS, |seeds| seeds.parse().unwrap());
    let (from, until) = (first(), first() + seeds);
    println!("seeds {from} to {}", until - 1);
    let (next, wrong) = (AtomicU64::new(from), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..JOBS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= until || !wrong.lock().unwrap().is_empty() {
                        return;
                    }
                    if let Some(kind) = Run::of(seed).apart(program()).kind() {
                        wrong.lock().unwrap().push((seed, kind));
                    }
                }
            });
        }
    });
    if let Some((seed, kind)) = wrong.into_inner().unwrap().first() {
        let small = shrink(&Run::of(*seed), 60, |small| small.apart(program()).kind().as_ref() == Some(kind));
        let why = small.apart(program()).wrong.unwrap_or_default();
        panic!("{why}\n{}\nagain: {small}", small.scenario());
    }
}

#[test]
fn a_seed_repeats_exactly() {
    for seed in first()..first() + 5 {
        let run = Run::of(seed);
        let outcome = run.apart(program());
        assert_eq!(outcome, run.apart(program()), "seed {seed}");
        assert!(outcome.records > 0 && outcome.lasted_ms > 0, "seed {seed}");
    }
}
