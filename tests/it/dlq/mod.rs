//! The `dlq` subcommand: on the sandbox what it says and writes, on a real Kafka what survives kills.
//! `CHAOS=long` (`make chaos`) is the long form of these.

mod asking;
mod cut;
mod export;
mod forecast;
mod json;
mod replay;
mod retry;
mod rights;
mod show;
mod terminal;
