//! The offsets topic, which others may write to: whatever records there are, a partition's progress is told as its owner
//! stored it or not at all; an instance that claims a partition owns it, and what it stores then is what is read.
//!
//! An input: records, each with a key, whether its value's checksum is made right, and the value.

use login_pipeline::offsets::Checkpoint;
use login_pipeline::offsets::fuzzing::FuzzedLedger;
use login_pipeline::record::Offset;

use super::checkpoints::sealed;
use super::{MIB, Target};
use crate::input::{Input, put_field, put_nullable};

/// See the module.
pub const TARGET: Target = Target {
    name: "offsets_topic",
    about: "records of the offsets topic",
    run,
    seeds,
    words: &[
        "login-pipeline owner v1\n", "login-pipeline checkpoint v1\n", "g/t/0/1/0000000000000001", "/18446744073709551614/", "/2147483647/", "state held\n", "state released\n",
        "epoch ", "instance ", "crc32c ", "next_offset ",
    ],
    longest: 2 * 1024,
    memory: 16 * MIB,
};

const SEALED: u8 = 1;
/// The entry's checkpoint is sealed, too.
const SEALED_WITHIN: u8 = 2;

const GROUP: &str = "g";
const TOPIC: &str = "t";
const OURS: u64 = 0x00c0_ffee;

fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let mut ledger = FuzzedLedger::new(GROUP, OURS);
    let mut at = 0;
    while !input.is_empty() && at < 64 {
        let (key, seal) = (input.nullable(), input.byte());
        let value = input.nullable().map(|value| match seal {
            SEALED => sealed(value),
            SEALED_WITHIN => sealed_twice(value),
            _ => value.to_vec(),
        });
        ledger.apply(Offset(at), key, value.as_deref());
        at += 1;
    }
    for partition in ledger.partitions(TOPIC).into_iter().chain([7]).take(8) {
        claimed(&mut ledger, partition, &mut at);
    }
}

/// The instance loads a partition, claims it, and stores.
fn claimed(ledger: &mut FuzzedLedger, partition: i32, at: &mut i64) {
    let Ok(found) = ledger.checkpoint(TOPIC, partition).map(|found| found.cloned()) else { return };
    if let Some(found) = &found {
        assert!((found.topic.as_str(), found.partition) == (TOPIC, partition), "another's: {found:?}");
        assert!(found.next_offset >= Offset(0), "{found:?}");
    }
    let claim = ledger.claim(TOPIC, partition, found.clone());
    apply(ledger, claim, at);
    assert!(ledger.holds(TOPIC, partition), "it claimed {partition}, and does not own it");
    assert_eq!(ledger.checkpoint(TOPIC, partition).expect("it was told before").cloned(), found);
    let stored = Checkpoint { topic: TOPIC.to_owned(), topic_id: None, partition, next_offset: Offset(*at), leader_epoch: Some(3) };
    let update = ledger.update(TOPIC, partition, stored.clone());
    apply(ledger, update, at);
    assert_eq!(ledger.checkpoint(TOPIC, partition).expect("it was told before"), Some(&stored));
}

fn apply(ledger: &mut FuzzedLedger, records: impl IntoIterator<Item = (String, Option<String>)>, at: &mut i64) {
    for (key, value) in records {
        ledger.apply(Offset(*at), Some(key.as_bytes()), value.as_ref().map(String::as_bytes));
        *at += 1;
    }
}

fn sealed_twice(value: &[u8]) -> Vec<u8> {
    const INNER: &[u8] = b"login-pipeline checkpoint";
    let Some(inner) = value.windows(INNER.len()).position(|window| window == INNER) else { return sealed(value) };
    let (head, checkpoint) = value.split_at(inner);
    // Without the outer checksum, which is made anew.
    let end = checkpoint.windows(7).position(|seven| seven == b"crc32c ").map_or(checkpoint.len(), |at| at + 7);
    let whole = [head, &sealed(&checkpoint[..end])].concat();
    [&whole[..], format!("crc32c {:08x}\n", crc32c::crc32c(&whole)).as_bytes()].concat()
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let checkpoint = |partition: i32| Checkpoint { topic: TOPIC.to_owned(), topic_id: None, partition, next_offset: Offset(42), leader_epoch: None };
    let log = |instances: &[u64], stores: bool| {
        let mut out = Vec::new();
        let mut put = |(key, value): (String, Option<String>)| {
            put_nullable(&mut out, Some(key.as_bytes()));
            out.push(SEALED_WITHIN);
            put_nullable(&mut out, value.as_ref().map(String::as_bytes));
        };
        let mut ledger = FuzzedLedger::new(GROUP, 0);
        for instance in instances {
            let mut own = FuzzedLedger::new(GROUP, *instance);
            std::mem::swap(&mut own, &mut ledger);
            for partition in [0, 3] {
                ledger.claim(TOPIC, partition, stores.then(|| checkpoint(partition))).into_iter().for_each(&mut put);
            }
        }
        out
    };
    let mut strange = Vec::new();
    put_nullable(&mut strange, None);
    strange.push(0);
    put_field(&mut strange, b"not ours");
    vec![
        ("seed-claims".to_owned(), log(&[1, OURS, u64::MAX], true)),
        ("seed-nothing-stored".to_owned(), log(&[5], false)),
        ("seed-strange".to_owned(), strange),
    ]
}
