//! The command line of `dlq`.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use chrono::DateTime;
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use kafka_client::clock::unix_ms;

use super::super::{Patience, Settings};
use crate::event::Reason;
use crate::record::Offset;
use crate::topic;

/// `dlq`
#[derive(Debug, Args)]
pub struct Dlq {
    /// What to do with them.
    #[command(subcommand)]
    pub action: DlqAction,

    /// How long to wait for brokers.
    #[command(flatten)]
    pub patience: Patience,
}

/// The actions on dead letters.
#[derive(Debug, Subcommand)]
pub enum DlqAction {
    /// Count them by reason, field, source partition and time, and what is open of them
    Stats(StatsDlq),
    /// Print a line for each, without personal data; at a terminal a table as wide as that
    List(ListDlq),
    /// Print one, without personal data
    Show(ShowDlq),
    /// Write those that pass the rules now straight to the outputs, by the routes in force, and nothing to source.topic;
    /// what still fails stays open
    Retry(RetryDlq),
    /// Write the records that they were to source.topic again, where each of its readers gets them, or to another topic
    Replay(ReplayDlq),
    /// Write them to a file with every byte, a JSON object a line, that `replay` and `retry` take by `--from-file`
    Export(ExportDlq),
}

/// Which dead letters.
#[derive(Debug, Clone, Default, Args)]
pub struct Filter {
    /// Only those of this reason; may be repeated
    #[arg(long, visible_alias = "only", value_name = "REASON", value_parser = PossibleValuesParser::new(Reason::ALL.map(Reason::code)))]
    pub reason: Vec<String>,

    /// Only those that this field is the reason of; may be repeated
    #[arg(long, value_name = "FIELD")]
    pub field: Vec<String>,

    /// Only records of this time or later: 2026-01-02T03:04:05Z, or @ and seconds since 1970, or how long ago (1h 30m)
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<Time>,

    /// Only records from before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<Time>,

    /// Only this partition of the dead-letter topic; may be repeated
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Vec<i32>,

    /// Only those whose value holds this text
    #[arg(long, value_name = "TEXT")]
    pub grep: Option<String>,
}

/// `dlq stats`
#[derive(Debug, Args)]
pub struct StatsDlq {
    /// Print JSON [default: where the output is no terminal]
    #[arg(long, conflicts_with = "table")]
    pub json: bool,

    /// Print tables and bars also where the output is no terminal
    #[arg(long)]
    pub table: bool,

    /// Tell what is open by the progress in this consumer group [default: those of replays of everything, and of what the
    /// filters take]
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,

    /// Which.
    #[command(flatten)]
    pub filter: Filter,

    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,
}

/// `dlq list`
#[derive(Debug, Args)]
pub struct ListDlq {
    /// At most so many
    #[arg(long, value_name = "N")]
    pub max: Option<u64>,

    /// Print keys, values and headers, too: they hold personal data
    #[arg(long)]
    pub reveal: bool,

    /// Print a JSON object a line
    #[arg(long)]
    pub json: bool,

    /// Which.
    #[command(flatten)]
    pub filter: Filter,

    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,
}

/// `dlq show`
#[derive(Debug, Args)]
pub struct ShowDlq {
    /// Where it is in the dead-letter topic, as `list` prints it; the offset alone where only one
    /// partition has it
    #[arg(value_name = "[PARTITION:]OFFSET", value_parser = place)]
    pub place: Place,

    /// Print key, value and headers, too: they hold personal data
    #[arg(long)]
    pub reveal: bool,

    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,
}

/// A dead letter's place: partition and offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The partition, where it is said.
    pub partition: Option<i32>,
    /// The offset.
    pub offset: Offset,
}

/// The arguments that `replay` and `retry` have in common.
#[derive(Debug, Args)]
pub struct Again {
    /// Take what `export` wrote to this file, not what is in the topic
    #[arg(long, value_name = "FILE")]
    pub from_file: Option<PathBuf>,

    /// Take also what came from this topic, where `replay` writes it, too; may be repeated [default: source.topic alone]
    #[arg(long, value_name = "TOPIC", value_parser = topic)]
    pub allow_topic: Vec<String>,

    /// Say what would be written, and what the rules in force make of it; write nothing
    #[arg(long)]
    pub dry_run: bool,

    /// At most so many records; the next run goes on behind them
    #[arg(long, value_name = "N")]
    pub max: Option<u64>,

    /// At most so many records a second
    #[arg(long, value_name = "N")]
    pub rate: Option<NonZeroU64>,

    /// The consumer group that the progress of these filters is kept in; with a file, its SHA-256 is added [default: the
    /// application's name, -dlq-replay, and the filters and the topic, where given]
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,

    /// Don't ask before anything is written
    #[arg(long)]
    pub yes: bool,

    /// Which.
    #[command(flatten)]
    pub filter: Filter,
}

/// So many replays are enough, unless `--max-replays` says otherwise.
pub(super) const MAX_REPLAYS: NonZeroU32 = NonZeroU32::MIN.saturating_add(2);

/// `dlq replay`
#[derive(Debug, Args)]
pub struct ReplayDlq {
    /// Write to this topic [default: the one that each record came from]
    #[arg(long, value_name = "TOPIC", value_parser = topic, conflicts_with = "allow_topic")]
    pub to: Option<String>,

    /// A record that was replayed so often already goes to the quarantine topic
    #[arg(long, value_name = "N", default_value_t = MAX_REPLAYS)]
    pub max_replays: NonZeroU32,

    /// Where dead letters go, as they are, that were replayed too often: a topic that is there
    /// [default: the dead-letter topic's name and -quarantine]
    #[arg(long, value_name = "TOPIC", value_parser = topic)]
    pub quarantine_topic: Option<String>,

    /// The rest.
    #[command(flatten)]
    pub again: Again,

    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,
}

/// `dlq retry`
#[derive(Debug, Args)]
pub struct RetryDlq {
    /// All of it.
    #[command(flatten)]
    pub again: Again,

    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,
}

/// `dlq export`
#[derive(Debug, Args)]
pub struct ExportDlq {
    /// Write to this file, which appears once it is whole; nobody else may read it [default: standard
    /// output]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Replace the file where there is one
    #[arg(long, requires = "output")]
    pub overwrite: bool,

    /// Which.
    #[command(flatten)]
    pub filter: Filter,

    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,
}

fn topic(text: &str) -> Result<String, String> {
    topic::is_name(text).then(|| text.to_owned()).ok_or_else(|| "not a topic's name".to_owned())
}

/// A time on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Time {
    /// Milliseconds since the Unix epoch.
    pub unix_ms: i64,
    /// How long ago it was to be, where that was said.
    ago: Option<String>,
}

impl From<i64> for Time {
    fn from(unix_ms: i64) -> Self {
        Self { unix_ms, ago: None }
    }
}

impl Time {
    /// Whether it is another at another time.
    pub fn moves(&self) -> bool {
        self.ago.is_some()
    }

    /// The name that tells it from others: as it was typed where it moves with the clock, so that a
    /// replay goes on where it was.
    pub fn name(&self) -> String {
        self.ago.as_ref().map_or_else(|| self.unix_ms.to_string(), |ago| format!("{}-ago", ago.replace(' ', "")))
    }
}

fn time(text: &str) -> Result<Time, String> {
    let ago = || {
        let ago = i64::try_from(humantime::parse_duration(text).ok()?.as_millis()).ok()?;
        Some(unix_ms().saturating_sub(ago))
    };
    let fixed = match text.strip_prefix('@') {
        Some(seconds) => seconds.parse::<i64>().ok().and_then(|seconds| seconds.checked_mul(1000)),
        None => DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis()),
    };
    let fixed = fixed.map(Time::from);
    let time = fixed.or_else(|| Some(Time { unix_ms: ago()?, ago: Some(text.to_owned()) }));
    let wrong = "neither a time, nor @ and seconds since 1970, nor how long ago, such as 1h";
    time.filter(|time| time.unix_ms >= 0).ok_or_else(|| wrong.to_owned())
}

fn place(text: &str) -> Result<Place, String> {
    let place = || {
        let (partition, offset) = match text.split_once(':') {
            Some((partition, offset)) => (Some(partition.parse().ok().filter(|partition| *partition >= 0)?), offset),
            None => (None, text),
        };
        let offset = offset.parse().ok().filter(|offset| *offset >= 0).map(Offset)?;
        Some(Place { partition, offset })
    };
    place().ok_or_else(|| "neither OFFSET nor PARTITION:OFFSET".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_places() {
        assert_eq!(time("@5").unwrap().unix_ms, 5_000);
        assert_eq!(time("2026-01-02T03:04:05Z").unwrap().name(), "1767323045000");
        assert!(time("@-5").is_err() && time("yesterday").is_err());
        let hours = unix_ms() - time("1h 30m").unwrap().unix_ms;
        assert_eq!(time("1h 30m").unwrap().name(), "1h30m-ago");
        assert!((5_400_000..5_460_000).contains(&hours), "{hours}");
        assert_eq!(place("3:42"), Ok(Place { partition: Some(3), offset: Offset(42) }));
        assert_eq!(place("42"), Ok(Place { partition: None, offset: Offset(42) }));
        assert!(["-1:3", "1:-3", "-3", ":3", "3:", "1:2:3", ""].iter().all(|text| place(text).is_err()));
    }
}
