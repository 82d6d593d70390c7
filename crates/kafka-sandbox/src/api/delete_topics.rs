//! `DeleteTopics`: deletes topics and all that is in them; any node does, as any node of a KRaft cluster.

use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};

use super::call::{Answer, Call, Serve};
use crate::cluster::Cluster;
use crate::error_codes;
use crate::fault::Target;
use crate::schema::Field;

impl Serve for DeleteTopicsRequest {
    const SERVED: (i16, i16) = (1, 5);

    fn schema(_: i16) -> &'static [Field] {
        use Field::{Fixed, Text, Values};
        &[Values(&Text), Fixed(4)]
    }

    fn targets(&self, _: i16, _: &Cluster) -> Vec<Target> {
        self.topic_names.iter().map(|name| Target::topic(name)).collect()
    }

    fn answer(self, call: Call<'_>) -> Answer<'_> {
        let mut cluster = call.shared.lock();
        let responses = self.topic_names.into_iter().map(|name| {
            let code = match call.plan.topic_error(&name) {
                Some(code) => code,
                None => cluster.delete_topic(&name).err().unwrap_or(error_codes::NONE),
            };
            DeletableTopicResult::default().with_name(Some(name)).with_error_code(code)
        });
        let responses = responses.collect();
        drop(cluster);
        call.shared.ring();
        DeleteTopicsResponse::default().with_responses(responses).with_throttle_time_ms(call.plan.throttle_ms).into()
    }
}
