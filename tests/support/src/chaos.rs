//! Short and long forms of the tests in which a seed says what happens.

use fastrand::Rng;

/// Whether the long form was asked for (`CHAOS=long`, `make chaos`).
pub fn is_long() -> bool {
    std::env::var("CHAOS").is_ok_and(|chaos| chaos == "long")
}

/// The seed of this run, which is told, and what it makes of chance: `CHAOS_SEED` repeats a run.
pub fn random(test: &str) -> (u64, Rng) {
    let seed = std::env::var("CHAOS_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("{test}: CHAOS_SEED={seed}");
    (seed, Rng::with_seed(seed))
}
