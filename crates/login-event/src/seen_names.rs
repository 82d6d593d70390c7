//! Names of members that an event has beyond its own: to find one that comes twice.

use std::borrow::Cow;
use std::collections::HashSet;

/// Names seen so far, of members that no event needs: told apart without a quadratic walk, however many a sender invents.
#[derive(Debug, Default)]
pub struct SeenNames<'a> {
    few: Vec<Cow<'a, str>>,
    many: HashSet<Cow<'a, str>>,
}

impl<'a> SeenNames<'a> {
    const FEW: usize = 16;

    /// Adds a name; `false` where it was there.
    pub fn insert(&mut self, name: Cow<'a, str>) -> bool {
        if self.few.contains(&name) {
            return false;
        }
        if self.few.len() < Self::FEW {
            self.few.push(name);
            return true;
        }
        self.many.insert(name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_are_told_apart(names in prop::collection::vec("[ab]{1,6}", 0..60)) {
            let mut seen = SeenNames::default();
            let mut oracle = HashSet::new();
            for name in names {
                assert_eq!(seen.insert(Cow::Owned(name.clone())), oracle.insert(name));
            }
        }
    }
}
