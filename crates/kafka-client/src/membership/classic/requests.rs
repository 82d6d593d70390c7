//! Requests of a classic member.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest};
use kafka_protocol::protocol::StrBytes;

use super::super::assignor::Assignor;
use super::super::request::Request;
use super::super::subscription::{Partitions, Subscription, encode_assignment};
use super::{Classic, PROTOCOL_TYPE};
use crate::text;

impl Classic {
    pub(super) fn join(&self) -> Request {
        let owned = self.holdings.owned().clone();
        let subscription = Subscription {
            topics: BTreeSet::from([self.options.topic.clone()]),
            owned: if owned.is_empty() {
                Partitions::new()
            } else {
                Partitions::from([(self.options.topic.clone(), owned)])
            },
            generation: Some(self.generation).filter(|_| self.is_member()),
            rack: None,
        };
        let metadata = subscription.encode();
        let protocol = |assignor: &Assignor| {
            let name = StrBytes::from_static_str(assignor.name());
            JoinGroupRequestProtocol::default().with_name(name).with_metadata(metadata.clone())
        };
        let request = JoinGroupRequest::default()
            .with_group_id(self.group_id())
            .with_session_timeout_ms(millis(self.options.session_timeout))
            .with_rebalance_timeout_ms(millis(self.options.rebalance_timeout))
            .with_member_id(text(&self.member_id))
            .with_group_instance_id(self.instance_id())
            .with_protocol_type(StrBytes::from_static_str(PROTOCOL_TYPE))
            .with_protocols(self.options.assignors.iter().map(protocol).collect());
        Request::Join(request)
    }

    pub(super) fn sync(&self, shares: &BTreeMap<String, Partitions>) -> Request {
        let share = |(member, partitions): (&String, &Partitions)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(text(member))
                .with_assignment(encode_assignment(partitions, self.shared.as_ref()))
        };
        let request = SyncGroupRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(self.generation)
            .with_member_id(text(&self.member_id))
            .with_group_instance_id(self.instance_id())
            .with_protocol_type(Some(StrBytes::from_static_str(PROTOCOL_TYPE)))
            .with_protocol_name(Some(text(&self.protocol)))
            .with_assignments(shares.iter().map(share).collect());
        Request::Sync(request)
    }

    pub(super) fn heartbeat(&self) -> Request {
        let request = HeartbeatRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(self.generation)
            .with_member_id(text(&self.member_id))
            .with_group_instance_id(self.instance_id());
        Request::Heartbeat(request)
    }

    pub(super) fn leave_request(&self) -> Request {
        let member = MemberIdentity::default().with_member_id(text(&self.member_id));
        let request = LeaveGroupRequest::default().with_group_id(self.group_id()).with_members(vec![member]);
        Request::Leave(request)
    }

    /// One request of each kind.
    #[cfg(test)]
    pub(in super::super) fn requests(options: super::MemberOptions) -> Vec<Request> {
        let member = Self { member_id: "m".to_owned(), generation: 3, ..Self::new(options) };
        let shares = BTreeMap::from([("m".to_owned(), Partitions::new())]);
        vec![member.join(), member.sync(&shares), member.heartbeat(), member.leave_request()]
    }

    fn group_id(&self) -> GroupId {
        GroupId(text(&self.options.group_id))
    }

    fn instance_id(&self) -> Option<StrBytes> {
        self.options.instance_id.as_deref().map(text)
    }
}

fn millis(duration: std::time::Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
