//! Bytes in, bytes out: record batches as Kafka has them, the login event, and how often its values occur.
//! What every record passes through, and nothing else: no I/O, no clock, no configuration.
//!
//! It is a crate of its own for the static binary, which has this for speed and the rest for size.
#![forbid(unsafe_code)]

pub mod batch;
pub mod compression;
pub mod distribution;
pub mod event;
pub mod murmur2;
pub mod output;
pub mod record;
pub mod records;
pub mod step;
pub mod unpack;
