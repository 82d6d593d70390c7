//! Topic ids in Metadata, from version 10.

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{MetadataRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use kafka_sandbox::Sandbox;

use super::support::{TOPIC, with_topic};
use super::typed::Typed;

async fn topic(sandbox: &Sandbox, asked: MetadataRequestTopic, version: i16) -> MetadataResponseTopic {
    let request = MetadataRequest::default().with_topics(Some(vec![asked]));
    let answer = Typed::to(sandbox).await.ask(&request, version).await;
    answer.topics.into_iter().next().unwrap()
}

fn named() -> MetadataRequestTopic {
    MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from_static_str(TOPIC))))
}

#[tokio::test]
async fn a_topic_made_anew_has_another_id() {
    let sandbox = with_topic().await;
    for version in 0..=12 {
        let found = topic(&sandbox, named(), version).await;
        assert_eq!((found.error_code, found.partitions.len()), (0, 1), "{version}");
        assert_eq!(found.topic_id.is_nil(), version < 10, "{version}");
    }
    let before = topic(&sandbox, named(), 12).await.topic_id;
    sandbox.add_partitions(TOPIC, 2).unwrap();
    assert_eq!(topic(&sandbox, named(), 12).await.topic_id, before);
    sandbox.delete_topic(TOPIC).unwrap();
    sandbox.create_topic(TOPIC, 1).unwrap();
    assert_ne!(topic(&sandbox, named(), 12).await.topic_id, before);
}

#[tokio::test]
async fn a_topic_is_found_by_its_id_while_it_lives() {
    let sandbox = with_topic().await;
    let id = topic(&sandbox, named(), 12).await.topic_id;
    let by_id = MetadataRequestTopic::default().with_name(None).with_topic_id(id);
    let found = topic(&sandbox, by_id.clone(), 12).await;
    assert_eq!(found.name.as_ref().map(|name| name.0.as_str()), Some(TOPIC));
    sandbox.delete_topic(TOPIC).unwrap();
    let gone = topic(&sandbox, by_id, 12).await;
    assert_eq!((gone.error_code, gone.name, gone.topic_id), (100, None, id), "UNKNOWN_TOPIC_ID");
}
