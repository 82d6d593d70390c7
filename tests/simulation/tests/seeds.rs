//! Seeds of the simulation: others each day, which are printed.

use std::env;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use simulation::Run;

/// How many are run, unless `SIMULATE_SEEDS` says otherwise.
const SEEDS: &str = "200";

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
    let seeds = env::var("SIMULATE_SEEDS").unwrap_or_else(|_| SEEDS.to_owned());
    let mut command = Command::new(program());
    command.args(["--seeds", &seeds, "--from", &first().to_string(), "--jobs", "2", "--shrink", "60"]);
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    println!("{told}");
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
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
