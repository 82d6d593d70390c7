//! What the pipeline would make of dead letters now: by the stages that a run builds of the same configuration, countries,
//! pseudonyms and rules included.

use std::sync::Arc;

use kafka_client::clock::unix_ms;

use super::Context;
use crate::dead_letter::{Envelope, ErrorHeaders, Replayed};
use crate::event::{Reason, Rejection};
use crate::observe::{Metrics, Tally};
use crate::output::{Expected, OutputBatch};
use crate::record::{Headers, RecordView};
use crate::source::Entry;
use crate::stages::{Batch, Counts, Now, Passed, Route, Routes, Stages, StagesFactory, configured};

/// The stages, and what they need.
pub(super) struct Judge<'c> {
    /// Why addresses have no country, where the configuration asks for one.
    pub without_countries: Option<String>,
    context: &'c Context,
    routes: Arc<Routes>,
    made: Arc<dyn StagesFactory>,
    /// Those of the source partition that was asked for last.
    stages: Option<(i32, Box<dyn Stages>)>,
    now: Now,
}

/// Why there is no key of pseudonyms, without which a run would not start.
#[derive(Debug)]
pub(super) struct NoKey(pub String);

impl<'c> Judge<'c> {
    /// By the configuration and its routes; reads the key of pseudonyms and the database of countries.
    ///
    /// # Errors
    /// Where the key is not to be had.
    pub(super) fn new(context: &'c Context, routes: &Arc<Routes>) -> Result<Self, NoKey> {
        let config = &context.config;
        let key = config.privacy.key().map_err(|why| NoKey(format!("privacy.key_file: {why}")))?;
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
        let (made, countries) = configured(config, key.as_ref(), metrics.geoip());
        let countries = countries.zip(config.enrich.geoip.file.as_deref());
        let without_countries = countries.and_then(|(countries, file)| countries.load(file).err());
        let now = Now::from_unix_ms(unix_ms());
        Ok(Self { without_countries, context, routes: Arc::clone(routes), made, stages: None, now })
    }

    /// Reads the clock again.
    pub(super) fn tick(&mut self) {
        self.now = Now::from_unix_ms(unix_ms());
    }

    /// Judges what becomes of the record that a dead letter of this partition was.
    ///
    /// # Errors
    /// Why it would be a dead letter again.
    pub(super) fn judge(
        &mut self,
        dead: &RecordView<'_>,
        error_headers: &ErrorHeaders<'_>,
        partition: i32,
    ) -> Result<Passed, Rejection> {
        let mut out = OutputBatch::new(usize::MAX, Expected::default());
        self.attempt(dead, error_headers, partition, 0, &[], &mut out)
    }

    /// Judges the dead letter at index `at`, and appends what becomes of its record; `partitions` says how many each of
    /// the routes' topics has.
    ///
    /// # Errors
    /// Why it would be a dead letter again; nothing is appended then.
    pub(super) fn attempt(
        &mut self,
        dead: &RecordView<'_>,
        error_headers: &ErrorHeaders<'_>,
        partition: i32,
        at: usize,
        partitions: &[i32],
        out: &mut OutputBatch,
    ) -> Result<Passed, Rejection> {
        let replayed = Replayed::new(self.context.prefix(), error_headers.replays);
        let headers: Vec<_> = replayed.headers(dead).collect();
        let headers = Headers::Borrowed(&headers);
        let record =
            RecordView { timestamp_ms: error_headers.time(dead), key: error_headers.key(dead), headers, ..*dead };
        self.fits(&record)?;
        let of = error_headers.partition.unwrap_or(partition);
        let stages = match self.stages.take().filter(|(for_partition, _)| *for_partition == of) {
            Some((_, stages)) => stages,
            None => self.stages_of(of),
        };
        let (_, stages) = self.stages.insert((of, stages));
        let mut tally = Tally::new(stages.dimensions());
        let (counts, tally, dead_ms) = (&mut Counts::default(), &mut tally, self.now.unix_ms);
        let mut batch = Batch { now: &self.now, dead_ms, partitions, out, counts, tally };
        let passed = stages.attempt(&Entry { record, flaw: None }, at, &mut batch);
        passed.map_err(|(_, rejection)| rejection)
    }

    /// Whether the pipeline reads a record whole. Its framing, a few bytes, is not counted.
    fn fits(&self, record: &RecordView<'_>) -> Result<(), Rejection> {
        let length = |field: Option<&[u8]>| field.map_or(0, <[u8]>::len);
        let headers: usize = record.headers.iter().map(|(name, value)| name.len() + length(value)).sum();
        let most = self.context.config.pipeline.max_record_bytes.as_usize();
        match length(record.key) + length(record.value) + headers > most {
            true => Err(Rejection::record(Reason::TooLarge, "larger than pipeline.max_record_bytes allows")),
            false => Ok(()),
        }
    }

    fn stages_of(&self, partition: i32) -> Box<dyn Stages> {
        let config = &self.context.config;
        let (application, source) = (&config.kafka.client_id, &config.source.topic);
        let envelope = Envelope::new(self.context.prefix(), application, source, partition);
        self.made.make(Arc::clone(&self.routes), envelope, partition)
    }
}

/// The topic that a record which passed goes to; `None` where a rule drops it.
pub(super) fn topic<'r>(routes: &'r Routes, passed: &Passed) -> Option<&'r str> {
    match passed.route {
        Route::Drop => None,
        Route::Topic(topic) => routes.topics().get(topic).map(String::as_str),
    }
}

/// A verdict in words, without anything of the record.
pub(super) fn words(routes: &Routes, verdict: &Result<Passed, Rejection>) -> String {
    let passed = match verdict {
        Ok(passed) => passed,
        Err(Rejection { reason, field: Some(field), .. }) => return format!("refused: {} {field}", reason.code()),
        Err(Rejection { reason, field: None, .. }) => return format!("refused: {}", reason.code()),
    };
    let rule = passed.rule.and_then(|rule| routes.names().get(rule));
    let by = rule.map_or_else(String::new, |name| format!(" by the rule {name}"));
    match topic(routes, passed) {
        None => format!("dropped{by}"),
        Some(topic) => format!("accepted, to {topic}{by}"),
    }
}
