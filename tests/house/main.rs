//! What holds of the repository itself: its layers, its documents, its chart, its alerts. Nothing is started here but,
//! for a moment, the program.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper fails as its test would; clippy.toml allows it inside #[test] only"
)]

mod circles;
mod config_docs;
mod docs;
mod helm_schema;
mod image_context;
mod layering;
mod log_fields;
mod monitoring;
mod plants;
mod sources;
