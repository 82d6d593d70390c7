//! Membership in one of Kafka's own consumer groups, which rskafka lacks.
//!
//! ```text
//!             Classic ─┐ pure: poll ─► Send, Wait, Left
//! Membership ◄─        ├──────────────────────────────── driver ── Coordinator ── broker
//!             Consumer ┘ ◄─ answered, described, released   │
//!            (KIP-848)                                      ├─► Changes ──► supervisor
//!                                                           ├─► Identity ─► GroupStore
//!                                                           └─► SessionLease ────► every write
//! ```

pub mod assignor;
mod classic;
mod consumer;
mod driver;
mod lookup;
mod member;
mod publisher;
mod sender;
mod subscription;
#[cfg(test)]
mod trial;

pub use driver::{Parts, join};
