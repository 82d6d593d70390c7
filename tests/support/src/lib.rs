//! What the integration tests share: a real Kafka, the program itself as a process, and the audit
//! that accounts for every record. Nothing here uses the pipeline's own code.
//!
//! ```text
//! kafka.rs ── brokers as processes ──┐
//! network.rs ── the way to them ─────┤
//! pipeline.rs ── the program ────────┤  a test breaks some of it, then:
//! wire.rs, records.rs ── raw reads ──┴─► audit.rs (oracle.rs says what each record must become)
//! ```
#![allow(missing_docs, reason = "what is read beside the tests that use it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on says so and fails")]

pub mod audit;
pub mod chaos;
pub mod crowd;
pub mod dead_letters;
pub mod http_answers;
pub mod kafka;
pub mod log_files;
pub mod network;
pub mod oracle;
pub mod pipeline;
pub mod records;
pub mod token_endpoint;
pub mod topics;
pub mod transactions;
pub mod wire;

use std::net::TcpListener;
use std::ops::Range;

/// The repository's folder.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Below the ports that the system gives to outgoing connections: one of those could take a
/// stopped broker's port, or connect to itself there.
const PORTS: Range<u16> = 20_000..32_000;

/// So many ports that nobody listens on.
pub fn free_ports(count: usize) -> Vec<u16> {
    let mut held = Vec::new();
    for _ in 0..10_000 {
        if held.len() == count {
            break;
        }
        let port = fastrand::u16(PORTS);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            held.push((port, listener));
        }
    }
    assert_eq!(held.len(), count, "no free ports");
    held.into_iter().map(|(port, _)| port).collect()
}
