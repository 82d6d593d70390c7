//! The fields of every answer that is decoded: an answer is held against them first, so that none
//! makes the codec reserve memory for what is not there.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use kafka_records::schema::Field::{Blob, Fixed, Maybe, Since, Struct, Structs, Tags, Text, Until, Values};
use kafka_records::schema::{self, Field, Version};

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedResponse {
    /// Nobody here asks that.
    #[error("no answer to api key {0} is known")]
    Unknown(i16),
    /// It ends early, or some length in it is wrong.
    #[error("the {api:?} answer (version {version}) does not hold what it claims")]
    Claims {
        /// Of this request.
        api: ApiKey,
        /// In this version.
        version: i16,
    },
}

/// The fields of an answer's body, and how many bytes follow the last of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Body {
    /// The fields.
    pub fields: Bytes,
    /// So many bytes follow. A version's fields never change, what is new comes in a tag or another version; but some
    /// services send more all the same, and Kafka's own clients ignore it.
    pub trailing: usize,
}

/// The body of an answer, which begins with its header.
///
/// # Errors
/// Where the answer does not hold what that version of it must.
pub fn body(api_key: i16, version: i16, answer: &Bytes) -> Result<Body, MalformedResponse> {
    let api = ApiKey::try_from(api_key).map_err(|()| MalformedResponse::Unknown(api_key))?;
    let fields = fields(api).ok_or(MalformedResponse::Unknown(api_key))?;
    let header = Version { number: version, flexible: api.response_header_version(version) >= 1 };
    let number = Version { number: version, flexible: api.request_header_version(version) >= 2 };
    let body = schema::after(&[CORRELATION_ID], header, answer).ok_or(MalformedResponse::Claims { api, version })?;
    let rest = schema::after(fields, number, body).ok_or(MalformedResponse::Claims { api, version })?;
    Ok(Body { fields: answer.slice_ref(&body[..body.len() - rest.len()]), trailing: rest.len() })
}

const CORRELATION_ID: Field = Fixed(4);
const THROTTLE: Field = Fixed(4);
const ERROR: Field = Fixed(2);
const UUID: Field = Fixed(16);
const INTS: Field = Values(&Fixed(4));

/// The fields of an answer, from the oldest version that is spoken to the latest.
fn fields(api: ApiKey) -> Option<&'static [Field]> {
    Some(match api {
        ApiKey::Produce => PRODUCE,
        ApiKey::Fetch => FETCH,
        ApiKey::ListOffsets => LIST_OFFSETS,
        ApiKey::OffsetForLeaderEpoch => &[THROTTLE, Structs(&[Text, Structs(&[ERROR, Fixed(4 + 4 + 8)])])],
        ApiKey::Metadata => METADATA,
        ApiKey::OffsetCommit => OFFSET_COMMIT,
        ApiKey::OffsetFetch => OFFSET_FETCH,
        ApiKey::FindCoordinator => FIND_COORDINATOR,
        ApiKey::JoinGroup => JOIN_GROUP,
        ApiKey::Heartbeat => &[Since(1, &THROTTLE), ERROR],
        ApiKey::LeaveGroup => &[Since(1, &THROTTLE), ERROR, Since(3, &Structs(&[Text, Text, ERROR]))],
        ApiKey::SyncGroup => &[Since(1, &THROTTLE), ERROR, Since(5, &Text), Since(5, &Text), Blob],
        ApiKey::DescribeGroups => DESCRIBE_GROUPS,
        ApiKey::SaslHandshake => &[ERROR, Values(&Text)],
        ApiKey::ApiVersions => API_VERSIONS,
        ApiKey::CreateTopics => CREATE_TOPICS,
        ApiKey::DescribeConfigs => DESCRIBE_CONFIGS,
        ApiKey::InitProducerId => &[THROTTLE, ERROR, Fixed(8 + 2)],
        ApiKey::AddPartitionsToTxn | ApiKey::TxnOffsetCommit => &[THROTTLE, PARTITION_ERRORS],
        ApiKey::AddOffsetsToTxn => &[THROTTLE, ERROR],
        ApiKey::EndTxn => &[THROTTLE, ERROR, Since(5, &Fixed(8 + 2))],
        ApiKey::SaslAuthenticate => &[ERROR, Text, Blob, Since(1, &Fixed(8))],
        ApiKey::ConsumerGroupHeartbeat => CONSUMER_GROUP_HEARTBEAT,
        ApiKey::ConsumerGroupDescribe => CONSUMER_GROUP_DESCRIBE,
        ApiKey::DescribeProducers => DESCRIBE_PRODUCERS,
        _ => return None,
    })
}

/// An error for each partition of each topic.
const PARTITION_ERRORS: Field = Structs(&[Text, Structs(&[Fixed(4), ERROR])]);

const PRODUCE: &[Field] = &[
    Structs(&[
        Text,
        Structs(&[
            Fixed(4),
            ERROR,
            Fixed(8 + 8), // offset, time
            Since(5, &Fixed(8)),
            Since(8, &Structs(&[Fixed(4), Text])), // records that are the reason
            Since(8, &Text),
            Tags(&[(0, Struct(&[Fixed(4 + 4)]))]), // who leads
        ]),
    ]),
    THROTTLE,
    Tags(&[(0, Structs(&[Fixed(4), Text, Fixed(4), Text]))]), // where they listen
];

const FETCH: &[Field] = &[
    THROTTLE,
    Since(7, &ERROR),
    Since(7, &Fixed(4)), // session
    Structs(&[
        Text,
        Structs(&[
            Fixed(4),
            ERROR,
            Fixed(8 + 8), // high watermark, last stable offset
            Since(5, &Fixed(8)),
            Structs(&[Fixed(8 + 8)]), // aborted transactions
            Since(11, &Fixed(4)),
            Blob, // the records: stepped over as a whole
        ]),
    ]),
];

const LIST_OFFSETS: &[Field] =
    &[Since(2, &THROTTLE), Structs(&[Text, Structs(&[Fixed(4), ERROR, Fixed(8 + 8), Since(4, &Fixed(4))])])];

const METADATA: &[Field] = &[
    Since(3, &THROTTLE),
    Structs(&[Fixed(4), Text, Fixed(4), Text]), // brokers
    Since(2, &Text),
    Fixed(4), // controller
    Structs(&[
        ERROR,
        Text,
        Since(10, &UUID),
        Fixed(1),
        Structs(&[ERROR, Fixed(4 + 4), Since(7, &Fixed(4)), INTS, INTS, Since(5, &INTS)]),
        Since(8, &Fixed(4)),
    ]),
    Since(8, &Until(10, &Fixed(4))),
];

const OFFSET_COMMIT: &[Field] = &[Since(3, &THROTTLE), PARTITION_ERRORS];

const OFFSET_FETCH: &[Field] = &[
    Since(3, &THROTTLE),
    Until(7, &Structs(&[Text, COMMITTED])),
    Since(2, &Until(7, &ERROR)),
    Since(8, &Structs(&[Text, Structs(&[Text, COMMITTED]), ERROR])),
];

const COMMITTED: Field = Structs(&[Fixed(4 + 8), Since(5, &Fixed(4)), Text, ERROR]);

const FIND_COORDINATOR: &[Field] = &[
    Since(1, &THROTTLE),
    Until(3, &ERROR),
    Since(1, &Until(3, &Text)),
    Until(3, &Fixed(4)),
    Until(3, &Text),
    Until(3, &Fixed(4)),
    Since(4, &Structs(&[Text, Fixed(4), Text, Fixed(4), ERROR, Text])),
];

const JOIN_GROUP: &[Field] = &[
    Since(2, &THROTTLE),
    ERROR,
    Fixed(4),
    Since(7, &Text),
    Text,
    Text,
    Since(9, &Fixed(1)),
    Text,
    Structs(&[Text, Since(5, &Text), Blob]),
];

const DESCRIBE_GROUPS: &[Field] = &[
    Since(1, &THROTTLE),
    Structs(&[
        ERROR,
        Text,
        Text,
        Text,
        Text,
        Structs(&[Text, Since(4, &Text), Text, Text, Blob, Blob]),
        Since(3, &Fixed(4)),
    ]),
];

const API_VERSIONS: &[Field] = &[
    ERROR,
    Structs(&[Fixed(2 + 2 + 2)]),
    Since(1, &THROTTLE),
    Tags(&[(0, FEATURES), (1, Fixed(8)), (2, FEATURES), (3, Fixed(1))]),
];

const FEATURES: Field = Structs(&[Text, Fixed(2 + 2)]);

const CREATE_TOPICS: &[Field] = &[
    THROTTLE,
    Structs(&[
        Text,
        Since(7, &UUID),
        ERROR,
        Text,
        Since(5, &Fixed(4 + 2)),
        Since(5, &Structs(&[Text, Text, Fixed(1 + 1 + 1)])),
        Tags(&[(0, ERROR)]),
    ]),
];

const DESCRIBE_CONFIGS: &[Field] = &[
    THROTTLE,
    Structs(&[
        ERROR,
        Text,
        Fixed(1),
        Text,
        Structs(&[
            Text,
            Text,
            Fixed(1 + 1 + 1),
            Structs(&[Text, Text, Fixed(1)]), // synonyms
            Since(3, &Fixed(1)),
            Since(3, &Text),
        ]),
    ]),
];

const CONSUMER_GROUP_HEARTBEAT: &[Field] =
    &[THROTTLE, ERROR, Text, Text, Fixed(4 + 4), Maybe(&[Structs(&[UUID, INTS])])];

const CONSUMER_GROUP_DESCRIBE: &[Field] = &[
    THROTTLE,
    Structs(&[
        ERROR,
        Text,
        Text,
        Text,
        Fixed(4 + 4),
        Text,
        Structs(&[
            Text,
            Text,
            Text,
            Fixed(4),
            Text,
            Text,
            Values(&Text),
            Text,
            ASSIGNMENT,
            ASSIGNMENT, // the target
            Since(1, &Fixed(1)),
        ]),
        Fixed(4),
    ]),
];

const DESCRIBE_PRODUCERS: &[Field] = &[
    THROTTLE,
    Structs(&[
        Text,
        Structs(&[
            Fixed(4),
            ERROR,
            Text,
            Structs(&[Fixed(8 + 4 + 4 + 8 + 4 + 8)]), // id, epoch, last sequence number, time; of the transaction
        ]),
    ]),
];

const ASSIGNMENT: Field = Struct(&[Structs(&[UUID, Text, INTS])]);
