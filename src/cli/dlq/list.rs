//! `dlq list` and `dlq show`.

use std::io::Write;
use std::process::ExitCode;

use super::chart::terminal_columns;
use super::reader::{Log, Reader};
use super::shown::{Layout, Shown};
use super::{Context, Failure, ListDlq, ShowDlq, for_people};
use crate::cli::UsageError;
use crate::dead_letter::ErrorHeaders;
use crate::record::Offset;

pub(super) async fn run(args: &ListDlq, context: &Context, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    if args.reveal {
        note_revealed();
    }
    let log = Log::ask(context, &args.filter.partition).await?;
    let form = match terminal_columns() {
        _ if args.json => Form::Json,
        Some(columns) if for_people() => Form::Table(Layout::new(&log, columns, args.reveal)),
        _ => Form::Lines,
    };
    if let Form::Table(layout) = &form {
        layout.heading(out)?;
    }
    let mut left = args.max.unwrap_or(u64::MAX);
    for (partition, stretch) in log.stretches {
        let mut reader = Reader::new(context, log.topic_id, partition, stretch);
        while let Some(batch) = reader.next().await? {
            for entry in reader.entries(&batch) {
                let error_headers = ErrorHeaders::of(&entry.record, context.prefix());
                if entry.flaw.is_some() || !args.filter.takes(&entry.record, &error_headers) {
                    continue;
                }
                if left == 0 {
                    return Ok(ExitCode::SUCCESS);
                }
                left -= 1;
                let shown =
                    Shown { partition, record: &entry.record, error_headers: &error_headers, reveal: args.reveal };
                match &form {
                    Form::Json => shown.json(out)?,
                    Form::Table(layout) => layout.row(out, &shown)?,
                    Form::Lines => shown.line(out)?,
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// How they are listed.
enum Form {
    Json,
    Table(Layout),
    Lines,
}

pub(super) async fn show(args: &ShowDlq, context: &Context, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    if args.reveal {
        note_revealed();
    }
    let (topic, offset) = (context.topic(), args.place.offset);
    let log = Log::ask(context, args.place.partition.as_slice()).await?;
    let partition = partition_with(offset, &log, topic)?;
    let mut reader = Reader::new(context, log.topic_id, partition, (offset, offset.next()));
    if let Some(batch) = reader.next().await?
        && let Some(entry) = reader.entries(&batch).next()
    {
        if let Some(flaw) = entry.flaw {
            return Err(format!("{topic}/{partition} can't be decoded at {offset}: {}", flaw.why).into());
        }
        let error_headers = ErrorHeaders::of(&entry.record, context.prefix());
        let shown = Shown { partition, record: &entry.record, error_headers: &error_headers, reveal: args.reveal };
        shown.whole(out, context.prefix())?;
        return Ok(ExitCode::SUCCESS);
    }
    Err(format!("{topic}/{partition} has no record at {offset}: it was compacted, or never committed").into())
}

/// Says that the output is not for everybody.
pub(super) fn note_revealed() {
    tell!("login-pipeline: the output holds personal data, in the clear");
}

/// The one partition of these that has this offset.
fn partition_with(offset: Offset, log: &Log, topic: &str) -> Result<i32, Failure> {
    let having = log.stretches.iter().filter(|(_, (begin, end))| (*begin..*end).contains(&offset));
    let having: Vec<i32> = having.map(|(partition, _)| *partition).collect();
    match having[..] {
        [partition] => Ok(partition),
        [] => {
            let hold =
                |(partition, (begin, end)): (&i32, &(Offset, Offset))| format!("{partition} holds {begin} up to {end}");
            let hold: Vec<_> = log.stretches.iter().map(hold).collect();
            Err(format!("no partition of {topic} has offset {offset}: {}", hold.join(", ")).into())
        }
        [first, ..] => {
            let text =
                format!("{} partitions of {topic} have offset {offset}: say which, as {first}:{offset}", having.len());
            Err(UsageError(text).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_alone_will_do_where_it_is_in_one_partition() {
        let stretches = [(0, (Offset(0), Offset(5))), (1, (Offset(3), Offset(9)))].into();
        let log = Log { topic_id: None, stretches };
        let found = |offset| partition_with(Offset(offset), &log, "dead").map_err(|error| error.to_string());
        assert_eq!((found(2), found(8)), (Ok(0), Ok(1)));
        assert_eq!(found(4).unwrap_err(), "2 partitions of dead have offset 4: say which, as 0:4");
        assert!(found(9).unwrap_err().ends_with("has offset 9: 0 holds 0 up to 5, 1 holds 3 up to 9"));
    }
}
