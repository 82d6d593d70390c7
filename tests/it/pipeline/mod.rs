//! The whole pipeline in this process against the sandbox broker, with faults injected.
//!
//! ```text
//! World ── appends, and remembers what it appended ──► sandbox ◄── faults
//!   │                                                    ▲
//!   │                     App::open(config).run(stop) ───┘
//!   └── audit: every record is where it must be, once, in order, and looks as it must
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper fails as its test would; clippy.toml allows it inside #[test] only"
)]

use login_pipeline::config::ReaderKind;

/// What reads here. `tests/pipeline_wire` runs the same tests with the other.
pub const READER: ReaderKind = ReaderKind::Rskafka;

mod audit;
mod chaos;
#[path = "../support/crowd.rs"]
mod crowd;
mod crowded;
mod flow;
mod frozen;
mod group;
mod limits;
mod log;
mod network;
mod permits;
mod record;
mod redo;
mod refused;
mod shown;
mod stopping;
mod support;
mod topics;
mod watching;

// What a reader must not believe, or not pass over.
mod reader_traps;
