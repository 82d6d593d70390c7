//! What a partition remembers of its idempotent producers, so that a retried batch is written once.
//! Pure. After Kafka's `ProducerStateManager` and `ProducerAppendInfo`.

use std::collections::{HashMap, VecDeque};

use super::batch_header::BatchHeader;
use super::error_codes;

/// Kafka remembers the last five batches of a producer, and clients keep at most five in flight.
const REMEMBERED: usize = 5;

/// What is to be done with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is new: append it.
    Append,
    /// It is in the log already, at this base offset.
    Duplicate(i64),
    /// It is refused with this error code.
    Refuse(i16),
}

/// The producers of one partition.
#[derive(Debug, Clone, Default)]
pub(super) struct Producers {
    known: HashMap<i64, Producer>,
    /// Of the first batches of transactions, until one is written.
    attempts: HashMap<i64, Attempt>,
}

/// What a producer has tried to begin a transaction with here.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    epoch: i16,
    /// The lowest number: what comes behind it is early.
    lowest: i32,
    /// In transactions of version 2 a producer that is not known begins with number 0.
    begins_at_zero: bool,
}

#[derive(Debug, Clone, Default)]
struct Producer {
    epoch: i16,
    batches: VecDeque<Written>,
}

#[derive(Debug, Clone)]
struct Written {
    first: i32,
    last: i32,
    base_offset: i64,
}

impl Producers {
    /// Notes the first batch of a transaction, about which the coordinator is asked before it is judged.
    pub(crate) fn attempted(&mut self, header: &BatchHeader, begins_at_zero: bool) {
        let (epoch, lowest) = (header.producer_epoch, header.base_sequence);
        let attempt = Attempt { epoch, lowest, begins_at_zero };
        let known = self.attempts.entry(header.producer_id).or_insert(attempt);
        if known.epoch < epoch || (known.epoch == epoch && lowest < known.lowest) {
            *known = attempt;
        }
    }

    /// Judges a batch before it is appended.
    pub(crate) fn judge(&self, header: &BatchHeader) -> Verdict {
        let first = header.base_sequence;
        let attempt = self.attempts.get(&header.producer_id);
        let is_early = attempt.is_some_and(|attempt| first > attempt.lowest);
        let Some(producer) = self.known.get(&header.producer_id) else {
            let begins_at_zero = attempt.is_some_and(|attempt| attempt.begins_at_zero);
            return if is_early || (begins_at_zero && first != 0) {
                Verdict::Refuse(error_codes::OUT_OF_ORDER_SEQUENCE_NUMBER)
            } else {
                Verdict::Append
            };
        };
        if header.producer_epoch < producer.epoch {
            return Verdict::Refuse(error_codes::INVALID_PRODUCER_EPOCH);
        }
        if header.producer_epoch > producer.epoch {
            return if first == 0 && !is_early {
                Verdict::Append
            } else {
                Verdict::Refuse(error_codes::OUT_OF_ORDER_SEQUENCE_NUMBER)
            };
        }
        let last = last_sequence(header);
        let seen = |w: &&Written| w.first == first && w.last == last;
        if let Some(written) = producer.batches.iter().find(seen) {
            return Verdict::Duplicate(written.base_offset);
        }
        match producer.batches.back() {
            _ if is_early => Verdict::Refuse(error_codes::OUT_OF_ORDER_SEQUENCE_NUMBER),
            // A marker was the last: numbers begin again.
            None if first != 0 => Verdict::Refuse(error_codes::OUT_OF_ORDER_SEQUENCE_NUMBER),
            Some(newest) if first != next_sequence(newest.last) => {
                Verdict::Refuse(error_codes::OUT_OF_ORDER_SEQUENCE_NUMBER)
            }
            _ => Verdict::Append,
        }
    }

    /// Each producer that is known: its id, its epoch, and the number of its last record, where it has one.
    pub(crate) fn known(&self) -> impl Iterator<Item = (i64, i16, Option<i32>)> {
        let last = |producer: &Producer| producer.batches.back().map(|batch| batch.last);
        self.known.iter().map(move |(id, producer)| (*id, producer.epoch, last(producer)))
    }

    /// The epoch that a producer has last written in.
    pub(crate) fn epoch(&self, producer_id: i64) -> Option<i16> {
        self.known.get(&producer_id).map(|producer| producer.epoch)
    }

    /// Remembers a batch that was appended. The marker of a transaction begins its epoch, too.
    pub(crate) fn appended(&mut self, header: &BatchHeader, base_offset: i64) {
        if header.producer_id < 0 || (header.base_sequence < 0 && !header.is_control()) {
            return;
        }
        self.attempts.remove(&header.producer_id);
        let producer = self.known.entry(header.producer_id).or_default();
        if header.producer_epoch != producer.epoch {
            producer.batches.clear();
            producer.epoch = header.producer_epoch;
        }
        if header.is_control() {
            return;
        }
        producer.batches.push_back(Written { first: header.base_sequence, last: last_sequence(header), base_offset });
        if producer.batches.len() > REMEMBERED {
            producer.batches.pop_front();
        }
    }
}

/// Sequence numbers wrap from `i32::MAX` to 0.
fn next_sequence(sequence: i32) -> i32 {
    sequence.checked_add(1).unwrap_or(0)
}

fn last_sequence(header: &BatchHeader) -> i32 {
    let (first, delta) = (header.base_sequence, header.last_offset_delta);
    first.checked_add(delta).unwrap_or_else(|| {
        let left = i32::MAX - first;
        delta - left - 1
    })
}

#[cfg(test)]
mod tests {
    use super::super::batch::NewBatch;
    use super::super::record::NewRecord;
    use super::*;

    fn header(epoch: i16, sequence: i32, records: usize) -> BatchHeader {
        let mut batch = NewBatch::new(vec![NewRecord::default(); records]);
        batch.producer_id = 1;
        batch.producer_epoch = epoch;
        batch.base_sequence = sequence;
        BatchHeader::read(&batch.to_bytes()).unwrap()
    }

    #[test]
    fn a_retried_batch_is_known_and_a_gap_refused() {
        let mut producers = Producers::default();
        assert_eq!(producers.judge(&header(0, 0, 3)), Verdict::Append);
        producers.appended(&header(0, 0, 3), 40);
        assert_eq!(producers.judge(&header(0, 0, 3)), Verdict::Duplicate(40));
        assert_eq!(producers.judge(&header(0, 3, 1)), Verdict::Append);
        let gap = Verdict::Refuse(error_codes::OUT_OF_ORDER_SEQUENCE_NUMBER);
        assert_eq!(producers.judge(&header(0, 4, 1)), gap);
        assert_eq!(producers.judge(&header(1, 4, 1)), gap);
        assert_eq!(producers.judge(&header(1, 0, 1)), Verdict::Append);
    }

    #[test]
    fn an_older_epoch_is_fenced() {
        let mut producers = Producers::default();
        producers.appended(&header(2, 0, 1), 0);
        let fenced = Verdict::Refuse(error_codes::INVALID_PRODUCER_EPOCH);
        assert_eq!(producers.judge(&header(1, 1, 1)), fenced);
    }

    #[test]
    fn a_marker_of_a_later_epoch_fences_what_is_written_in_the_one_before() {
        let mut producers = Producers::default();
        producers.appended(&header(0, 0, 3), 0);
        let mut marker = NewBatch::control(1, true, 0);
        marker.producer_epoch = 1;
        producers.appended(&BatchHeader::read(&marker.to_bytes()).unwrap(), 3);
        assert_eq!(producers.epoch(1), Some(1));
        assert_eq!(producers.judge(&header(0, 3, 1)), Verdict::Refuse(error_codes::INVALID_PRODUCER_EPOCH));
        let gap = Verdict::Refuse(error_codes::OUT_OF_ORDER_SEQUENCE_NUMBER);
        assert_eq!(producers.judge(&header(1, 3, 1)), gap);
        assert_eq!(producers.judge(&header(1, 0, 1)), Verdict::Append);
    }

    #[test]
    fn a_transaction_begins_with_the_first_batch_that_was_tried() {
        let mut producers = Producers::default();
        let early = Verdict::Refuse(error_codes::OUT_OF_ORDER_SEQUENCE_NUMBER);
        producers.attempted(&header(0, 3, 1), false);
        assert_eq!(producers.judge(&header(0, 3, 1)), Verdict::Append);
        producers.attempted(&header(0, 1, 2), false);
        producers.attempted(&header(0, 3, 1), false);
        assert_eq!(producers.judge(&header(0, 3, 1)), early);
        assert_eq!(producers.judge(&header(0, 1, 2)), Verdict::Append);
        producers.appended(&header(0, 1, 2), 0);
        assert_eq!(producers.judge(&header(0, 3, 1)), Verdict::Append);
        let mut producers = Producers::default();
        producers.attempted(&header(0, 3, 1), true);
        assert_eq!(producers.judge(&header(0, 3, 1)), early, "of a producer that is not known");
    }

    #[test]
    fn sequences_wrap() {
        let mut producers = Producers::default();
        producers.appended(&header(0, i32::MAX, 2), 0);
        assert_eq!(producers.judge(&header(0, 1, 1)), Verdict::Append);
    }
}
