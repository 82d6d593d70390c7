//! An operation that is retried until it succeeds: how long to wait before the next attempt, and what people see of it.
//!
//! Each failure is counted. The log has the first of a row, a change of class, and a reminder a minute; readiness shows
//! the failure as long as it lasts, and so does the state of the source partition that it is of:
//!
//! ```text
//! read, checkpoint, transactions of a partition ── by name ────┐
//! write to an output, by a partition's worker ── working_for ──┴─► Troubles ─► /status: retrying, blocked, last_error
//! ```

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info, warn};

use super::backoff::{Pauses, Policy};
use super::class::{ClassifiedError, ErrorClass};
use super::log_grouping::{LogGrouping, LogLine};
use crate::config::Config;
use crate::observe::{ComponentHandle, Observe, PartitionTrouble, Severity, Troubles};
use crate::record::Offset;
use crate::topic::TopicPartition;

/// The time between two log lines about a failure that lasts.
const REMINDER: Duration = Duration::from_secs(60);

tokio::task_local! {
    /// The source's partition that the task works for.
    static WORKED_FOR: Troubles;
}

/// Does the work of one source partition: whatever operation fails within it is shown as that partition's. Output topics
/// are shared, and a write to one names another topic's partition.
pub async fn working_for<F: Future>(troubles: Troubles, work: F) -> F::Output {
    WORKED_FOR.scope(troubles, work).await
}

/// Everything that retried operations share: the policy of pauses, and who is told of failures.
#[derive(Debug, Clone)]
pub struct Retries {
    observe: Observe,
    policy: Policy,
    unknown_topic_grace: Duration,
    log_grouping: LogGrouping,
}

impl Retries {
    /// Retries as the configuration says.
    pub fn new(observe: Observe, config: &Config) -> Self {
        let unknown_topic_grace = config.kafka.unknown_topic_grace;
        Self { observe, policy: Policy::new(&config.retry), unknown_topic_grace, log_grouping: LogGrouping::default() }
    }

    /// Begins an operation that has not failed yet. Metrics and log call it `operation`, readiness `name`.
    pub fn operation(&self, operation: &'static str, name: impl Into<Arc<str>>) -> Operation {
        let pauses = self.policy.pauses();
        Operation { retries: self.clone(), operation, name: name.into(), of: None, at: None, pauses, row: None }
    }

    /// Begins an operation on one partition, whose topic and number the log has in fields; `name` says what is done to it.
    pub fn operation_of(&self, operation: &'static str, name: &str, of: TopicPartition) -> Operation {
        Operation { of: Some(of.clone()), ..self.operation(operation, format!("{name} {of}")) }
    }
}

/// One operation that is retried, and the failures in a row that it may be in.
#[derive(Debug)]
pub struct Operation {
    retries: Retries,
    operation: &'static str,
    name: Arc<str>,
    of: Option<TopicPartition>,
    /// The offset in the partition that it is at.
    at: Option<Offset>,
    pauses: Pauses,
    row: Option<Row>,
}

#[derive(Debug)]
struct Row {
    since: Instant,
    said: Instant,
    class: ErrorClass,
    component: ComponentHandle,
    /// The failure on the page, where it is a source partition's.
    shown: Option<PartitionTrouble>,
}

impl Operation {
    /// Sets the offset in the partition that the operation is at from now on.
    pub fn at(&mut self, offset: Offset) -> &mut Self {
        self.at = Some(offset);
        self
    }

    /// Tells whether the last attempt failed.
    pub fn is_failing(&self) -> bool {
        self.row.is_some()
    }

    /// Notes a failure and says how long to wait before the next attempt.
    pub fn failed(&mut self, error: &impl ClassifiedError) -> Duration {
        self.failed_as(self.class_of(error), error)
    }

    /// Notes a failure of this class, whatever the error says of itself, and says how long to wait.
    pub fn failed_as(&mut self, class: ErrorClass, error: &dyn std::fmt::Display) -> Duration {
        self.retries.observe.metrics.retry(self.operation, class.as_str());
        let pause = self.pauses.after(class);
        let now = Instant::now();
        let say = self.row.as_ref().is_none_or(|row| row.class != class || now - row.said >= REMINDER);
        let row = self.row.get_or_insert_with(|| {
            let of = || self.of.as_ref().and_then(|of| self.retries.observe.partitions.troubles_of(of));
            let troubles = WORKED_FOR.try_with(Troubles::clone).ok().or_else(of);
            Row {
                since: now,
                said: now,
                class,
                component: self.retries.observe.health.component(Arc::clone(&self.name)),
                shown: troubles.map(|troubles| troubles.begin(severity(class))),
            }
        });
        row.class = class;
        let told = error.to_string();
        row.component.degraded(&told, severity(class));
        if let Some(shown) = &mut row.shown {
            shown.failed(class.as_str(), severity(class), &told);
        }
        let leads = |of: &TopicPartition| {
            let line = LogLine {
                operation: self.operation,
                class: class.as_str(),
                text: format!("{}: {told}; trying again", self.name),
            };
            self.retries.log_grouping.is_first(of, line)
        };
        if say {
            row.said = now;
        }
        if say && self.of.as_ref().is_none_or(leads) {
            let (name, attempts, class) = (&*self.name, self.pauses.attempts(), class.as_str());
            let failing_for = humantime::format_duration(Duration::from_secs((now - row.since).as_secs()));
            let (topic, partition, offset) = place(self.of.as_ref(), self.at);
            let operation = self.operation;
            match row.class {
                ErrorClass::Fatal => {
                    error!(operation, topic, partition, offset, class, attempts, %failing_for, "{name}: {error}");
                }
                _ => {
                    warn!(
                        operation,
                        topic,
                        partition,
                        offset,
                        class,
                        attempts,
                        %failing_for,
                        "{name}: {error}; trying again"
                    );
                }
            }
        }
        pause
    }

    /// Notes a success.
    pub fn succeeded(&mut self) {
        if let Some(row) = self.row.take() {
            let after = humantime::format_duration(Duration::from_secs(row.since.elapsed().as_secs()));
            let (topic, partition, offset) = place(self.of.as_ref(), self.at);
            let (operation, attempts) = (self.operation, self.pauses.attempts());
            let line = || LogLine { operation, class: "", text: format!("{}: works again", self.name) };
            if self.of.as_ref().is_none_or(|of| self.retries.log_grouping.is_first(of, line())) {
                info!(operation, topic, partition, offset, attempts, %after, "{}: works again", self.name);
            }
            self.pauses.reset();
        }
    }

    /// A topic that is unknown may be new; one that stays unknown has to be created.
    fn class_of(&self, error: &impl ClassifiedError) -> ErrorClass {
        let lasted = self.row.as_ref().map_or(Duration::ZERO, |row| row.since.elapsed());
        if error.is_unknown_topic() && lasted >= self.retries.unknown_topic_grace {
            return ErrorClass::Fatal;
        }
        error.class()
    }
}

/// Topic, partition and offset, as the log's fields have them.
fn place(of: Option<&TopicPartition>, at: Option<Offset>) -> (Option<&str>, Option<i32>, Option<i64>) {
    (of.map(|of| &*of.topic), of.map(|of| of.partition), at.map(|at| at.0))
}

/// The severity of a class for readiness: what lasts until someone fixes it makes the process unready at once.
fn severity(class: ErrorClass) -> Severity {
    match class {
        ErrorClass::Fatal | ErrorClass::Poison => Severity::Fatal,
        ErrorClass::Transient | ErrorClass::Ambiguous => Severity::Passing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::PartitionState;
    use crate::observe::logs::testing;

    #[tokio::test]
    async fn a_partition_shows_what_fails_for_it_until_it_works_again() {
        let observe = Observe::new("1.2.3", &[], Duration::ZERO, serde_json::json!({}));
        let retries = Retries::new(observe.clone(), &Config::default());
        let status = observe.partitions.partition("user-login", 3);
        let _other = observe.partitions.partition("user-login", 4);
        status.state(PartitionState::Running);
        let shown = || {
            let reports = observe.partitions.partitions();
            assert_eq!(reports[1].state, PartitionState::Starting, "the other is in no trouble");
            (reports[0].state, reports[0].last_error.clone().map(|error| error.message))
        };

        // By its name, wherever that is.
        let mut read = retries.operation_of("fetch", "read", TopicPartition::new("user-login", 3));
        read.failed_as(ErrorClass::Transient, &"gone");
        assert_eq!(shown(), (PartitionState::Retrying, Some("gone".into())));
        read.failed_as(ErrorClass::Fatal, &"not allowed");
        assert_eq!(shown(), (PartitionState::Blocked, Some("not allowed".into())));
        read.succeeded();
        assert_eq!(shown().0, PartitionState::Running);

        // By who works on it.
        let mut write = retries.operation_of("produce", "write to", TopicPartition::new("processed-user-login", 0));
        working_for(status.troubles(), async { write.failed_as(ErrorClass::Ambiguous, &"no answer") }).await;
        assert_eq!(shown(), (PartitionState::Retrying, Some("no answer".into())));
        drop(write);
        assert_eq!(shown(), (PartitionState::Running, Some("no answer".into())), "the last error stays");

        let mut nobodys = retries.operation_of("produce", "write to", TopicPartition::new("processed-user-login", 0));
        nobodys.failed_as(ErrorClass::Fatal, &"gone");
        assert_eq!(shown().0, PartitionState::Running);
    }

    #[test]
    fn the_log_says_of_which_partition_and_where() {
        let (lines, _guard) = testing::captured();
        let observe = Observe::new("1.2.3", &[], Duration::ZERO, serde_json::json!({}));
        let retries = Retries::new(observe, &Config::default());
        let mut operation = retries.operation_of("fetch", "read", TopicPartition::new("user-login", 3));
        operation.at(Offset(42)).failed_as(ErrorClass::Transient, &"gone");
        operation.succeeded();
        for line in lines.json() {
            let place = (&line["topic"], &line["partition"], &line["offset"], &line["operation"]);
            assert_eq!(place, (&"user-login".into(), &3.into(), &42.into(), &"fetch".into()), "{line}");
        }
        let said: Vec<_> = lines.json().iter().map(|line| line["message"].to_string()).collect();
        assert_eq!(said, ["\"read user-login/3: gone; trying again\"", "\"read user-login/3: works again\""]);
    }
}
