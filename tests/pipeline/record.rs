//! A record pays for itself alone: whatever is odd about one of them, its neighbours come out.

use login_pipeline::sandbox::NewRecord;

use crate::support::{GOOD, World, dead};

/// A header whose name is not UTF-8, as librdkafka's clients may write it.
fn with_latin_1_name(record: NewRecord) -> NewRecord {
    record.header(b"caf\xe9", Some(b"x"))
}

/// rskafka fails the whole fetch on such a name, and our own reader took the whole batch for damaged.
#[tokio::test]
async fn a_header_name_that_is_not_utf_8_goes_through_as_it_is() {
    let world = World::new(1).await;
    let mut batch: Vec<_> = (0..500).map(|_| world.good()).collect();
    batch[250].0 = with_latin_1_name(batch[250].0.clone());
    let bad = with_latin_1_name(world.named(Some(b"key".to_vec()), Some(b"bad".to_vec())));
    batch.push((bad, dead("validate", "malformed_json")));
    world.append(0, batch);
    world.append(0, vec![(world.good().0, GOOD)]);
    let (audit, _) = world.run_and_audit().await;
    audit.assert_once();
    assert_eq!((audit.good, audit.dead), (501, 1));
}
