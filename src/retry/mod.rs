//! Trying again: what an error means for that, how long to wait, and who hears of it.

mod backoff;
mod class;
mod log_grouping;
mod operation;

pub use backoff::{Pauses, Policy};
pub use class::{ClassifiedError, ErrorClass};
pub use operation::{Operation, Retries, working_for};
