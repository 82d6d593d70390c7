//! Which dead letters of a partition are done.
//!
//! ```text
//! offset   3  4  5  6  7  8  9
//!          done ──┐ open, done, done, open ── not looked at yet
//!                 └ the group's offset; its note has the runs behind it: 1 open, 2 done, 1 open
//! ```
//! The group's offset never passes what is open: whoever knows nothing of the note does some of them again, and leaves none
//! out.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::record::Offset;

/// The longest note, in characters. Brokers take 4,096 bytes beside an offset unless `offset.metadata.max.bytes` says
/// otherwise, and the topic's id is there, too.
const MOST_CHARACTERS: usize = 3_900;

/// The progress of a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// What comes from here on was not looked at yet.
    next: i64,
    /// Stretches before that are open: where each begins, and ends.
    open: BTreeMap<i64, i64>,
}

impl Standing {
    /// Everything before this offset is done.
    pub(super) fn at(next: Offset) -> Self {
        Self { next: next.0, open: BTreeMap::new() }
    }

    /// The first that is not done: what the group's offset is.
    pub(super) fn first(&self) -> Offset {
        Offset(self.open.first_key_value().map_or(self.next, |(begin, _)| *begin))
    }

    /// Behind the last that was looked at.
    pub(super) fn next(&self) -> Offset {
        Offset(self.next)
    }

    /// Whether a dead letter at this offset is done.
    pub(super) fn is_done(&self, Offset(offset): Offset) -> bool {
        offset < self.next && self.stretch_with(offset).is_none()
    }

    fn stretch_with(&self, offset: i64) -> Option<(i64, i64)> {
        let (begin, end) = self.open.range(..=offset).next_back()?;
        (offset < *end).then_some((*begin, *end))
    }

    /// Forgets what is no longer there: the log begins here.
    pub(super) fn begin_at(&mut self, Offset(begin): Offset) {
        let after = self.open.split_off(&begin);
        let cut = self.open.last_key_value().map(|(_, end)| *end).filter(|end| *end > begin);
        self.open = after;
        self.open.extend(cut.map(|end| (begin, end)));
        self.next = self.next.max(begin);
    }

    /// Notes one that was looked at, and whether it is done now. They come in their order.
    pub(super) fn note(&mut self, Offset(offset): Offset, is_done: bool) {
        if is_done {
            if let Some((begin, end)) = self.stretch_with(offset) {
                self.open.remove(&begin);
                let left = [(begin, offset), (offset + 1, end)];
                self.open.extend(left.into_iter().filter(|(begin, end)| begin < end));
            }
        } else if self.stretch_with(offset).is_none() {
            // Between what was looked at last and this there is nothing: one stretch is shorter to note than two.
            let begin = offset.min(self.next);
            let before =
                self.open.range(..begin).next_back().filter(|(_, end)| **end == begin).map(|(begin, _)| *begin);
            let end = self.open.remove(&(offset + 1)).unwrap_or(offset + 1);
            self.open.insert(before.unwrap_or(begin), end);
        }
        self.next = self.next.max(offset.saturating_add(1));
    }

    /// The lengths of what is open and of what is done, in turn, from the first that is open on. In Elias's gamma code: a
    /// run of one takes a bit, one of a thousand 19. Empty where nothing is open; `None` where a group has no room for it.
    pub(super) fn text(&self) -> Option<String> {
        let mut bits = Bits::default();
        self.runs().into_iter().for_each(|run| bits.run(run));
        let text = STANDARD_NO_PAD.encode(bits.bytes);
        (text.len() <= MOST_CHARACTERS).then_some(text)
    }

    /// As much of it as a group has room for: what is left out reads as not looked at.
    pub(super) fn beginning(&self) -> String {
        let mut fitting = Bits::default();
        for run in self.runs() {
            let used = fitting.used;
            fitting.run(run);
            if fitting.bytes.len() > MOST_CHARACTERS / 4 * 3 {
                fitting.cut(used);
                break;
            }
        }
        STANDARD_NO_PAD.encode(fitting.bytes)
    }

    /// The lengths of what is open and of what is done, in turn.
    fn runs(&self) -> Vec<u64> {
        let (mut runs, mut at) = (Vec::new(), self.first().0);
        for (begin, end) in &self.open {
            if *begin > at {
                runs.push(begin.abs_diff(at));
            }
            runs.push(end.abs_diff(*begin));
            at = *end;
        }
        if self.next > at {
            runs.push(self.next.abs_diff(at));
        }
        runs
    }

    /// Reads what a group's offset and such a text say; `None` where the text is none.
    pub(super) fn read(offset: Offset, text: &str) -> Option<Self> {
        let bytes = STANDARD_NO_PAD.decode(text).ok()?;
        let mut standing = Self::at(offset);
        for (turn, run) in (Bits { bytes, used: 0 }).runs().into_iter().enumerate() {
            let end = standing.next.checked_add_unsigned(run)?;
            if turn % 2 == 0 {
                standing.open.insert(standing.next, end);
            }
            standing.next = end;
        }
        Some(standing)
    }
}

/// Bits, the first of a byte its highest.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: usize,
}

impl Bits {
    fn push(&mut self, bit: bool) {
        if self.used == self.bytes.len() * 8 {
            self.bytes.push(0);
        }
        if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << (7 - self.used % 8);
        }
        self.used += 1;
    }

    /// Forgets all but the first so many.
    fn cut(&mut self, used: usize) {
        self.used = used;
        self.bytes.truncate(used.div_ceil(8));
        if let Some(last) = self.bytes.last_mut().filter(|_| !used.is_multiple_of(8)) {
            *last &= !(0xff >> (used % 8));
        }
    }

    /// A run of one or more: as many zeros as its binary digits but one, then these.
    fn run(&mut self, length: u64) {
        let digits = u64::BITS - length.leading_zeros();
        (1..digits).for_each(|_| self.push(false));
        (0..digits).rev().for_each(|digit| self.push((length >> digit) & 1 == 1));
    }

    /// All runs. What fills the last byte up is zeros, and no run.
    fn runs(&self) -> Vec<u64> {
        let mut bits = self.bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| (byte >> at) & 1 == 1));
        let (mut runs, mut zeros) = (Vec::new(), 0);
        while let Some(bit) = bits.next() {
            if !bit {
                zeros += 1;
                continue;
            }
            let rest: Vec<bool> = bits.by_ref().take(zeros).collect();
            if rest.len() < zeros || zeros >= 64 {
                break;
            }
            runs.push(rest.into_iter().fold(1, |length, bit| (length << 1) | u64::from(bit)));
            zeros = 0;
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn looked_at(begin: i64, done: &[bool]) -> Standing {
        let mut standing = Standing::at(Offset(begin));
        (begin..).zip(done).for_each(|(offset, done)| standing.note(Offset(offset), *done));
        standing
    }

    fn read_back(standing: &Standing) -> Standing {
        Standing::read(standing.first(), &standing.text().unwrap()).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_open_is_known_again(
            begin in 0..1_000_000_000_i64,
            rounds in prop::collection::vec(prop::collection::vec(any::<bool>(), 0..200), 1..4),
            log_begins in 0..300_i64,
        ) {
            let mut standing = Standing::at(Offset(begin));
            let mut open = BTreeSet::new();
            let mut end = begin;
            for done in &rounds {
                for (offset, done) in (begin..).zip(done).filter(|(offset, _)| !standing.is_done(Offset(*offset))).collect::<Vec<_>>() {
                    standing.note(Offset(offset), *done);
                    if *done { open.remove(&offset); } else { open.insert(offset); }
                    end = end.max(offset + 1);
                }
                let again = read_back(&standing);
                prop_assert_eq!(again.first(), Offset(open.first().copied().unwrap_or(end)));
                for offset in begin..end + 3 {
                    prop_assert_eq!(again.is_done(Offset(offset)), offset < end && !open.contains(&offset), "{}", offset);
                }
            }
            standing.begin_at(Offset(begin + log_begins));
            for offset in begin + log_begins..end {
                prop_assert_eq!(standing.is_done(Offset(offset)), !open.contains(&offset));
            }
            prop_assert!(standing.first() >= Offset(begin + log_begins));
            prop_assert_eq!(&read_back(&standing), &standing);
        }

        #[test]
        fn no_note_makes_it_panic(offset in any::<i64>(), text in "[A-Za-z0-9+/=]{0,64}") {
            let _ = Standing::read(Offset(offset), &text);
        }
    }

    #[test]
    fn a_note_is_short_or_none() {
        assert_eq!(Standing::at(Offset(7)).text().as_deref(), Some(""));
        assert_eq!(Standing::read(Offset(7), ""), Some(Standing::at(Offset(7))));
        assert_eq!(looked_at(7, &[true; 5]), Standing::at(Offset(12)));
        let long = looked_at(0, &[false; 100_000]);
        assert!(long.text().unwrap().len() < 10 && long.first() == Offset(0));
        let each_other: Vec<_> = (0..20_000).map(|n| n % 2 == 0).collect();
        assert!(looked_at(0, &each_other).text().is_some());
        let each_other: Vec<_> = (0..40_000).map(|n| n % 2 == 0).collect();
        assert_eq!(looked_at(0, &each_other).text(), None);
    }

    #[test]
    fn the_beginning_of_a_note_that_is_too_long_passes_nothing_that_is_open() {
        let each_other: Vec<_> = (0..40_000).map(|n| n % 3 == 0).collect();
        let whole = looked_at(0, &each_other);
        let read = Standing::read(whole.first(), &whole.beginning()).unwrap();
        assert!(whole.text().is_none() && read.next() > Offset(5_000), "{:?}", read.next());
        for offset in (0..40_000).map(Offset) {
            assert!(!read.is_done(offset) || whole.is_done(offset), "{offset:?}");
            assert!(offset >= read.next() || read.is_done(offset) == whole.is_done(offset), "{offset:?}");
        }
        let short = looked_at(7, &[false, true, true]);
        assert_eq!(short.beginning(), short.text().unwrap());
    }

    /// As where markers of transactions lie between them.
    #[test]
    fn offsets_without_a_record_are_no_runs() {
        let mut standing = Standing::at(Offset(0));
        (0..1_000).map(|n| Offset(n * 3)).for_each(|offset| standing.note(offset, false));
        assert_eq!(standing.open, BTreeMap::from([(0, 2_998)]));
        standing.note(Offset(3), true);
        assert!(standing.is_done(Offset(3)) && !standing.is_done(Offset(6)) && standing.first() == Offset(0));
    }
}
