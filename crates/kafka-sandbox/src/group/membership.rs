//! The members of a classic group and their generation: what a coordinator writes down, and its successor reads.

use std::collections::BTreeMap;
use std::time::Duration;

use super::member::{Join, Joined, Listed, Member, Synced};
use crate::error_codes;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Membership {
    /// Counts the rebalances.
    pub generation: i32,
    /// As the members said: `consumer`, for consumers.
    pub protocol_type: Option<String>,
    /// The assignor of this generation.
    pub protocol: Option<String>,
    /// The member that hands out the parts.
    pub leader: Option<String>,
    /// The members by their ids.
    pub members: BTreeMap<String, Member>,
}

impl Membership {
    /// Returns the member that has this id across restarts.
    pub fn with_instance(&self, instance_id: &str) -> Option<&str> {
        let found = self.members.iter().find(|(_, member)| member.instance_id.as_deref() == Some(instance_id));
        found.map(|(id, _)| id.as_str())
    }

    /// Checks that someone is who it says.
    ///
    /// # Errors
    /// `FENCED_INSTANCE_ID` where another has its place, `UNKNOWN_MEMBER_ID` where it has none.
    pub fn check(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), i16> {
        match instance_id {
            Some(instance_id) => match self.with_instance(instance_id) {
                Some(id) if id == member_id => Ok(()),
                Some(_) => Err(error_codes::FENCED_INSTANCE_ID),
                None => Err(error_codes::UNKNOWN_MEMBER_ID),
            },
            None if self.members.contains_key(member_id) => Ok(()),
            None => Err(error_codes::UNKNOWN_MEMBER_ID),
        }
    }

    /// Returns whether the one who joins can take part with all who are there.
    pub fn agrees_with(&self, join: &Join) -> bool {
        if self.members.is_empty() {
            return !join.protocol_type.is_empty() && !join.protocols.is_empty();
        }
        let known_to_all = |name: &str| self.members.values().all(|member| member.knows(name));
        self.protocol_type.as_ref() == Some(&join.protocol_type)
            && join.protocols.iter().any(|(name, _)| known_to_all(name))
    }

    /// Returns the protocol that most members prefer of those that all know.
    pub fn elect_protocol(&self) -> Option<String> {
        let known_to_all = |name: &str| self.members.values().all(|member| member.knows(name));
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let preferred = member.protocols.iter().map(|(name, _)| name.as_str()).find(|name| known_to_all(name));
            *votes.entry(preferred?).or_default() += 1;
        }
        votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(name, _)| name.to_owned())
    }

    /// Returns how long the slowest member may take.
    pub fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }

    pub fn is_led_by(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    /// Gives a member, if there is one of that id, another id.
    pub fn rename(&mut self, before: &str, id: &str) {
        if let Some(member) = self.members.remove(before) {
            self.members.insert(id.to_owned(), member);
        }
        if self.is_led_by(before) {
            self.leader = Some(id.to_owned());
        }
    }

    /// Takes a member off; another leads if it did.
    pub fn remove(&mut self, member_id: &str) -> Option<Member> {
        let removed = self.members.remove(member_id);
        if self.is_led_by(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        removed
    }

    /// Returns the answer to a member's join.
    pub fn joined(&self, member_id: &str) -> Joined {
        let leads = self.is_led_by(member_id);
        Joined {
            member_id: member_id.to_owned(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            members: if leads { self.listed() } else { Vec::new() },
            skip_assignment: false,
        }
    }

    /// Returns all members.
    pub fn listed(&self) -> Vec<Listed> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let listed = |(id, member): (&String, &Member)| Listed {
            member_id: id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            metadata: member.metadata(protocol).cloned().unwrap_or_default(),
            assignment: member.assignment.clone(),
        };
        self.members.iter().map(listed).collect()
    }

    /// Returns a member's part.
    pub fn synced(&self, member_id: &str) -> Synced {
        let assignment = self.members.get(member_id).map(|member| member.assignment.clone());
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: assignment.unwrap_or_default(),
        }
    }

    /// Returns what would be written down: nothing of requests under way.
    pub fn stored(&self) -> Self {
        let mut stored = self.clone();
        for member in stored.members.values_mut() {
            (member.join, member.sync, member.synced) = (None, None, true);
        }
        stored
    }
}
