//! `OffsetFetch`: the offsets that a group's coordinator keeps.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{GroupId, OffsetFetchRequest, OffsetFetchResponse, TopicName};
use kafka_protocol::protocol::{Request, StrBytes};
use kafka_records::record::Offset;
use kafka_records::schema::Field::{self, Fixed, Since, Structs, Text, Until};

use crate::group_offset::GroupOffset;
use crate::response_schema::{ERROR, THROTTLE};
use crate::text::text;
use crate::versions::Api;
use crate::{Cause, Connection, Coordinator, Error};

/// The API, as it is spoken here.
pub(crate) const API: Api = Api::of::<OffsetFetchRequest>(1, 9, RESPONSE);

const RESPONSE: &[Field] = &[
    Since(3, &THROTTLE),
    Until(7, &Structs(&[Text, COMMITTED])),
    Since(2, &Until(7, &ERROR)),
    Since(8, &Structs(&[Text, Structs(&[Text, COMMITTED]), ERROR])),
];

const COMMITTED: Field = Structs(&[Fixed(4 + 8), Since(5, &Fixed(4)), Text, ERROR]);

/// What the offsets of transactions that are still open do to those that are committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Open {
    /// They keep them from being told. Brokers before 2.5 don't know of it.
    Fails,
    /// They don't count.
    IsLeftOut,
}

impl Coordinator {
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
    pub(crate) async fn committed_on(
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

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::protocol::Encodable;

    use super::*;

    /// The encoder refuses fields that a version lacks.
    #[test]
    fn every_request_is_written_in_every_version_that_may_be_chosen() {
        for version in API.versions.min..=API.versions.max {
            let written = fetch_request("g", "t", &[0, 1], Open::Fails, version).encode(&mut BytesMut::new(), version);
            written.unwrap_or_else(|error| panic!("OffsetFetch {version}: {error}"));
        }
    }
}
