//! The model as texts: tables and lists, for the live page and for plain text.

use std::collections::BTreeMap;

use super::answer::{Answer, Partition};
use super::model::{Chosen, Instance, Model, Rates, Sort};
use super::sanitize::Sanitized;
use super::table::{Cell, Column, Row, Side, Table, Tone};

const fn column(title: &'static str, side: Side, order: u8, least: usize) -> Column {
    Column { title, side, order, least }
}

const INSTANCES: &[Column] = &[
    column("INSTANCE", Side::LeftByEnd, 0, 10),
    column("STATE", Side::Left, 1, 9),
    column("IN/S", Side::Right, 2, 5),
    column("OUT/S", Side::Right, 4, 5),
    column("DEAD/S", Side::Right, 5, 6),
    column("LAG", Side::Right, 3, 4),
    column("P50", Side::Right, 7, 5),
    column("P95", Side::Right, 9, 5),
    column("P99", Side::Right, 6, 5),
    column("PARTS", Side::Right, 8, 5),
    column("UP", Side::Right, 10, 4),
    column("VERSION", Side::Left, 11, 7),
];

const PARTITIONS: &[Column] = &[
    column("PARTITION", Side::LeftByEnd, 0, 10),
    column("STATE", Side::Left, 1, 9),
    column("LAG", Side::Right, 2, 4),
    column("POSITION", Side::Right, 4, 8),
    column("COMMITTED", Side::Right, 5, 9),
    column("OWNER", Side::LeftByEnd, 3, 8),
];

const ERRORS: &[Column] = &[
    column("WHEN", Side::Left, 2, 8),
    column("WHERE", Side::LeftByEnd, 1, 10),
    column("CLASS", Side::Left, 3, 5),
    column("ERROR", Side::Left, 0, 10),
];

/// The form of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbers {
    /// With three digits or so.
    Short,
    /// With all of them.
    Exact,
}

/// The tables and lists to be seen.
#[derive(Debug)]
pub(super) struct View {
    /// One row an instance, and one for all where there are several.
    pub instances: Table,
    /// The partitions of those that are chosen.
    pub partitions: Table,
    /// How many are left out: an instance tells of its first 200.
    pub more_partitions: u64,
    /// Dead letters by reason, then the values of each field that is counted.
    pub lists: Vec<List>,
    /// Why instances are not ready, and the partitions' last errors, the newest first.
    pub errors: Table,
}

/// Counts by name, the greatest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct List {
    /// What is counted.
    pub title: String,
    /// Whether how often matters more than the share.
    pub counts: bool,
    /// All that was counted, what is not listed included.
    pub total: u64,
    /// What, and how often.
    pub rows: Vec<(String, u64)>,
}

impl View {
    /// The view of what the reader has chosen.
    pub(super) fn of(model: &Model, numbers: Numbers) -> Self {
        let picture = model.picture();
        let chosen: Vec<_> = picture.instances.iter().enumerate().filter(|(at, _)| is_chosen(model, *at)).collect();
        let answers = || chosen.iter().filter_map(|(_, instance)| Some((*instance, instance.answer.as_ref()?)));
        let more = answers().fold(0, |sum: u64, (_, answer)| sum.saturating_add(answer.more_partitions));
        Self {
            instances: Table { columns: INSTANCES, rows: instances(model, numbers) },
            partitions: Table { columns: PARTITIONS, rows: partitions(model.sort(), answers(), numbers) },
            more_partitions: more,
            lists: lists(answers().map(|(_, answer)| answer)),
            errors: Table { columns: ERRORS, rows: errors(answers(), numbers) },
        }
    }
}

fn is_chosen(model: &Model, at: usize) -> bool {
    matches!(model.chosen(), Chosen::All) || model.chosen() == Chosen::One(at)
}

fn instances(model: &Model, numbers: Numbers) -> Vec<Row> {
    let instances = &model.picture().instances;
    let mut rows = Vec::new();
    if instances.len() > 1 {
        let mut all = sum(instances, numbers);
        all.chosen = model.chosen() == Chosen::All;
        rows.push(all);
    }
    rows.extend(instances.iter().enumerate().map(|(at, instance)| {
        let mut row = instance_row(instance, numbers);
        row.chosen = model.chosen() == Chosen::One(at);
        row
    }));
    rows
}

fn instance_row(instance: &Instance, numbers: Numbers) -> Row {
    let (state, tone) = state(instance);
    let mut cells = vec![Cell::from(instance.name.to_string()), Cell { text: state.to_owned(), tone }];
    if let Some(silence) = &instance.silence {
        return Row { cells, note: Some(silence.to_string()), chosen: false };
    }
    let answer = instance.answer.as_ref();
    let lag = answer.and_then(Answer::lag);
    cells.extend(rates(instance.rates));
    cells.push(optional(lag.map(|lag| count(lag, numbers))));
    cells.extend(percentiles(answer));
    cells.push(optional(answer.map(|answer| answer.owned().to_string())));
    cells.push(optional(answer.map(|answer| age(answer.uptime_seconds))));
    cells.push(optional(answer.map(|answer| answer.version.to_string())));
    Row { cells, note: None, chosen: false }
}

/// What an operator has to know of it first.
fn state(instance: &Instance) -> (&str, Tone) {
    if instance.silence.is_some() {
        return ("no answer", Tone::Bad);
    }
    let Some(answer) = &instance.answer else { return ("asked", Tone::Plain) };
    let is_paused = || answer.partitions.iter().any(|partition| partition.state.as_str() == "paused");
    match (answer.live, answer.state.as_str(), answer.ready) {
        (false, ..) => ("not live", Tone::Bad),
        (_, "starting" | "draining", _) => (answer.state.as_str(), Tone::Warning),
        _ if is_paused() => ("paused", Tone::Bad),
        (_, _, Some(false)) => ("not ready", Tone::Bad),
        (_, _, Some(true)) => ("ready", Tone::Good),
        (_, _, None) => ("live", Tone::Good),
    }
}

/// All instances together: of latencies the worst, since percentiles can't be added.
fn sum(instances: &[Instance], numbers: Numbers) -> Row {
    let answering = instances.iter().filter(|instance| instance.silence.is_none());
    let answers: Vec<_> = answering.filter_map(|instance| instance.answer.as_ref()).collect();
    let ready = instances.iter().filter(|instance| state(instance).1 == Tone::Good).count();
    let tone = if ready == instances.len() { Tone::Good } else { Tone::Bad };
    let all = instances.iter().filter_map(|instance| instance.rates).reduce(Rates::and);
    let lag = answers.iter().try_fold(0, |sum: u64, answer| Some(sum.saturating_add(answer.lag()?)));
    let mut cells =
        vec![Cell::from("all".to_owned()), Cell { text: format!("{ready}/{} well", instances.len()), tone }];
    cells.extend(rates(all));
    cells.push(optional(lag.map(|lag| count(lag, numbers))));
    let worst = answers.iter().map(|answer| latencies(answer)).reduce(|a, b| [0, 1, 2].map(|at| a[at].max(b[at])));
    cells.extend(worst.unwrap_or_default().map(|micros| optional(micros.map(duration))));
    let owned = answers.iter().fold(0, |sum: u64, answer| sum.saturating_add(answer.owned()));
    cells.push(owned.to_string().into());
    Row { cells, note: None, chosen: false }
}

fn rates(rates: Option<Rates>) -> [Cell; 3] {
    let Rates { read, written, dead } = rates.unwrap_or_default();
    [read, written, dead].map(|rate| optional(rates.map(|_| self::rate(rate))))
}

fn percentiles(answer: Option<&Answer>) -> [Cell; 3] {
    answer.map(latencies).unwrap_or_default().map(|micros| optional(micros.map(duration)))
}

/// Median, 95 % and 99 % of the last stretch, in microseconds.
fn latencies(answer: &Answer) -> [Option<u64>; 3] {
    let charts = &answer.charts;
    [&charts.p50, &charts.p95, &charts.p99].map(|column| column.last().copied().flatten())
}

fn partitions<'a>(sort: Sort, answers: impl Iterator<Item = (&'a Instance, &'a Answer)>, numbers: Numbers) -> Vec<Row> {
    let mut all: Vec<(&Sanitized, &Partition)> = Vec::new();
    for (instance, answer) in answers {
        let owner = answer.owner().unwrap_or(&instance.name);
        all.extend(answer.partitions.iter().map(|partition| (owner, partition)));
    }
    all.sort_by(|(a_owner, a), (b_owner, b)| {
        let runs = |partition: &Partition| partition.state.as_str() == "running";
        let first = match sort {
            Sort::Partition => std::cmp::Ordering::Equal,
            Sort::Lag => b.lag.cmp(&a.lag),
            Sort::State => (runs(a), &a.state).cmp(&(runs(b), &b.state)),
            Sort::Owner => a_owner.cmp(b_owner),
        };
        first.then_with(|| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)))
    });
    let row = |(owner, partition): (&Sanitized, &Partition)| {
        let tone = match partition.state.as_str() {
            "running" => Tone::Good,
            "blocked" | "paused" => Tone::Bad,
            _ => Tone::Warning,
        };
        let cells = vec![
            Cell::from(format!("{}/{}", partition.topic, partition.partition)),
            Cell { text: partition.state.to_string(), tone },
            optional(partition.lag.map(|lag| count(lag, numbers))),
            optional(partition.position.map(|offset| offset.to_string())),
            optional(partition.committed.map(|offset| offset.to_string())),
            Cell::from(owner.to_string()),
        ];
        Row { cells, ..Row::default() }
    };
    all.into_iter().map(row).collect()
}

/// Dead letters by reason, and the counted fields, of all these together.
fn lists<'a>(answers: impl Iterator<Item = &'a Answer>) -> Vec<List> {
    let mut dead = Counts::default();
    let mut fields: Vec<(&str, Counts<'_>)> = Vec::new();
    for answer in answers {
        dead.total = dead.total.saturating_add(answer.tally.records_dead);
        answer.tally.errors.iter().for_each(|(reason, count)| dead.add(reason.as_str(), *count));
        for distribution in &answer.tally.distributions {
            let name = distribution.name.as_str();
            let at = fields.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
                fields.push((name, Counts::default()));
                fields.len() - 1
            });
            let counts = &mut fields[at].1;
            counts.total = counts.total.saturating_add(distribution.total);
            distribution.top.iter().for_each(|entry| counts.add(entry.value.as_str(), entry.count));
        }
    }
    let dead = List { counts: true, ..dead.list("dead letters") };
    std::iter::once(dead).chain(fields.into_iter().map(|(name, counts)| counts.list(name))).collect()
}

#[derive(Default)]
struct Counts<'a> {
    total: u64,
    by_name: BTreeMap<&'a str, u64>,
}

impl<'a> Counts<'a> {
    fn add(&mut self, name: &'a str, count: u64) {
        let sum = self.by_name.entry(name).or_default();
        *sum = sum.saturating_add(count);
    }

    fn list(self, title: &str) -> List {
        let mut rows: Vec<_> = self.by_name.into_iter().collect();
        rows.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let shown = |name: &str| if name.is_empty() { "(empty)".to_owned() } else { name.to_owned() };
        let rows = rows.into_iter().map(|(name, count)| (shown(name), count)).collect();
        List { title: title.to_owned(), counts: false, total: self.total, rows }
    }
}

fn errors<'a>(answers: impl Iterator<Item = (&'a Instance, &'a Answer)>, numbers: Numbers) -> Vec<Row> {
    let (mut rows, mut past) = (Vec::new(), Vec::new());
    for (instance, answer) in answers {
        let unready = answer.reasons.iter().filter(|_| instance.silence.is_none());
        rows.extend(unready.map(|reason| {
            let cells = ["now".into(), instance.name.to_string(), "unready".into(), reason.to_string()];
            Row { cells: cells.map(|text| Cell { text, tone: Tone::Bad }).into(), ..Row::default() }
        }));
        let errors = answer.partitions.iter().filter_map(|it| Some((it, it.last_error.as_ref()?)));
        past.extend(errors);
    }
    past.sort_by(|(_, a), (_, b)| b.at.cmp(&a.at));
    rows.extend(past.into_iter().map(|(partition, error)| {
        let at = error.at.as_str();
        // Of 2026-01-02T03:04:05.678Z the time of day.
        let time = at.get(11..19).filter(|_| numbers == Numbers::Short).unwrap_or(at);
        let of = format!("{}/{}", partition.topic, partition.partition);
        let cells = [time.to_owned(), of, error.class.to_string(), error.message.to_string()];
        Row { cells: cells.map(Cell::from).into(), ..Row::default() }
    }));
    rows
}

fn optional(text: Option<String>) -> Cell {
    text.unwrap_or_else(|| "-".to_owned()).into()
}

/// A number, where it is short with three digits and what they are.
pub(super) fn count(count: u64, numbers: Numbers) -> String {
    if numbers == Numbers::Exact || count < 10_000 {
        return count.to_string();
    }
    let (mut tenths, mut unit) = (count / 100, 0);
    while tenths >= 10_000 && unit < 5 {
        (tenths, unit) = (tenths / 1000, unit + 1);
    }
    let name = ["k", "M", "G", "T", "P", "E"][unit];
    if tenths >= 1000 { format!("{}{name}", tenths / 10) } else { format!("{}.{}{name}", tenths / 10, tenths % 10) }
}

fn rate(rate: f64) -> String {
    // A float becomes the nearest integer that there is.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let whole = rate.round() as u64;
    if rate > 0.0 && rate < 9.95 { format!("{rate:.1}") } else { count(whole, Numbers::Short) }
}

/// Microseconds, for people.
fn duration(micros: u64) -> String {
    let tenths = |of: u64| format!("{}.{}", micros / of, micros % of * 10 / of);
    match micros {
        0..100_000 => format!("{}ms", tenths(1_000)),
        100_000..1_000_000 => format!("{}ms", micros / 1_000),
        1_000_000..60_000_000 => format!("{}s", tenths(1_000_000)),
        _ => age(micros / 1_000_000),
    }
}

/// Seconds, by the greatest unit that there is one of.
fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let short = |number| count(number, Numbers::Short);
        let shown = [0, 9_999, 10_000, 12_345, 99_999, 100_000, 999_999, 1_000_000, 12_345_678, u64::MAX].map(short);
        assert_eq!(shown, ["0", "9999", "10.0k", "12.3k", "99.9k", "100k", "999k", "1.0M", "12.3M", "18.4E"]);
        assert_eq!(
            [0.0, 0.04, 3.25, 9.96, 500.4, 1e30, f64::INFINITY].map(rate)[..5],
            ["0", "0.0", "3.2", "10", "500"]
        );
        assert_eq!(
            [0, 1_250, 99_999, 250_000, 1_500_000, 59_999_999].map(duration),
            ["0.0ms", "1.2ms", "99.9ms", "250ms", "1.5s", "59.9s"]
        );
        assert_eq!([5, 119, 120, 7_200, 172_800].map(age), ["5s", "119s", "2m", "2h", "2d"]);
    }
}
