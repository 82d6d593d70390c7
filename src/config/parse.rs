//! One value into what its [`Kind`] promises, or why not. Texts are read the same wherever they
//! come from: `"0,2"` in a variable is `[0, 2]` in the file, and `"4"` is `4`.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use figment::value::Value;
use kafka_records::topic;
use tracing_subscriber::filter::Targets;

use super::key::Kind;
use super::shown::date;
use super::suggest::closest;
use super::{ByteSize, EndpointUrl, Extensions, Ratio, Secret};
use crate::event::OWN_FIELDS;

/// A value of the kind that its key asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Setting {
    Text(String),
    Texts(Vec<String>),
    Word(&'static str),
    WordList(Vec<&'static str>),
    Duration(Duration),
    Size(ByteSize),
    Integer(i64),
    Ratio(Ratio),
    Address(SocketAddr),
    Path(PathBuf),
    /// All of them where `None`.
    Partitions(Option<Vec<i32>>),
    Boolean(bool),
    Secret(Secret),
    Url(EndpointUrl),
    Extensions(Extensions),
}

/// Why a value is not of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub wrong: String,
    pub did_you_mean: Option<String>,
}

impl Refusal {
    pub(super) fn new(wrong: impl Into<String>) -> Self {
        Self { wrong: wrong.into(), did_you_mean: None }
    }

    fn did_you_mean(mut self, meant: impl Into<String>) -> Self {
        self.did_you_mean = Some(meant.into());
        self
    }
}

/// `value` as `kind`.
pub(super) fn parse(kind: Kind, value: &Value) -> Result<Setting, Refusal> {
    match kind {
        Kind::Text => text(value).and_then(|text| line(text, 255)).map(Setting::Text),
        Kind::Topic => text(value).and_then(topic).map(Setting::Text),
        Kind::Brokers => brokers(value).map(Setting::Texts),
        Kind::Duration(from, to) => duration(value, from, to).map(Setting::Duration),
        Kind::Size(from, to) => size(value, from, to).map(Setting::Size),
        Kind::Words(words) => text(value).and_then(|text| word(text, words)).map(Setting::Word),
        Kind::WordList(words) => word_list(value, words).map(Setting::WordList),
        Kind::Integer(from, to) => integer(value, from, to).map(Setting::Integer),
        Kind::Extensions => extensions(value).map(Setting::Extensions),
        Kind::Ratio => ratio(value).map(Setting::Ratio),
        Kind::Address => text(value).and_then(address).map(Setting::Address),
        Kind::Path => text(value).and_then(path).map(Setting::Path),
        Kind::Partitions => partitions(value).map(Setting::Partitions),
        Kind::LogFilter => text(value).and_then(log_filter).map(Setting::Text),
        Kind::NewField => text(value).and_then(new_field).map(Setting::Text),
        Kind::Url => text(value).and_then(url).map(Setting::Url),
        Kind::Boolean => boolean(value).map(Setting::Boolean),
        Kind::Secret => text(value).and_then(|text| line(text, 1024)).map(|text| Setting::Secret(Secret::new(text))),
    }
}

/// Whether `log.level` may be this.
///
/// # Errors
/// What is wrong with it, and what may have been meant.
pub fn is_log_level(text: &str) -> Result<(), String> {
    let told = |Refusal { wrong, did_you_mean }| match did_you_mean {
        Some(meant) => format!("{wrong}; did you mean {meant}?"),
        None => wrong,
    };
    log_filter(text).map(drop).map_err(told)
}

pub(super) fn topic(name: &str) -> Result<String, Refusal> {
    topic::check_name(name).map(|()| name.to_owned()).map_err(|why| Refusal::new(why.to_string()))
}

/// The name of a field to add.
pub(super) fn new_field(name: &str) -> Result<String, Refusal> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    match name {
        "" => Err(Refusal::new("empty")),
        _ if OWN_FIELDS.contains(&name) => Err(Refusal::new("the event has a field of this name, or is given one")),
        _ if !name.bytes().all(allowed) => Err(Refusal::new("a character that such names can't have")),
        _ if !name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') => {
            Err(Refusal::new("neither a letter nor `_` first"))
        }
        _ if name.len() > 64 => Err(Refusal::new("too long")),
        _ => Ok(name.to_owned()),
    }
}

/// The text of a value that has to be text.
pub(super) fn text(value: &Value) -> Result<&str, Refusal> {
    value.as_str().ok_or_else(|| wrong_type(value, "text"))
}

pub(super) fn wrong_type(value: &Value, wanted: &str) -> Refusal {
    let found = match value {
        Value::String(..) | Value::Char(..) => "text",
        Value::Bool(..) => "a boolean",
        Value::Num(_, num) if num.to_f64().is_some() => "a number with a fraction",
        Value::Num(..) => "a number",
        Value::Empty(..) => "nothing",
        Value::Dict(..) if date(value).is_some() => "a date",
        Value::Dict(..) => "a table",
        Value::Array(..) => "a list",
    };
    Refusal::new(format!("wrong type: {found} instead of {wanted}"))
}

/// Text of one line, of so many bytes at most.
pub(super) fn line(text: &str, most: usize) -> Result<String, Refusal> {
    match text {
        "" => Err(Refusal::new("empty")),
        _ if text.len() > most => Err(Refusal::new("too long")),
        _ if text.chars().any(char::is_control) => Err(Refusal::new("a control character")),
        _ => not_replaced(text).map(str::to_owned),
    }
}

fn url(text: &str) -> Result<EndpointUrl, Refusal> {
    line(text, 2048)?.parse().map_err(|wrong: &str| Refusal::new(wrong))
}

fn path(text: &str) -> Result<PathBuf, Refusal> {
    match text {
        "" => Err(Refusal::new("empty")),
        _ if text.contains('\0') => Err(Refusal::new("a control character")),
        _ => not_replaced(text).map(PathBuf::from),
    }
}

/// Variables that are not UTF-8 arrive with U+FFFD in place of their bytes: another path than was
/// meant.
fn not_replaced(text: &str) -> Result<&str, Refusal> {
    if text.contains('\u{fffd}') { Err(Refusal::new("not UTF-8")) } else { Ok(text) }
}

fn word_list(value: &Value, words: &'static [&'static str]) -> Result<Vec<&'static str>, Refusal> {
    let mut list = Vec::new();
    let mut add = |text: &str| {
        let found = word(text.trim(), words)?;
        if list.contains(&found) {
            return Err(Refusal::new(format!("{found} twice")));
        }
        list.push(found);
        Ok(())
    };
    match value {
        Value::String(_, text) => text.split(',').try_for_each(&mut add)?,
        Value::Array(_, items) => items.iter().try_for_each(|item| add(text(item)?))?,
        _ => return Err(wrong_type(value, "a list of words")),
    }
    if list.is_empty() { Err(Refusal::new("an empty list")) } else { Ok(list) }
}

fn duration(value: &Value, from: Duration, to: Duration) -> Result<Duration, Refusal> {
    let without_unit = match value {
        Value::String(_, text) => text.parse().ok(),
        _ => value.to_i128(),
    };
    if let Some(number) = without_unit {
        return Err(Refusal::new("a duration needs a unit").did_you_mean(format!("{number}s")));
    }
    let text = text(value)?;
    let duration = humantime::parse_duration(text).map_err(|_| Refusal::new("not a duration"))?;
    if duration.is_zero() {
        return Err(Refusal::new("can't be zero"));
    }
    if duration < from || duration > to { Err(Refusal::new("out of range")) } else { Ok(duration) }
}

fn size(value: &Value, from: ByteSize, to: ByteSize) -> Result<ByteSize, Refusal> {
    let size = match value {
        Value::Num(..) => value
            .to_i128()
            .ok_or_else(|| wrong_type(value, "a size"))
            .and_then(|n| u64::try_from(n).map_err(|_| Refusal::new("out of range")))
            .map(ByteSize)?,
        Value::String(_, text) => text.parse().map_err(|_| Refusal::new("not a size in bytes"))?,
        _ => return Err(wrong_type(value, "a size")),
    };
    if size < from || size > to { Err(Refusal::new("out of range")) } else { Ok(size) }
}

fn word(text: &str, words: &'static [&'static str]) -> Result<&'static str, Refusal> {
    words.iter().copied().find(|word| *word == text).ok_or_else(|| {
        let refusal = Refusal::new("not one of the words");
        match closest(text, words.iter().copied()) {
            Some(meant) => refusal.did_you_mean(meant),
            None => refusal,
        }
    })
}

fn boolean(value: &Value) -> Result<bool, Refusal> {
    match value {
        Value::Bool(_, boolean) => Ok(*boolean),
        Value::String(_, text) => match text.trim() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Refusal::new("neither true nor false")),
        },
        _ => Err(wrong_type(value, "true or false")),
    }
}

fn integer(value: &Value, from: i64, to: i64) -> Result<i64, Refusal> {
    let number = match value {
        Value::Num(..) => value.to_i128().ok_or_else(|| wrong_type(value, "a whole number"))?,
        Value::String(_, text) => text.trim().parse().map_err(|_| Refusal::new("not a whole number"))?,
        _ => return Err(wrong_type(value, "a whole number")),
    };
    match i64::try_from(number) {
        Ok(number) if (from..=to).contains(&number) => Ok(number),
        _ => Err(Refusal::new("out of range")),
    }
}

fn ratio(value: &Value) -> Result<Ratio, Refusal> {
    let number = match value {
        Value::Num(_, number) => number.to_f64().or_else(|| number.to_i128().map(|whole| whole as f64)),
        Value::String(_, text) => text.trim().parse().ok(),
        _ => None,
    };
    let number = number.ok_or_else(|| wrong_type(value, "a number"))?;
    Ratio::new(number).ok_or_else(|| Refusal::new("out of range"))
}

fn extensions(value: &Value) -> Result<Extensions, Refusal> {
    let texts: Vec<&str> = match value {
        Value::String(_, text) => text.split(',').map(str::trim).collect(),
        Value::Array(_, items) => items.iter().map(text).collect::<Result<_, _>>()?,
        _ => return Err(wrong_type(value, "text or a list of texts")),
    };
    Extensions::parse(&texts).map_err(Refusal::new)
}

fn address(text: &str) -> Result<SocketAddr, Refusal> {
    text.parse().map_err(|_| match text.strip_prefix("localhost:") {
        Some(port) => Refusal::new("not an IP address and port").did_you_mean(format!("127.0.0.1:{port}")),
        None => Refusal::new("not an IP address and port"),
    })
}

fn brokers(value: &Value) -> Result<Vec<String>, Refusal> {
    let texts: Vec<&str> = match value {
        Value::String(_, text) => text.split(',').map(str::trim).collect(),
        Value::Array(_, items) => items.iter().map(text).collect::<Result<_, _>>()?,
        _ => return Err(wrong_type(value, "text or a list of texts")),
    };
    if texts.is_empty() {
        return Err(Refusal::new("an empty list"));
    }
    texts.into_iter().map(broker).collect()
}

fn broker(text: &str) -> Result<String, Refusal> {
    if text.is_empty() {
        return Err(Refusal::new("an empty broker"));
    }
    if text.contains('@') {
        return Err(Refusal::new("a broker's address has no user name or password"));
    }
    if let Some((_, rest)) = text.split_once("://") {
        return Err(Refusal::new("a broker's address has no scheme").did_you_mean(rest.trim_end_matches('/')));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(Refusal::new("an IPv6 address needs brackets and a port").did_you_mean(format!("[{text}]:9092")));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some(host_port) if !is_bracketed(text) => host_port,
        _ => return Err(Refusal::new("a broker needs a port").did_you_mean(format!("{text}:9092"))),
    };
    match port.parse::<u16>() {
        Ok(1..) if port.bytes().all(|b| b.is_ascii_digit()) => {}
        _ => return Err(Refusal::new("a broker's port is a number from 1 to 65535")),
    }
    let named = |host: &str| {
        !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
    };
    if named(host) || is_bracketed(host) {
        return Ok(text.to_owned());
    }
    Err(Refusal::new("not a host's name or address"))
}

/// Whether `host` is an IPv6 address in brackets.
fn is_bracketed(host: &str) -> bool {
    let inside = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inside.is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok())
}

/// More partitions than a list may name: more than a cluster has.
const MOST_PARTITIONS: usize = 100_000;

fn partitions(value: &Value) -> Result<Option<Vec<i32>>, Refusal> {
    let mut chosen = BTreeSet::new();
    match value {
        Value::String(_, text) if text.trim() == "all" => return Ok(None),
        Value::String(_, text) => text.split(',').try_for_each(|item| add_range(&mut chosen, item))?,
        Value::Num(..) => add_number(&mut chosen, value)?,
        Value::Array(_, items) => items.iter().try_for_each(|item| match item {
            Value::String(_, text) => add_range(&mut chosen, text),
            _ => add_number(&mut chosen, item),
        })?,
        _ => return Err(wrong_type(value, "all or a list of partitions")),
    }
    if chosen.is_empty() {
        return Err(Refusal::new("an empty list"));
    }
    Ok(Some(chosen.into_iter().collect()))
}

fn add_number(chosen: &mut BTreeSet<i32>, value: &Value) -> Result<(), Refusal> {
    let number = value.to_i128().ok_or_else(|| wrong_type(value, "a partition's number"))?;
    let number =
        i32::try_from(number).ok().filter(|n| *n >= 0).ok_or_else(|| Refusal::new("not a partition's number"))?;
    add(chosen, number..=number)
}

fn add_range(chosen: &mut BTreeSet<i32>, text: &str) -> Result<(), Refusal> {
    let number = |text: &str| match text.trim().parse::<i32>() {
        Ok(number) if number >= 0 => Ok(number),
        _ => Err(Refusal::new("not a partition's number")),
    };
    let (from, to) = match text.split_once('-') {
        Some((from, to)) => (number(from)?, number(to)?),
        None => (number(text)?, number(text)?),
    };
    if from > to {
        return Err(Refusal::new("a range that ends before it begins").did_you_mean(format!("{to}-{from}")));
    }
    add(chosen, from..=to)
}

fn add(chosen: &mut BTreeSet<i32>, mut numbers: std::ops::RangeInclusive<i32>) -> Result<(), Refusal> {
    numbers.try_for_each(|number| {
        if !chosen.insert(number) {
            return Err(Refusal::new(format!("partition {number} twice")));
        }
        if chosen.len() > MOST_PARTITIONS {
            return Err(Refusal::new(format!("more than {MOST_PARTITIONS} partitions")));
        }
        Ok(())
    })
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// A bare word that names no level is a target to `Targets`, at its finest: `inof` would show
/// nothing of the program. Here a target needs its level. A bracket, which would ask for a span or a
/// field, would be part of a target's name that nothing has.
fn log_filter(text: &str) -> Result<String, Refusal> {
    for directive in text.split(',').map(str::trim) {
        let is_word = !directive.contains(['=', ':', '[']);
        if is_word && !LEVELS.contains(&directive.to_lowercase().as_str()) {
            let refusal = Refusal::new("not a level");
            return Err(match closest(directive, LEVELS) {
                Some(meant) => refusal.did_you_mean(text.replace(directive, meant)),
                None => refusal,
            });
        }
        if directive.contains('[') || directive.parse::<Targets>().is_err() {
            return Err(Refusal::new("not filter directives"));
        }
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::schema::{Default, KEYS};
    use super::*;

    fn refused(kind: Kind, value: impl Into<Value>) -> String {
        let refusal = parse(kind, &value.into()).unwrap_err();
        match refusal.did_you_mean {
            Some(meant) => format!("{}? {meant}", refusal.wrong),
            None => refusal.wrong,
        }
    }

    #[test]
    fn every_default_is_of_its_kind() {
        for key in KEYS.iter() {
            if let Default::Text(text) = key.default {
                assert!(parse(key.kind, &text.into()).is_ok(), "{}", key.path);
            }
        }
    }

    #[test]
    fn brokers_are_hosts_with_ports() {
        let read = |value: Value| parse(Kind::Brokers, &value);
        let many = Setting::Texts(vec!["a_b:1".into(), "[::1]:65535".into()]);
        assert_eq!(read("a_b:1, [::1]:65535".into()), Ok(many.clone()));
        assert_eq!(read(vec!["a_b:1", "[::1]:65535"].into()), Ok(many));
        for (text, wrong) in [
            ("", "an empty broker"),
            ("a:1,", "an empty broker"),
            ("host", "a broker needs a port? host:9092"),
            ("host:0", "a broker's port is a number from 1 to 65535"),
            ("host:65536", "a broker's port is a number from 1 to 65535"),
            ("host:+1", "a broker's port is a number from 1 to 65535"),
            ("::1", "an IPv6 address needs brackets and a port? [::1]:9092"),
            ("[::1]", "a broker needs a port? [::1]:9092"),
            ("u:p@host:1", "a broker's address has no user name or password"),
            ("kafka://host:1/", "a broker's address has no scheme? host:1"),
            ("ho st:1", "not a host's name or address"),
            (":9092", "not a host's name or address"),
        ] {
            assert_eq!(refused(Kind::Brokers, text), wrong, "{text}");
        }
        assert_eq!(refused(Kind::Brokers, Vec::<&str>::new()), "an empty list");
        assert_eq!(refused(Kind::Brokers, vec![1]), "wrong type: a number instead of text");
    }

    #[test]
    fn partitions_are_all_or_numbers_once() {
        let read = |value: Value| parse(Kind::Partitions, &value);
        assert_eq!(read("all".into()), Ok(Setting::Partitions(None)));
        let some = Ok(Setting::Partitions(Some(vec![0, 2, 5, 6, 7])));
        assert_eq!(read("5-7, 0,2".into()), some);
        assert_eq!(read(vec![7, 6, 5, 2, 0].into()), some);
        assert_eq!(read(3.into()), Ok(Setting::Partitions(Some(vec![3]))));
        for (text, wrong) in [
            ("", "not a partition's number"),
            ("-1", "not a partition's number"),
            ("1,1", "partition 1 twice"),
            ("3-1", "a range that ends before it begins? 1-3"),
            ("0-2000000000", "more than 100000 partitions"),
        ] {
            assert_eq!(refused(Kind::Partitions, text), wrong, "{text}");
        }
        assert_eq!(refused(Kind::Partitions, vec![-1]), "not a partition's number");
        assert_eq!(
            refused(Kind::Partitions, 1.5),
            "wrong type: a number with a fraction instead of a partition's number"
        );
    }

    #[test]
    fn topics_follow_kafkas_rule() {
        assert!(topic(&"a".repeat(249)).is_ok());
        for name in ["", ".", "..", "a b", "ü", "a/b"] {
            assert!(topic(name).is_err(), "{name}");
        }
        assert_eq!(topic(&"a".repeat(250)).unwrap_err().wrong, "longer than topic names may be");
    }

    #[test]
    fn durations_sizes_and_numbers_have_units_and_ranges() {
        let second = Duration::from_secs(1);
        let seconds = Kind::Duration(second, second * 60);
        assert_eq!(parse(seconds, &"1m".into()), Ok(Setting::Duration(second * 60)));
        assert_eq!(refused(seconds, "30"), "a duration needs a unit? 30s");
        assert_eq!(refused(seconds, 30), "a duration needs a unit? 30s");
        assert_eq!(refused(seconds, true), "wrong type: a boolean instead of text");
        assert_eq!(refused(seconds, "0s"), "can't be zero");
        assert_eq!(refused(seconds, "10ms"), "out of range");
        assert_eq!(refused(seconds, "soon"), "not a duration");

        let sizes = Kind::Size(ByteSize(10), ByteSize(20));
        assert_eq!(parse(sizes, &20.into()), Ok(Setting::Size(ByteSize(20))));
        assert_eq!(parse(sizes, &"20".into()), Ok(Setting::Size(ByteSize(20))));
        assert_eq!(refused(sizes, 21), "out of range");
        assert_eq!(refused(sizes, -1), "out of range");
        assert_eq!(refused(sizes, "1 bag"), "not a size in bytes");
        assert_eq!(refused(sizes, true), "wrong type: a boolean instead of a size");

        let numbers = Kind::Integer(0, 9);
        assert_eq!(parse(numbers, &"9".into()), Ok(Setting::Integer(9)));
        assert_eq!(refused(numbers, 10), "out of range");
        assert_eq!(refused(numbers, "x"), "not a whole number");
        assert_eq!(refused(numbers, 1.0), "wrong type: a number with a fraction instead of a whole number");
    }

    #[test]
    fn ratios_are_less_than_all() {
        let read = |share| Ratio::new(share).map(Setting::Ratio).unwrap();
        assert_eq!(parse(Kind::Ratio, &0.25.into()), Ok(read(0.25)));
        assert_eq!(parse(Kind::Ratio, &"0.25".into()), Ok(read(0.25)));
        assert_eq!(parse(Kind::Ratio, &0.into()), Ok(read(0.0)));
        assert_eq!(refused(Kind::Ratio, 1), "out of range");
        assert_eq!(refused(Kind::Ratio, -0.1), "out of range");
        assert_eq!(refused(Kind::Ratio, "NaN"), "out of range");
        assert_eq!(refused(Kind::Ratio, "half"), "wrong type: text instead of a number");
    }

    #[test]
    fn booleans_are_true_or_false_and_secrets_one_line() {
        for (value, boolean) in [(Value::from(true), true), ("true".into(), true), (" false ".into(), false)] {
            assert_eq!(parse(Kind::Boolean, &value), Ok(Setting::Boolean(boolean)));
        }
        assert_eq!(refused(Kind::Boolean, "yes"), "neither true nor false");
        assert_eq!(refused(Kind::Boolean, 1), "wrong type: a number instead of true or false");
        let secret = parse(Kind::Secret, &" a,b ü".into());
        assert_eq!(secret, Ok(Setting::Secret(Secret::new(" a,b ü"))));
        assert_eq!(refused(Kind::Secret, ""), "empty");
        assert_eq!(refused(Kind::Secret, "a\0b"), "a control character");
        assert_eq!(refused(Kind::Secret, "x".repeat(1025)), "too long");
        assert_eq!(refused(Kind::Secret, 7), "wrong type: a number instead of text");
    }

    #[test]
    fn a_bare_word_in_the_log_filter_is_a_level() {
        for text in ["info", "WARN", "info,login_pipeline::worker=debug", "a=off"] {
            assert!(parse(Kind::LogFilter, &text.into()).is_ok(), "{text}");
        }
        assert_eq!(refused(Kind::LogFilter, "inof"), "not a level? info");
        assert_eq!(refused(Kind::LogFilter, "verbose"), "not a level");
        assert_eq!(refused(Kind::LogFilter, ""), "not a level");
        assert_eq!(refused(Kind::LogFilter, "a=loud"), "not filter directives");
        assert_eq!(refused(Kind::LogFilter, "info,[run]=debug"), "not filter directives");
    }

    #[test]
    fn addresses_are_numeric() {
        assert!(parse(Kind::Address, &"[::]:9464".into()).is_ok());
        assert_eq!(refused(Kind::Address, "localhost:9464"), "not an IP address and port? 127.0.0.1:9464");
        assert_eq!(refused(Kind::Address, ":9464"), "not an IP address and port");
    }
}
