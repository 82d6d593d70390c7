//! The kinds of rules between keys: a pair, one of two, a key that is needed or of no use, a file that must hold something.

use super::problem::{Problem, Problems};
use super::values::Values;

/// Notes problems of keys that belong together.
pub(super) struct Rules<'a> {
    pub(super) values: &'a Values,
    pub(super) problems: &'a mut Problems,
}

impl Rules<'_> {
    /// Two keys of which neither is of use without the other.
    pub(super) fn pair(&mut self, [one, other]: [&'static str; 2], wrong: &str) {
        for (given, other) in [(one, other), (other, one)] {
            if self.values.is_given(given) && !self.values.is_given(other) {
                self.missing(other, &[given], wrong);
            }
        }
    }

    /// Keys that what `because` says has no use for.
    pub(super) fn unused(&mut self, keys: &[&'static str], because: &'static str, wrong: &str, allowed: &str) {
        for key in keys.iter().filter(|key| self.values.is_given(key)) {
            self.push(key, &[because], wrong, &format!("nothing, or {allowed}"));
        }
    }

    /// A key that what `because` says can't do without.
    pub(super) fn needed(&mut self, key: &'static str, because: &'static str, wrong: &str) {
        if !self.values.is_given(key) {
            self.missing(key, &[because], wrong);
        }
    }

    /// Two keys of which what `because` says needs one, and has no use for both.
    pub(super) fn either(&mut self, keys: [&'static str; 2], because: &'static str, none: &str, both: &str) {
        let [key, other] = keys;
        let allowed = format!("this or {other}");
        match keys.map(|key| self.values.is_given(key)) {
            [true, true] => self.push(key, &[other], both, &allowed),
            [false, false] => self.push(key, &[because], none, &allowed),
            _ => {}
        }
    }

    pub(super) fn missing(&mut self, key: &'static str, because: &[&'static str], wrong: &str) {
        let allowed = self.values.key(key).map(|key| key.kind.to_string());
        self.push(key, because, wrong, &allowed.unwrap_or_default());
    }

    /// A file that was looked at, if it is set.
    pub(super) fn file(&mut self, keys: &[&'static str], found: Option<Result<(), String>>) {
        if let (Some(Err(wrong)), [key, others @ ..]) = (found, keys) {
            let allowed = self.values.key(key).map(|key| key.doc).unwrap_or_default();
            self.push(key, others, &wrong, allowed);
        }
    }

    /// Notes a problem of `key` with `others`, unless the value of one is a problem already.
    pub(super) fn push(&mut self, key: &'static str, others: &[&'static str], wrong: &str, allowed: &str) {
        let keys = std::iter::once(key).chain(others.iter().copied());
        if keys.clone().all(|key| self.values.is_sound(key)) {
            let mut problem = Problem::new(key, wrong).allowed(allowed);
            problem.found.extend(keys.filter_map(|key| self.values.found(key)));
            self.problems.push(problem);
        }
    }
}
