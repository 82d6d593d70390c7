//! Checkpoints as files have them: a text is a checkpoint only if it is byte for byte what is written for it.
//!
//! An input: whether the checksum is made right, and the text.

use login_pipeline::offsets::Checkpoint;
use login_pipeline::offsets::fuzzing::{decode, encode};
use login_pipeline::record::Offset;
use login_pipeline::topic::TopicId;

use super::{MIB, Target};
use crate::input::Input;

/// See the module.
pub const TARGET: Target = Target {
    name: "checkpoints",
    about: "checkpoint files",
    run,
    seeds,
    words: &["login-pipeline checkpoint v1\n", "topic ", "topic_id ", "partition ", "next_offset ", "leader_epoch ", "crc32c ", "-\n", "\r\n", "+"],
    longest: 1024,
    memory: 16 * MIB,
};

const SEALED: u8 = 1;

fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let text = match input.byte() {
        SEALED => sealed(input.rest()),
        _ => input.rest().to_vec(),
    };
    let Ok(checkpoint) = decode(&text) else { return };
    assert_eq!(encode(&checkpoint).as_bytes(), text, "not what is written");
    assert!(checkpoint.next_offset >= Offset(0), "{checkpoint:?}");
}

/// The text with a last line that has its checksum, in place of one that it may have.
pub(super) fn sealed(text: &[u8]) -> Vec<u8> {
    let end = text.windows(7).rposition(|seven| seven == b"crc32c ").unwrap_or(text.len());
    let body = &text[..end];
    [body, format!("crc32c {:08x}\n", crc32c::crc32c(body)).as_bytes()].concat()
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let whole = Checkpoint {
        topic: "user-login".to_owned(),
        topic_id: Some(TopicId([7; 16])),
        partition: 3,
        next_offset: Offset(42),
        leader_epoch: Some(5),
    };
    let bare = Checkpoint { topic_id: None, leader_epoch: None, next_offset: Offset(i64::MAX), ..whole.clone() };
    [("whole", whole), ("bare", bare)]
        .map(|(name, checkpoint)| (format!("seed-{name}"), [&[SEALED][..], encode(&checkpoint).as_bytes()].concat()))
        .to_vec()
}
