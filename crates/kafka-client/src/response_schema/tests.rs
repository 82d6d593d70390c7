//! The fields of each API's response against the codec: answers made up from them must be read whole by the codec and
//! written by it byte for byte, in every version that is sent; anything else must be an error. The list of APIs drives it.

use kafka_protocol::messages::FetchRequest;
use proptest::prelude::*;

use super::*;
use crate::api;
use crate::testing::filled::{Filled, TESTED, Tested, filled, filled_with};

/// Every tested answer in every version.
fn each(mut test: impl FnMut(&Tested, &Filled)) {
    for tested in TESTED {
        for version in tested.versions() {
            test(tested, &filled(tested.api, version, None));
        }
    }
}

#[test]
fn no_api_is_listed_twice_and_none_has_a_version_of_transactions_that_others_are_sent_in() {
    let keys: std::collections::BTreeSet<_> = TESTED.iter().map(|tested| tested.api.key).collect();
    assert_eq!((keys.len(), TESTED.len()), (api::ALL.len(), api::ALL.len()));
    for Tested { api, .. } in TESTED {
        assert!(!api.versions.is_empty() && api.in_transaction_v2.is_none_or(|version| version > api.versions.max));
    }
}

#[test]
fn the_codec_reads_what_the_tables_say_and_no_other_bytes() {
    each(|tested, filled| {
        let Filled { name, number, .. } = filled;
        let again = tested.again(filled.answer.clone(), *number);
        let again = again.unwrap_or_else(|error| panic!("{name} {number}: {error}"));
        assert_eq!(again, filled.answer.slice(filled.header..), "{name} {number}");
    });
}

#[test]
fn whatever_may_be_null_may_be_null() {
    let mut taken = 0;
    each(|tested, whole| {
        for null in 0..whole.nullable {
            let Filled { api, name, number, answer, header, .. } = filled(tested.api, whole.number, Some(null));
            body(api, number, &answer).unwrap_or_else(|error| panic!("{null} of {name}: {error}"));
            // Not all may: then the codec says so.
            if let Ok(again) = tested.again(answer.clone(), number) {
                assert_eq!(again, answer.slice(header..), "{name} {number} {null}");
                taken += 1;
            }
        }
    });
    assert!(taken > 100, "the codec took only {taken}");
}

/// The codec keeps a tag that it does not know; one that it knows it reads, whatever it holds.
#[test]
fn the_tags_that_the_codec_looks_into_are_in_the_tables() {
    let mut refused = 0;
    each(|tested, whole| {
        for tag in 0..10 {
            let Filled { api, name, number, answer, header, .. } =
                filled_with(tested.api, whole.number, None, Some(tag));
            if body(api, number, &answer).is_err() {
                refused += 1;
                continue;
            }
            let again = tested.again(answer.clone(), number);
            let again = again.unwrap_or_else(|error| panic!("tag {tag} of {name} {number}: {error}"));
            assert_eq!(again, answer.slice(header..), "tag {tag} of {name} {number}");
        }
    });
    assert_eq!(refused, 4 + 3 + 1, "four tags of ApiVersions 3, one of CreateTopics 5 to 7 and Produce 12");
}

#[test]
fn an_answer_cut_short_is_an_error_and_what_follows_it_is_ignored() {
    each(|tested, Filled { api, number, answer, .. }| {
        for end in 0..answer.len() {
            let cut = body(api, *number, &answer.slice(..end));
            assert_eq!(cut, Err(MalformedResponse { api_key: api.key, version: *number }), "{end}");
            assert!(tested.again(answer.slice(..end), *number).is_err());
        }
        let longer: Bytes = [answer, &b"!!"[..]].concat().into();
        let whole = body(api, *number, answer).unwrap();
        assert_eq!(body(api, *number, &longer), Ok(Body { trailing: 2, ..whole }));
    });
}

#[test]
fn a_lying_length_is_an_error_or_leaves_bytes_over_and_costs_no_memory() {
    let compact: &[&[u8]] = &[&[0xff, 0xff, 0xff, 0xff, 0x0f], &[0xff, 0xff, 0xff, 0x7f], &[0xff; 5], &[0x7f]];
    let plain: &[&[u8]] = &[&[0x7f, 0xff, 0xff, 0xff], &[0, 0xff, 0xff, 0xff], &[0x80, 0, 0, 0], &[0, 0, 0x7f, 0xff]];
    each(|tested, Filled { api, name, number, answer, lengths, .. }| {
        for &(at, width) in lengths {
            let lies: &[&[u8]] = match width {
                1 => compact,
                2 => &[&[0x7f, 0xff], &[0x80, 0], &[0xff, 0xfe]],
                _ => plain,
            };
            for lie in lies {
                let lying: Bytes = [&answer[..at], lie, &answer[at + width..]].concat().into();
                // One that fits by chance leaves bytes over, which is said.
                let fits = body(api, *number, &lying).is_ok_and(|body| body.trailing > 0);
                assert!(fits || tested.again(lying, *number).is_err(), "{name} {number}: {lie:?} at {at}");
            }
        }
    });
}

#[test]
fn any_byte_may_be_any_other() {
    each(|tested, Filled { number, answer, .. }| {
        for at in 0..answer.len() {
            for byte in [0, 2, 0x10, 0x7f, 0x80, 0xff] {
                let mut mutated = answer.to_vec();
                mutated[at] = byte;
                let _ = tested.again(mutated.into(), *number);
            }
        }
    });
}

#[test]
fn an_error_says_of_what_and_in_which_version() {
    let Filled { api, answer, .. } = filled(&api::fetch::API, 11, None);
    let error = decode::<FetchRequest>(api, 11, &answer.slice(..40)).unwrap_err();
    assert_eq!(error.to_string(), "the Fetch answer (version 11) does not hold what it claims");
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer_or_an_error(
        tested in 0..TESTED.len(), version in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0..4_u8], 0..300),
    ) {
        let tested = &TESTED[tested];
        let versions = tested.versions();
        let _ = tested.again(bytes.into(), *version.get(&versions));
    }

    #[test]
    fn an_answer_with_a_byte_changed_is_an_answer_or_an_error(
        tested in 0..TESTED.len(), version in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let tested = &TESTED[tested];
        let versions = tested.versions();
        let Filled { number, answer, .. } = filled(tested.api, *version.get(&versions), None);
        let mut mutated = answer.to_vec();
        *at.get_mut(&mut mutated) = byte;
        let _ = tested.again(mutated.into(), number);
    }
}
