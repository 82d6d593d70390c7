//! What the headers of a dead letter say of its error, for people.

use kafka_client::plain::Plain;

use crate::dead_letter::ErrorHeaders;
use crate::event::Reason;

/// Longer than the name of any field that a reason of ours is about, in bytes.
const MOST_FIELD: usize = 256;
/// Longer than any message of ours.
const MOST_MESSAGE: usize = 1_024;

/// The error headers as they may be shown to anybody.
pub(super) struct Told {
    /// The reason.
    pub reason: String,
    /// The field, or a dash.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// Topic and partition.
    pub source_partition: String,
}

/// Redacts error headers: of dead letters that another program wrote, field and message may hold anything, so that they are told where
/// the reason is one of ours, and steer no terminal.
pub(super) fn told(error_headers: &ErrorHeaders<'_>) -> Told {
    let ours = error_headers.reason.filter(|reason| Reason::ALL.iter().any(|known| known.code() == *reason));
    // Whoever may write there can name a reason of ours, too.
    let or_dash = |text: Option<&str>, most: usize| {
        let fits = |text: &&str| ours.is_some() && text.len() <= most;
        Plain(text.filter(fits).unwrap_or("-")).to_string()
    };
    let source_partition = match (error_headers.topic, error_headers.partition) {
        (Some(topic), Some(partition)) => format!("{}/{partition}", Plain(topic)),
        _ => "(unknown)".to_owned(),
    };
    Told {
        reason: ours.unwrap_or("(unknown)").to_owned(),
        field: or_dash(error_headers.field, MOST_FIELD),
        message: or_dash(error_headers.message, MOST_MESSAGE),
        source_partition,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_program_wrote_is_not_told() {
        let error_headers = ErrorHeaders {
            reason: Some("CANARY"),
            field: Some("CANARY"),
            message: Some("CANARY"),
            ..ErrorHeaders::default()
        };
        let found = told(&error_headers);
        assert_eq!([found.reason, found.field, found.message], ["(unknown)", "-", "-"]);
        let error_headers = ErrorHeaders { reason: Some("wrong_type"), field: Some("ip"), ..error_headers };
        assert_eq!(told(&error_headers).field, "ip");
        let long = "x".repeat(70_000);
        let error_headers = ErrorHeaders { field: Some(&long), message: Some(&long), ..error_headers };
        assert_eq!([told(&error_headers).field, told(&error_headers).message], ["-", "-"]);
        let hostile = Some("a\u{1b}[2J\n0:1 forged\u{202e}");
        let error_headers =
            ErrorHeaders { field: hostile, message: hostile, topic: hostile, partition: Some(0), ..error_headers };
        let found = told(&error_headers);
        let shown = "a\\u{1b}[2J\\n0:1 forged\\u{202e}";
        assert_eq!([found.field, found.message, found.source_partition], [shown, shown, &format!("{shown}/0")]);
    }
}
