//! Commands of this program for an operator to copy.

use std::fmt::Write;

use serde_json::Value;

use super::configuration::{DEFAULTS, text};
use crate::config::schema::{KEYS, Key};
use crate::observe::given::Given;

/// What tells a command the topics, beside all that is said of the brokers.
const TOPICS: [&str; 4] = ["source.topic", "output.topic", "dead_letter.topic", "dead_letter.header_prefix"];

/// By what brokers tell this process from others: no command is this process.
const OWN: &str = "kafka.client_id";

/// The commands that the page offers, each with what it needs to find what this process reads and writes.
pub(super) struct Commands {
    /// What goes before it: the variables that it can't do without.
    pub(super) variables: String,
    /// What goes behind it.
    pub(super) flags: String,
}

impl Commands {
    /// Commands for this configuration: as this process was given it, where that is known, or else what is no default.
    pub(super) fn of(configuration: &Value, given: Option<&Given>) -> Self {
        let mut commands = Self { variables: String::new(), flags: String::new() };
        if let Some(file) = given.and_then(|given| given.file.as_ref()) {
            // Writing to a String does not fail.
            let _ = write!(commands.flags, " --config {}", quoted(&file.display().to_string()));
        }
        let is_wanted = |path: &str| (path.starts_with("kafka.") && path != OWN) || TOPICS.contains(&path);
        for key in KEYS.iter().filter(|key| is_wanted(key.path)) {
            let value = at(configuration, key);
            let is_set = match given {
                Some(given) => given.over_file.contains(&key.path),
                None => value != at(&DEFAULTS, key),
            };
            let Some(value) = value.filter(|_| is_set) else { continue };
            let is_hidden = key.is_secret() || given.is_some_and(|given| given.hidden.contains(&key.path));
            // Writing to a String does not fail.
            let _ = match is_hidden {
                true => write!(commands.variables, "{0}=\"${0}\" ", key.env()),
                false => write!(commands.flags, " --{} {}", key.path, quoted(&one_text(value))),
            };
        }
        commands
    }

    /// The newest dead letters of a reason, masked.
    pub(super) fn list(&self, reason: &str) -> String {
        let Self { variables, flags } = self;
        format!("{variables}login-pipeline dlq list --reason {reason} --since 15m{flags}")
    }

    /// The command that says what would become of them.
    pub(super) fn replay(&self, reason: &str) -> String {
        let Self { variables, flags } = self;
        format!("{variables}login-pipeline dlq replay --reason {reason} --dry-run{flags}")
    }
}

/// What a key is set to.
fn at<'a>(configuration: &'a Value, key: &Key) -> Option<&'a Value> {
    let value = key.path.split('.').try_fold(configuration, |value, name| value.get(name));
    value.filter(|value| !value.is_null())
}

/// A value as a flag has it; a list with a comma in one of its texts as a file has it.
fn one_text(value: &Value) -> String {
    let has_comma = |item: &Value| item.as_str().is_some_and(|item| item.contains(','));
    match value.as_array() {
        Some(items) if items.iter().any(has_comma) => value.to_string(),
        _ => text(value),
    }
}

/// As a shell reads it as one word: brackets mean something to them all, to zsh even where no file fits.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_:,/@".contains(c);
    if word.chars().all(is_plain) && !word.is_empty() {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::{Config, Sources};

    fn list(configuration: &Value, given: Option<&Given>) -> String {
        Commands::of(configuration, given).list("missing_field")
    }

    #[test]
    fn a_command_says_what_is_no_default() {
        let mut configuration = DEFAULTS.clone();
        assert_eq!(list(&configuration, None), "login-pipeline dlq list --reason missing_field --since 15m");
        configuration["kafka"]["brokers"] = json!(["a:1", "[::1]:2"]);
        configuration["dead_letter"]["topic"] = json!("it's $HOME");
        configuration["pipeline"]["max_record_bytes"] = json!("2MiB");
        let ends = " --since 15m --kafka.brokers 'a:1,[::1]:2' --dead_letter.topic 'it'\\''s $HOME'";
        assert!(list(&configuration, None).ends_with(ends), "{}", list(&configuration, None));
    }

    /// Loads a configuration from a password and these flags, which are written back by the command.
    #[test]
    fn a_command_says_how_brokers_are_reached_and_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("a ca.pem");
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
        std::fs::write(&ca, certificate.pem()).unwrap();
        let ca = ca.to_str().unwrap();
        let flags = [
            ("kafka.security_protocol", "sasl_ssl"),
            ("kafka.tls.ca_file", ca),
            ("kafka.sasl.mechanism", "SCRAM-SHA-512"),
            ("kafka.sasl.username", "alice"),
            ("kafka.client_id", "instance-1"),
        ];
        let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        let password = ("LOGIN_PIPELINE__KAFKA__SASL__PASSWORD".to_owned(), "canary".to_owned());
        let sources = Sources { env: vec![password], flags, ..Sources::default() };
        let configuration = serde_json::to_value(Config::load(sources).unwrap()).unwrap();
        let before =
            "LOGIN_PIPELINE__KAFKA__SASL__PASSWORD=\"$LOGIN_PIPELINE__KAFKA__SASL__PASSWORD\" login-pipeline dlq";
        let told = list(&configuration, None);
        assert!(told.starts_with(before) && !told.contains("canary"), "{told}");
        let flags = format!(
            " --kafka.security_protocol sasl_ssl --kafka.tls.ca_file '{ca}' --kafka.sasl.mechanism SCRAM-SHA-512 \
             --kafka.sasl.username alice"
        );
        assert!(told.ends_with(&flags), "{told}");

        // All of it is in the file but for the user.
        let given = Given {
            file: Some("/etc/login pipeline.toml".into()),
            over_file: vec!["kafka.sasl.username", "admin.listen"],
            hidden: Vec::new(),
        };
        let told = list(&configuration, Some(&given));
        let expected = "login-pipeline dlq list --reason missing_field --since 15m --config '/etc/login pipeline.toml' \
                        --kafka.sasl.username alice";
        assert_eq!(told, expected);
        let given = Given { over_file: vec!["kafka.sasl.password"], ..given };
        assert!(list(&configuration, Some(&given)).starts_with(before));
        let given = Given { over_file: vec!["kafka.sasl.username"], hidden: vec!["kafka.sasl.username"], file: None };
        assert!(list(&configuration, Some(&given)).starts_with("LOGIN_PIPELINE__KAFKA__SASL__USERNAME="));
    }

    #[test]
    fn a_list_with_a_comma_in_a_text_is_one() {
        let mut configuration = DEFAULTS.clone();
        configuration["kafka"]["sasl"]["extensions"] = json!(["a=b", "c=d, e"]);
        let told = list(&configuration, None);
        assert!(told.ends_with(r#" --kafka.sasl.extensions '["a=b","c=d, e"]'"#), "{told}");
    }
}
