//! What a topic refuses: it is staged and written again in smaller and smaller batches, until the records that are the
//! reason stand alone; those become dead letters.

use kafka_client::clock::unix_ms;
use kafka_protocol::ResponseError;
use tokio::time::sleep;
use tracing::warn;

use super::Sink;
use crate::config::Oversize;
use crate::dead_letter::{Fit, Stage};
use crate::event::{Reason, Rejection};
use crate::kafka::Error;
use crate::observe::Tally;
use crate::output::{Destination, Expected, OutputBatch, Refused};
use crate::record::{NO_TIMESTAMP, Offset, RecordView};
use crate::retry::ErrorClass;
use crate::source::SourceBatch;
use crate::stages::{Batch, Counts, DEAD_LETTER, Died, Now};
use crate::topic::TopicPartition;
use crate::worker::delivery::Aborted;

/// Records to be staged and written again, because the batch that they were in was refused.
#[derive(Debug, Default)]
struct Redo {
    sources: Vec<usize>,
    /// Set once their output has refused just these: they are dead letters for this.
    refused: Option<Error>,
    /// The form of their dead letters.
    fit: Fit,
}

impl Sink {
    /// Writes what was refused again, until all of it is written.
    ///
    /// # Errors
    /// [`Aborted`].
    pub(super) async fn redo(
        &mut self,
        batch: &SourceBatch,
        refused: Vec<Refused>,
        now: &Now,
        counts: &mut Counts,
    ) -> Result<(), Aborted> {
        let judged = counts.all_dead();
        for refused in refused {
            self.redo_one(batch, refused, now, counts).await?;
            self.dead_letters.succeeded();
        }
        if let Some(gate) = &mut self.gate {
            gate.refused(counts.all_dead() - judged);
        }
        Ok(())
    }

    async fn redo_one(
        &mut self,
        batch: &SourceBatch,
        refused: Refused,
        now: &Now,
        counts: &mut Counts,
    ) -> Result<(), Aborted> {
        let mut stack = Vec::new();
        self.split(batch, refused, &Redo::default(), &mut stack, counts).await;
        while let Some(redo) = stack.pop() {
            let partitions = self.partition_counts().await;
            let out = self.stage_again(batch, &redo, now, &partitions);
            for refused in self.write(out).await?.refused {
                self.split(batch, refused, &redo, &mut stack, counts).await;
            }
        }
        Ok(())
    }

    /// Stages some of a batch's records again, which were counted the first time. Stages are pure, and hold what changes
    /// by itself: at the same time the same comes of it.
    fn stage_again(&mut self, batch: &SourceBatch, redo: &Redo, now: &Now, partitions: &[i32]) -> OutputBatch {
        let stages = &mut self.stages;
        let (counts, tally) = (&mut Counts::default(), &mut Tally::new(stages.dimensions()));
        let mut out = OutputBatch::new(self.max_batch_bytes, Expected::default());
        // By the batch's own time rules send each record where they did, and what they dropped is not here. It may be
        // hours old by now, and a dead letter's is what its topic judges it by.
        let dead_ms = if redo.fit.undated { NO_TIMESTAMP } else { unix_ms() };
        let mut staged = Batch { now, dead_ms, partitions, out: &mut out, counts, tally };
        for index in &redo.sources {
            let Some(entry) = batch.entry(*index) else { continue };
            match &redo.refused {
                Some(error) => stages.refuse(&entry, *index, &rejection(error, &entry.record), redo.fit, &mut staged),
                None => stages.process(&entry, *index, redo.fit, &mut staged),
            }
        }
        out
    }

    /// Splits what was refused, the first of it to the top of the stack. What was to follow it follows it.
    async fn split(
        &mut self,
        batch: &SourceBatch,
        refused: Refused,
        before: &Redo,
        stack: &mut Vec<Redo>,
        counts: &mut Counts,
    ) {
        let gone = refused.has_gone();
        let culprits = if gone { Vec::new() } else { culprits(&refused) };
        let Refused { to, sources, behind, error } = refused;
        let again = |sources: Vec<usize>| Redo { sources, refused: before.refused.clone(), fit: before.fit };
        let mut push = |redo: Redo| {
            if !redo.sources.is_empty() {
                stack.push(redo);
            }
        };
        push(again(behind));
        if gone {
            push(again(sources));
        } else if let Some(fit) = self.keyed(batch, &sources, to, &error, before.fit) {
            // All of them, so that they stay in order: those that have a key keep it.
            push(Redo { fit, ..again(sources) });
        } else if culprits.is_empty() {
            let (first, second) = sources.split_at(sources.len() / 2);
            push(again(second.to_vec()));
            push(again(first.to_vec()));
        } else {
            let innocent = sources.into_iter().filter(|source| culprits.binary_search(source).is_err()).collect();
            push(self.without(batch, again(culprits), to, &error, counts).await);
            push(again(innocent));
        }
    }

    /// A fit that gives dead letters a key, where they are refused because some have none, as a compacted topic does.
    fn keyed(&self, batch: &SourceBatch, sources: &[usize], to: Destination, error: &Error, fit: Fit) -> Option<Fit> {
        let mut entries = sources.iter().filter_map(|source| batch.entry(*source));
        let first = entries.find(|entry| entry.record.key.is_none())?;
        if to.topic != DEAD_LETTER || fit.keyed || !is_about_the_record(error) {
            return None;
        }
        let TopicPartition { topic, partition } = &self.of;
        let offset = first.record.offset.0;
        warn!(topic = &**topic, partition, offset, %error, "dead letters without a key are refused: each gets its place as its key");
        Some(Fit { keyed: true, ..fit })
    }

    /// Decides about records that are the reason for a refusal: outputs become dead letters; a dead letter is cut, where
    /// that is what its topic asks for, or waits for its topic.
    async fn without(
        &mut self,
        batch: &SourceBatch,
        culprits: Redo,
        to: Destination,
        error: &Error,
        counts: &mut Counts,
    ) -> Redo {
        if to.topic != DEAD_LETTER {
            let died = |at| Died { at, stage: Stage::Produce, field: None };
            culprits.sources.iter().for_each(|source| counts.died(died(*source), reason(error)));
            return Redo { refused: Some(error.clone()), ..culprits };
        }
        let entries = || culprits.sources.iter().filter_map(|source| batch.entry(*source));
        // Cutting helps against size only; for any other reason something would be lost in vain.
        if reason(error) == Reason::TooLarge && self.oversize == Oversize::Truncate {
            let smaller = entries().next().and_then(|alone| self.stages.smaller(&alone, culprits.fit));
            if let Some(fit) = smaller {
                return Redo { fit, ..culprits };
            }
        }
        if error.is(ResponseError::InvalidTimestamp) && !culprits.fit.undated {
            self.warn_undated(entries().next().map(|entry| entry.record.offset), error);
            return Redo { fit: Fit { undated: true, ..culprits.fit }, ..culprits };
        }
        if let Some(entry) = entries().next() {
            self.dead_letters.at(entry.record.offset);
        }
        let pause = match error.is(ResponseError::InvalidTimestamp) {
            true => self.dead_letters.failed_as(ErrorClass::Fatal, &format_args!("{error}; {TIME_OF_NOW}")),
            false => self.dead_letters.failed_as(ErrorClass::Fatal, error),
        };
        sleep(pause).await;
        culprits
    }

    /// No broker judges a record that bears no time, and retention counts from when its segment was written last.
    fn warn_undated(&self, at: Option<Offset>, error: &Error) {
        let TopicPartition { topic, partition } = &self.of;
        let offset = at.unwrap_or_default().0;
        warn!(
            topic = &**topic,
            partition,
            offset,
            %error,
            "dead letters that bear the time of now are refused: they are written without one; is this machine's clock \
             right, and the broker's?"
        );
    }
}

/// Advice where the dead-letter topic refuses a time that no record chose.
const TIME_OF_NOW: &str = "a dead letter bears the time of now, or none where that is refused: set that topic's limits so that it takes it, or the \
                           clock right, of this machine or of the broker";

/// The records that are the reason for a refusal, in ascending order, where that is known: one alone, or
/// those that the broker names.
fn culprits(refused: &Refused) -> Vec<usize> {
    if let [alone] = refused.sources[..] {
        return vec![alone];
    }
    if reason(&refused.error) == Reason::TooLarge {
        return Vec::new(); // the batch is: nobody says which of them
    }
    let named = refused.error.records().iter().filter_map(|at| refused.sources.get(*at).copied());
    let mut named: Vec<usize> = named.collect();
    named.sort_unstable();
    named.dedup();
    named
}

/// The reason of a record's dead letter, where its output refuses it.
fn reason(error: &Error) -> Reason {
    match error.is(ResponseError::MessageTooLarge) || error.is(ResponseError::RecordListTooLarge) {
        true => Reason::TooLarge,
        false => Reason::RefusedByTopic,
    }
}

/// Tells whether the broker finds fault with the record itself, be it that it has no key. Brokers before 2.4 say the
/// other of the two.
fn is_about_the_record(error: &Error) -> bool {
    error.is(ResponseError::InvalidRecord) || error.is(ResponseError::CorruptMessage)
}

/// The rejection of a record that its output refuses.
fn rejection(error: &Error, record: &RecordView<'_>) -> Rejection {
    let which = match is_about_the_record(error) && record.key.is_none() {
        true => "the record, which has no key",
        false => "the record",
    };
    Rejection::record(reason(error), format!("the output topic refuses {which}: {}", error.why()))
}
