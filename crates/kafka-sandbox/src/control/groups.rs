//! Consumer groups without a socket: how a test moves a coordinator and reads what was committed.

use std::time::Duration;

use crate::group::{CommittedOffset, GroupDescription};
use crate::{Sandbox, SandboxError};

impl Sandbox {
    /// The node that keeps a group.
    ///
    /// # Errors
    /// That node is down: 15 (`COORDINATOR_NOT_AVAILABLE`).
    pub fn coordinator(&self, group: &str) -> Result<i32, SandboxError> {
        Ok(self.shared.lock().coordinator(group)?)
    }

    /// Gives a group another coordinator: the old one answers `NOT_COORDINATOR`, also to what it has
    /// held back; the new one knows the last generation that was complete, and all offsets. Moved to
    /// where it is, a group is read anew.
    ///
    /// # Errors
    /// There is no such node.
    pub fn move_coordinator(&self, group: &str, node: i32) -> Result<(), SandboxError> {
        let mut cluster = self.shared.lock();
        if !cluster.nodes.contains_key(&node) {
            return Err(SandboxError::NoSuchNode(node));
        }
        cluster.groups.reload(group, |entry| entry.placement.moved_to = Some(node));
        cluster.write_all_markers();
        Ok(())
    }

    /// Whether a group's coordinator answers everything with `COORDINATOR_LOAD_IN_PROGRESS`, as one
    /// does that has not read the group yet. Sessions stand still meanwhile and begin anew after.
    pub fn set_loading(&self, group: &str, loading: bool) {
        let mut cluster = self.shared.lock();
        cluster.groups.reload(group, |entry| entry.placement.loading = loading);
        cluster.write_all_markers();
    }

    /// How long groups that are new or were empty wait for more members, from now on; 100 ms unless
    /// set.
    pub fn set_initial_rebalance_delay(&self, delay: Duration) {
        self.shared.lock().groups.initial_delay = delay;
    }

    /// A group's state; `None` where nobody has named it yet.
    pub fn group(&self, group: &str) -> Option<GroupDescription> {
        self.shared.lock().groups.find(group).map(crate::group::Entry::describe)
    }

    /// What a group has committed for a partition.
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<CommittedOffset> {
        self.shared.lock().groups.find(group)?.offsets.find(topic, partition).cloned()
    }

    /// A node goes or comes back: what it held back is refused, and sessions begin anew.
    pub(crate) fn reload_groups(&self, node: i32) {
        let mut cluster = self.shared.lock();
        for group in cluster.groups.ids() {
            let moved = cluster.groups.placement(&group).moved_to;
            if moved.or_else(|| cluster.home(&group)) == Some(node) {
                cluster.groups.reload(&group, |_| ());
            }
        }
    }
}
