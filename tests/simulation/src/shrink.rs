//! Makes a run that goes wrong as small as it can be.

use crate::run::Run;

/// Leaves out faults, then batches, while what is left goes wrong still, `most` tries at most.
pub fn shrink(run: &Run, most: usize, mut goes_wrong: impl FnMut(&Run) -> bool) -> Run {
    let mut tries = most;
    let mut fails = |candidate: Run| {
        tries > 0 && {
            tries -= 1;
            goes_wrong(&candidate)
        }
    };
    let scenario = run.scenario();
    let mut faults: Vec<_> = scenario.faults.iter().map(|fault| fault.number).collect();
    let mut batches: Vec<_> = scenario.batches.iter().map(|batch| batch.number).collect();
    let part = |faults: &[usize], batches: &[usize]| Run {
        seed: run.seed,
        faults: Some(faults.to_vec()),
        batches: Some(batches.to_vec()),
    };
    loop {
        let before = (faults.len(), batches.len());
        faults = fewer(faults, |rest| fails(part(rest, &batches)));
        batches = fewer(batches, |rest| fails(part(&faults, rest)));
        if before == (faults.len(), batches.len()) {
            return part(&faults, &batches);
        }
    }
}

/// Leaves out halves, then quarters, and so on to single ones, while the rest fails.
fn fewer(mut all: Vec<usize>, mut fails: impl FnMut(&[usize]) -> bool) -> Vec<usize> {
    let mut size = all.len().div_ceil(2);
    while size > 0 && !all.is_empty() {
        let mut at = 0;
        while at < all.len() {
            let mut rest = all.clone();
            rest.drain(at..(at + size).min(all.len()));
            if fails(&rest) {
                all = rest;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_stays() {
        let needed = |rest: &[usize]| rest.contains(&3) && rest.contains(&17);
        assert_eq!(fewer((0..20).collect(), needed), [3, 17]);
        assert_eq!(fewer(Vec::new(), needed), [0; 0]);
    }

    #[test]
    fn a_run_that_always_goes_wrong_needs_nothing() {
        let small = shrink(&Run::of(1), 1_000, |_| true);
        assert_eq!(small, Run { seed: 1, faults: Some(Vec::new()), batches: Some(Vec::new()) });
    }
}
