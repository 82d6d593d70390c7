//! Moves records through validation and enrichment from one Kafka topic to another, losing none.
#![forbid(unsafe_code)]

pub mod broker;
pub mod config;
pub mod event;
pub mod offsets;
pub mod record;
pub mod retry;
pub mod splice;
pub mod tracker;
