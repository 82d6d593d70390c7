//! What is known of all instances, and what of it the reader has chosen to see. No I/O, no clock.

use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use super::answer::{Answer, Charts};
use super::sanitize::Sanitized;

/// Everything that the page is drawn from.
#[derive(Debug)]
pub(super) struct Model {
    now: Picture,
    /// What was there when the picture was stopped.
    stopped: Option<Picture>,
    chosen: Chosen,
    sort: Sort,
    /// How many partitions are scrolled past.
    pub scroll: usize,
    /// Whether the help is shown.
    pub help: bool,
}

/// The instances at a moment.
#[derive(Debug, Clone)]
pub(super) struct Picture {
    /// In the order in which they were named.
    pub instances: Vec<Instance>,
    /// When it was taken.
    pub at: SystemTime,
}

/// One of the instances asked.
#[derive(Debug, Clone)]
pub(super) struct Instance {
    /// Where it is asked.
    pub name: Sanitized,
    /// What it said last.
    pub answer: Option<Answer>,
    /// Why it does not answer now.
    pub silence: Option<Sanitized>,
    /// What it does in a second.
    pub rates: Option<Rates>,
    heard: Option<Instant>,
}

/// Records a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Rates {
    /// Read.
    pub read: f64,
    /// Written.
    pub written: f64,
    /// Dead letters.
    pub dead: f64,
}

/// Whose partitions and counts are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chosen {
    /// Those of all instances.
    All,
    /// Those of one.
    One(usize),
}

/// The order of partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// Topic and number.
    Partition,
    /// The most lag first.
    Lag,
    /// Those that don't run first.
    State,
    /// Who has them.
    Owner,
}

impl Sort {
    const ALL: [Self; 4] = [Self::Partition, Self::Lag, Self::State, Self::Owner];

    /// Its name.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Partition => "partition",
            Self::Lag => "lag",
            Self::State => "state",
            Self::Owner => "owner",
        }
    }
}

/// The wish that a key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// The next instance, or the one before.
    Choose(isize),
    /// The next order of partitions, or the one before.
    Sort(isize),
    /// So many partitions down, or up.
    Scroll(isize),
    /// Stops the picture, or lets it go on.
    Pause,
    /// Shows the help, or takes it away.
    Help,
}

impl Model {
    /// A model of instances that have not been asked yet.
    pub(super) fn new(names: impl IntoIterator<Item = String>, at: SystemTime) -> Self {
        let instances: Vec<_> = names.into_iter().map(|name| Instance::new(&name)).collect();
        let chosen = if instances.len() == 1 { Chosen::One(0) } else { Chosen::All };
        let now = Picture { instances, at };
        Self { now, stopped: None, chosen, sort: Sort::Partition, scroll: 0, help: false }
    }

    /// An instance's answer, or why there is none. An instance that was not named is ignored.
    pub(super) fn heard(&mut self, instance: usize, answer: Result<Answer, Sanitized>, at: Instant) {
        if let Some(instance) = self.now.instances.get_mut(instance) {
            instance.heard(answer, at);
        }
    }

    /// The time of day.
    pub(super) fn tick(&mut self, at: SystemTime) {
        self.now.at = at;
    }

    /// Does what a key asks for.
    pub(super) fn obey(&mut self, wish: Wish) {
        match wish {
            Wish::Choose(by) => {
                let count = self.now.instances.len();
                // All of them are one choice more, before the first.
                let choices = if count == 1 { 1 } else { count + 1 };
                let at = match self.chosen {
                    Chosen::All => 0,
                    Chosen::One(at) => at + choices - count,
                };
                let at = turned(at, by, choices);
                self.chosen = (at + count).checked_sub(choices).map_or(Chosen::All, Chosen::One);
                self.scroll = 0;
            }
            Wish::Sort(by) => {
                let at = Sort::ALL.iter().position(|sort| *sort == self.sort).unwrap_or(0);
                self.sort = Sort::ALL[turned(at, by, Sort::ALL.len())];
                self.scroll = 0;
            }
            Wish::Scroll(by) => {
                let answers = self.picture().instances.iter().filter_map(|instance| instance.answer.as_ref());
                let all = answers.map(|answer| answer.partitions.len()).sum();
                self.scroll = self.scroll.saturating_add_signed(by).min(all);
            }
            Wish::Pause => {
                self.stopped = match self.stopped {
                    Some(_) => None,
                    None => Some(self.now.clone()),
                }
            }
            Wish::Help => self.help = !self.help,
        }
    }

    /// The picture to be drawn.
    pub(super) fn picture(&self) -> &Picture {
        self.stopped.as_ref().unwrap_or(&self.now)
    }

    /// Whether the picture is stopped.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// Whose partitions and counts are shown.
    pub(super) fn chosen(&self) -> Chosen {
        self.chosen
    }

    /// The order of partitions.
    pub(super) fn sort(&self) -> Sort {
        self.sort
    }

    /// Whether everybody answers.
    pub(super) fn all_answer(&self) -> bool {
        self.now.instances.iter().all(|instance| instance.silence.is_none() && instance.answer.is_some())
    }
}

fn turned(at: usize, by: isize, count: usize) -> usize {
    let count = isize::try_from(count.max(1)).unwrap_or(isize::MAX);
    let at = isize::try_from(at).unwrap_or(0).saturating_add(by).rem_euclid(count);
    usize::try_from(at).unwrap_or(0)
}

impl Instance {
    fn new(name: &str) -> Self {
        Self { name: Sanitized::new(name), answer: None, silence: None, rates: None, heard: None }
    }

    fn heard(&mut self, answer: Result<Answer, Sanitized>, at: Instant) {
        match answer {
            Ok(answer) => {
                let between =
                    self.answer.as_ref().zip(self.heard).and_then(|(before, heard)| {
                        Rates::between(before, &answer, at.saturating_duration_since(heard))
                    });
                self.rates = between.or_else(|| Rates::lately(&answer.charts));
                (self.answer, self.silence, self.heard) = (Some(answer), None, Some(at));
            }
            // What it said last stays: its partitions are likely to be there still.
            Err(silence) => (self.silence, self.rates) = (Some(silence), None),
        }
    }
}

impl Rates {
    /// `None` where no time has passed, or the process is another.
    fn between(before: &Answer, after: &Answer, elapsed: Duration) -> Option<Self> {
        let (before, after) = (&before.tally, &after.tally);
        let rate = |before: u64, after: u64| per_second(after.checked_sub(before)?, elapsed);
        Some(Self {
            read: rate(before.records_in, after.records_in)?,
            written: rate(before.records_out, after.records_out)?,
            dead: rate(before.records_dead, after.records_dead)?,
        })
    }

    /// By the last stretch that the instance has noted itself.
    fn lately(charts: &Charts) -> Option<Self> {
        let elapsed = Duration::from_millis(*charts.took.last()?);
        let rate = |gains: &[u64]| per_second(*gains.last()?, elapsed);
        Some(Self {
            read: rate(&charts.records_in)?,
            written: rate(&charts.records_out)?,
            dead: rate(&charts.records_dead)?,
        })
    }

    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self { read: self.read + other.read, written: self.written + other.written, dead: self.dead + other.dead }
    }
}

/// `None` where no time has passed.
fn per_second(gained: u64, elapsed: Duration) -> Option<f64> {
    // A rate is for people: beyond 2^53 records it may be off by one.
    #[allow(clippy::cast_precision_loss, reason = "shown with three digits")]
    (elapsed >= Duration::from_millis(1)).then(|| gained as f64 / elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::super::answer::Tally;
    use super::*;

    fn answer(records: u64) -> Answer {
        let tally = Tally { records_in: records, records_out: records, ..Tally::default() };
        Answer { tally, ..Answer::default() }
    }

    fn model(count: usize) -> Model {
        Model::new((0..count).map(|at| format!("node-{at}:9464")), SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn rates_are_those_between_two_answers() {
        let (mut model, start) = (model(1), Instant::now());
        let mut read = |records, seconds| {
            let answer = match records {
                Some(records) => Ok(answer(records)),
                None => Err(Sanitized::new("gone")),
            };
            model.heard(0, answer, start + Duration::from_secs(seconds));
            model.picture().instances[0].rates.map(|rates| rates.read)
        };
        assert_eq!(read(Some(1_000), 0), None, "nothing to compare with");
        assert_eq!(read(Some(1_500), 2), Some(250.0));
        assert_eq!(read(None, 4), None);
        assert_eq!(read(Some(1_900), 6), Some(100.0), "since it was heard of last");
        assert_eq!(read(Some(10), 8), None, "another process");
        assert_eq!(read(Some(10), 8), None, "no time has passed");
        assert_eq!(read(Some(u64::MAX), 9), Some((u64::MAX - 10) as f64));
    }

    #[test]
    fn the_first_rate_is_what_the_instance_has_noted() {
        let mut noted = answer(5_000);
        noted.charts = Charts {
            took: vec![15_000, 10_000],
            records_in: vec![1, 500],
            records_out: vec![1, 400],
            records_dead: vec![1, 100],
            ..Charts::default()
        };
        let mut model = model(1);
        model.heard(0, Ok(noted), Instant::now());
        assert_eq!(model.picture().instances[0].rates, Some(Rates { read: 50.0, written: 40.0, dead: 10.0 }));
    }

    #[test]
    fn choices_and_orders_go_round() {
        let mut three = model(3);
        let seen: Vec<_> = (0..5).map(|_| (three.chosen(), three.obey(Wish::Choose(1))).0).collect();
        assert_eq!(seen, [Chosen::All, Chosen::One(0), Chosen::One(1), Chosen::One(2), Chosen::All]);
        three.obey(Wish::Choose(-2));
        assert_eq!(three.chosen(), Chosen::One(2));
        let mut one = model(1);
        one.obey(Wish::Choose(1));
        assert_eq!(one.chosen(), Chosen::One(0));
        let sorts: Vec<_> = (0..5).map(|_| (one.sort(), one.obey(Wish::Sort(-1))).0.as_str()).collect();
        assert_eq!(sorts, ["partition", "owner", "state", "lag", "partition"]);
        one.obey(Wish::Scroll(-3));
        assert_eq!(one.scroll, 0);
    }

    #[test]
    fn a_stopped_picture_stays_while_answers_come() {
        let (mut model, start) = (model(1), Instant::now());
        model.heard(0, Ok(answer(1)), start);
        model.obey(Wish::Pause);
        model.heard(0, Ok(answer(2)), start + Duration::from_secs(1));
        let records = |model: &Model| model.picture().instances[0].answer.as_ref().unwrap().tally.records_in;
        assert!(model.is_stopped() && records(&model) == 1);
        model.obey(Wish::Pause);
        assert!(!model.is_stopped() && records(&model) == 2);
        assert_eq!(model.picture().instances[0].rates.unwrap().read, 1.0);
    }
}
