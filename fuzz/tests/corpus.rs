//! Each target on its corpus, and on a few mutations of it: others each day, whose seed is printed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use fuzz::campaign::{self, Limits, corpus, seed_of_today};
use fuzz::{TARGETS, Target};

/// The limits of a target's mutations here: hours of them are `make fuzz`'s.
const LIMITS: Limits = Limits { time: Duration::from_secs(4), runs: 20_000 };

fn fuzzed(name: &str) {
    let target: &'static Target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let seed = seed_of_today();
    let again = format!("again: cargo run -p fuzz -- try {name} FILE, or run {name} --seed {seed}");
    let ran = campaign::run(target, seed, LIMITS).unwrap_or_else(|why| panic!("{why}\n{again}"));
    println!("{name}: seed {seed}, {} inputs of the corpus, {} mutations", ran.corpus, ran.mutations);
    assert!(ran.corpus > 0 && ran.mutations > 0, "{ran:?}");
}

macro_rules! each {
    ($($target:ident,)*) => {
        $(#[test]
        fn $target() {
            fuzzed(stringify!($target));
        })*

        const TESTED: &[&str] = &[$(stringify!($target)),*];
    };
}
fuzz::each_target!(each);

#[test]
fn every_target_is_tested_and_has_its_entry_point() {
    let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, TESTED);
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    for name in &names {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz_targets/{name}.rs"));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(text.contains(&format!("targets::{name}::TARGET")), "{}", path.display());
        assert!(
            manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"\nrequired-features = [\"libfuzzer\"]")),
            "{name}"
        );
    }
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets")).unwrap().count();
    assert_eq!(entries, names.len(), "an entry point without a target");
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")).unwrap() {
        let path = entry.unwrap().path();
        assert!(names.iter().any(|name| path.file_stem().unwrap() == *name), "{}: of no target", path.display());
    }
}

/// A new API, or a new version of one, has its seed from the first day.
#[test]
fn the_corpus_has_each_seed_as_it_is_made_today() {
    for target in TARGETS {
        let there: BTreeSet<_> = corpus(target).into_iter().collect();
        for seed in (target.seeds)() {
            assert!(there.contains(&seed), "{}: {} is missing or old: cargo run -p fuzz -- seeds", target.name, seed.0);
        }
    }
}
