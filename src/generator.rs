//! The data generator: login events as the real ones look, and as many bad ones as asked for.
//!
//! ```text
//! EventGenerator ──GeneratedRecord──► run: one sender a partition ──► topic
//!   (pure, seeded)                      (rskafka, paced)
//! ```
//!
//! The core knows nothing of Kafka and gives the same records for the same seed:
//!
//! ```
//! use login_pipeline::generator::{EventGenerator, GeneratorConfig, RecordKind};
//!
//! let config = GeneratorConfig { seed: 7, ..GeneratorConfig::default() };
//! let record = EventGenerator::new(config).unwrap().next_record();
//! assert_eq!(record.kind, RecordKind::Good);
//! assert!(record.value.unwrap().starts_with(b"{\"user_id\":\""));
//! ```

mod bad;
mod driver;
mod error;
mod event;
mod fields;
mod sender;

pub use bad::BadKind;
pub use driver::{GenerateOptions, NUMBER, Progress, Summary, run};
pub use error::GenerateError;
pub use event::{EventGenerator, GeneratedRecord, GeneratorConfig, InvalidRatio, RecordKind};
