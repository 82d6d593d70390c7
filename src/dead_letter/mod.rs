//! Dead letters: a record exactly as it came, and headers that say why it is here.

mod envelope;
mod exported;
mod fit;
mod marks;
mod mask;

pub use envelope::{Envelope, Letter, Stage};
pub use exported::{Broken, Exported, Field, Pairs, export, write_line};
pub use fit::Fit;
pub use marks::{Marks, Replayed};
pub use mask::{MaskedBytes, MaskedValue};
