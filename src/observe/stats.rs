//! The running counts in the log, and their sum at the end.

use std::fmt::{self, Write};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::tally::{DistributionSnapshot, Snapshot, TallyBoard, Totals, ValueCount};

/// Logs the counts every `interval`, with rates since the line before, and once more when
/// `shutdown` is cancelled, with rates since the start. An interval of zero logs the last line only.
pub async fn report(board: TallyBoard, interval: Duration, shutdown: CancellationToken) {
    let started = Instant::now();
    let mut last = (started, board.snapshot());
    if !interval.is_zero() {
        let mut ticks = tokio::time::interval_at(started + interval, interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while let Some(now) = shutdown.run_until_cancelled(ticks.tick()).await {
            let snapshot = board.snapshot();
            log("statistics", &snapshot, &last.1, now.duration_since(last.0));
            last = (now, snapshot);
        }
    }
    shutdown.cancelled().await;
    log("final statistics", &board.snapshot(), &Snapshot::default(), started.elapsed());
}

/// Rounded down; 0 where no time has passed.
pub(super) fn per_second(now: u64, before: u64, elapsed: Duration) -> u64 {
    let gained = u128::from(now.saturating_sub(before));
    let rate = (gained * 1_000_000).checked_div(elapsed.as_micros()).unwrap_or(0);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// The counts for people, on a few lines without a last line end.
pub fn summary(snapshot: &Snapshot) -> String {
    let totals = &snapshot.totals;
    let mut text = format!(
        "read     {} records, {} bytes\nwritten  {}\ndead     {}",
        totals.records_in, totals.bytes_in, totals.records_out, totals.records_dead
    );
    if !snapshot.errors.is_empty() {
        let _ = write!(text, " ({})", Errors(snapshot));
    }
    let _ = write!(text, "\ndropped  {}", totals.records_dropped);
    text
}

/// The counts on one row of a terminal: rates first, since the counts `before`, then totals.
pub fn row(now: &Snapshot, before: &Snapshot, elapsed: Duration) -> String {
    let (now, before) = (&now.totals, &before.totals);
    let rate = |count: fn(&Totals) -> u64| per_second(count(now), count(before), elapsed);
    format!(
        "in {}/s  out {}/s  dead {}/s   all: in {}  out {}  dead {}  dropped {}",
        rate(|totals| totals.records_in),
        rate(|totals| totals.records_out),
        rate(|totals| totals.records_dead),
        now.records_in,
        now.records_out,
        now.records_dead,
        now.records_dropped
    )
}

/// ` errors="..." device_type="..." ...`, what is empty left out.
struct Values<'a>(&'a Snapshot);

impl fmt::Display for Values<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.errors.is_empty() {
            write!(f, " errors=\"{}\"", Errors(self.0))?;
        }
        for distribution in self.0.distributions.iter().filter(|distribution| distribution.total > 0) {
            write!(f, " {}=\"{}\"", distribution.name, Top(distribution))?;
        }
        Ok(())
    }
}

struct Errors<'a>(&'a Snapshot);

impl fmt::Display for Errors<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for (reason, count) in &self.0.errors {
            write!(f, "{between}{reason}={count}")?;
            between = " ";
        }
        Ok(())
    }
}

struct Top<'a>(&'a DistributionSnapshot);

impl fmt::Display for Top<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for ValueCount { value, count } in &self.0.top {
            write!(f, "{between}{}={count}", Escaped(value))?;
            between = " ";
        }
        if self.0.other > 0 {
            write!(f, "{between}(other)={}", self.0.other)?;
        }
        Ok(())
    }
}

/// A sender's text, unable to end the line, colour the terminal, or look like something else.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("(empty)");
        }
        for c in self.0.chars() {
            match c {
                // What this line's own syntax is made of.
                ' ' | '=' | '(' => write!(f, "{}", c.escape_unicode())?,
                _ => write!(f, "{}", c.escape_debug())?,
            }
        }
        Ok(())
    }
}

fn log(what: &str, snapshot: &Snapshot, before: &Snapshot, elapsed: Duration) {
    let (now, before) = (&snapshot.totals, &before.totals);
    tracing::info!(
        records_in_per_second = per_second(now.records_in, before.records_in, elapsed),
        records_out_per_second = per_second(now.records_out, before.records_out, elapsed),
        bytes_in_per_second = per_second(now.bytes_in, before.bytes_in, elapsed),
        records_in = now.records_in,
        records_out = now.records_out,
        records_dead = now.records_dead,
        records_dropped = now.records_dropped,
        bytes_in = now.bytes_in,
        "{what}",
    );
    tracing::debug!("{what} by value:{}", Values(snapshot));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Tally;
    use crate::observe::logs::testing;

    fn counted() -> Snapshot {
        let mut tally = Tally::new(&["device_type", "locale"]);
        for (value, times) in [("android", 5), ("ios", 4), ("unknown", 1)] {
            (0..times).for_each(|_| tally.count(0, value));
        }
        tally.errors("malformed_json", 1);
        tally.errors("missing_field", 1);
        tally.errors("missing_field", 1);
        *tally.totals() = crate::observe::Totals {
            records_in: 13,
            bytes_in: 2_600,
            records_out: 10,
            records_dead: 3,
            records_dropped: 0,
        };
        tally.snapshot()
    }

    #[test]
    fn a_summary_for_people() {
        let expected = "read     13 records, 2600 bytes\nwritten  10\ndead     3 (malformed_json=1 missing_field=2)\n\
                        dropped  0";
        assert_eq!(summary(&counted()), expected);
        let row = row(&counted(), &Snapshot::default(), Duration::from_secs(2));
        assert_eq!(row, "in 6/s  out 5/s  dead 1/s   all: in 13  out 10  dead 3  dropped 0");
        let values = Values(&counted()).to_string();
        assert_eq!(values, " errors=\"malformed_json=1 missing_field=2\" device_type=\"android=5 ios=4 unknown=1\"");
    }

    #[test]
    fn hostile_values_stay_inside_their_entry() {
        let mut tally = Tally::new(&["place"]);
        for value in ["", "a b=1\"", "a b", "line\r\nfeed\u{1b}[31m", "\u{202e}left", "Zürich", "(other)"] {
            tally.count(0, value);
        }
        let text = Values(&tally.snapshot()).to_string();
        let expected = r#" place="Zürich=1 a\u{20}b=1 (other)=5""#;
        assert_eq!(text, expected);
    }

    #[test]
    fn rates_do_not_overflow() {
        assert_eq!(per_second(u64::MAX, 0, Duration::from_millis(1)), u64::MAX);
        assert_eq!(per_second(10, 0, Duration::ZERO), 0);
        assert_eq!(per_second(10, 20, Duration::from_secs(1)), 0);
        assert_eq!(per_second(25, 0, Duration::from_secs(10)), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_each_interval_and_one_at_the_end() {
        let (lines, _guard) = testing::captured();
        let board = TallyBoard::new(&["device_type"]);
        let tally = board.register();
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let steps = async {
            for pause in [5, 10] {
                tokio::time::sleep(Duration::from_secs(pause)).await;
                tally.lock().totals().records_in += 500;
                tally.lock().count(0, "ios");
            }
            tokio::time::sleep(Duration::from_secs(10)).await;
            stop.cancel();
        };
        tokio::join!(report(board.clone(), Duration::from_secs(10), shutdown), steps);

        let lines = lines.json();
        let counts: Vec<_> = lines.iter().filter(|line| line["level"] == "INFO").collect();
        let of = |name: &str| counts.iter().map(|line| line[name].clone()).collect::<Vec<_>>();
        assert_eq!(of("records_in_per_second"), [50, 50, 40]);
        assert_eq!(of("records_in").last().unwrap(), 1000);
        assert_eq!(of("message"), ["statistics", "statistics", "final statistics"]);
    }
}
