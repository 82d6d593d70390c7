//! The last fifteen minutes, for the page's charts: a ring of samples, taken rarely.
//!
//! ```text
//! tallies, partitions, latency ──► Sample ──► History (a ring) ──► Charts: what each stretch gained
//! ```
//! Samples hold running sums, so that a sample which is missed costs resolution and no count. The
//! ring is bounded whatever senders send: it keeps few values of a dimension, and few partitions.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::metrics::Metrics;
use super::stats::per_second;
use super::status::{PartitionReport, PartitionState};
use super::tally::{DistributionSnapshot, Snapshot, Totals};
use super::timeline::unix_ms;

/// The time between samples.
pub(super) const EVERY: Duration = Duration::from_secs(15);

/// How far apart the first ones are: who has just started a process wants to see it work.
const EARLY: Duration = Duration::from_secs(2);

/// How many are the first ones.
const EARLY_ONES: usize = 15;

/// How long samples are kept.
const SPAN: Duration = Duration::from_secs(15 * 60);

/// The most that are kept, at whatever times they were taken.
const MOST: usize = 80;

/// The most values of a dimension that have a curve of their own.
const CURVES: usize = 5;

/// The most partitions whose lag a sample keeps: those with the most.
const LAGS: usize = 64;

/// The last stretch is at least this long, or half as long as the one before, or it is drawn together with
/// that: rates of less jump about.
const LEAST_STRETCH: Duration = Duration::from_secs(5);

/// The sums at a moment.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    taken: Instant,
    unix_ms: u64,
    totals: Totals,
    errors: BTreeMap<&'static str, u64>,
    distributions: Vec<DistributionSnapshot>,
    /// All partitions together; `None` where that of any is not known.
    pub(super) lag: Option<u64>,
    /// The lag as time, in milliseconds: that of the partition which is the farthest behind.
    pub(super) lag_ms: Option<u64>,
    lags: BTreeMap<i32, u64>,
    /// Which partitions there were, where all of them ran.
    running: Option<u64>,
    latency: Vec<u64>,
}

/// The ring.
#[derive(Debug, Default)]
pub(super) struct History {
    samples: VecDeque<Sample>,
    /// How many were kept in all.
    taken: usize,
    /// The topics that were read: their latencies count on when their last partition is given up.
    topics: BTreeSet<String>,
}

/// The gains of each stretch, in columns of equal length, the oldest first.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Charts {
    /// When each stretch ended: milliseconds since the Unix epoch.
    pub(super) at: Vec<u64>,
    /// How many milliseconds it took.
    pub(super) took: Vec<u64>,
    pub(super) records_in: Vec<u64>,
    pub(super) records_out: Vec<u64>,
    pub(super) records_dead: Vec<u64>,
    pub(super) records_dropped: Vec<u64>,
    /// Microseconds, from the histogram of end-to-end latency; `None` where nothing was done.
    pub(super) p50: Vec<Option<u64>>,
    pub(super) p95: Vec<Option<u64>>,
    pub(super) p99: Vec<Option<u64>>,
    /// At the stretch's end.
    pub(super) lag: Vec<Option<u64>>,
    pub(super) lag_ms: Vec<Option<u64>>,
    pub(super) lags: BTreeMap<i32, Vec<Option<u64>>>,
    /// Which partitions there were at the stretch's end, as one number; `None` where not all of them ran.
    #[serde(skip)]
    pub(super) running: Vec<Option<u64>>,
    /// Dead letters by reason.
    pub(super) errors: BTreeMap<&'static str, Vec<u64>>,
    pub(super) distributions: Vec<Shares>,
}

/// One dimension's values.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Shares {
    name: &'static str,
    /// The most frequent at the end. Senders chose these texts.
    values: Vec<String>,
    /// How often each was counted, a list of stretches for each value.
    counts: Vec<Vec<u64>>,
    /// All other values.
    other: Vec<u64>,
}

impl History {
    /// The sums as they are now; `counted` is what the tallies say, `partitions` what the status does.
    pub(super) fn sample(&mut self, metrics: &Metrics, counted: &Snapshot, partitions: &[PartitionReport]) -> Sample {
        for partition in partitions {
            if !self.topics.contains(&partition.topic) {
                self.topics.insert(partition.topic.clone());
            }
        }
        let mut latency = Vec::new();
        for topic in &self.topics {
            let counts = metrics.end_to_end(topic).counts();
            latency.resize(counts.len(), 0);
            latency.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        let mut lags: Vec<_> = partitions.iter().filter_map(|it| Some((it.partition, it.lag?))).collect();
        let lag = partitions.iter().try_fold(0, |sum: u64, it| Some(sum.saturating_add(it.lag?)));
        // Of one that lags nobody knows how long: then nobody knows of all of them.
        let lag_ms = partitions.iter().try_fold(0, |most: u64, it| Some(most.max(it.lag_ms?)));
        let lag_ms = lag_ms.filter(|_| lag.is_some() && !partitions.is_empty());
        lags.sort_by_key(|(partition, lag)| (std::cmp::Reverse(*lag), *partition));
        lags.truncate(LAGS);
        Sample {
            taken: Instant::now(),
            unix_ms: unix_ms(),
            totals: counted.totals,
            errors: counted.errors.clone(),
            distributions: counted.distributions.clone(),
            lag,
            lag_ms,
            lags: lags.into_iter().collect(),
            running: running(partitions),
            latency,
        }
    }

    /// Keeps a sample, and forgets those that are too old.
    pub(super) fn keep(&mut self, sample: Sample) {
        let is_old = |first: &Sample| sample.taken.duration_since(first.taken) > SPAN;
        while self.samples.front().is_some_and(is_old) || self.samples.len() >= MOST {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        self.taken += 1;
    }

    /// The time until the next sample, from the one that was just kept on.
    pub(super) fn next_in(&self) -> Duration {
        if self.taken < EARLY_ONES { EARLY } else { EVERY }
    }

    /// The charts to draw, with `now` as the last moment.
    pub(super) fn charts(&self, now: &Sample) -> Charts {
        let mut samples: Vec<_> = self.samples.iter().collect();
        let before = match samples[..] {
            [.., first, second] => second.taken.duration_since(first.taken),
            _ => LEAST_STRETCH,
        };
        let least = LEAST_STRETCH.min(before / 2);
        let is_short = |last: &&Sample| now.taken.duration_since(last.taken) < least;
        if samples.len() > 1 && samples.last().is_some_and(is_short) {
            samples.pop();
        }
        samples.push(now);
        let mut charts = Charts::default();
        for reason in now.errors.keys() {
            charts.errors.insert(reason, Vec::new());
        }
        for partition in now.lags.keys() {
            charts.lags.insert(*partition, Vec::new());
        }
        charts.distributions = now.distributions.iter().map(Shares::of).collect();
        for pair in samples.windows(2) {
            if let [from, to] = pair {
                charts.push(from, to);
            }
        }
        charts
    }
}

impl Charts {
    /// The gain of a column a second, by its last stretch.
    pub(super) fn rate_now(&self, column: &[u64]) -> u64 {
        let (gained, took) = (column.last().copied().unwrap_or(0), self.took.last().copied().unwrap_or(0));
        per_second(gained, 0, Duration::from_millis(took))
    }

    fn push(&mut self, from: &Sample, to: &Sample) {
        self.at.push(to.unix_ms);
        self.took.push(millis(to.taken.duration_since(from.taken)));
        let (before, after) = (&from.totals, &to.totals);
        self.records_in.push(after.records_in.saturating_sub(before.records_in));
        self.records_out.push(after.records_out.saturating_sub(before.records_out));
        self.records_dead.push(after.records_dead.saturating_sub(before.records_dead));
        self.records_dropped.push(after.records_dropped.saturating_sub(before.records_dropped));
        let latency = to.latency.iter().enumerate();
        let latency = latency.map(|(at, count)| count.saturating_sub(from.latency.get(at).copied().unwrap_or(0)));
        let latency: Vec<_> = latency.collect();
        self.p50.push(percentile(&latency, 500));
        self.p95.push(percentile(&latency, 950));
        self.p99.push(percentile(&latency, 990));
        self.lag.push(to.lag);
        self.lag_ms.push(to.lag_ms);
        self.running.push(to.running);
        for (partition, lags) in &mut self.lags {
            lags.push(to.lags.get(partition).copied());
        }
        for (reason, gains) in &mut self.errors {
            let of = |sample: &Sample| sample.errors.get(reason).copied().unwrap_or(0);
            gains.push(of(to).saturating_sub(of(from)));
        }
        for (at, shares) in self.distributions.iter_mut().enumerate() {
            match to.distributions.get(at) {
                // What a sample before did not have yet was nothing then.
                Some(to) => shares.push(from.distributions.get(at).unwrap_or(to), to),
                None => shares.push_nothing(),
            }
        }
    }
}

impl Shares {
    fn of(now: &DistributionSnapshot) -> Self {
        let values: Vec<_> = now.top.iter().take(CURVES).map(|entry| entry.value.clone()).collect();
        Self { name: now.name, counts: vec![Vec::new(); values.len()], values, other: Vec::new() }
    }

    fn push_nothing(&mut self) {
        self.counts.iter_mut().for_each(|gains| gains.push(0));
        self.other.push(0);
    }

    fn push(&mut self, from: &DistributionSnapshot, to: &DistributionSnapshot) {
        let mut rest = to.total.saturating_sub(from.total);
        for (value, gains) in self.values.iter().zip(&mut self.counts) {
            let gain = count_at(to, value).saturating_sub(count_at(from, value)).min(rest);
            rest -= gain;
            gains.push(gain);
        }
        self.other.push(rest);
    }
}

/// How often a value was counted. One that was not listed was no more frequent than the last that
/// was; among values that are about equally frequent, those which change places had about that.
fn count_at(sample: &DistributionSnapshot, value: &str) -> u64 {
    let listed = sample.top.iter().find(|entry| entry.value == value);
    let last = sample.top.last().filter(|_| sample.other > 0);
    listed.or(last).map_or(0, |entry| entry.count)
}

/// The duration, in microseconds, that so many thousandths of those counted do not exceed; linear
/// within a bucket, and the last bound where that is exceeded.
fn percentile(counts: &[u64], thousandths: u64) -> Option<u64> {
    let total: u64 = counts.iter().sum();
    let rank = (u128::from(total) * u128::from(thousandths)).div_ceil(1000);
    let (mut below, mut lower) = (0_u128, 0_u128);
    let bounds = super::metrics::END_TO_END_BOUNDS.iter().map(|bound| Duration::from_secs_f64(*bound).as_micros());
    for (count, upper) in counts.iter().map(|count| u128::from(*count)).zip(bounds) {
        if count > 0 && below + count >= rank {
            return u64::try_from(lower + (upper - lower) * (rank - below) / count).ok();
        }
        below += count;
        lower = upper;
    }
    u64::try_from(lower).ok().filter(|_| total > 0)
}

/// A number for these partitions, where all of them run.
fn running(partitions: &[PartitionReport]) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    let runs = partitions.iter().all(|it| {
        (&it.topic, it.partition).hash(&mut hasher);
        it.state == PartitionState::Running
    });
    runs.then(|| hasher.finish())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::time::advance;

    use super::*;
    use crate::observe::{Observe, TOP};
    use crate::record::Offset;

    fn observe() -> Observe {
        Observe::new("1.2.3", &["device_type"], Duration::from_secs(10), json!({}))
    }

    fn sample(history: &mut History, observe: &Observe) -> Sample {
        history.sample(&observe.metrics, &observe.tallies.snapshot(), &observe.partitions.partitions())
    }

    #[tokio::test(start_paused = true)]
    async fn stretches_gain_what_was_counted_within_them() {
        let (observe, mut history) = (observe(), History::default());
        let tally = observe.tallies.register();
        let metrics = observe.metrics.partition("user-login", 3);
        let status = observe.partitions.partition("user-login", 3);
        let first = sample(&mut history, &observe);
        history.keep(first);
        for n in 1..=3 {
            advance(EVERY).await;
            tally.lock().totals().records_in += 10 * n;
            tally.lock().errors("tombstone", n);
            for _ in 0..n {
                tally.lock().count(0, "ios");
            }
            metrics.acknowledged(1_700_000_000_000, 1_700_000_000_040, n);
            status.committed(Offset(0));
            status.high_watermark(Offset(i64::try_from(n).unwrap()));
            let next = sample(&mut history, &observe);
            history.keep(next);
        }
        advance(LEAST_STRETCH).await;
        let now = sample(&mut history, &observe);
        let charts = history.charts(&now);
        assert_eq!(charts.took, [15_000, 15_000, 15_000, 5_000]);
        assert_eq!(charts.records_in, [10, 20, 30, 0]);
        assert_eq!(charts.errors["tombstone"], [1, 2, 3, 0]);
        assert_eq!(charts.distributions[0].counts, [[1, 2, 3, 0]]);
        assert_eq!(charts.lags[&3], [Some(1), Some(2), Some(3), Some(3)]);
        let _unknown = observe.partitions.partition("user-login", 4);
        let now = sample(&mut history, &observe);
        let lags = [Some(1), Some(2), Some(3), None];
        assert_eq!(history.charts(&now).lag, lags, "a sum of what is known would be too little");
        assert_eq!(charts.p50, [Some(50_000), Some(37_500), Some(41_666), None]);
    }

    #[tokio::test(start_paused = true)]
    async fn partitions_are_the_same_while_none_comes_goes_or_waits() {
        let (observe, mut history) = (observe(), History::default());
        let first = observe.partitions.partition("user-login", 0);
        let mut sampled = || sample(&mut history, &observe).running;
        assert_eq!(sampled(), None, "it is starting");
        first.state(PartitionState::Running);
        let alone = sampled();
        assert!(alone.is_some() && sampled() == alone);
        let second = observe.partitions.partition("user-login", 1);
        second.state(PartitionState::Running);
        assert!(sampled().is_some_and(|both| Some(both) != alone));
        second.state(PartitionState::Paused);
        assert_eq!(sampled(), None);
        drop(second);
        assert_eq!(sampled(), alone);
    }

    #[tokio::test(start_paused = true)]
    async fn the_ring_forgets_and_a_short_stretch_joins_the_one_before() {
        let (observe, mut history) = (observe(), History::default());
        for _ in 0..100 {
            let next = sample(&mut history, &observe);
            history.keep(next);
            advance(EVERY).await;
        }
        let kept = 61; // fifteen minutes of them, both ends included
        assert_eq!(history.samples.len(), kept);
        let next = sample(&mut history, &observe);
        history.keep(next);
        advance(Duration::from_secs(1)).await;
        let now = sample(&mut history, &observe);
        let charts = history.charts(&now);
        assert_eq!((charts.at.len(), charts.took.last()), (kept - 1, Some(&16_000)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_half_minute_is_drawn_from_its_first_seconds_on() {
        let (observe, mut history) = (observe(), History::default());
        let mut took = Vec::new();
        for _ in 0..500 {
            let next = sample(&mut history, &observe);
            history.keep(next);
            took.push(history.next_in());
            advance(history.next_in()).await;
        }
        assert_eq!((took[0], took[13], took[14]), (EARLY, EARLY, EVERY));
        assert!(history.samples.len() <= MOST, "{}", history.samples.len());
        let (observe, mut history) = (self::observe(), History::default());
        let first = sample(&mut history, &observe);
        history.keep(first);
        advance(EARLY).await;
        let now = sample(&mut history, &observe);
        assert_eq!(history.charts(&now).took, [2_000]);
    }

    #[tokio::test(start_paused = true)]
    async fn latency_counts_on_when_the_last_partition_goes() {
        let (observe, mut history) = (observe(), History::default());
        let metrics = observe.metrics.partition("user-login", 3);
        let status = observe.partitions.partition("user-login", 3);
        metrics.acknowledged(1_700_000_000_000, 1_700_000_000_400, 1_000);
        let with = sample(&mut history, &observe);
        drop(status);
        assert_eq!(sample(&mut history, &observe).latency, with.latency);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hostile_sender_fills_no_ring() {
        let (observe, mut history) = (observe(), History::default());
        let tally = observe.tallies.register();
        for n in 0..1_000 {
            tally.lock().count(0, format!("a{n:04}"));
            tally.lock().count(0, "steady");
        }
        let first = sample(&mut history, &observe);
        assert_eq!(first.distributions[0].top.len(), TOP);
        history.keep(first);
        advance(EVERY).await;
        for n in 0..1_000 {
            tally.lock().count(0, format!("x{n:04}"));
            tally.lock().count(0, "steady");
        }
        let now = sample(&mut history, &observe);
        let charts = history.charts(&now);
        let shares = &charts.distributions[0];
        assert_eq!((&*shares.values[0], shares.counts[0][0]), ("steady", 1_000));
        let all: u64 = shares.counts.iter().map(|gains| gains[0]).sum();
        assert_eq!(all + shares.other[0], 2_000, "shares add up");
    }

    #[tokio::test(start_paused = true)]
    async fn values_that_change_places_keep_their_shares() {
        let (observe, mut history) = (observe(), History::default());
        let tally = observe.tallies.register();
        for stretch in 0..10 {
            for value in 0..40 {
                // Who is ahead changes each time, by one.
                for _ in 0..100 + u32::from(value % 10 == stretch) {
                    tally.lock().count(0, format!("{value}"));
                }
            }
            advance(EVERY).await;
            let next = sample(&mut history, &observe);
            history.keep(next);
        }
        advance(LEAST_STRETCH).await;
        let now = sample(&mut history, &observe);
        let charts = history.charts(&now);
        for gains in &charts.distributions[0].counts {
            let all = &gains[..gains.len() - 1];
            assert!(all.iter().all(|gain| (98..=102).contains(gain)), "{gains:?}");
        }
    }

    #[test]
    fn percentiles_lie_within_their_bucket() {
        let mut counts = vec![0; super::super::metrics::END_TO_END_BOUNDS.len() + 1];
        assert_eq!(percentile(&counts, 500), None);
        counts[1] = 100;
        assert_eq!((percentile(&counts, 500), percentile(&counts, 1000)), (Some(7_500), Some(10_000)));
        *counts.last_mut().unwrap() = 900;
        assert_eq!(percentile(&counts, 990), Some(86_400_000_000));
    }
}
