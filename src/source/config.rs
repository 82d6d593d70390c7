//! The part of the configuration that a reader needs.

use crate::config::{self, ReaderKind};

/// The part of the configuration that a reader needs.
#[derive(Debug, Clone, Copy)]
pub struct ReaderConfig<'c> {
    /// `kafka.*`: connections.
    pub kafka: &'c config::Kafka,
    /// `source.*`: the topic, and the reader.
    pub source: &'c config::Source,
    /// Why rskafka can't read it, where it can't.
    pub rskafka_cannot: Option<&'static str>,
    /// The most bytes of one record; a larger one is handed out cut, with a flaw.
    pub max_record_bytes: usize,
}

impl ReaderConfig<'_> {
    /// Tells whether rskafka reads, and why, for people.
    pub(super) fn takes_rskafka(&self) -> (bool, &'static str) {
        match (self.source.reader, self.rskafka_cannot) {
            (ReaderKind::Rskafka, _) => (true, "source.reader is rskafka"),
            (ReaderKind::Wire, _) => (false, "source.reader is wire"),
            (ReaderKind::Auto, Some(why)) => (false, why),
            (ReaderKind::Auto, None) => (true, "source.reader is auto"),
        }
    }
}
