//! The `dlq` subcommand: on the sandbox what it says and writes, on a real Kafka what survives kills.
//! `CHAOS=long` (`make chaos`) is the long form of these.
#![allow(clippy::unwrap_used, reason = "tests")]

mod asking;
mod cut;
mod dead;
mod export;
mod forecast;
mod json;
mod kafka;
mod replay;
mod retry;
mod rights;
mod show;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
