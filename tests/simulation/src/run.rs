//! A run of a scenario in a process of its own, so that nothing of a former one is left: not a count, not a cache.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::scenario::Scenario;

/// The time that a run may take by the machine's clock: a task that never waits ends in no other way.
const LONGEST: Duration = Duration::from_secs(120);

/// How the line begins that ends what a process of one run prints.
const SUMMARY: &str = "run: ";

/// A seed, and what is left of what it draws.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The seed.
    pub seed: u64,
    /// Of its faults only these, by their numbers.
    pub faults: Option<Vec<usize>>,
    /// Of its batches only these, by their numbers.
    pub batches: Option<Vec<usize>>,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What is wrong; nothing where all is well.
    pub wrong: Option<String>,
    /// How many records were sent.
    pub records: usize,
    /// Copies beyond the first.
    pub repeated: usize,
    /// How long it took in milliseconds, by the time that all have in common.
    pub lasted_ms: u128,
    /// The same for the same run: a number drawn from all that was written, and when.
    pub fingerprint: u64,
}

impl Run {
    /// All that a seed draws.
    pub fn of(seed: u64) -> Self {
        Self { seed, faults: None, batches: None }
    }

    /// What happens in it.
    pub fn scenario(&self) -> Scenario {
        let mut scenario = Scenario::draw(self.seed);
        if let Some(numbers) = &self.faults {
            scenario.faults.retain(|fault| numbers.contains(&fault.number));
        }
        if let Some(numbers) = &self.batches {
            scenario.batches.retain(|batch| numbers.contains(&batch.number));
        }
        scenario
    }

    /// Runs it in a process of `simulate`.
    ///
    /// # Panics
    /// Where that program can't be started, or ends without a word of what came of it.
    pub fn apart(&self, program: &Path) -> Outcome {
        let mut command = Command::new(program);
        command.args(self.args()).arg("--terse").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program `simulate`");
        let (mut out, mut err) = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
        let read = |from: &mut dyn Read| {
            let mut text = Vec::new();
            let _ = from.read_to_end(&mut text); // what there is of it
            String::from_utf8_lossy(&text).into_owned()
        };
        let (told, cried, is_hung) = thread::scope(|scope| {
            let told = scope.spawn(move || read(&mut out));
            let cried = scope.spawn(move || read(&mut err));
            let until = Instant::now() + LONGEST;
            let is_hung = loop {
                match child.try_wait() {
                    Ok(None) if Instant::now() < until => thread::park_timeout(Duration::from_millis(5)),
                    Ok(None) => {
                        let _ = child.kill(); // it may have ended meanwhile
                        let _ = child.wait();
                        break true;
                    }
                    Ok(Some(_)) | Err(_) => break false,
                }
            };
            (told.join().expect("a text"), cried.join().expect("a text"), is_hung)
        });
        if is_hung {
            return Outcome::broken(format!("it has not ended after {} s: a task never waits", LONGEST.as_secs()));
        }
        Outcome::parse(&told).unwrap_or_else(|| Outcome::broken(format!("the process died:\n{cried}")))
    }

    /// The flags that repeat it.
    pub fn args(&self) -> Vec<String> {
        let mut args = vec!["--seed".to_owned(), self.seed.to_string()];
        for (flag, numbers) in [("--faults", &self.faults), ("--batches", &self.batches)] {
            if let Some(numbers) = numbers {
                args.extend([flag.to_owned(), listed(numbers)]);
            }
        }
        args
    }
}

/// The command that repeats it.
impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "make simulate SEED={}", self.seed)?;
        for (name, numbers) in [("FAULTS", &self.faults), ("BATCHES", &self.batches)] {
            if let Some(numbers) = numbers {
                write!(f, " {name}={}", listed(numbers))?;
            }
        }
        Ok(())
    }
}

/// `none` where there are none, since nothing said is all.
fn listed(numbers: &[usize]) -> String {
    if numbers.is_empty() {
        return "none".to_owned();
    }
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// What [`Run::args`] has written of numbers.
///
/// # Errors
/// Where one of them is no number.
pub fn numbers(text: &str) -> Result<Vec<usize>, std::num::ParseIntError> {
    if text == "none" { Ok(Vec::new()) } else { text.split(',').map(str::parse).collect() }
}

impl Outcome {
    /// In what way it went wrong, by its first words without numbers: what a smaller run must go wrong in, too.
    pub fn kind(&self) -> Option<String> {
        let first = self.wrong.as_deref()?.lines().next().unwrap_or_default();
        let words = first.split(':').next().unwrap_or_default();
        Some(words.chars().filter(|letter| !letter.is_ascii_digit()).collect())
    }

    fn broken(why: String) -> Self {
        Self { wrong: Some(why), records: 0, repeated: 0, lasted_ms: 0, fingerprint: 0 }
    }

    fn parse(told: &str) -> Option<Self> {
        let (before, summary) = told.rsplit_once(SUMMARY)?;
        let mut words = summary.split_whitespace();
        let records = words.next()?.parse().ok()?;
        let repeated = words.next()?.parse().ok()?;
        let lasted_ms = words.next()?.parse().ok()?;
        let fingerprint = words.next()?.parse().ok()?;
        let wrong = match words.next()? {
            "well" => None,
            _ => Some(before.trim_end().to_owned()),
        };
        Some(Self { wrong, records, repeated, lasted_ms, fingerprint })
    }
}

/// As a process of one run prints it.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wrong, records, repeated, lasted_ms, fingerprint } = self;
        if let Some(wrong) = wrong {
            writeln!(f, "{wrong}")?;
        }
        let verdict = if wrong.is_some() { "wrong" } else { "well" };
        writeln!(f, "{SUMMARY}{records} {repeated} {lasted_ms} {fingerprint} {verdict}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_comes_out_of_a_process_as_it_was() {
        for wrong in [None, Some("offset 3 is lost\nand run: well".to_owned())] {
            let outcome = Outcome { wrong, records: 7, repeated: 1, lasted_ms: 2_500, fingerprint: u64::MAX };
            assert_eq!(Outcome::parse(&outcome.to_string()), Some(outcome));
        }
        assert_eq!(Outcome::parse("thread panicked"), None);
    }

    #[test]
    fn a_run_is_repeated_by_its_flags() {
        let run = Run { seed: 5, faults: Some(Vec::new()), batches: Some(vec![2, 7]) };
        assert_eq!(run.args(), ["--seed", "5", "--faults", "none", "--batches", "2,7"]);
        assert_eq!((numbers("none").unwrap(), numbers("2,7").unwrap()), (Vec::new(), vec![2, 7]));
        let scenario = run.scenario();
        assert!(scenario.faults.is_empty() && scenario.batches.len() <= 2);
    }
}
