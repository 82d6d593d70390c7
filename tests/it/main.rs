//! What is tested in this process and by the program as a process, on the sandbox: no Kafka, no Java.
//!
//! ```text
//! config ── what a configuration may say ──┐
//! sandbox ── the broker itself ────────────┤
//! pipeline ── the engine on it, faults ────┤ by either reader; ends in an audit
//! dlq, demo, top, admin, ... ── commands ──┘
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper fails as its test would; clippy.toml allows it inside #[test] only"
)]

mod admin;
mod audit;
mod awake;
#[cfg(feature = "demo")]
mod browser;
mod canary;
mod config;
#[cfg(feature = "demo")]
mod demo;
mod dlq;
mod log_level;
mod page_views;
mod pipeline;
mod sandbox;
#[cfg(all(feature = "completions", feature = "demo", feature = "top"))]
mod snapshots;
mod tokens;
#[cfg(all(feature = "demo", feature = "top"))]
mod top;
