//! The whole program, simulated from a seed: instances of the pipeline, brokers, and a network between them, on one thread,
//! in a time of its own.
//!
//! ```text
//! Scenario::draw(seed) ─► settings, batches, faults
//!        │
//!        ▼            each runs for a step of the common time, in an order that chance draws
//!      World ──┬─ Host: the sandbox's brokers ──────────┐
//!              ├─ Host: an instance, its own clocks ──── Network (delays, stalls, breaks)
//!              └─ Host: another                         │
//!        ▲                                              ▼
//!     Fault::strike                      Ledger: told of all that is written, holds it against what was sent
//! ```
//!
//! The same seed gives the same run: hash tables, branches of `select!`, jitter and ids are drawn from it ([`chance`]).
//! rskafka knows TCP only, so that all here read by the wire.

pub mod chance;
pub mod disk;
pub mod host;
mod instance;
mod ledger;
mod records;
pub mod release;
mod run;
pub mod scenario;
mod shrink;
mod simulate;
mod strike;
mod watch;
mod world;

pub use run::{Outcome, Run, numbers};
pub use shrink::shrink;
pub use simulate::simulate;
