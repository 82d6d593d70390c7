//! `offsets show`: a table, or JSON.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;

use super::log_ends::LogEnds;
use super::store::{Listed, Purpose, Store};
use super::{Context, Failure, ShowOffsets};
use crate::config::OffsetStoreKind;
use crate::record::Offset;
use crate::topic::TopicId;

/// What is known of one partition.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    topic: String,
    partition: i32,
    next_offset: Option<Offset>,
    end_offset: Option<Offset>,
    lag: Option<u64>,
    topic_id: Option<TopicId>,
    /// Why the stored offset can't be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Prints the stored offsets. A failure where one of them can't be read.
pub(super) async fn run(args: &ShowOffsets, context: &Context, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let (topic, kind) = (&context.config.source.topic, context.config.offsets.store);
    let on_disk = kind == OffsetStoreKind::File;
    if args.offline && !on_disk {
        return Err("only the file store can be looked at without brokers".into());
    }
    let ends = match args.offline {
        true => LogEnds::default(),
        false => match LogEnds::ask(&context.cluster, &context.config.source).await {
            Ok(ends) => ends,
            Err(error) if on_disk => {
                tell!("login-pipeline: end and lag are not known: {error}");
                LogEnds::default()
            }
            Err(error) => return Err(error.into()),
        },
    };
    let store = Store::open(&context.config, &context.cluster, Purpose::Look).await?;
    let partitions: Vec<_> = ends.partitions.keys().copied().collect();
    let stored = store.list(topic, &partitions).await?;
    let damaged = stored.values().any(Result::is_err);
    let rows = rows(topic, stored, &ends);
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &rows)?;
        writeln!(out)?;
    } else {
        table(topic, &rows, out)?;
    }
    Ok(if damaged { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Every partition that is stored or there.
fn rows(topic: &str, mut stored: Listed, ends: &LogEnds) -> Vec<Row> {
    let partitions: BTreeSet<i32> = stored.keys().chain(ends.partitions.keys()).copied().collect();
    let row = |partition| {
        let (checkpoint, error) = match stored.remove(&partition) {
            Some(Ok(checkpoint)) => (Some(checkpoint), None),
            Some(Err(error)) => (None, Some(error.to_string())),
            None => (None, None),
        };
        let next_offset = checkpoint.as_ref().map(|checkpoint| checkpoint.next_offset);
        let end_offset = ends.partitions.get(&partition).map(|ends| ends.latest);
        let lag = next_offset.zip(end_offset).map(|(next, end)| end.since(next));
        let topic_id = checkpoint.and_then(|checkpoint| checkpoint.topic_id);
        Row { topic: topic.to_owned(), partition, next_offset, end_offset, lag, topic_id, error }
    };
    partitions.into_iter().map(row).collect()
}

fn table(topic: &str, rows: &[Row], out: &mut dyn Write) -> std::io::Result<()> {
    if rows.iter().all(|row| row.next_offset.is_none() && row.error.is_none()) {
        return writeln!(out, "no offsets of {topic} are stored");
    }
    let width = topic.len().max("TOPIC".len());
    let (next, end) = ("NEXT-OFFSET", "END-OFFSET");
    writeln!(out, "{:<width$} {:>9} {next:>16} {end:>16} {:>12}  TOPIC-ID", "TOPIC", "PARTITION", "LAG")?;
    for row in rows {
        let next = if row.error.is_some() { "?".to_owned() } else { or_dash(row.next_offset) };
        let (end, lag) = (or_dash(row.end_offset), or_dash(row.lag));
        let last = row.error.clone().unwrap_or_else(|| or_dash(row.topic_id));
        writeln!(out, "{topic:<width$} {:>9} {next:>16} {end:>16} {lag:>12}  {last}", row.partition)?;
    }
    Ok(())
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::log_ends::Ends;
    use super::*;
    use crate::offsets::{Checkpoint, StoreError};

    fn stored() -> Listed {
        let whole = |partition, next_offset| Checkpoint {
            topic: "t".to_owned(),
            topic_id: Some(TopicId([7; 16])),
            partition,
            next_offset: Offset(next_offset),
            leader_epoch: None,
        };
        let damaged = StoreError::NotHeld { topic: "t".to_owned(), partition: 2 };
        BTreeMap::from([(0, Ok(whole(0, 40))), (1, Ok(whole(1, 50))), (2, Err(damaged))])
    }

    #[test]
    fn every_partition_has_a_row_and_its_lag() {
        let ends = |latest| Ends { earliest: Offset(0), latest: Offset(latest) };
        let ends =
            LogEnds { topic_id: None, partitions: BTreeMap::from([(0, ends(100)), (1, ends(50)), (3, ends(9))]) };
        let rows = rows("t", stored(), &ends);
        let told: Vec<_> = rows.iter().map(|row| (row.partition, row.end_offset.map(|end| end.0), row.lag)).collect();
        assert_eq!(told, [(0, Some(100), Some(60)), (1, Some(50), Some(0)), (2, None, None), (3, Some(9), None)]);
        let mut out = Vec::new();
        table("t", &rows, &mut out).unwrap();
        let lines = String::from_utf8(out).unwrap();
        let lines: Vec<Vec<_>> = lines.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["TOPIC", "PARTITION", "NEXT-OFFSET", "END-OFFSET", "LAG", "TOPIC-ID"]);
        assert_eq!(lines[1], ["t", "0", "40", "100", "60", "07".repeat(16).as_str()]);
        assert_eq!(lines[3][..5], ["t", "2", "?", "-", "-"]);
        assert_eq!(lines[4], ["t", "3", "-", "9", "-", "-"]);
        let json = serde_json::to_value(&rows[0]).unwrap();
        assert_eq!((json["next_offset"].as_i64(), json["lag"].as_u64()), (Some(40), Some(60)));
        assert!(json.get("error").is_none());
    }

    #[test]
    fn nothing_stored_is_said_in_words() {
        let mut out = Vec::new();
        table("t", &rows("t", Listed::new(), &LogEnds::default()), &mut out).unwrap();
        assert_eq!(out, b"no offsets of t are stored\n");
    }
}
