//! `OffsetCommit`: sets the offsets that a group's coordinator keeps. Spoken up to version 9: topic ids begin at 10.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, TopicName};
use kafka_protocol::protocol::Request;
use kafka_records::schema::Field::Since;

use super::offset_fetch::Open;
use crate::group_offset::{GroupOffset, Identity};
use crate::outbound::{Body, Outbound};
use crate::response_schema::{PARTITION_ERRORS, THROTTLE};
use crate::text::text;
use crate::versions::Api;
use crate::{Cause, Connection, Coordinator, Error, Permit};

/// The API, as it is spoken here.
pub(crate) const API: Api = Api::of::<OffsetCommitRequest>(2, 9, &[Since(3, &THROTTLE), PARTITION_ERRORS]);

/// The result of each partition's commit; nothing of those that were not sent.
pub type Committed = BTreeMap<i32, Result<(), ResponseError>>;

/// Offsets of one topic by partition, each for as long as its partition is this instance's.
pub type OffsetsHeld = BTreeMap<i32, (GroupOffset, Arc<dyn Permit>)>;

/// Names the member that commits, asked when the commit is about to leave. `None` is a plain committer, which the
/// coordinator takes only while the group has no members.
pub type Committing<'a> = &'a (dyn Fn() -> Result<Option<Identity>, Error> + Send + Sync);

/// A commit of what is still this instance's when it is written.
struct HeldOffsets<'a> {
    group: &'a str,
    topic: &'a str,
    offsets: &'a OffsetsHeld,
    who: Committing<'a>,
    version: i16,
    /// Those that were sent.
    sent: Vec<i32>,
}

impl Outbound for HeldOffsets<'_> {
    fn body(&mut self) -> Result<Body, Cause> {
        let identity = (self.who)().map_err(|error| error.cause)?;
        let held = self.offsets.iter().filter(|(_, (_, permit))| permit.holds());
        let held: Vec<_> = held.map(|(partition, (offset, _))| (*partition, offset)).collect();
        self.sent = held.iter().map(|(partition, _)| *partition).collect();
        if held.is_empty() {
            return Err(Cause::NotHeld);
        }
        let request = commit_request(self.group, identity.as_ref(), self.topic, &held, self.version);
        let body = Body::of(&request, self.version);
        body.map_err(|error| Cause::Undecodable(error.to_string()))
    }

    fn may_go_on(&self) -> bool {
        self.sent.iter().all(|partition| self.offsets.get(partition).is_some_and(|(_, permit)| permit.holds()))
    }
}

impl Coordinator {
    /// Commits offsets of one topic. Who commits, and what is still this instance's, is asked last, when the
    /// bytes are about to leave; the rest is left out.
    ///
    /// # Errors
    /// Where there is no answer, or nothing to send ([`Cause::NotHeld`]). What the coordinator says of each
    /// partition is that partition's result.
    pub async fn commit(&self, who: Committing<'_>, topic: &str, offsets: &OffsetsHeld) -> Result<Committed, Error> {
        let connection = self.connection().await?;
        self.commit_held_on(&connection, who, topic, offsets).await
    }

    /// [`Coordinator::commit`], where these partitions' offsets are as they are expected to be; else nothing is
    /// committed, and the offsets that there are come back. Both are asked of one connection: a broker that has
    /// ceased to be the coordinator, and does not know, tells offsets of before, but takes no commit.
    ///
    /// # Errors
    /// As [`Coordinator::commit`] and [`Coordinator::committed`].
    pub async fn commit_where(
        &self,
        who: Committing<'_>,
        topic: &str,
        offsets: &OffsetsHeld,
        partitions: &[i32],
        are_expected: impl FnOnce(&BTreeMap<i32, GroupOffset>) -> bool,
    ) -> Result<Result<Committed, BTreeMap<i32, GroupOffset>>, Error> {
        let connection = self.connection().await?;
        let found = self.committed_on(&connection, topic, partitions, Open::Fails).await?;
        if !are_expected(&found) {
            return Ok(Err(found));
        }
        self.commit_held_on(&connection, who, topic, offsets).await.map(Ok)
    }

    /// [`Coordinator::commit`], on this connection.
    async fn commit_held_on(
        &self,
        connection: &Arc<Connection>,
        who: Committing<'_>,
        topic: &str,
        offsets: &OffsetsHeld,
    ) -> Result<Committed, Error> {
        const DOING: &str = "commit offsets of group";
        let version = connection.version(OffsetCommitRequest::KEY).unwrap_or_default();
        let mut request = HeldOffsets { group: self.group(), topic, offsets, who, version, sent: Vec::new() };
        let deadline = connection.request_timeout();
        let answer = connection.request_outbound::<OffsetCommitRequest>(DOING, &mut request, deadline).await;
        let sent = request.sent;
        let response = self.checked(connection, answer).await?;
        connection.throttle_ms(response.throttle_time_ms);
        let told =
            response.topics.iter().filter(|found| found.name.as_str() == topic).flat_map(|topic| &topic.partitions);
        let told = told.map(|told| (told.partition_index, told.error_code));
        let told: BTreeMap<i32, i16> = told.collect();
        let outcome = |partition: &i32| match told.get(partition) {
            Some(code) => ResponseError::try_from_code(*code).map_or(Ok(()), Err),
            None => Err(ResponseError::UnknownServerError), // a broker that leaves out what it was asked
        };
        let committed: Committed = sent.iter().map(|partition| (*partition, outcome(partition))).collect();
        let moved = |code: &ResponseError| Coordinator::has_moved(&Error::code("", "", *code));
        if committed.values().any(|outcome| outcome.as_ref().is_err_and(moved)) {
            self.forget(connection).await;
        }
        Ok(committed)
    }
}

fn commit_request(
    group: &str,
    identity: Option<&Identity>,
    topic: &str,
    offsets: &[(i32, &GroupOffset)],
    version: i16,
) -> OffsetCommitRequest {
    let partitions = offsets.iter().map(|(partition, found)| {
        let committed = OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(found.offset.0)
            .with_committed_metadata(Some(text(&found.metadata)));
        if version >= 6 { committed.with_committed_leader_epoch(found.leader_epoch.unwrap_or(-1)) } else { committed }
    });
    let topic =
        OffsetCommitRequestTopic::default().with_name(TopicName(text(topic))).with_partitions(partitions.collect());
    let request = OffsetCommitRequest::default().with_group_id(GroupId(text(group))).with_topics(vec![topic]);
    let Some(identity) = identity else { return request };
    let request = request
        .with_member_id(text(&identity.member_id))
        .with_generation_id_or_member_epoch(identity.generation_or_epoch);
    if version >= 7 { request.with_group_instance_id(identity.instance_id.as_deref().map(text)) } else { request }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::protocol::Encodable;
    use kafka_records::record::Offset;

    use super::*;

    /// The encoder refuses fields that a version lacks.
    #[test]
    fn every_request_is_written_in_every_version_that_may_be_chosen() {
        let (member_id, instance_id) = ("m".to_owned(), Some("i".to_owned()));
        let member = Identity { member_id, generation_or_epoch: 3, instance_id };
        let offset = GroupOffset { offset: Offset(7), leader_epoch: Some(2), metadata: "note".to_owned() };
        let offsets = [(0, &offset)];
        for version in API.versions.min..=API.versions.max {
            for identity in [None, Some(&member)] {
                let request = commit_request("g", identity, "t", &offsets, version);
                let written = request.encode(&mut BytesMut::new(), version);
                written.unwrap_or_else(|error| panic!("OffsetCommit {version} of {identity:?}: {error}"));
            }
        }
    }
}
