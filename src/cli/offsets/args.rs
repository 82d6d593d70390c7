//! The command line of `offsets`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::super::{Patience, Settings};
use super::target::Target;

/// `offsets`
#[derive(Debug, Args)]
pub struct Offsets {
    /// What to do with them.
    #[command(subcommand)]
    pub action: OffsetsAction,

    /// How long to wait for brokers.
    #[command(flatten)]
    pub patience: Patience,
}

/// The actions on stored offsets.
#[derive(Debug, Subcommand)]
pub enum OffsetsAction {
    /// Print the stored offset of each partition, and how far behind it is
    Show(ShowOffsets),
    /// Store an offset, from which the next run goes on
    Set(SetOffsets),
    /// Write the stored offsets as JSON
    Export(ExportOffsets),
    /// Store the offsets that an export has written, in any store
    Import(ImportOffsets),
}

/// `offsets show`
#[derive(Debug, Args)]
pub struct ShowOffsets {
    /// Print JSON
    #[arg(long)]
    pub json: bool,

    /// Ask no broker: only the file store can do without
    #[arg(long)]
    pub offline: bool,

    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,
}

/// `offsets set`
#[derive(Debug, Args)]
pub struct SetOffsets {
    /// A partition, or all of them; may be repeated
    #[arg(long, value_name = "P", required = true, value_parser = partition)]
    pub partition: Vec<PartitionArg>,

    /// The next record to read: earliest, latest, an offset, or the first record of a time, as
    /// 2026-01-02T03:04:05Z or as @ and seconds since 1970
    #[arg(long, value_name = "WHERE")]
    pub to: Target,

    /// Say what would be stored, and store nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Also where an instance has the partition, or died with it; also behind the log's end. Can't
    /// override the lock of the file store, nor members of a group: Kafka refuses that
    #[arg(long)]
    pub force: bool,

    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,
}

/// `offsets export`
#[derive(Debug, Args)]
pub struct ExportOffsets {
    /// Write to this file [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,

    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,
}

/// `offsets import`
#[derive(Debug, Args)]
pub struct ImportOffsets {
    /// What an export has written
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Say what would be stored, and store nothing
    #[arg(long)]
    pub dry_run: bool,

    /// As for set; also where the topic was recreated since the export
    #[arg(long)]
    pub force: bool,

    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,
}

impl SetOffsets {
    /// The partitions chosen; all of them where `None`.
    pub fn partitions(&self) -> Option<BTreeSet<i32>> {
        let number = |arg: &PartitionArg| match arg {
            PartitionArg::All => None,
            PartitionArg::One(number) => Some(*number),
        };
        self.partition.iter().map(number).collect()
    }
}

/// One `--partition`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionArg {
    /// All partitions.
    All,
    /// This one.
    One(i32),
}

fn partition(text: &str) -> Result<PartitionArg, String> {
    match text.parse() {
        _ if text == "all" => Ok(PartitionArg::All),
        Ok(number @ 0..) => Ok(PartitionArg::One(number)),
        _ => Err("neither a partition's number nor `all`".to_owned()),
    }
}
