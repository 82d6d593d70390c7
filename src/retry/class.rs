//! The meaning of an error for trying again.

use std::fmt::Display;

pub use kafka_client::ErrorClass;

/// An error that says by itself what it means for trying again.
pub trait ClassifiedError: Display {
    /// Its class.
    fn class(&self) -> ErrorClass;

    /// Tells whether a topic is not there: it may be new, but one that stays away has to be created.
    fn is_unknown_topic(&self) -> bool {
        false
    }
}
