//! A checkpoint as text: a version, one line a field, and a CRC-32C of all that stands before it.
//!
//! It can be read with `cat`, and whatever is not byte for byte what this program writes is
//! refused: a truncation, a flipped bit, a later version.

use super::Checkpoint;
use crate::record::Offset;

const HEAD: &str = "login-pipeline checkpoint v1";

/// Why a text is not a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// It begins otherwise.
    #[error("it does not begin with '{0}': empty, foreign, or of another version")]
    Head(&'static str),
    /// It is cut short, or not as written.
    #[error("it is cut short or changed")]
    Shape,
    /// Its checksum is not that of its content.
    #[error("its checksum is wrong")]
    Checksum,
}

/// The text of a checkpoint.
pub(super) fn encode(checkpoint: &Checkpoint) -> String {
    let Checkpoint { topic, topic_id, partition, next_offset, leader_epoch } = checkpoint;
    let topic_id = topic_id.map_or("-".to_owned(), |id| id.to_string());
    let leader_epoch = leader_epoch.map_or("-".to_owned(), |epoch| epoch.to_string());
    let body = format!(
        "{HEAD}\ntopic {topic}\ntopic_id {topic_id}\npartition {partition}\nnext_offset {next_offset}\nleader_epoch {leader_epoch}\n"
    );
    seal(body)
}

/// The checkpoint that a text holds.
///
/// # Errors
/// Where the text is not exactly one that [`encode`] writes.
pub(super) fn decode(bytes: &[u8]) -> Result<Checkpoint, CodecError> {
    let checkpoint = fields(unseal(HEAD, bytes)?).ok_or(CodecError::Shape)?;
    if encode(&checkpoint).as_bytes() == bytes { Ok(checkpoint) } else { Err(CodecError::Shape) }
}

/// A text, and its checksum in a last line.
pub(super) fn seal(body: String) -> String {
    let crc = crc32c::crc32c(body.as_bytes());
    body + &format!("crc32c {crc:08x}\n")
}

/// The text before the checksum of what [`seal`] has written.
pub(super) fn unseal<'a>(head: &'static str, bytes: &'a [u8]) -> Result<&'a str, CodecError> {
    let text = std::str::from_utf8(bytes).map_err(|_| CodecError::Shape)?;
    if text.lines().next() != Some(head) {
        return Err(CodecError::Head(head));
    }
    let (body, crc) = text.rsplit_once("crc32c ").ok_or(CodecError::Shape)?;
    if crc == format!("{:08x}\n", crc32c::crc32c(body.as_bytes())) { Ok(body) } else { Err(CodecError::Checksum) }
}

fn fields(body: &str) -> Option<Checkpoint> {
    let mut lines = body.lines().skip(1);
    let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    Some(Checkpoint {
        topic: field("topic")?.to_owned(),
        topic_id: optional(field("topic_id")?, |text| text.parse().ok())?,
        partition: field("partition")?.parse().ok()?,
        next_offset: Offset(field("next_offset")?.parse().ok().filter(|offset| *offset >= 0)?),
        leader_epoch: optional(field("leader_epoch")?, |text| text.parse().ok())?,
    })
}

/// `Some(None)` for a dash, `None` where the text is neither a dash nor what `parse` takes.
fn optional<T>(text: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
    if text == "-" { Some(None) } else { parse(text).map(Some) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::topic::TopicId;

    fn checkpoints() -> impl Strategy<Value = Checkpoint> {
        let id = prop::option::of(any::<[u8; 16]>().prop_map(TopicId));
        ("[a-zA-Z0-9._-]{1,249}", id, 0..i32::MAX, 0..i64::MAX, prop::option::of(0..i32::MAX)).prop_map(
            |(topic, topic_id, partition, next_offset, leader_epoch)| Checkpoint {
                topic,
                topic_id,
                partition,
                next_offset: Offset(next_offset),
                leader_epoch,
            },
        )
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(checkpoint in checkpoints()) {
            prop_assert_eq!(decode(encode(&checkpoint).as_bytes()), Ok(checkpoint));
        }

        #[test]
        fn refuses_any_truncation_or_flipped_bit(checkpoint in checkpoints(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let whole = encode(&checkpoint).into_bytes();
            let at = at.index(whole.len());
            prop_assert!(decode(&whole[..at]).is_err());
            let mut flipped = whole;
            flipped[at] ^= 1 << bit;
            prop_assert!(decode(&flipped).is_err());
        }

        #[test]
        fn refuses_any_other_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(&bytes).is_err());
        }
    }

    #[test]
    fn refuses_what_has_a_right_checksum_but_no_sense() {
        let body = format!("{HEAD}\ntopic t\ntopic_id -\npartition 0\nnext_offset -5\nleader_epoch -\n");
        let text = format!("{body}crc32c {:08x}\n", crc32c::crc32c(body.as_bytes()));
        assert_eq!(decode(text.as_bytes()), Err(CodecError::Shape));
    }
}
