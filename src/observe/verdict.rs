//! How the process does, in one line of words and a colour: what an operator reads first.
//!
//! Pure: made of what the page shows anyway.

use std::collections::BTreeMap;

use serde::Serialize;

use super::failures::cause;
use super::health::Phase;
use super::history::Charts;
use super::page::text::{Millis, Number, Percent};
use super::status::{PartitionState, Status};

/// The time over which shares and rates are taken: enough to be calm, little enough to be news.
const LATELY_MS: u64 = 60_000;

/// The time over which it is said how much is read: where that stops, it is to be seen soon.
const JUST_NOW_MS: u64 = 10_000;

/// So far behind is not worth a word: checkpoints are stored at times only.
const AT_ONCE_MS: u64 = 2_000;

/// So far behind, somebody waits.
const LATE_MS: u64 = 60_000;

/// More dead letters than this, in thousandths, want a look where no limit is set.
const MANY_DEAD: u64 = 10;

/// The most characters of a cause.
const CAUSE: usize = 160;

/// The colour of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Tone {
    /// Nothing is to be done.
    Good,
    /// It works, and wants a look.
    Warn,
    /// Some of it does not work.
    Bad,
}

impl Tone {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// The line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Verdict {
    /// The worst of its findings.
    pub(super) tone: Tone,
    /// That, in a word.
    pub(super) word: &'static str,
    /// The worst first.
    pub(super) findings: Vec<Finding>,
}

/// One thing to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) tone: Tone,
    pub(super) text: String,
}

/// The facts to judge.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub(super) status: &'a Status,
    /// Why it is not ready.
    pub(super) reasons: &'a [String],
    /// Partitions that are paused, by the limit that they passed.
    pub(super) paused: &'a BTreeMap<&'static str, usize>,
    pub(super) charts: &'a Charts,
    pub(super) lag: Option<u64>,
    pub(super) lag_ms: Option<u64>,
}

impl Verdict {
    pub(super) fn of(seen: &Seen<'_>) -> Self {
        let mut findings = Vec::new();
        let mut add = |tone, text: String| findings.push(Finding { tone, text });
        seen.paused(&mut add);
        seen.failing(&mut add);
        seen.dead_letters(&mut add);
        seen.behind(&mut add);
        seen.throughput(&mut add);
        let phase = seen.status.state;
        let told = findings.iter().any(|finding| finding.tone == Tone::Bad);
        if let Some(reason) = seen.reasons.first().filter(|_| !told && phase == Phase::Running) {
            findings.push(Finding { tone: Tone::Bad, text: cut(reason) });
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.tone));
        let tone = findings.iter().map(|finding| finding.tone).max().unwrap_or(Tone::Good);
        let (tone, word) = match (phase, tone) {
            (Phase::Starting, tone) => (tone.max(Tone::Warn), "Starting"),
            (Phase::Draining, tone) => (tone.max(Tone::Warn), "Draining"),
            (Phase::Running, Tone::Good) => (tone, "Healthy"),
            (Phase::Running, Tone::Warn) => (tone, "Degraded"),
            (Phase::Running, Tone::Bad) => (tone, "Failing"),
        };
        Self { tone, word, findings }
    }
}

impl Seen<'_> {
    fn paused(&self, add: &mut impl FnMut(Tone, String)) {
        for (limit, count) in self.paused {
            add(Tone::Bad, format!("{} paused: dead_letter.{limit}", partitions(*count)));
        }
    }

    /// Partitions that fail, with what the last one of them to fail has said.
    fn failing(&self, add: &mut impl FnMut(Tone, String)) {
        let is_ready = self.reasons.is_empty();
        for (state, tone) in [
            (PartitionState::Blocked, Tone::Bad),
            (PartitionState::Retrying, if is_ready { Tone::Warn } else { Tone::Bad }),
        ] {
            let failing: Vec<_> = self.status.partitions.iter().filter(|it| it.state == state).collect();
            if failing.is_empty() {
                continue;
            }
            let newest =
                failing.iter().filter_map(|it| Some((it, it.last_error.as_ref()?))).max_by_key(|(_, it)| &it.at);
            let cause = newest.map_or_else(String::new, |(it, error)| format!(": {}", cut(&cause(it, &error.message))));
            add(tone, format!("{} {}{cause}", partitions(failing.len()), state.as_str()));
        }
    }

    fn dead_letters(&self, add: &mut impl FnMut(Tone, String)) {
        if self.charts.lately(&self.charts.records_in) == 0 {
            return;
        }
        let configured = &self.status.configuration["dead_letter"];
        let limit = configured["max_ratio"].as_f64();
        let least = configured["min_records"].as_u64().unwrap_or(0);
        let (dead, all) = (self.charts.lately(&self.charts.records_dead), self.charts.lately(&self.charts.records_in));
        if all < least {
            // A share of so few tells nothing, as it decides nothing.
            if dead > 0 {
                add(Tone::Good, format!("{} of {} records dead letters", Number(dead), Number(all)));
            }
            return;
        }
        let share = Percent { of: dead, all };
        let thousandths = (u128::from(dead) * 1000).checked_div(u128::from(all)).and_then(|n| u64::try_from(n).ok());
        let thousandths = thousandths.unwrap_or(0);
        match limit {
            Some(limit) => {
                let most = thousandths_of(limit);
                let tone = match thousandths {
                    some if some >= most && dead > 0 => Tone::Bad,
                    some if some >= most.div_ceil(2) && dead > 0 => Tone::Warn,
                    _ => Tone::Good,
                };
                let limit = Percent { of: most, all: 1000 }.to_string().replace(".0 %", " %");
                add(tone, format!("{share} dead letters, limit {limit}"));
            }
            None if dead > 0 => {
                let tone = if thousandths >= MANY_DEAD { Tone::Warn } else { Tone::Good };
                add(tone, format!("{share} dead letters"));
            }
            None => {}
        }
    }

    fn behind(&self, add: &mut impl FnMut(Tone, String)) {
        let (Some(lag), Some(lag_ms)) = (self.lag, self.lag_ms) else {
            match self.lag {
                Some(0) => add(Tone::Good, "caught up".into()),
                Some(lag) => add(Tone::Good, format!("behind by {} records", Number(lag))),
                None if !self.status.partitions.is_empty() && self.status.state == Phase::Running => {
                    add(Tone::Warn, "lag unknown: no broker has told it lately".into());
                }
                None => {}
            }
            return;
        };
        if lag == 0 || lag_ms < AT_ONCE_MS {
            add(Tone::Good, "caught up".into());
            return;
        }
        let behind = format!("behind by {}", Millis(lag_ms));
        let tone = if lag_ms >= LATE_MS { Tone::Warn } else { Tone::Good };
        // Of what stands still nobody knows when it ends.
        let is_reading = self.charts.within(JUST_NOW_MS, &self.charts.records_in) > 0;
        match self.charts.drained_a_second().filter(|_| is_reading) {
            Some(drained) if drained > 0 => {
                let left = Millis(lag.saturating_mul(1000) / drained.unsigned_abs());
                add(tone, format!("{behind}, caught up in {left}"));
            }
            Some(grown) if grown < 0 && lag_ms >= LATE_MS => {
                add(Tone::Warn, format!("{behind}, and falling behind by {} records/s", Number(grown.unsigned_abs())));
            }
            _ => add(tone, behind),
        }
    }

    fn throughput(&self, add: &mut impl FnMut(Tone, String)) {
        if self.status.partitions.is_empty() && self.status.state == Phase::Running {
            let text = match self.status.group {
                Some(_) => "standing by: the group has given it no partitions",
                None => "no partitions yet",
            };
            add(Tone::Good, text.into());
            return;
        }
        let took = self.charts.within(JUST_NOW_MS, &self.charts.took);
        let read = self.charts.within(JUST_NOW_MS, &self.charts.records_in);
        if let Some(rate) = read.saturating_mul(1000).checked_div(took) {
            add(Tone::Good, format!("{} records/s", Number(rate)));
        }
    }
}

impl Charts {
    /// The sum of the stretches of about the last minute.
    fn lately(&self, column: &[u64]) -> u64 {
        self.within(LATELY_MS, column)
    }

    /// The sum of the stretches that the last so many milliseconds touch.
    fn within(&self, ms: u64, column: &[u64]) -> u64 {
        column.iter().rev().take(self.stretches_within(ms)).sum()
    }

    /// How many stretches those are.
    fn stretches_within(&self, ms: u64) -> usize {
        let mut took = 0;
        let within = self.took.iter().rev().take_while(|stretch| {
            let is_within = took < ms;
            took += **stretch;
            is_within
        });
        within.count()
    }

    /// By how many records a second the lag has become less in about the last minute; `None` where that is not known.
    /// A sum tells that only of the same partitions, all of which run: lag that comes or goes with a partition was not
    /// worked off, and that of one which is paused does not end.
    fn drained_a_second(&self) -> Option<i64> {
        let now = (*self.running.last()?)?;
        let same = self.running.iter().rev().take_while(|running| **running == Some(now)).count();
        let stretches = self.stretches_within(LATELY_MS).min(same);
        let first = self.lag.len().checked_sub(stretches)?;
        let (from, to) = ((*self.lag.get(first)?)?, (*self.lag.last()?)?);
        let took = self.took.iter().skip(first + 1).sum::<u64>();
        let took = i64::try_from(took).ok().filter(|_| took >= JUST_NOW_MS)?;
        let drained = i64::try_from(from).ok()?.checked_sub(i64::try_from(to).ok()?)?;
        drained.checked_mul(1000)?.checked_div(took)
    }
}

fn partitions(count: usize) -> String {
    if count == 1 { "1 partition".into() } else { format!("{count} partitions") }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(CAUSE) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share between 0 and 1")]
fn thousandths_of(share: f64) -> u64 {
    (share.clamp(0.0, 1.0) * 1000.0).round() as u64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::observe::{Observe, Severity};
    use crate::record::Offset;

    fn charts(records_in: u64, records_dead: u64, lag: &[u64]) -> Charts {
        Charts {
            took: vec![15_000; lag.len()],
            records_in: vec![records_in; lag.len()],
            records_dead: vec![records_dead; lag.len()],
            lag: lag.iter().copied().map(Some).collect(),
            running: vec![Some(1); lag.len()],
            ..Charts::default()
        }
    }

    /// The line of a process that runs, as a state of its page has it.
    fn line(observe: &Observe, charts: &Charts, lag_ms: u64) -> (&'static str, Vec<String>) {
        let status = observe.status();
        let reasons = observe.health.is_ready().err().unwrap_or_default();
        let reasons: Vec<_> = reasons.iter().map(ToString::to_string).collect();
        let lag = charts.lag.last().copied().flatten();
        let paused = observe.paused.limits();
        let seen = Seen { status: &status, reasons: &reasons, paused: &paused, charts, lag, lag_ms: Some(lag_ms) };
        let verdict = Verdict::of(&seen);
        (verdict.word, verdict.findings.into_iter().map(|finding| finding.text).collect())
    }

    fn observe(max_ratio: Option<f64>) -> Observe {
        let configuration = json!({"dead_letter": {"max_ratio": max_ratio, "min_records": 100}});
        let observe = Observe::new("1.2.3", &[], Duration::from_secs(10), configuration);
        observe.health.started();
        observe
    }

    #[tokio::test(start_paused = true)]
    async fn all_is_well() {
        let observe = observe(None);
        let _partition = observe.partitions.partition("user-login", 0);
        let (word, findings) = line(&observe, &charts(15_000, 3, &[0; 8]), 0);
        assert_eq!(
            (word, &findings[..]),
            ("Healthy", &["< 0.1 % dead letters", "caught up", "1\u{202f}000 records/s"].map(String::from)[..])
        );
        drop(_partition);
        assert_eq!(line(&observe, &charts(0, 0, &[0; 8]), 0).1, ["caught up", "no partitions yet"]);
    }

    #[tokio::test(start_paused = true)]
    async fn dead_letters_are_told_beside_their_limit() {
        let observe = observe(Some(0.2));
        let _partition = observe.partitions.partition("user-login", 0);
        for (dead, word, text) in [
            (30, "Healthy", "3.0 % dead letters, limit 20 %"),
            (102, "Degraded", "10.2 % dead letters, limit 20 %"),
            (200, "Failing", "20.0 % dead letters, limit 20 %"),
        ] {
            let (said, findings) = line(&observe, &charts(1_000, dead, &[0; 8]), 0);
            assert_eq!((said, findings.contains(&text.to_owned())), (word, true), "{findings:?}");
        }
        let many = line(&self::observe(None), &charts(1_000, 20, &[0]), 0);
        assert_eq!((many.0, &*many.1[0]), ("Degraded", "2.0 % dead letters"), "where there is no limit, too");
    }

    #[tokio::test(start_paused = true)]
    async fn dead_letters_of_few_records_are_told_and_not_judged() {
        for max_ratio in [Some(0.2), None] {
            let observe = observe(max_ratio);
            let _partition = observe.partitions.partition("user-login", 0);
            let says = |records, dead| line(&observe, &charts(records, dead, &[0]), 0);
            let few = says(99, 50);
            assert_eq!((few.0, &*few.1[0]), ("Healthy", "50 of 99 records dead letters"));
            assert_eq!(says(3, 0).1, ["caught up", "0 records/s"]);
            assert_ne!(says(100, 50).0, "Healthy", "of as many as dead_letter.min_records it counts");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lag_is_time_and_when_it_ends() {
        let observe = observe(None);
        let _partition = observe.partitions.partition("user-login", 0);
        let says = |lag: &[u64], lag_ms| line(&observe, &charts(15_000, 0, lag), lag_ms);
        // 1,000 a second less: 45 s of the last minute, as its first stretch is what they are compared with.
        let catching_up = says(&[900_000, 810_000, 795_000, 780_000, 765_000], 4_200);
        assert_eq!(
            catching_up,
            ("Healthy", vec!["behind by 4.2 s, caught up in 12 min".into(), "1\u{202f}000 records/s".into()])
        );
        let falling = says(&[15_000, 30_000, 45_000, 60_000], 300_000);
        assert_eq!(
            (falling.0, &*falling.1[0]),
            ("Degraded", "behind by 5 min, and falling behind by 1\u{202f}000 records/s")
        );
        let stopped = line(&observe, &charts(0, 0, &[900_000, 810_000, 795_000, 780_000, 765_000]), 22_000);
        assert_eq!(stopped.1[0], "behind by 22 s", "what stands still does not catch up");
        assert_eq!(says(&[10, 400, 20, 300], 900).1[0], "caught up", "what waits for its checkpoint is no lag");
    }

    #[tokio::test(start_paused = true)]
    async fn when_lag_ends_is_not_told_of_partitions_that_come_go_or_wait() {
        let observe = observe(None);
        let _partition = observe.partitions.partition("user-login", 0);
        let lag = [900_000, 810_000, 795_000, 780_000, 765_000];
        let says = |running: [Option<u64>; 5]| {
            let charts = Charts { running: running.to_vec(), ..charts(15_000, 0, &lag) };
            line(&observe, &charts, 4_200).1[0].clone()
        };
        let (behind, ends) = ("behind by 4.2 s", "behind by 4.2 s, caught up in 12 min");
        assert_eq!(says([Some(1); 5]), ends);
        assert_eq!(says([Some(2), Some(2), Some(1), Some(1), Some(1)]), ends, "by what came after the rebalance");
        assert_eq!(says([Some(2), Some(2), Some(2), Some(2), Some(1)]), behind, "just rebalanced");
        assert_eq!(says([Some(1), Some(1), Some(1), Some(1), None]), behind, "one is paused");
        assert_eq!(says([Some(1), Some(1), Some(1), None, Some(1)]), behind, "one was paused");
    }

    #[tokio::test(start_paused = true)]
    async fn partitions_that_wait_come_first() {
        let observe = observe(Some(0.2));
        let partitions: Vec<_> = (0..60).map(|number| observe.partitions.partition("user-login", number)).collect();
        let pauses: Vec<_> = (0..60).map(|number| observe.paused.pause(number, "max_ratio")).collect();
        let component = observe.health.component("dead letters of user-login/0");
        component.degraded("too many", Severity::Fatal);
        let (word, findings) = line(&observe, &charts(1_000, 250, &[0; 4]), 0);
        assert_eq!((word, &*findings[0]), ("Failing", "60 partitions paused: dead_letter.max_ratio"));
        drop((pauses, component));
        let _troubles: Vec<_> = partitions.iter().map(|it| it.troubles().begin(Severity::Passing)).collect();
        partitions.iter().for_each(|it| it.committed(Offset(1)));
        partitions[7].failed("transient", "fetch user-login/7: connection refused");
        let (word, findings) = line(&observe, &charts(1_000, 0, &[0; 4]), 0);
        assert_eq!((word, &*findings[0]), ("Degraded", "60 partitions retrying: fetch …: connection refused"));
        let component = observe.health.component("offset store");
        component.degraded("the disk is full", Severity::Fatal);
        assert_eq!(line(&observe, &charts(1_000, 0, &[0; 4]), 0).0, "Failing");
        observe.health.draining();
        assert_eq!(line(&observe, &charts(1_000, 0, &[0; 4]), 0).0, "Draining");
    }
}
