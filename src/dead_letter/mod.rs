//! Dead letters: a record exactly as it came, and headers that say why it is here.

mod envelope;
mod fit;
mod headers;
mod ndjson;
mod redact;

pub use envelope::{Envelope, Letter, Stage};
pub use fit::Fit;
pub use headers::{ErrorHeaders, Replayed};
pub use ndjson::{Broken, Exported, Field, Pairs, export, write_line};
pub use redact::{RedactedBytes, RedactedValue};
