//! Values as a problem shows them: on one line, escaped, cut, and nothing secret.

use figment::value::{Num, Value};
use kafka_client::REDACTED;
use kafka_client::plain::Plain;

use super::endpoint_url::redacted;
use super::key::{Key, Kind};

/// The longest value shown, in characters.
pub(super) const SHOWN: usize = 80;

/// `value` as a problem shows it: as TOML writes it, but on one line, escaped and cut.
pub(super) fn show(value: &Value) -> String {
    cut(written(value).chars(), SHOWN)
}

/// The value of `key`, unless that is a secret.
pub(super) fn show_of(key: &Key, value: &Value) -> String {
    match (key.kind, value.as_str()) {
        _ if key.is_secret() => REDACTED.to_owned(),
        (Kind::Url, Some(url)) => show(&redacted(url).into()),
        _ => show(value),
    }
}

/// The value at `path`, which is no key: too much is redacted rather than too little.
pub(super) fn show_unknown(path: &str, value: &Value) -> String {
    if looks_secret(path) { REDACTED.to_owned() } else { show(value) }
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

/// A key's name as a path shows it: quoted if it is not a bare one.
pub(super) fn segment(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { format!("\"{}\"", show_plain(name)) }
}

/// `text` on one line, without quotes, escaped and cut.
pub(super) fn show_plain(text: &str) -> String {
    cut(escaped(text).chars(), SHOWN)
}

/// `text` on one line, its control characters escaped.
pub(super) fn escaped(text: &str) -> String {
    Plain(text).to_string()
}

/// The first `most` characters, and a sign that there were more.
pub(super) fn cut(mut chars: impl Iterator<Item = char>, most: usize) -> String {
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
                    let value = if looks_secret(name) { REDACTED.to_owned() } else { written(value) };
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

/// Whether a text names a secret, perhaps spelt wrong.
fn looks_secret(text: &str) -> bool {
    let text = text.to_lowercase();
    let named = |word: &str| {
        ["pass", "pwd", "secret", "token", "sasl", "credential"].iter().any(|secret| word.contains(secret))
            || strsim::damerau_levenshtein(word, "password") <= 3
    };
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(named)
}

#[cfg(test)]
mod tests {
    use figment::value::Map;

    use super::super::schema;
    use super::*;

    #[test]
    fn shows_values_escaped_and_cut() {
        assert_eq!(show(&"a\u{1b}[31m\nb\u{202e}".into()), r#""a\u{1b}[31m\nb\u{202e}""#);
        assert_eq!(show(&"x".repeat(500).into()).chars().count(), 81);
        assert_eq!(show(&vec![1, 2].into()), "[1, 2]");
        assert_eq!(show(&1.0.into()), "1.0");
        assert_eq!(show(&"me:secret@host:9092,b:1".into()), r#""***@host:9092,b:1""#);
        for path in ["sasl.Password", "kafka.sasl", "kafka.passwrd", "kafka.psaswodr", "api_token"] {
            assert_eq!(show_unknown(path, &"hunter2".into()), "[redacted]", "{path}");
        }
        let of = |path: &str, text: &str| show_of(schema::key(path).unwrap(), &text.into());
        assert_eq!(of("kafka.sasl.password", "hunter2"), "[redacted]");
        assert_eq!(of("kafka.sasl.password_file", "/x"), "\"/x\"");
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
}
