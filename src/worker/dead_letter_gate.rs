//! The gate of a partition's dead letters: past a limit it waits until an operator resumes it, or ends the program.

use std::sync::{Arc, OnceLock};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::breaker::{Breaker, Passed};
use crate::config::{DeadLetterLimits, OnLimit};
use crate::observe::{Observe, PartitionState, PartitionStatus, Severity};
use crate::stages::Counts;
use crate::topic::TopicPartition;

/// Ends the program for a reason. Clones are the same.
#[derive(Debug, Clone)]
pub struct ShutdownHandle {
    stop: CancellationToken,
    reason: Arc<OnceLock<String>>,
}

impl ShutdownHandle {
    /// Cancels `stop` when it is called.
    pub fn new(stop: CancellationToken) -> Self {
        Self { stop, reason: Arc::default() }
    }

    /// Ends the program; the first reason is the one that is told.
    pub fn shut_down(&self, reason: String) {
        let _ = self.reason.set(reason); // who came first has said it
        self.stop.cancel();
    }

    /// The reason why it was ended, if it was.
    pub fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }
}

/// Keeps one partition's dead letters within their limits.
#[derive(Debug)]
pub(super) struct DeadLetterGate {
    breaker: Breaker,
    config: DeadLetterGateConfig,
}

/// The parts of a [`DeadLetterGate`].
#[derive(Debug)]
pub(super) struct DeadLetterGateConfig {
    /// The partition.
    pub of: TopicPartition,
    /// Metrics and readiness.
    pub observe: Observe,
    /// The partition's status, for people.
    pub status: Arc<PartitionStatus>,
    /// Ends the program.
    pub shutdown: ShutdownHandle,
}

impl DeadLetterGate {
    /// `None` where there are no limits.
    pub(super) fn new(limits: &DeadLetterLimits, config: DeadLetterGateConfig) -> Option<Self> {
        Some(Self { breaker: Breaker::new(limits)?, config })
    }

    /// Counts for the stages to go on with.
    pub(super) fn counts(&self) -> Counts {
        self.breaker.counts()
    }

    /// Judges whether a batch of so many records, staged to these counts, may be written.
    ///
    /// # Errors
    /// The limit that it would pass.
    pub(super) fn judge(&mut self, records: u64, counts: &Counts) -> Result<(), Passed> {
        self.breaker.judge(records, counts, Instant::now())
    }

    /// Lets what was judged up to now count for good.
    pub(super) fn settle(&mut self) {
        self.breaker.settle();
    }

    /// Forgets what was judged since the last [`DeadLetterGate::settle`]: it was aborted, and comes again.
    pub(super) fn roll_back(&mut self) {
        self.breaker.roll_back();
    }

    /// Counts dead letters that came of a batch after it was judged.
    pub(super) fn refused(&mut self, dead: u64) {
        if dead > 0 {
            self.breaker.refused(dead, Instant::now());
        }
    }

    /// Reports which limit was passed, and returns once an operator resumes the partition; never where the
    /// program is to end.
    pub(super) async fn wait(&mut self, passed: Passed) {
        let DeadLetterGateConfig { of, observe, status, shutdown } = &self.config;
        let TopicPartition { topic, partition } = of;
        let (topic, limit) = (&**topic, passed.limit());
        let on_limit = self.breaker.on_limit();
        let component = observe.health.component(format!("dead letters of {of}"));
        let pause = observe.paused.pause(*partition, limit);
        observe.metrics.limit_passed(limit);
        status.state(PartitionState::Paused);
        status.failed("fatal", &passed.to_string());
        match on_limit {
            OnLimit::Pause => {
                component.degraded(&format!("{passed}: paused until someone resumes it"), Severity::Fatal);
                error!(
                    topic,
                    partition,
                    limit,
                    "{passed}: {of} is paused, and nothing of the batch is written. Fix the source or the rules and restart, \
                     or let the dead letters through: POST /resume?partition={partition} at the admin port"
                );
                pause.resumed().await;
                info!(
                    topic,
                    partition,
                    "{of} is resumed: dead letters are let through until a window has been within the limits"
                );
                self.breaker.resume(Instant::now());
                status.state(PartitionState::Running);
            }
            OnLimit::Stop => {
                component.degraded(&format!("{passed}: stopping"), Severity::Fatal);
                error!(
                    topic,
                    partition, limit, "{passed}: {of} stops the program, and nothing of the batch is written"
                );
                shutdown.shut_down(format!("{of}: {passed}"));
                std::future::pending().await
            }
        }
    }
}
