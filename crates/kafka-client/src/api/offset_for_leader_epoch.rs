//! `OffsetForLeaderEpoch` (KIP-320): whether a leader's log holds what was read of another's.
//!
//! ```text
//! read of the old leader    1 1 1 1 2 2 2 2│          position 8, leader epoch 2
//! the new leader's log      1 1 1 1 2 2│3 3 3 3       epoch 2 ends at 6: what was read of 6 and 7 is gone
//! ```
//! Every batch bears the epoch of the leader that wrote it, and an epoch has one leader. So two logs
//! that have the same epoch are the same up to where it ends in the shorter one.
//!
//! A fetch could ask the same from version 12 on (`last_fetched_epoch`). It would ask it each time,
//! answers an epoch that the leader does not know as an offset out of range, and needs Kafka 2.7.
//! Kafka's own consumer asks as this does, where the leader changes. Spoken from version 3 on: before, it took rights on
//! the cluster.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{BrokerId, OffsetForLeaderEpochRequest, TopicName};
use kafka_protocol::protocol::{Request, StrBytes};
use kafka_records::record::{Offset, Position};
use kafka_records::schema::Field::{Fixed, Structs, Text};

use crate::response_schema::{ERROR, THROTTLE};
use crate::versions::Api;
use crate::{Cause, Connection, Error};

/// The API, as it is spoken here.
pub(crate) const API: Api =
    Api::of::<OffsetForLeaderEpochRequest>(3, 4, &[THROTTLE, Structs(&[Text, Structs(&[ERROR, Fixed(4 + 4 + 8)])])]);

/// What is done, for errors.
pub(crate) const DOING: &str = "validate the position in";

/// What a leader says of an epoch that it does not know, and of its end.
const UNDEFINED: i32 = -1;

/// Makes sure that the log of the leader, which leads in epoch `current` where that is known, holds
/// what was read up to `position`. Where the position has no epoch, or the broker is older than
/// Kafka 2.3, nothing is asked.
///
/// # Errors
/// [`Cause::Truncated`] where it does not; whatever keeps the leader from answering, and every error
/// code it gives.
pub(crate) async fn validate(
    connection: &Connection,
    current: Option<i32>,
    (topic, partition): (&str, i32),
    position: Position,
) -> Result<(), Error> {
    let Some(epoch) = position.leader_epoch else { return Ok(()) };
    if connection.version(OffsetForLeaderEpochRequest::KEY).is_err() {
        return Ok(());
    }
    let failed = |cause| Error { doing: DOING, on: format!("{topic}/{partition}"), cause };
    let asked = OffsetForLeaderPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(current.unwrap_or(-1))
        .with_leader_epoch(epoch);
    let asked = OffsetForLeaderTopic::default()
        .with_topic(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partitions(vec![asked]);
    let request = OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![asked]);
    let response = connection.request(DOING, &request).await?;
    connection.throttle_ms(response.throttle_time_ms);
    let found = response.topics.into_iter().filter(|found| found.topic.0.as_str() == topic);
    let found = found.flat_map(|found| found.partitions).find(|found| found.partition == partition);
    let found = found.ok_or_else(|| failed(Cause::Undecodable("it names another partition".to_owned())))?;
    if let Some(code) = ResponseError::try_from_code(found.error_code) {
        return Err(failed(Cause::Code(code)));
    }
    let end =
        EpochEnd::of(found.leader_epoch, found.end_offset, epoch).map_err(|why| failed(Cause::Undecodable(why)))?;
    match end.compared(position, epoch) {
        Compared::Holds => Ok(()),
        Compared::Differs(diverged) => Err(failed(Cause::Truncated { before: position, diverged })),
    }
}

/// Where a leader's log ends for an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EpochEnd {
    /// The latest epoch in it that is not later than the one that was asked for, and its end.
    Known { epoch: i32, end: Offset },
    /// It has no such epoch: it is another topic's, or was truncated to nothing.
    Unknown,
}

/// What that says of a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compared {
    /// What was read is there.
    Holds,
    /// It is not, at the latest from there on; `None` where that can't be told.
    Differs(Option<Position>),
}

impl EpochEnd {
    /// # Errors
    /// What can't be an answer to what was asked.
    fn of(epoch: i32, end: i64, asked: i32) -> Result<Self, String> {
        match (epoch, end) {
            (UNDEFINED, _) | (_, -1) => Ok(Self::Unknown),
            (..0, _) => Err(format!("{epoch} is no leader epoch")),
            (_, ..0) => Err(format!("{end} is no offset")),
            _ if epoch > asked => Err(format!("it tells of leader epoch {epoch}, asked for {asked}")),
            _ => Ok(Self::Known { epoch, end: Offset(end) }),
        }
    }

    /// Compares with what was read up to `position`, the last of it in epoch `read`. A leader that
    /// knows an earlier epoch only never had the last record that was read, wherever that epoch ends.
    fn compared(self, position: Position, read: i32) -> Compared {
        match self {
            Self::Known { epoch, end } if epoch == read && end >= position.offset => Compared::Holds,
            Self::Known { epoch, end } => {
                let offset = end.min(position.offset);
                Compared::Differs(Some(Position { offset, leader_epoch: Some(epoch) }))
            }
            Self::Unknown => Compared::Differs(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64, epoch: i32) -> Position {
        Position { offset: Offset(offset), leader_epoch: Some(epoch) }
    }

    fn compared(position: i64, read: i32, (epoch, end): (i32, i64)) -> Compared {
        EpochEnd::of(epoch, end, read).unwrap().compared(at(position, read), read)
    }

    #[test]
    fn a_log_holds_what_was_read_up_to_where_the_epoch_ends() {
        assert_eq!(compared(8, 2, (2, 8)), Compared::Holds);
        assert_eq!(compared(8, 2, (2, 20)), Compared::Holds);
        assert_eq!(compared(8, 2, (2, 6)), Compared::Differs(Some(at(6, 2))));
        assert_eq!(compared(8, 2, (1, 4)), Compared::Differs(Some(at(4, 1))));
        assert_eq!(compared(8, 2, (1, 20)), Compared::Differs(Some(at(8, 1))), "it never had the record at 7");
        assert_eq!(compared(8, 2, (-1, -1)), Compared::Differs(None));
    }

    #[test]
    fn what_can_not_be_is_refused() {
        assert_eq!(EpochEnd::of(3, 5, 2).unwrap_err(), "it tells of leader epoch 3, asked for 2");
        assert_eq!(EpochEnd::of(-7, 5, 2).unwrap_err(), "-7 is no leader epoch");
        assert_eq!(EpochEnd::of(2, -7, 2).unwrap_err(), "-7 is no offset");
    }
}
