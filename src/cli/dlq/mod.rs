//! `dlq`: dead letters, counted, looked at, exported and replayed.
//!
//! ```text
//! Log (ends as of now) ──► Reader ──► Filter ──┬─► stats, list, show: masked unless --reveal
//!                             │                 ├─► export ──► file ─┐
//!                             └─► Input ──► replay, retry: Plan ──► asked ──► Work ──► offset of a group
//!                                   ▲                                          └─► the source, or the outputs
//!                                   └────────────────────────────────┘
//! ```

mod args;
mod chart;
mod counted;
mod export;
mod file;
mod filter;
mod input;
mod judge;
mod list;
mod plan;
mod progress;
mod reader;
mod replay;
mod scope;
mod shown;
mod skip;
mod standing;
mod state;
mod stats;
mod targets;
mod times;
mod told;
mod work;

use std::io::{IsTerminal, Write};
use std::pin::Pin;
use std::process::ExitCode;

use kafka_protocol::ResponseError;

pub use args::{Again, Dlq, DlqAction, ExportDlq, Filter, ListDlq, ReplayDlq, RetryDlq, ShowDlq, StatsDlq};

use super::audited::Audited;
use super::context::{Context, Failure, interruptible, until_signal};
use crate::kafka::Error;
use crate::observe::logs;
use kafka_client::Topic;

/// Counts, shows, exports, retries or replays dead letters.
///
/// # Errors
/// Where the configuration is wrong, the topic can't be read, or a record can't be written.
pub fn run(args: &Dlq, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let settings = match &args.action {
        DlqAction::Stats(args) => &args.settings,
        DlqAction::List(args) => &args.settings,
        DlqAction::Show(args) => &args.settings,
        DlqAction::Retry(args) => &args.settings,
        DlqAction::Replay(args) => &args.settings,
        DlqAction::Export(args) => &args.settings,
    };
    let context = Context::load(settings, args.patience)?;
    logs::init(context.config.log.format, "warn")?;
    let audited = Audited::dlq(&args.action, &context.config);
    audited.end(until_signal(|stop| async move {
        // In boxes: the compiler gives up on how deep they would nest otherwise.
        let work: Pin<Box<dyn Future<Output = _>>> = match &args.action {
            // These end by themselves, with their progress stored.
            DlqAction::Retry(args) => return Box::pin(replay::retry(args, &context, &stop, out)).await,
            DlqAction::Replay(args) => return Box::pin(replay::run(args, &context, &stop, out)).await,
            DlqAction::Stats(args) => Box::pin(stats::run(args, &context, out)),
            DlqAction::List(args) => Box::pin(list::run(args, &context, out)),
            DlqAction::Show(args) => Box::pin(list::show(args, &context, out)),
            DlqAction::Export(args) => Box::pin(export::run(args, &context, out)),
        };
        interruptible(&stop, work).await
    }))
}

impl Context {
    /// The dead-letter topic's name.
    fn topic(&self) -> &str {
        &self.config.dead_letter.topic
    }

    /// What dead letters' own headers begin with.
    fn prefix(&self) -> &str {
        &self.config.dead_letter.header_prefix
    }

    /// A topic as the brokers describe it.
    async fn describe(&self, topic: &str) -> Result<Topic, Error> {
        let unknown = || Error::code("look up topic", topic, ResponseError::UnknownTopicOrPartition);
        Ok(self.cluster.permissions(&[topic]).await?.remove(topic).ok_or_else(unknown)??)
    }
}

/// Whether standard output is for people.
fn for_people() -> bool {
    std::io::stdout().is_terminal()
}
