//! A move of a position in a log, and what makes it right: a position never jumps in silence.
//!
//! A [`Step`] can be made in these ways only: behind a record that is handed over, to where a sound batch
//! begins or ends, or to the end of what a broker has shown to hold nothing. Whatever else moves a
//! position is a policy, and goes another way: [`Relocation`].

use crate::record::{Offset, Position};

/// Where reading goes on, and why there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    to: Position,
    why: Why,
}

/// What makes a step right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It leads nowhere.
    Stay,
    /// All before it is handed over.
    Delivered,
    /// A batch ends there, or the next one begins there.
    Named,
    /// The broker has shown that nothing lies before it that could be read.
    Shown,
    /// A policy of the configuration, which is logged and counted.
    Policy,
}

impl Step {
    /// Stays there.
    pub fn stay(at: Position) -> Self {
        Self { to: at, why: Why::Stay }
    }

    /// Behind a record that is handed over, in the middle of its batch or where that is not known.
    pub fn behind(record: Offset, leader_epoch: Option<i32>) -> Self {
        Self { to: Position { offset: record.next(), leader_epoch }, why: Why::Delivered }
    }

    /// Where a sound batch begins or ends; only those make it.
    pub(crate) fn named(offset: Offset, leader_epoch: Option<i32>) -> Self {
        Self { to: Position { offset, leader_epoch }, why: Why::Named }
    }

    /// To the end of what can be read, of which `asked` is the proof: every offset that was asked for
    /// in vain, from the position on. `None` where that is no proof.
    pub fn shown(from: Offset, end: Offset, asked: &[Offset]) -> Option<Self> {
        let first = asked.first() == Some(&from) || asked.first() == Some(&from.next());
        let last = asked.last().is_some_and(|last| last.next() >= end);
        let to = Position { offset: end, leader_epoch: None };
        (first && last && from < end).then_some(Self { to, why: Why::Shown })
    }

    /// The position that it leads to.
    pub fn to(&self) -> Position {
        self.to
    }

    /// The reason that makes it right.
    pub fn why(&self) -> Why {
        self.why
    }
}

/// A move by a policy of the configuration. Making one is not yet moving: whoever holds the position logs
/// and counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relocation {
    /// The position where reading was.
    pub from: Position,
    /// The position where it goes on.
    pub to: Position,
}

impl Relocation {
    /// As a step, for a batch without records.
    pub fn step(self) -> Step {
        Step { to: self.to, why: Why::Policy }
    }

    /// Returns whether what was read is read again.
    pub fn goes_back(&self) -> bool {
        self.to.offset < self.from.offset
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_no_step_without_a_proof() {
        let offsets = |all: &[i64]| all.iter().copied().map(Offset).collect::<Vec<_>>();
        let shown = |asked: &[i64]| Step::shown(Offset(10), Offset(20), &offsets(asked));
        assert_eq!(shown(&[11, 12, 14, 18, 19]).unwrap().to().offset, Offset(20));
        assert!(shown(&[10, 19]).is_some());
        for wrong in [&[][..], &[11], &[11, 18], &[12, 19], &[19]] {
            assert_eq!(shown(wrong), None, "{wrong:?}");
        }
        assert_eq!(Step::shown(Offset(20), Offset(20), &offsets(&[20])), None);
    }
}
