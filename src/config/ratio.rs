//! A share of a whole.

use serde::Serialize;

/// A share, from 0 to less than 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Ratio(f64);

impl Ratio {
    /// `None` where it is no share, or all of it.
    pub fn new(share: f64) -> Option<Self> {
        (0.0..1.0).contains(&share).then_some(Self(share))
    }

    /// Whether `part` is more than this share of `whole`.
    pub fn is_passed_by(self, part: u64, whole: u64) -> bool {
        part as f64 > self.0 * whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_passed_by_what_is_more() {
        let fifth = Ratio::new(0.2).unwrap();
        assert!(!fifth.is_passed_by(20, 100));
        assert!(fifth.is_passed_by(21, 100));
        let none = Ratio::new(0.0).unwrap();
        assert!(!none.is_passed_by(0, 0));
        assert!(none.is_passed_by(1, 1_000_000));
        for no_share in [-0.1, 1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Ratio::new(no_share), None);
        }
    }
}
