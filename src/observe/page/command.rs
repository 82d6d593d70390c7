//! Commands of this program for an operator to copy.

use serde_json::Value;

use super::configuration::{DEFAULTS, text};

/// What a command needs to find the same topics on the same brokers.
const KEYS: [(&str, &str); 3] = [("kafka", "brokers"), ("source", "topic"), ("dead_letter", "topic")];

/// A command about the dead letters of one reason.
pub(super) struct Command(String);

impl Command {
    /// The newest of them, masked.
    pub(super) fn list(reason: &str) -> Self {
        Self(format!("login-pipeline dlq list --reason {reason} --since 15m"))
    }

    /// What would become of them.
    pub(super) fn replay(reason: &str) -> Self {
        Self(format!("login-pipeline dlq replay --reason {reason} --dry-run"))
    }

    /// With what the configuration in force says of brokers and topics, where that is no default.
    pub(super) fn with(self, configuration: &Value) -> String {
        self.0 + &Self::flags(configuration)
    }

    /// What commands need to know of the configuration.
    pub(super) fn flags(configuration: &Value) -> String {
        let value = |of: &Value, (section, key): (&str, &str)| text(&of[section][key]);
        let set = KEYS.into_iter().filter(|key| value(configuration, *key) != value(&DEFAULTS, *key));
        set.map(|(section, key)| format!(" --{section}.{key} {}", quoted(&value(configuration, (section, key)))))
            .collect()
    }
}

/// As a shell reads it as one word.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_:,/@[]".contains(c);
    if word.chars().all(is_plain) && !word.is_empty() {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_command_says_what_is_no_default() {
        let mut configuration = DEFAULTS.clone();
        let list = || Command::list("missing_field");
        assert_eq!(list().with(&configuration), "login-pipeline dlq list --reason missing_field --since 15m");
        configuration["kafka"]["brokers"] = json!(["a:1", "b:2"]);
        configuration["dead_letter"]["topic"] = json!("it's $HOME");
        let ends = " --kafka.brokers a:1,b:2 --dead_letter.topic 'it'\\''s $HOME'";
        assert!(list().with(&configuration).ends_with(ends), "{}", list().with(&configuration));
    }
}
