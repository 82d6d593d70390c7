//! Text as the protocol has it.

use kafka_protocol::protocol::StrBytes;

/// Copies a text into one of the protocol.
pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
