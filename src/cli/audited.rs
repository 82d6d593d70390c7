//! Which commands leave lines in the audit: those that write records or offsets by hand, or show personal data.

use std::iter;
use std::process::ExitCode;

use super::Out;
use super::context::Failure;
use super::dlq::{Again, DlqAction};
use super::offsets::OffsetsAction;
use crate::audit;
use crate::config::Config;
use crate::stages::Routes;

/// A command that is being carried out. It has a line already, since it may be killed before it ends.
#[derive(Debug)]
pub(super) struct Audited(Option<(&'static str, String)>);

impl Audited {
    /// Notes what is begun, where that is to be noted.
    pub(super) fn dlq(action: &DlqAction, config: &Config) -> Self {
        let topic = &config.dead_letter.topic;
        Self::begin(match action {
            DlqAction::List(args) if args.reveal => Some(("dlq.reveal", topic.clone())),
            DlqAction::Show(args) if args.reveal => {
                let partition = args.place.partition.map_or_else(String::new, |partition| format!("/{partition}"));
                Some(("dlq.reveal", format!("{topic}{partition} offset {}", args.place.offset)))
            }
            DlqAction::Export(args) => {
                let to =
                    args.output.as_ref().map_or_else(|| "standard output".into(), |path| path.display().to_string());
                Some(("dlq.export", format!("{topic} to {to}")))
            }
            DlqAction::Replay(args) if !args.again.dry_run => {
                let to = args.to.as_ref().unwrap_or(&config.source.topic);
                let to: Vec<&str> = iter::once(to).chain(&args.again.allow_topic).map(String::as_str).collect();
                Some(("dlq.replay", written_again(&args.again, topic, &to)))
            }
            DlqAction::Retry(args) if !args.again.dry_run => {
                // By the rules of routing; where they can't be read, nothing is written.
                let routes = Routes::new(config).map(|routes| routes.topics().to_vec());
                let topics = routes.unwrap_or_else(|_| vec![config.output.topic.clone()]);
                // What fails again stays where it is.
                let to: Vec<&str> = topics.iter().filter(|name| *name != topic).map(String::as_str).collect();
                Some(("dlq.retry", written_again(&args.again, topic, &to)))
            }
            DlqAction::Stats(_)
            | DlqAction::List(_)
            | DlqAction::Show(_)
            | DlqAction::Replay(_)
            | DlqAction::Retry(_) => None,
        })
    }

    /// The audit record of an `offsets` command; of one that changes nothing there is none.
    pub(super) fn offsets(action: &OffsetsAction, config: &Config) -> Self {
        let (topic, group) = (&config.source.topic, &config.group.id);
        Self::begin(match action {
            OffsetsAction::Set(args) if !args.dry_run => {
                let partitions = args.partitions().map_or_else(|| "all partitions".into(), |some| format!("{some:?}"));
                Some(("offsets.set", format!("{topic} {partitions} of group {group} to {}", args.to)))
            }
            OffsetsAction::Import(args) if !args.dry_run => {
                Some(("offsets.import", format!("{topic} of group {group} from {}", args.file.display())))
            }
            OffsetsAction::Show(_) | OffsetsAction::Export(_) | OffsetsAction::Set(_) | OffsetsAction::Import(_) => {
                None
            }
        })
    }

    fn begin(noted: Option<(&'static str, String)>) -> Self {
        if let Some((action, what)) = &noted {
            audit::note_command(action, what, "begun");
        }
        Self(noted)
    }

    /// Notes how it ended.
    pub(super) fn end(self, result: Result<ExitCode, Failure>) -> Result<ExitCode, Failure> {
        if let Self(Some((action, what))) = &self {
            let told = match &result {
                Ok(code) if *code == ExitCode::SUCCESS => "done".to_owned(),
                Ok(_) => "not done, or in part".to_owned(),
                Err(_) if Out::is_closed() => "in part: its output was closed".to_owned(),
                Err(error) => format!("failed: {error}"),
            };
            audit::note_command(action, what, &told);
        }
        result
    }
}

/// Where the dead letters come from, and which topics they may go to.
fn written_again(again: &Again, topic: &str, to: &[&str]) -> String {
    let from = again.from_file.as_ref().map_or_else(|| topic.to_owned(), |path| path.display().to_string());
    format!("{from} to {}", to.join(", "))
}
