//! `offsets`: the stored offsets, shown and set while no pipeline runs.

use std::io::Write;
use std::process::ExitCode;

use super::{Offsets, OffsetsAction, SetOffsets, ShowOffsets};
use crate::offsets::{Checkpoint, FileStore};
use crate::record::Offset;

/// Shows or sets stored offsets.
///
/// # Errors
/// Where the configuration is wrong, a pipeline has the store, or a file can't be read or written.
pub fn run(args: &Offsets, out: &mut impl Write) -> Result<ExitCode, Box<dyn std::error::Error>> {
    match &args.action {
        OffsetsAction::Show(args) => show(args, out),
        OffsetsAction::Set(args) => set(args, out),
    }
}

fn show(args: &ShowOffsets, out: &mut impl Write) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let config = args.settings.load()?;
    let topic = &config.source.topic;
    let found = FileStore::peek(&config.offsets.path).list(topic)?;
    if found.is_empty() {
        writeln!(out, "no offsets of {topic} are stored in {}", config.offsets.path.display())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut damaged = false;
    writeln!(out, "{:<32} {:>9} {:>16}  TOPIC ID", "TOPIC", "PARTITION", "NEXT OFFSET")?;
    for (partition, checkpoint) in found {
        match checkpoint {
            Ok(Checkpoint { next_offset, topic_id, .. }) => {
                let topic_id = topic_id.map_or("-".to_owned(), |id| id.to_string());
                writeln!(out, "{topic:<32} {partition:>9} {next_offset:>16}  {topic_id}")?;
            }
            Err(error) => {
                damaged = true;
                writeln!(out, "{topic:<32} {partition:>9} {:>16}  {error}", "?")?;
            }
        }
    }
    Ok(if damaged { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn set(args: &SetOffsets, out: &mut impl Write) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let config = args.settings.load()?;
    let topic = &config.source.topic;
    let store = FileStore::open(&config.offsets.path)?;
    let stored = store.list(topic)?;
    let chosen = args.partitions().unwrap_or_else(|| stored.iter().map(|(partition, _)| *partition).collect());
    if chosen.is_empty() {
        return Err(format!("no offsets of {topic} are stored, so that 'all' is none: name each --partition").into());
    }
    for partition in chosen {
        let before = stored.iter().find(|(found, _)| *found == partition).and_then(|(_, found)| found.as_ref().ok());
        let checkpoint = Checkpoint {
            topic: topic.clone(),
            topic_id: before.and_then(|before| before.topic_id),
            partition,
            next_offset: Offset(args.to),
            leader_epoch: None,
        };
        store.write(&checkpoint)?;
        let before = before.map_or("none".to_owned(), |before| before.next_offset.to_string());
        writeln!(out, "{topic}/{partition}: {before} -> {}", args.to)?;
    }
    Ok(ExitCode::SUCCESS)
}
