//! What ends a run of the generator early, and the deadline that every request of its client gets.

use std::future::Future;
use std::time::Duration;

use rskafka::client::error::Error as KafkaError;
use thiserror::Error;
use tokio::time::timeout;

use super::event::InvalidRatio;
use crate::kafka;

/// Why a run ended early. Records that were acknowledged before stay written.
#[derive(Debug, Error)]
pub enum GenerateError {
    /// The share of bad records.
    #[error(transparent)]
    Ratio(#[from] InvalidRatio),
    /// The rate.
    #[error("the rate must be more than 0 and at most 1000000000 records a second, not {0}")]
    Rate(f64),
    /// The topic is not there, and was not to be created.
    #[error("there is no topic {topic:?}; create it, or say with how many partitions to create it")]
    NoTopic {
        /// Which one.
        topic: String,
    },
    /// No answer in time.
    #[error("{doing} took longer than {}", humantime::format_duration(*.after))]
    Timeout {
        /// What was being done.
        doing: String,
        /// The deadline.
        after: Duration,
    },
    /// There is no secured connection to a broker.
    #[error(transparent)]
    Connect(#[from] kafka::Error),
    /// The client or a broker refused.
    #[error("{doing} failed: {source}")]
    Kafka {
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: KafkaError,
    },
    /// A sender ended without saying why.
    #[error("the sender of a partition of {topic:?} broke down")]
    Sender {
        /// The topic it wrote to.
        topic: String,
    },
}

/// Waits for rskafka, which itself may wait for ever.
pub(super) async fn within<T>(
    after: Duration,
    doing: String,
    call: impl Future<Output = Result<T, KafkaError>>,
) -> Result<T, GenerateError> {
    match timeout(after, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(source)) => Err(GenerateError::Kafka { doing, source }),
        Err(_) => Err(GenerateError::Timeout { doing, after }),
    }
}
