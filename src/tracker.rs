//! Which offsets of one partition are done: the offset that may be stored never passes a record
//! whose outputs are not acknowledged.
//!
//! Work is begun in half-open ranges `[from, to)` that follow each other without a gap, and may be
//! acknowledged in any order.

use std::collections::VecDeque;
use std::ops::Range;

use crate::record::Offset;

/// The work begun and not yet stored, in the order of the log.
#[derive(Debug, Clone)]
pub struct Tracker {
    /// Everything below is acknowledged.
    done: Offset,
    /// Ranges from `done` on, each beginning where the one before ends.
    begun: VecDeque<Piece>,
}

#[derive(Debug, Clone)]
struct Piece {
    to: Offset,
    acknowledged: bool,
}

/// A range that does not fit what was begun before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrackError {
    /// It does not begin where the last one ended, or ends before it begins.
    #[error("offsets {}..{} do not follow {expected}", range.start, range.end)]
    NotNext {
        /// The range that was begun.
        range: Range<Offset>,
        /// The offset that it had to begin at.
        expected: Offset,
    },
    /// It was never begun, or is acknowledged already.
    #[error("offsets {}..{} are not in flight", .0.start, .0.end)]
    NotInFlight(Range<Offset>),
}

impl Tracker {
    /// Begins at the first offset that is to be read.
    pub fn starting_at(offset: Offset) -> Self {
        Self { done: offset, begun: VecDeque::new() }
    }

    /// Notes that the records of `range` are being worked on. An empty range changes nothing.
    ///
    /// # Errors
    /// [`TrackError::NotNext`] where there would be a gap, an overlap or a step back.
    pub fn begin(&mut self, range: Range<Offset>) -> Result<(), TrackError> {
        let expected = self.next();
        if range.start != expected || range.end < range.start {
            return Err(TrackError::NotNext { range, expected });
        }
        if range.end > range.start {
            self.begun.push_back(Piece { to: range.end, acknowledged: false });
        }
        Ok(())
    }

    /// Notes that every output of `range`, as it was begun, is acknowledged.
    ///
    /// # Errors
    /// [`TrackError::NotInFlight`] where no such range is in flight.
    pub fn acknowledge(&mut self, range: Range<Offset>) -> Result<(), TrackError> {
        if range.is_empty() {
            return Ok(());
        }
        let mut from = self.done;
        let piece = self.begun.iter_mut().find_map(|piece| {
            let start = std::mem::replace(&mut from, piece.to);
            (start == range.start).then_some(piece)
        });
        match piece {
            Some(piece) if piece.to == range.end && !piece.acknowledged => piece.acknowledged = true,
            _ => return Err(TrackError::NotInFlight(range)),
        }
        while let Some(piece) = self.begun.pop_front_if(|piece| piece.acknowledged) {
            self.done = piece.to;
        }
        Ok(())
    }

    /// The offset that may be stored: every record below it is acknowledged.
    pub fn done(&self) -> Offset {
        self.done
    }

    /// The offset that the next range must begin at.
    pub fn next(&self) -> Offset {
        self.begun.back().map_or(self.done, |piece| piece.to)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(from: i64, to: i64) -> Range<Offset> {
        Offset(from)..Offset(to)
    }

    #[test]
    fn moves_over_contiguous_acknowledgements_only() {
        let mut tracker = Tracker::starting_at(Offset(10));
        tracker.begin(range(10, 20)).unwrap();
        tracker.begin(range(20, 25)).unwrap();
        tracker.acknowledge(range(20, 25)).unwrap();
        assert_eq!(tracker.done(), Offset(10));
        tracker.acknowledge(range(10, 20)).unwrap();
        assert_eq!(tracker.done(), Offset(25));
        assert_eq!(tracker.next(), Offset(25));
    }

    #[test]
    fn refuses_gaps_regressions_and_strangers() {
        let mut tracker = Tracker::starting_at(Offset(10));
        for wrong in [range(11, 12), range(9, 12), range(10, 9)] {
            assert!(matches!(tracker.begin(wrong), Err(TrackError::NotNext { .. })));
        }
        tracker.begin(range(10, 20)).unwrap();
        for wrong in [range(10, 15), range(15, 20), range(20, 30)] {
            assert!(matches!(tracker.acknowledge(wrong), Err(TrackError::NotInFlight(_))));
        }
        tracker.acknowledge(range(10, 20)).unwrap();
        assert!(tracker.acknowledge(range(10, 20)).is_err());
    }

    proptest! {
        #[test]
        fn never_passes_an_unacknowledged_offset(
            lengths in prop::collection::vec(0..5_i64, 1..40),
            order in prop::collection::vec(any::<prop::sample::Index>(), 40),
        ) {
            let mut tracker = Tracker::starting_at(Offset(0));
            let mut open = Vec::new();
            let mut at = 0;
            for length in lengths {
                tracker.begin(range(at, at + length)).unwrap();
                if length > 0 { open.push(range(at, at + length)); }
                at += length;
            }
            let mut before = tracker.done();
            for index in order {
                if open.is_empty() { break; }
                let next = open.remove(index.index(open.len()));
                tracker.acknowledge(next).unwrap();
                let first_open = open.iter().map(|range| range.start).min().unwrap_or(Offset(at));
                prop_assert_eq!(tracker.done(), first_open);
                prop_assert!(tracker.done() >= before);
                before = tracker.done();
            }
        }
    }
}
