//! What is wrong with a configuration: all of it at once.

use std::error::Error;
use std::fmt;

use super::shown::{SHOWN, cut, escaped, show_plain};

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key's path (`kafka.brokers`, `route[0].when`), or the file that can't be read.
    pub path: String,
    /// What is wrong.
    pub wrong: String,
    /// What was found and where it was set; several where values contradict each other.
    pub found: Vec<Found>,
    /// What is allowed.
    pub allowed: Option<String>,
    /// What was probably meant.
    pub did_you_mean: Option<String>,
}

/// A value that somebody set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The value, quoted as in TOML, cut to 80 characters, control characters escaped.
    pub value: String,
    /// `file /etc/login-pipeline.toml`, `environment variable ...`, `flag ...` or `default`.
    pub origin: String,
}

impl Problem {
    pub(super) fn new(path: impl Into<String>, wrong: impl Into<String>) -> Self {
        let (path, wrong) = (path.into(), cut(escaped(&wrong.into()).chars(), 2 * SHOWN));
        Self { path, wrong, found: Vec::new(), allowed: None, did_you_mean: None }
    }

    pub(super) fn found(mut self, value: String, origin: &str) -> Self {
        self.found.push(Found { value, origin: origin.to_owned() });
        self
    }

    pub(super) fn allowed(mut self, allowed: impl Into<String>) -> Self {
        self.allowed = Some(allowed.into());
        self
    }

    pub(super) fn did_you_mean(mut self, meant: Option<impl Into<String>>) -> Self {
        // A suggestion made of text that can't be shown as it is would not help.
        self.did_you_mean = meant.map(Into::into).filter(|meant| show_plain(meant) == *meant);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.wrong)?;
        for found in &self.found {
            write!(f, "\n  found: {} ({})", found.value, found.origin)?;
        }
        if let Some(allowed) = &self.allowed {
            write!(f, "\n  allowed: {allowed}")?;
        }
        if let Some(meant) = &self.did_you_mean {
            write!(f, "\n  did you mean: {meant}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a configuration, sorted by path; never empty when returned as
/// an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Each problem, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// The number of problems.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// The problems about one of these keys.
    pub(super) fn about(mut self, keys: &[&str]) -> Self {
        self.0.retain(|problem| keys.contains(&problem.path.as_str()));
        self
    }

    /// `value`, or the problems if there are any.
    pub(super) fn or<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self.sorted()) }
    }

    pub(super) fn sorted(mut self) -> Self {
        self.0.sort_by(|a, b| a.path.cmp(&b.path));
        self
    }
}

/// One block a problem, after a line that counts them.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.len() {
            1 => f.write_str("the configuration has 1 problem")?,
            n => write!(f, "the configuration has {n} problems")?,
        }
        self.iter().try_for_each(|problem| write!(f, "\n\n{problem}"))
    }
}

impl Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_what_can_be_shown() {
        let meant = |meant: &str| Problem::new("a", "b").did_you_mean(Some(meant)).did_you_mean;
        assert_eq!(meant("host:9092").as_deref(), Some("host:9092"));
        assert_eq!(meant("\0:9092"), None);
        assert_eq!(Problem::new("a", "key `\u{1b}`").wrong, r"key `\u{1b}`");
    }

    #[test]
    fn prints_a_block_a_problem_sorted_by_path() {
        let mut problems = Problems::default();
        problems.push(Problem::new("b.c", "no such key").found("1".into(), "flag --b.c").did_you_mean(Some("b.d")));
        problems.push(Problem::new("a.b", "out of range").allowed("1 to 2"));
        let text = problems.or(()).unwrap_err().to_string();
        assert_eq!(
            text,
            "the configuration has 2 problems\n\n\
             a.b: out of range\n  allowed: 1 to 2\n\n\
             b.c: no such key\n  found: 1 (flag --b.c)\n  did you mean: b.d"
        );
    }
}
