//! All that speaks Kafka. [`PartitionReader`] reads through rskafka's partition clients or through
//! [`wire`], a small client of our own, which also reads what those can't, and writes.

mod admin;
mod chorus;
mod client;
mod ending;
mod ends;
mod error;
mod lane;
mod producer;
mod reader;
mod reserve;
mod secured;
mod token;
mod transaction;
mod trouble;
pub mod wire;
mod writer;

pub use admin::Admin;
pub use client::{Clients, Partition};
pub use ending::Ending;
pub use ends::Ends;
pub use error::{Cause, Error};
pub use kafka_records::output::{Destination, Expected, OutputBatch, Part};
pub use producer::Producer;
pub use reader::{Entry, PartitionReader, ReaderConfig, SourceBatch};
pub use reserve::Reserve;
pub use secured::Secured;
pub use token::{TokenError, Tokens};
pub use transaction::{Failure, Request as TransactionRequest, Transaction, is_fenced};
pub use trouble::{Trouble, Watch, within};
pub(crate) use wire::tls::{ADMIN_PORT, said as tls_said};
pub use writer::{DEAD_LETTER, OUTPUT, Refused, Writer, Written};
