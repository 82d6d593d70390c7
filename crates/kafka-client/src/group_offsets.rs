//! `OffsetCommit` and `OffsetFetch`: the offsets that a group's coordinator keeps.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, OffsetFetchRequest, OffsetFetchResponse, TopicName};
use kafka_protocol::protocol::{Request, StrBytes};
use kafka_records::record::Offset;

use super::outbound::{Body, Outbound};
use super::{Connection, Coordinator};
use crate::Permit;
use crate::{Cause, Error};

/// Who commits: what the coordinator gave a member of the group, which it checks on each commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The member's id.
    pub member_id: String,
    /// The generation (classic) or the member's epoch (KIP-848).
    pub generation_or_epoch: i32,
    /// The id that survives restarts, where it has one.
    pub instance_id: Option<String>,
}

/// A committed offset, with what is kept beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupOffset {
    /// The next offset to read.
    pub offset: Offset,
    /// The leader epoch of the record before it, where it is known.
    pub leader_epoch: Option<i32>,
    /// What the committer noted.
    pub metadata: String,
}

/// What the offsets of transactions that are still open do to those that are committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Open {
    /// They keep them from being told. Brokers before 2.5 don't know of it.
    Fails,
    /// They don't count.
    IsLeftOut,
}

/// What became of each partition's commit; nothing of those that were not sent.
pub type Committed = BTreeMap<i32, Result<(), ResponseError>>;

/// Offsets of one topic by partition, each for as long as its partition is this instance's.
pub type OffsetsHeld = BTreeMap<i32, (GroupOffset, Arc<dyn Permit>)>;

/// As whom to commit, asked when the commit is about to leave. `None` is a plain committer, which the
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

    /// The committed offsets of some partitions of a topic; those without one are left out.
    /// Offsets of transactions that are still open make this fail until they end.
    ///
    /// # Errors
    /// Where there is no answer, or it is an error.
    pub async fn committed(&self, topic: &str, partitions: &[i32]) -> Result<BTreeMap<i32, GroupOffset>, Error> {
        let connection = self.connection().await?;
        self.committed_on(&connection, topic, partitions, Open::Fails).await
    }

    /// [`Coordinator::committed`], on this connection.
    pub(super) async fn committed_on(
        &self,
        connection: &Arc<Connection>,
        topic: &str,
        partitions: &[i32],
        open: Open,
    ) -> Result<BTreeMap<i32, GroupOffset>, Error> {
        const DOING: &str = "fetch offsets of group";
        let version = connection.version(OffsetFetchRequest::KEY).unwrap_or_default();
        let request = fetch_request(self.group(), topic, partitions, open, version);
        let answer = connection.request(DOING, &request).await;
        let response = self.checked(connection, answer).await?;
        connection.throttle_ms(response.throttle_time_ms);
        let found = fetched(&response, self.group(), topic, partitions);
        let found = found.map_err(|cause| Error { doing: DOING, on: self.group().to_owned(), cause });
        self.checked(connection, found).await
    }

    /// Lets go of the connection where an error says that it leads nowhere.
    pub(super) async fn checked<T>(&self, connection: &Arc<Connection>, result: Result<T, Error>) -> Result<T, Error> {
        if result.as_ref().is_err_and(Coordinator::has_moved) {
            self.forget(connection).await;
        }
        result
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

fn fetch_request(group: &str, topic: &str, partitions: &[i32], open: Open, version: i16) -> OffsetFetchRequest {
    let request = OffsetFetchRequest::default().with_require_stable(version >= 7 && open == Open::Fails);
    let (group, name, partitions) = (GroupId(text(group)), TopicName(text(topic)), partitions.to_vec());
    if version >= 8 {
        let topic = OffsetFetchRequestTopics::default().with_name(name).with_partition_indexes(partitions);
        let group = OffsetFetchRequestGroup::default().with_group_id(group).with_topics(Some(vec![topic]));
        request.with_groups(vec![group])
    } else {
        let topic = OffsetFetchRequestTopic::default().with_name(name).with_partition_indexes(partitions);
        request.with_group_id(group).with_topics(Some(vec![topic]))
    }
}

/// What an answer tells of one partition.
struct Told<'a> {
    partition: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: Option<&'a StrBytes>,
    code: i16,
}

/// The offsets of the partitions that were asked for. A broker tells of each, also where there is no
/// offset: one that it leaves out must not be taken for new, or reading would begin anew.
fn fetched(
    response: &OffsetFetchResponse,
    group: &str,
    topic: &str,
    partitions: &[i32],
) -> Result<BTreeMap<i32, GroupOffset>, Cause> {
    let undecodable = |why: String| Err(Cause::Undecodable(why));
    let told = match told(response, group, topic) {
        // Some brokers that are not Apache's say so of a group that has committed nothing.
        Err(Cause::Code(ResponseError::GroupIdNotFound)) => return Ok(BTreeMap::new()),
        told => told?,
    };
    let mut found = BTreeMap::new();
    for partition in partitions {
        let Some(told) = told.iter().find(|told| told.partition == *partition) else {
            return undecodable(format!("it does not tell of partition {partition} of {topic}"));
        };
        if let Some(code) = ResponseError::try_from_code(told.code) {
            return Err(Cause::Code(code));
        }
        match told.offset {
            offset @ 0.. => {
                let metadata = told.metadata.map_or_else(String::new, |metadata| metadata.to_string());
                let leader_epoch = Some(told.leader_epoch).filter(|epoch| *epoch >= 0);
                found.insert(*partition, GroupOffset { offset: Offset(offset), leader_epoch, metadata });
            }
            -1 => {} // there is none
            offset => return undecodable(format!("{offset} is no offset")),
        }
    }
    Ok(found)
}

/// All that an answer tells of a topic: since version 8 it is one of several groups'.
fn told<'a>(response: &'a OffsetFetchResponse, group: &str, topic: &str) -> Result<Vec<Told<'a>>, Cause> {
    let refused = |code| ResponseError::try_from_code(code).map_or(Ok(()), |code| Err(Cause::Code(code)));
    if response.groups.is_empty() {
        refused(response.error_code)?;
        let topics = response.topics.iter().filter(|told| told.name.as_str() == topic);
        let partitions = topics.flat_map(|told| &told.partitions).map(|p| Told {
            partition: p.partition_index,
            offset: p.committed_offset,
            leader_epoch: p.committed_leader_epoch,
            metadata: p.metadata.as_ref(),
            code: p.error_code,
        });
        return Ok(partitions.collect());
    }
    let found = response.groups.iter().find(|found| found.group_id.as_str() == group);
    let found = found.ok_or_else(|| Cause::Undecodable("it names another group".to_owned()))?;
    refused(found.error_code)?;
    let topics = found.topics.iter().filter(|told| told.name.as_str() == topic);
    let partitions = topics.flat_map(|told| &told.partitions).map(|p| Told {
        partition: p.partition_index,
        offset: p.committed_offset,
        leader_epoch: p.committed_leader_epoch,
        metadata: p.metadata.as_ref(),
        code: p.error_code,
    });
    Ok(partitions.collect())
}

/// Text as the protocol has it.
pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::protocol::Encodable;

    use super::*;

    /// The encoder refuses fields that a version lacks.
    #[test]
    fn every_request_is_written_in_every_version_that_may_be_chosen() {
        let (member_id, instance_id) = ("m".to_owned(), Some("i".to_owned()));
        let member = Identity { member_id, generation_or_epoch: 3, instance_id };
        let offset = GroupOffset { offset: Offset(7), leader_epoch: Some(2), metadata: "note".to_owned() };
        let offsets = [(0, &offset)];
        for version in 2..=9 {
            for identity in [None, Some(&member)] {
                let request = commit_request("g", identity, "t", &offsets, version);
                let written = request.encode(&mut BytesMut::new(), version);
                written.unwrap_or_else(|error| panic!("OffsetCommit {version} of {identity:?}: {error}"));
            }
        }
        for version in 1..=9 {
            let written = fetch_request("g", "t", &[0, 1], Open::Fails, version).encode(&mut BytesMut::new(), version);
            written.unwrap_or_else(|error| panic!("OffsetFetch {version}: {error}"));
        }
    }
}
