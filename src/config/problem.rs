//! What is wrong with a configuration: all of it at once.

use std::error::Error;
use std::fmt;

use figment::value::{Num, Value};
use kafka_client::REDACTED;
use kafka_client::plain::Plain;

use super::schema::{self, Kind};
use super::token_endpoint::redacted;

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

    /// How many there are.
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

    /// Those about one of these keys.
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

/// The longest value shown, in characters.
const SHOWN: usize = 80;

/// `value` as a problem shows it: as TOML writes it, but on one line, escaped and cut.
pub(super) fn show(value: &Value) -> String {
    cut(written(value).chars(), SHOWN)
}

/// The value of `path`, which may be a key that does not exist yet: nothing secret is shown.
pub(super) fn show_at(path: &str, value: &Value) -> String {
    match (schema::key(path).map(|key| key.kind), value.as_str()) {
        _ if is_secret(path) => REDACTED.to_owned(),
        (Some(Kind::Url), Some(url)) => show(&redacted(url).into()),
        _ => show(value),
    }
}

/// Line `number` of a file that is not TOML, without a secret that may stand in it: a password
/// without its quotes is the likeliest mistake, and one of several lines begins further up.
pub(super) fn show_line(text: &str, number: usize) -> Option<String> {
    let lines = text.lines().take(number).map(str::trim);
    let (secret, line) = lines.fold((false, ""), |(secret, _), line| {
        let goes_on = secret && !line.starts_with('[');
        (goes_on || looks_secret(line), line)
    });
    match line {
        "" => None,
        _ if secret => Some(REDACTED.to_owned()),
        line => Some(show_plain(line)),
    }
}

/// Whether the value at `path` must not be shown: a key's kind says so; of what is no key, too much
/// is hidden rather than too little.
fn is_secret(path: &str) -> bool {
    match schema::key(path) {
        Some(key) => key.is_secret(),
        None => looks_secret(path),
    }
}

/// Whether a text names a secret, perhaps spelt wrong.
fn looks_secret(text: &str) -> bool {
    let text = text.to_lowercase();
    let named = |word: &str| {
        ["pass", "pwd", "secret", "token", "sasl", "credential"].iter().any(|secret| word.contains(secret))
            || strsim::damerau_levenshtein(word, "password") <= 3
    };
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(named)
}

/// A key's name as a path shows it: quoted if it is not a bare one.
pub(super) fn segment(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { format!("\"{}\"", show_plain(name)) }
}

/// `text` on one line, without quotes, escaped and cut.
pub(super) fn show_plain(text: &str) -> String {
    cut(escaped(text).chars(), SHOWN)
}

fn escaped(text: &str) -> String {
    Plain(text).to_string()
}

fn cut(mut chars: impl Iterator<Item = char>, most: usize) -> String {
    let mut shown: String = chars.by_ref().take(most).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

fn written(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("{:?}", without_password(text)),
        Value::Char(_, c) => format!("{:?}", c.to_string()),
        Value::Bool(_, bool) => bool.to_string(),
        Value::Num(_, num) => number(*num),
        Value::Empty(..) => "nothing".to_owned(),
        Value::Array(_, items) => format!("[{}]", items.iter().map(written).collect::<Vec<_>>().join(", ")),
        Value::Dict(_, dict) => match date(value) {
            Some(text) => text.to_owned(),
            None => {
                let entry = |(name, value): (&String, &Value)| {
                    let value = if is_secret(name) { REDACTED.to_owned() } else { written(value) };
                    format!("{} = {value}", segment(name))
                };
                let keys: Vec<_> = dict.iter().map(entry).collect();
                format!("{{ {} }}", keys.join(", "))
            }
        },
    }
}

/// TOML's dates and times arrive as a table of one key of this name.
pub(super) fn date(value: &Value) -> Option<&str> {
    value.as_dict()?.get("$__toml_private_datetime")?.as_str()
}

/// `user:password@host` is a mistake that should not reach a log whole.
fn without_password(text: &str) -> String {
    let hidden = |item: &str| match item.rsplit_once('@') {
        Some((user, host)) if user.contains(':') => format!("***@{host}"),
        _ => item.to_owned(),
    };
    text.split(',').map(hidden).collect::<Vec<_>>().join(",")
}

fn number(num: Num) -> String {
    match (num.to_i128(), num.to_u128(), num.to_f64()) {
        (Some(n), ..) => n.to_string(),
        (_, Some(n), _) => n.to_string(),
        // Debug, so that 1.0 does not look like an integer.
        (_, _, Some(n)) => format!("{n:?}"),
        (None, None, None) => "a number".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use figment::value::Map;

    use super::*;

    #[test]
    fn shows_values_escaped_and_cut() {
        assert_eq!(show(&"a\u{1b}[31m\nb\u{202e}".into()), r#""a\u{1b}[31m\nb\u{202e}""#);
        assert_eq!(show(&"x".repeat(500).into()).chars().count(), 81);
        assert_eq!(show(&vec![1, 2].into()), "[1, 2]");
        assert_eq!(show(&1.0.into()), "1.0");
        assert_eq!(show(&"me:secret@host:9092,b:1".into()), r#""***@host:9092,b:1""#);
        for path in
            ["sasl.Password", "kafka.sasl.password", "kafka.sasl", "kafka.passwrd", "kafka.psaswodr", "api_token"]
        {
            assert_eq!(show_at(path, &"hunter2".into()), "[redacted]", "{path}");
        }
        assert_eq!(show_at("kafka.sasl.password_file", &"/x".into()), "\"/x\"");
        let table = Value::from(vec![("sasl_password", "hunter2"), ("user", "me")].into_iter().collect::<Map<_, _>>());
        assert_eq!(show(&table), r#"{ sasl_password = [redacted], user = "me" }"#);
        assert_eq!(show_plain("tab\there 'quoted'"), r"tab\there 'quoted'");
    }

    #[test]
    fn a_line_that_is_not_toml_shows_no_secret() {
        let shown = |text: &str| show_line(text, text.lines().count());
        assert_eq!(shown("[a]\n topic = user-login").as_deref(), Some("topic = user-login"));
        assert_eq!(shown("[a]\npassword = \"x\"\n[b]\ntopic = x").as_deref(), Some("topic = x"));
        assert_eq!(shown("[a]\n "), None);
        for text in ["password = hunter2", "[x]\npasswd = \"\"\"\n\nhunter2\"", "kafka = { sasl.p = hunter2"] {
            assert_eq!(shown(text).as_deref(), Some("[redacted]"), "{text}");
        }
    }

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
