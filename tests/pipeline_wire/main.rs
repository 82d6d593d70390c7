//! The tests of `tests/pipeline`, with our own reader in rskafka's place, and what that alone does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper fails as its test would; clippy.toml allows it inside #[test] only"
)]

use login_pipeline::config::ReaderKind;

/// What reads here.
pub const READER: ReaderKind = ReaderKind::Wire;

#[path = "../pipeline/audit.rs"]
mod audit;
#[path = "../pipeline/chaos.rs"]
mod chaos;
#[path = "../pipeline/flow.rs"]
mod flow;
#[path = "../pipeline/frozen.rs"]
mod frozen;
#[path = "../pipeline/group.rs"]
mod group;
#[path = "../pipeline/limits.rs"]
mod limits;
#[path = "../pipeline/log.rs"]
mod log;
#[path = "../pipeline/network.rs"]
mod network;
#[path = "../pipeline/record.rs"]
mod record;
#[path = "../pipeline/refused.rs"]
mod refused;
#[path = "../pipeline/shown.rs"]
mod shown;
#[path = "../pipeline/stopping.rs"]
mod stopping;
#[path = "../pipeline/support.rs"]
mod support;
#[path = "../pipeline/topics.rs"]
mod topics;
mod transactions;
mod truncation;
#[path = "../pipeline/watching.rs"]
mod watching;

// What a reader must not believe, or not pass over.
#[path = "../pipeline/reader_traps/mod.rs"]
mod reader_traps;
