//! Publishes the membership: who this member is, which partitions it owns, for how long, and what is shown of it.

use std::collections::{BTreeMap, BTreeSet};

use kafka_client::Identity;
use kafka_client::membership::{Event, Membership};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{error, info};

use crate::assignment::{Assigned, Change, TopicIncarnation};
use crate::observe::{GroupMetrics, GroupReport, Observe};
use crate::ownership::{Moment, PartitionOwnership, SessionLease};

/// Publisher of a membership.
pub(super) struct MembershipPublisher {
    identity: watch::Sender<Option<Identity>>,
    pub(super) lease: SessionLease,
    /// The last renewal of the lease: since when, and until when.
    renewal: Option<(Moment, Instant)>,
    pub(super) topic: TopicIncarnation,
    ownerships: BTreeMap<i32, PartitionOwnership>,
    metrics: GroupMetrics,
    observe: Observe,
    pub(super) report: GroupReport,
    /// The reason, once the membership has ended for good.
    pub(super) failed: Option<String>,
}

impl MembershipPublisher {
    /// A publisher of a membership that has not begun.
    pub(super) fn new(
        identity: watch::Sender<Option<Identity>>,
        group: &str,
        observe: &Observe,
        report: GroupReport,
    ) -> Self {
        Self {
            identity,
            lease: SessionLease::unlimited(),
            renewal: None,
            topic: TopicIncarnation::default(),
            ownerships: BTreeMap::new(),
            metrics: observe.metrics.group(group),
            observe: observe.clone(),
            report,
            failed: None,
        }
    }

    /// Passes on what has changed.
    ///
    /// # Errors
    /// Nobody listens any more.
    pub(super) async fn pass_on(
        &mut self,
        machine: &mut dyn Membership,
        changes: &mpsc::Sender<Change>,
    ) -> Result<(), mpsc::error::SendError<Change>> {
        while let Some(event) = machine.next_event() {
            match event {
                Event::Identity(identity) => self.note_identity(identity),
                Event::Assigned(partitions) => self.assign(partitions, changes).await?,
                Event::Revoked(partitions) => changes.send(Change::Revoked(partitions)).await?,
                Event::Lost(partitions) => self.lose(&partitions, changes).await?,
                Event::Rebalance(cause) => {
                    let (group, cause) = (&self.report.id, cause.as_str());
                    info!(group, cause, "rebalance");
                    self.metrics.rebalanced(cause);
                    *self.report.rebalances.entry(cause).or_default() += 1;
                }
                Event::Fenced => {
                    let why = fenced(&self.report);
                    error!(group = self.report.id, "{why}");
                    self.failed = Some(why);
                }
            }
        }
        Ok(())
    }

    async fn assign(
        &mut self,
        partitions: BTreeSet<i32>,
        changes: &mpsc::Sender<Change>,
    ) -> Result<(), mpsc::error::SendError<Change>> {
        let assigned = |partition| {
            let (topic_id, is_new) = (self.topic.id(), self.topic.is_new(partition));
            (partition, Assigned { ownership: PartitionOwnership::under(&self.lease), topic_id, is_new })
        };
        let partitions: BTreeMap<_, _> = partitions.into_iter().map(assigned).collect();
        self.ownerships.extend(partitions.iter().map(|(partition, assigned)| (*partition, assigned.ownership.clone())));
        changes.send(Change::Assigned(partitions)).await
    }

    pub(super) async fn lose(
        &mut self,
        partitions: &BTreeSet<i32>,
        changes: &mpsc::Sender<Change>,
    ) -> Result<(), mpsc::error::SendError<Change>> {
        // Before anything else is sent: from here on no offset of theirs is stored.
        for partition in partitions {
            self.ownerships.remove(partition).iter().for_each(PartitionOwnership::end);
        }
        if partitions.is_empty() { Ok(()) } else { changes.send(Change::Lost(partitions.clone())).await }
    }

    fn note_identity(&mut self, identity: Option<Identity>) {
        if let Some(Identity { member_id, generation_or_epoch, .. }) = &identity {
            info!(group = self.report.id, member_id, generation = generation_or_epoch, "member of the group");
            self.metrics.generation(*generation_or_epoch);
        }
        self.report.generation = identity.as_ref().map(|identity| identity.generation_or_epoch);
        self.report.member_id = identity.as_ref().map(|identity| identity.member_id.clone());
        self.identity.send_replace(identity);
    }

    /// Notes that the coordinator has answered now.
    pub(super) fn heard(&mut self) {
        self.metrics.heartbeat();
        self.report.heartbeat = Some(Instant::now());
    }

    /// Renews the lease by an answer that the member has just heard, whose request was sent at `sent`: by the clocks of
    /// then, since the machine may have slept in between.
    pub(super) fn renew_from(&mut self, sent: Moment, machine: &dyn Membership) {
        if let Some(until) = machine.lease()
            && self.renewal.is_none_or(|(_, before)| until > before)
        {
            self.renewal = Some((sent, until));
        }
        self.renew(machine);
    }

    /// Renews the lease without an answer, by which it can only become shorter.
    pub(super) fn renew(&mut self, machine: &dyn Membership) {
        if let (Some(until), Some((since, before))) = (machine.lease(), &mut self.renewal) {
            *before = until.min(*before);
            self.lease.renew(*since, before.saturating_duration_since(since.monotonic));
        }
    }

    pub(super) fn refresh(&mut self, machine: &dyn Membership) {
        self.renew(machine);
        self.metrics.assigned(machine.owned().len());
        self.report.state = machine.state();
        self.report.partitions = machine.owned().iter().copied().collect();
        self.observe.partitions.group(self.report.clone());
    }
}

/// The end of a member whose instance id another has taken, and what to do about it.
fn fenced(report: &GroupReport) -> String {
    let instance = report.instance_id.as_deref().unwrap_or_default();
    format!(
        "another member of group {} has joined as group.instance_id = {instance:?}: give each instance an id of its own",
        report.id
    )
}
