//! Partitions that a member holds.

use std::collections::{BTreeSet, VecDeque};

use super::member::Event;

/// The partitions that a member holds, and the events that say how that changes.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    owned: BTreeSet<i32>,
    /// The part of `owned` that is being given up.
    releasing: BTreeSet<i32>,
    events: VecDeque<Event>,
}

impl Holdings {
    pub(super) fn owned(&self) -> &BTreeSet<i32> {
        &self.owned
    }

    pub(super) fn is_releasing(&self) -> bool {
        !self.releasing.is_empty()
    }

    /// Takes those of `partitions` that are not held yet.
    pub(super) fn assign(&mut self, partitions: &BTreeSet<i32>) {
        let new: BTreeSet<i32> = partitions.difference(&self.owned).copied().collect();
        if !new.is_empty() {
            self.owned.extend(&new);
            self.tell(Event::Assigned(new));
        }
    }

    /// Begins to give up all but `kept`. Returns whether there is anything to wait for.
    pub(super) fn keep_only(&mut self, kept: &BTreeSet<i32>) -> bool {
        let revoked: BTreeSet<i32> =
            self.owned.difference(kept).filter(|partition| !self.releasing.contains(partition)).copied().collect();
        if !revoked.is_empty() {
            self.releasing.extend(&revoked);
            self.tell(Event::Revoked(revoked));
        }
        self.is_releasing()
    }

    /// Gives these up. Returns whether any of them was being given up.
    pub(super) fn released(&mut self, partitions: &BTreeSet<i32>) -> bool {
        let before = self.releasing.len();
        for partition in partitions {
            if self.releasing.remove(partition) {
                self.owned.remove(partition);
            }
        }
        self.releasing.len() < before
    }

    /// Counts as lost what is being given up and is not finished.
    pub(super) fn lose_releasing(&mut self) {
        let lost = std::mem::take(&mut self.releasing);
        self.owned.retain(|partition| !lost.contains(partition));
        self.tell_lost(lost);
    }

    /// Counts everything as lost.
    pub(super) fn lose_all(&mut self) {
        self.releasing.clear();
        let lost = std::mem::take(&mut self.owned);
        self.tell_lost(lost);
    }

    /// Counts everything as lost with the log that it is of, and takes again what is not being given up.
    pub(super) fn begin_again(&mut self) {
        let kept: BTreeSet<i32> = self.owned.difference(&self.releasing).copied().collect();
        self.lose_all();
        self.assign(&kept);
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.events.push_back(event);
    }

    pub(super) fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn tell_lost(&mut self, lost: BTreeSet<i32>) {
        if !lost.is_empty() {
            self.tell(Event::Lost(lost));
        }
    }
}
