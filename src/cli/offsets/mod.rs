//! `offsets`: the stored offsets, shown, set, and moved from one store to another.
//!
//! ```text
//! show ────┐              ┌── FileStore (its lock keeps pipelines out)
//! export ──┼── Store ─────┼── GroupStore (Kafka refuses while the group has members)
//! set ─────┤   (listed,   └── TopicAdmin (takes over, which fences a running instance)
//! import ──┘    set)
//!   └─ Change: every new offset is checked before the first is written
//! ```

mod args;
mod change;
mod log_ends;
mod set;
mod show;
mod store;
mod target;
mod transfer;

use std::io::Write;
use std::process::ExitCode;

pub use args::{ExportOffsets, ImportOffsets, Offsets, OffsetsAction, PartitionArg, SetOffsets, ShowOffsets};
pub use target::{ParseTargetError, Target};

use super::audited::Audited;
use super::context::{Context, Failure, interruptible, until_signal};
use crate::observe::logs;

/// Shows, sets, exports or imports stored offsets.
///
/// # Errors
/// Where the configuration is wrong, somebody works on the partitions, or the store can't be read or
/// written.
pub fn run(args: &Offsets, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let settings = match &args.action {
        OffsetsAction::Show(args) => &args.settings,
        OffsetsAction::Set(args) => &args.settings,
        OffsetsAction::Export(args) => &args.settings,
        OffsetsAction::Import(args) => &args.settings,
    };
    let context = Context::load(settings, args.patience)?;
    // For the audit alone.
    logs::init(context.config.log.format, "off")?;
    let audited = Audited::offsets(&args.action, &context.config);
    audited.end(until_signal(|stop| async move {
        let work = async {
            match &args.action {
                OffsetsAction::Show(args) => show::run(args, &context, out).await,
                OffsetsAction::Set(args) => set::run(args, &context, out).await,
                OffsetsAction::Export(args) => transfer::export(args, &context, out).await,
                OffsetsAction::Import(args) => transfer::import(args, &context, out).await,
            }
        };
        interruptible(&stop, work).await
    }))
}
