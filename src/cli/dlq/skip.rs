//! Why a dead letter is passed over.

use crate::dead_letter::ErrorHeaders;
use crate::event::Reason;

/// Why one is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Skip {
    /// The filter does not take it.
    Filtered,
    /// Its value or key was cut, or headers left out.
    Truncated,
    /// It never was a record, but a batch that can't be decoded; or it can't be decoded itself.
    Damaged,
    /// It does not say where it came from.
    NoTopic,
    /// It says that it came from a topic that is not the source, and that nobody allowed.
    Elsewhere,
}

impl Skip {
    /// Why the record that a dead letter was is not there to be written; `None` where it is.
    pub(super) fn of(error_headers: &ErrorHeaders<'_>) -> Option<Self> {
        if error_headers.is_truncated() {
            return Some(Self::Truncated);
        }
        (error_headers.reason == Some(Reason::CorruptBatch.code())).then_some(Self::Damaged)
    }

    /// In words.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Filtered => "not what the filters ask for",
            Self::Truncated => "truncated: not all of the record is there",
            Self::Damaged => "no record: bytes that can't be decoded",
            Self::NoTopic => "without a topic that it came from: dlq replay --to names one",
            Self::Elsewhere => {
                "from a topic other than source.topic: --allow-topic allows one, dlq replay --to names one for all"
            }
        }
    }
}
