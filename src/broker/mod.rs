//! What this program does with Kafka beyond its client: reading by rskafka or by the wire, writing batches until they
//! are acknowledged, retries and who hears of them, tokens, and what to do about an error.

mod admin;
mod chorus;
mod client;
mod ends;
mod error;
mod options;
mod partition_writer;
mod reader;
#[cfg(test)]
mod scripted;
mod secured;
mod tls_words;
mod token;
mod trouble;
mod write;
mod writer;

pub use admin::Admin;
pub use client::{Clients, Partition};
pub use ends::Ends;
pub use error::{Cause, Error, Why};
pub use kafka_client::admission::Reserve;
pub use kafka_client::concurrent_transactions::Ending;
pub use kafka_client::producer::Producer;
pub use kafka_client::transaction::{Failure, Request as TransactionRequest, Transaction, is_fenced};
pub use kafka_records::output::{Destination, Expected, OutputBatch, Part};
pub(crate) use options::SOFTWARE;
pub use options::{options, security};
pub use reader::{Entry, PartitionReader, ReaderConfig, SourceBatch};
pub use secured::Secured;
pub(crate) use tls_words::ADMIN_PORT;
pub use token::{TokenError, Tokens};
pub use trouble::{Trouble, Watch, within};
pub use write::{Refused, Written};
pub use writer::{DEAD_LETTER, OUTPUT, Writer};
