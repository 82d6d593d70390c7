//! `simulate`: runs seeds, and makes what goes wrong small.

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use clap::Parser;
use simulation::{Outcome, Run, numbers, shrink, simulate};

/// Instances, brokers and a network between them, from a seed.
#[derive(Debug, Parser)]
struct Args {
    /// How many seeds
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The first of them; drawn where it is not given
    #[arg(long)]
    from: Option<u64>,
    /// At a time
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// How often a run that went wrong is tried smaller
    #[arg(long, default_value_t = 200)]
    shrink: usize,
    /// Go on after a seed that went wrong
    #[arg(long)]
    keep_going: bool,
    /// One seed, with what it draws and what the programs say (SIMULATE_LOG sets the level)
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Of that seed, only these faults, by their numbers; or none
    #[arg(long, requires = "seed")]
    faults: Option<String>,
    /// Of that seed, only these batches, by their numbers; or none
    #[arg(long, requires = "seed")]
    batches: Option<String>,
    /// Of that seed, only what came of it
    #[arg(long, requires = "seed")]
    terse: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let is_well = match args.seed {
        Some(seed) => one(seed, &args)?,
        None => many(&args, &std::env::current_exe()?),
    };
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn one(seed: u64, args: &Args) -> anyhow::Result<bool> {
    let list = |text: &Option<String>| text.as_deref().map(numbers).transpose();
    let run = Run { seed, faults: list(&args.faults)?, batches: list(&args.batches)? };
    let scenario = run.scenario();
    if !args.terse {
        println!("{scenario}");
    }
    let (outcome, log) = simulate(&scenario, !args.terse);
    print!("{log}{outcome}");
    Ok(outcome.wrong.is_none())
}

fn many(args: &Args, program: &Path) -> bool {
    let from = args.from.unwrap_or_else(|| fastrand::u64(..1 << 40));
    println!("seeds {from} to {}", from + args.seeds - 1);
    let (next, began) = (AtomicU64::new(from), Instant::now());
    let (ran, wrong, records) = (AtomicU64::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..args.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let is_over = wrong.load(Ordering::Relaxed) > 0 && !args.keep_going;
                    if seed >= from + args.seeds || is_over {
                        return;
                    }
                    let run = Run::of(seed);
                    let outcome = run.apart(program);
                    ran.fetch_add(1, Ordering::Relaxed);
                    records.fetch_add(outcome.records, Ordering::Relaxed);
                    if outcome.wrong.is_some() {
                        wrong.fetch_add(1, Ordering::Relaxed);
                        tell(&run, &outcome, program, args.shrink);
                    }
                }
            });
        }
    });
    let (ran, wrong, records) = (ran.into_inner(), wrong.into_inner(), records.into_inner());
    println!("{ran} seeds, {records} records, {wrong} went wrong, {:.1} s", began.elapsed().as_secs_f64());
    wrong == 0
}

/// Tells of a run that went wrong, and how to have it again.
fn tell(run: &Run, outcome: &Outcome, program: &Path, tries: usize) {
    let (seed, kind) = (run.seed, outcome.kind());
    println!("seed {seed} went wrong:\n{}\n", outcome.wrong.as_deref().unwrap_or_default());
    if tries > 0 {
        let small = shrink(run, tries, |small| small.apart(program).kind() == kind);
        let why = small.apart(program).wrong.unwrap_or_default();
        println!("seed {seed}, as small as it was made:\n{}{why}\nagain: {small}\n", small.scenario());
    }
}
