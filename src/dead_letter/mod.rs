//! Dead letters: a record exactly as it came, and headers that say why it is here.

mod envelope;

pub use envelope::{Envelope, Letter, Stage};
