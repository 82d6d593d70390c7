//! The login event: its rules, what enriches it, its pseudonyms, and how often its values occur.
//!
//! ```text
//!  a record's value ─► LoginEvent::parse ─► LoginEvent, borrowed ─► Edits ─► the event as it is written:
//!                        rules                                       country, pseudonyms,   only what changed
//!                          └─► Rejection: a Reason and a text        times, own fields      differs
//! ```
//!
//! Bytes in, bytes out: no I/O, no clock, no configuration, nothing of Kafka.
//!
//! It is a crate of its own so that the static binary can have it at full speed, and the rest small.
//!
//! ```
//! use login_event::LoginEvent;
//!
//! let text = r#"{"user_id":"u1","app_version":"2.3.0","ip":"10.0.0.1","locale":"RU",
//!     "device_id":"593-47-5928","timestamp":"1694479551","device_type":"iOS","extra":1e400}"#;
//! let event = LoginEvent::parse(text.as_bytes()).unwrap();
//! assert_eq!(event.timestamp_ms, 1_694_479_551_000);
//! assert_eq!(event.device_type, "ios");
//! ```

pub mod distribution;
mod json;
mod login;
mod reason;
mod seen_names;
mod text;

pub use json::{Kind, MAX_DEPTH, Members, Opening, ScanError, Span, Step, Value, are_digits};
pub use login::{EditOptions, EditPlan, Edits, Enrichment, IdPrivacy, IpPrivacy, LoginEvent, OWN_FIELDS, Rfc3339Json};
pub use reason::{Reason, Rejection};
pub use seen_names::SeenNames;
pub use text::{Text, utf8_text};
