//! Why a record was refused: a closed set of short codes, and a text for people.

use std::borrow::Cow;

use super::{MAX_DEPTH, ScanError};

/// Why a record went to the dead-letter topic. Each has a short code that dashboards can rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// Null or empty value.
    Tombstone,
    /// The value, or what became of it, is larger than allowed.
    TooLarge,
    /// The value is not UTF-8.
    InvalidUtf8,
    /// The value is not JSON.
    MalformedJson,
    /// The value nests too deep.
    TooDeep,
    /// The value is JSON, but not an object.
    NotAnObject,
    /// A field occurs twice.
    DuplicateField,
    /// A required field is absent or null.
    MissingField,
    /// A field has a value of another type.
    WrongType,
    /// A field's value is not one that it can have.
    InvalidValue,
    /// The processor panicked on this record.
    ProcessorPanic,
    /// The bytes in the log can't be decoded as records.
    CorruptBatch,
    /// The output topic refuses the record, for another reason than its size.
    RefusedByTopic,
}

impl Reason {
    /// Every reason there is.
    pub const ALL: [Self; 13] = [
        Self::Tombstone,
        Self::TooLarge,
        Self::InvalidUtf8,
        Self::MalformedJson,
        Self::TooDeep,
        Self::NotAnObject,
        Self::DuplicateField,
        Self::MissingField,
        Self::WrongType,
        Self::InvalidValue,
        Self::ProcessorPanic,
        Self::CorruptBatch,
        Self::RefusedByTopic,
    ];

    /// The short code, as it stands in headers and metric labels.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Tombstone => "tombstone",
            Self::TooLarge => "too_large",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::MalformedJson => "malformed_json",
            Self::TooDeep => "too_deep",
            Self::NotAnObject => "not_an_object",
            Self::DuplicateField => "duplicate_field",
            Self::MissingField => "missing_field",
            Self::WrongType => "wrong_type",
            Self::InvalidValue => "invalid_value",
            Self::ProcessorPanic => "processor_panic",
            Self::CorruptBatch => "corrupt_batch",
            Self::RefusedByTopic => "refused_by_topic",
        }
    }
}

/// A refused record: why, which field, and a message for people.
///
/// The message never holds the value, nor a name that the sender chose: headers and logs carry no
/// personal data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Why.
    pub reason: Reason,
    /// Which field, where it is one that the processor knows.
    pub field: Option<&'static str>,
    /// What is wrong, for people.
    pub message: Cow<'static, str>,
}

impl Rejection {
    /// The rejection of a record without a value.
    pub const NULL_VALUE: Self =
        Self { reason: Reason::Tombstone, field: None, message: Cow::Borrowed("the value is null") };

    /// A rejection of the whole record.
    pub fn record(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, field: None, message: message.into() }
    }

    /// A rejection because of one field.
    pub fn field(reason: Reason, field: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, field: Some(field), message: message.into() }
    }
}

impl From<ScanError> for Rejection {
    fn from(error: ScanError) -> Self {
        match error {
            ScanError::Malformed(at) => {
                Self::record(Reason::MalformedJson, format!("the value is not JSON at byte {at}"))
            }
            ScanError::ByteOrderMark => {
                let message =
                    "the value is not JSON at byte 0: a UTF-8 byte order mark stands before it; write it without";
                Self::record(Reason::MalformedJson, message)
            }
            ScanError::NotAnObject => Self::record(Reason::NotAnObject, "the value is JSON, but not an object"),
            ScanError::TooDeep => Self::record(Reason::TooDeep, format!("the value nests deeper than {MAX_DEPTH}")),
        }
    }
}
