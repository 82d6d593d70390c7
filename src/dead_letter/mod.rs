//! Dead letters: a record exactly as it came, and headers that say why it is here.

mod envelope;
mod marks;
mod mask;

pub use envelope::{Envelope, Letter, Stage};
pub use marks::{Marks, Replayed};
pub use mask::{MaskedBytes, MaskedValue};
