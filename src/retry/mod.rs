//! Trying again: what an error means for that, how long to wait, and who hears of it.

mod backoff;
mod chorus;
mod class;
mod trouble;

pub use backoff::{Pauses, Policy};
pub use class::{ClassifiedError, ErrorClass};
pub use trouble::{Trouble, Watch, within};
