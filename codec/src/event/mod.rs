//! The login event: parsed where it lies, written back with only what changed.
//!
//! ```
//! use login_codec::event::LoginEvent;
//!
//! let text = r#"{"user_id":"u1","app_version":"2.3.0","ip":"10.0.0.1","locale":"RU",
//!     "device_id":"593-47-5928","timestamp":"1694479551","device_type":"iOS","extra":1e400}"#;
//! let event = LoginEvent::parse(text.as_bytes()).unwrap();
//! assert_eq!(event.timestamp_ms, 1_694_479_551_000);
//! assert_eq!(event.device_type, "ios");
//! ```

mod json;
mod login;
mod names;
mod reason;
mod text;

pub use json::{Kind, MAX_DEPTH, Members, Opening, ScanError, Span, Step, Value, are_digits};
pub use login::{Amendments, Asked, Enrichment, IdPrivacy, IpPrivacy, LoginEvent, OWN_FIELDS, Prepared, Rfc3339Json};
pub use names::Names;
pub use reason::{Reason, Rejection};
pub use text::{Text, utf8_text};
