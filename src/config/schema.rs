//! All keys of the configuration, as `keys.rs` declares them, and what is looked up in them.

use std::sync::LazyLock;

pub use super::key::{Default, ENV_PREFIX, Key, Keys, Kind};

use super::Config;
use super::suggest;
use super::table::Section;

/// All keys, those of a section together.
pub static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let mut keys = Vec::new();
    Config::keys(&mut keys);
    Keys::new(keys)
});

/// The key at `path`.
pub fn key(path: &str) -> Option<&'static Key> {
    KEYS.find(path)
}

/// The sections, in the order of [`KEYS`].
pub fn sections() -> impl Iterator<Item = &'static str> {
    KEYS.sections()
}

/// The key most likely meant by the unknown `path`.
pub(crate) fn closest_key(path: &str) -> Option<&'static Key> {
    suggest::closest_key(path, &KEYS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_stands_once_in_one_section() {
        let mut paths: Vec<_> = KEYS.iter().map(|key| key.path).collect();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), KEYS.len());
        let mut names: Vec<_> = sections().collect();
        assert!(names.iter().all(|name| !name.is_empty()));
        let runs = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), runs, "a section is spread over the table");
    }

    #[test]
    fn names_its_flag_and_variable() {
        let key = key("dead_letter.header_prefix").unwrap();
        assert_eq!((key.section(), key.name()), ("dead_letter", "header_prefix"));
        assert_eq!(key.env(), "LOGIN_PIPELINE__DEAD_LETTER__HEADER_PREFIX");
        let key = super::key("kafka.tls.ca_file").unwrap();
        assert_eq!((key.section(), key.name()), ("kafka.tls", "ca_file"));
        assert_eq!(key.env(), "LOGIN_PIPELINE__KAFKA__TLS__CA_FILE");
    }

    #[test]
    fn finds_the_key_that_was_meant() {
        for (given, meant) in [
            ("kafka.broker", Some("kafka.brokers")),
            ("Kafka.Brokers", Some("kafka.brokers")),
            ("brokers", Some("kafka.brokers")),
            ("kafka_brokers", Some("kafka.brokers")),
            ("source.partitioner", Some("output.partitioner")),
            ("kafka.timeout", Some("kafka.request_timeout")),
            ("source.maxwait", Some("source.max_wait")),
            ("source.offset_out_of_range", Some("source.on_offset_out_of_range")),
            ("kafka.ssl.ca_file", Some("kafka.tls.ca_file")),
            ("sasl.mechanism", Some("kafka.sasl.mechanism")),
            ("security.providers", None),
            ("x", None),
        ] {
            let found = closest_key(given).map(|key| key.path);
            // Two timeouts are as likely; either helps.
            let found = found.map(|path| path.replace("connect_timeout", "request_timeout"));
            assert_eq!(found.as_deref(), meant, "{given}");
        }
    }
}
