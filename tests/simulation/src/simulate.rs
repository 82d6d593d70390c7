//! A run in this process.

use crate::chance::seeded;
use crate::run::Outcome;
use crate::scenario::Scenario;
use crate::watch::{Watch, panics};
use crate::world::World;

/// Runs a scenario. Gives what came of it and, where that is asked for, what the programs said.
///
/// # Panics
/// Where there is no thread to be had.
pub fn simulate(scenario: &Scenario, is_logged: bool) -> (Outcome, String) {
    let scenario = scenario.clone();
    seeded(scenario.seed, move || run(&scenario, is_logged))
}

fn run(scenario: &Scenario, is_logged: bool) -> (Outcome, String) {
    let watch = Watch::new(is_logged);
    let _listening = watch.listen();
    let before = panics();
    let mut world = World::new(scenario, watch.clone());
    world.play();
    let lasted_ms = world.now().as_millis();
    let panicked = panics() - before;
    let mut ledger = world.ledger();
    if panicked > 0 {
        ledger.note(format!("{panicked} tasks panicked"));
    }
    let wrong = ledger.is_wrong().then(|| ledger.wrong());
    let (records, repeated, fingerprint) = (ledger.records(), ledger.repeated(), ledger.fingerprint());
    drop(ledger);
    drop(world);
    (Outcome { wrong, records, repeated, lasted_ms, fingerprint }, watch.log())
}
