//! What a reader is told.

use crate::config::{self, ReaderKind};

/// What a reader is told of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct ReaderConfig<'c> {
    /// Connections.
    pub kafka: &'c config::Kafka,
    /// What is read, and by which reader.
    pub source: &'c config::Source,
    /// Why rskafka can't read it, where it can't.
    pub rskafka_cannot: Option<&'static str>,
    /// The most bytes of one record; a larger one is handed out cut, with a flaw.
    pub max_record_bytes: usize,
}

impl ReaderConfig<'_> {
    /// Whether rskafka reads, and why, for people.
    pub(super) fn takes_rskafka(&self) -> (bool, &'static str) {
        match (self.source.reader, self.rskafka_cannot) {
            (ReaderKind::Rskafka, _) => (true, "source.reader is rskafka"),
            (ReaderKind::Wire, _) => (false, "source.reader is wire"),
            (ReaderKind::Auto, Some(why)) => (false, why),
            (ReaderKind::Auto, None) => (true, "source.reader is auto"),
        }
    }
}
