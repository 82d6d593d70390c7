//! Members of a consumer group, as machines without socket, task or clock.
//!
//! ```text
//!             Classic ─┐ poll ─► Send(Request), Wait, Left
//! Membership ◄─        ├──────────────────────────────────── driver ── Coordinator ── broker
//!             Consumer ┘ ◄─ answered, described, released       │
//!            (KIP-848)                                          └─► Event: Assigned, Revoked, Lost, Identity, …
//! ```
//!
//! The driver is the caller's: it sends one [`Request`] at a time, looks topics up, and passes [`Event`]s on. A member
//! owns a partition from [`Event::Assigned`] until it has said [`Membership::released`], or until [`Event::Lost`]; it may
//! work on what it owns until [`Membership::lease`] has run out.

pub mod assignor;
mod classic;
mod consumer;
mod holdings;
mod member;
mod options;
mod request;
#[cfg(test)]
mod simulation;
pub(crate) mod subscription;

pub use assignor::Assignor;
pub use classic::Classic;
pub use consumer::Consumer;
pub use member::{Described, Event, Membership, RebalanceCause, Step};
pub use options::MemberOptions;
pub use request::{NoStaticMembership, Request, Response};
pub use subscription::{Partitions, Subscription};
