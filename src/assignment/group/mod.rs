//! Membership in one of Kafka's own consumer groups, driven by this program.
//!
//! ```text
//! kafka_client::membership ── poll ─► Send, Wait, Left ──► driver ── sender ── Coordinator ── broker
//!                          ◄─ answered, described, released   │
//!                                                        publisher
//!                                                             ├─► Changes ──────► supervisor
//!                                                             ├─► Identity ─────► GroupStore
//!                                                             └─► SessionLease ─► every write
//! ```

mod driver;
mod publisher;
mod sender;
mod topic_watcher;

pub use driver::{GroupConfig, join};
