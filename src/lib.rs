//! Moves records through validation and enrichment from one Kafka topic to another, losing none.
#![forbid(unsafe_code)]

pub mod config;
pub mod event;
pub mod record;
