//! A dead letter as it is shown: a line, a row of a table, a JSON object, or all of it. What its sender wrote is masked
//! unless it is to be revealed, and then steers no terminal.

use std::fmt::Write as _;
use std::io::{self, Write};

use chrono::{DateTime, SecondsFormat};
use kafka_client::plain::{Plain, is_plain};
use serde::Serialize;
use serde::de::IgnoredAny;

use super::reader::Log;
use super::told::{Told, told};
use crate::dead_letter::{ErrorHeaders, Field, Pairs, RedactedBytes, RedactedValue, write_line};
use crate::event::Reason;
use crate::record::{Offset, RecordView};

/// One dead letter, and whether all of it may be seen.
pub(super) struct Shown<'a> {
    /// The partition that it lies in.
    pub partition: i32,
    /// What lies there.
    pub record: &'a RecordView<'a>,
    /// What its headers say.
    pub error_headers: &'a ErrorHeaders<'a>,
    /// Whether what its sender wrote is shown.
    pub reveal: bool,
}

impl Shown<'_> {
    /// Where it lies and where it came from, when and why.
    fn head(&self, told: &Told) -> String {
        let Self { partition, record, error_headers, .. } = self;
        let source = error_headers.offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string());
        let Told { reason, field, source_partition, .. } = told;
        let (offset, time) = (record.offset, time(error_headers.time(record), SecondsFormat::Millis));
        format!("{partition}:{offset} {time} {reason} {field} from {source_partition}:{source}")
    }

    fn key_and_value(&self) -> String {
        let (key, value) = (self.error_headers.key(self.record), self.record.value);
        match self.reveal {
            true => format!("key {} value {}", revealed(key), revealed(value)),
            false => format!("key {} value {}", RedactedBytes(key), RedactedValue(value)),
        }
    }

    /// On a line.
    ///
    /// # Errors
    /// Where `out` takes nothing.
    pub(super) fn line(&self, out: &mut dyn Write) -> io::Result<()> {
        let told = told(self.error_headers);
        writeln!(out, "{} {} message {}", self.head(&told), self.key_and_value(), told.message)
    }

    /// All that is known of it; its value, where that is JSON and may be seen, over several lines.
    ///
    /// # Errors
    /// Where `out` takes nothing.
    pub(super) fn whole(&self, out: &mut dyn Write, prefix: &str) -> io::Result<()> {
        let Self { record, error_headers, reveal, .. } = self;
        let told = told(error_headers);
        match reveal {
            true => writeln!(out, "{}", self.head(&told))?,
            false => writeln!(out, "{} {}", self.head(&told), self.key_and_value())?,
        }
        writeln!(out, "  message   {}", told.message)?;
        writeln!(out, "  replayed  {} times", error_headers.replays)?;
        for (what, most) in [("value", error_headers.truncated_from), ("key", error_headers.key_truncated_from)] {
            if let Some(bytes) = most {
                writeln!(out, "  cut       its {what} had {bytes} bytes: it can't be replayed as it was")?;
            }
        }
        if let Some(count) = error_headers.truncated_headers {
            writeln!(out, "  cut       {count} of its headers are left out: it can't be replayed as it was")?;
        }
        if !reveal {
            let own = record.headers.iter().filter(|(name, _)| !name.starts_with(prefix.as_bytes()));
            for (name, value) in own {
                writeln!(out, "  header    {} = {}", RedactedBytes(Some(name)), RedactedBytes(value))?;
            }
            return Ok(());
        }
        for (name, value) in record.headers.iter() {
            writeln!(out, "  header    {} = {}", revealed(Some(name)), revealed(value))?;
        }
        writeln!(out, "  key       {}", revealed(error_headers.key(record)))?;
        match record.value.and_then(|value| pretty(std::str::from_utf8(value).ok()?)) {
            Some(pretty) => writeln!(out, "  value\n{pretty}"),
            None => writeln!(out, "  value     {}", revealed(record.value)),
        }
    }

    /// As a JSON object on a line.
    ///
    /// # Errors
    /// Where `out` takes nothing.
    pub(super) fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { partition, record, error_headers, reveal } = self;
        let told = told(error_headers);
        let unless_dash = |text: String| Some(text).filter(|text| text != "-");
        let (key, headers) = (error_headers.key(record), record.headers);
        let shown = match reveal {
            true => Content::Revealed { key: Field(key), value: Field(record.value), headers: Pairs(headers) },
            false => Content::Redacted {
                key: RedactedBytes(key).to_string(),
                value: RedactedValue(record.value).to_string(),
            },
        };
        let line = Line {
            partition: *partition,
            offset: record.offset,
            time: time(error_headers.time(record), SecondsFormat::Millis),
            reason: told.reason,
            field: unless_dash(told.field),
            message: unless_dash(told.message),
            source: Source {
                topic: error_headers.topic,
                partition: error_headers.partition,
                offset: error_headers.offset,
            },
            replays: error_headers.replays,
            is_cut: error_headers.is_truncated(),
            shown,
        };
        write_line(out, &line)
    }
}

/// What `list --json` prints of one.
#[derive(Serialize)]
struct Line<'a> {
    partition: i32,
    offset: Offset,
    time: String,
    reason: String,
    field: Option<String>,
    message: Option<String>,
    /// Where the record came from.
    source: Source<'a>,
    /// How often it was replayed.
    replays: u32,
    /// Whether some of the record is not there.
    is_cut: bool,
    #[serde(flatten)]
    shown: Content<'a>,
}

#[derive(Serialize)]
struct Source<'a> {
    topic: Option<&'a str>,
    partition: Option<i32>,
    offset: Option<i64>,
}

/// The record's own: as its shape, or as `export` writes it.
#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Redacted { key: String, value: String },
    Revealed { key: Field<'a>, value: Field<'a>, headers: Pairs<'a> },
}

/// The columns of a table that fits a terminal. The last has what room is left.
pub(super) struct Layout {
    place: usize,
    reason: usize,
    field: usize,
    source: usize,
    last: usize,
    reveal: bool,
}

/// As `2026-01-02T03:04:05Z`.
const TIME: usize = 20;
/// What stands between two columns.
const GAP: usize = 2;
/// The least room that a message is to have; less, and other columns go.
const MESSAGE: usize = 28;

impl Layout {
    /// For what lies in this log, so many columns wide.
    pub(super) fn new(log: &Log, columns: usize, reveal: bool) -> Self {
        let longest = |(partition, (_, end)): (&i32, &(Offset, Offset))| format!("{partition}:{end}").len();
        let place = log.stretches.iter().map(longest).max().unwrap_or(0).max("PLACE".len());
        let reason = Reason::ALL.iter().map(|reason| reason.code().len()).max().unwrap_or(0);
        let all = place + GAP + TIME + GAP + reason + GAP;
        let (field, source) = ("processed_at".len() + GAP, "user-login/0:12345678".len() + GAP);
        let has_field = columns >= all + field + MESSAGE;
        let has_source = columns >= all + field + source + MESSAGE;
        let (field, source) = (if has_field { field } else { 0 }, if has_source { source } else { 0 });
        Self { place, reason, field, source, last: columns.saturating_sub(all + field + source), reveal }
    }

    /// Writes the heading.
    ///
    /// # Errors
    /// Where `out` takes nothing.
    pub(super) fn heading(&self, out: &mut dyn Write) -> io::Result<()> {
        let last = if self.reveal { "VALUE" } else { "MESSAGE" };
        self.write(out, ["PLACE", "TIME", "REASON", "FIELD", "SOURCE", last])
    }

    /// A row.
    ///
    /// # Errors
    /// Where `out` takes nothing.
    pub(super) fn row(&self, out: &mut dyn Write, shown: &Shown<'_>) -> io::Result<()> {
        let Shown { partition, record, error_headers, .. } = shown;
        let told = told(error_headers);
        let source = error_headers.offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string());
        let last = match self.reveal {
            true => record.value.map_or_else(|| "null".to_owned(), |value| seen(&String::from_utf8_lossy(value))),
            false => told.message,
        };
        let (place, source) = (format!("{partition}:{}", record.offset), format!("{}:{source}", told.source_partition));
        let time = time(error_headers.time(record), SecondsFormat::Secs);
        self.write(out, [&place, &time, &told.reason, &told.field, &source, &last])
    }

    fn write(&self, out: &mut dyn Write, [place, time, reason, field, source, last]: [&str; 6]) -> io::Result<()> {
        let (places, reasons) = (self.place, self.reason);
        let mut line = format!("{place:<places$}  {time:<TIME$}  {reason:<reasons$}  ");
        for (text, room) in [(field, self.field), (source, self.source)] {
            if room > 0 {
                let _ = write!(line, "{:<room$}", cut(text, room - GAP, true));
            }
        }
        line.push_str(&cut(last, self.last, false));
        writeln!(out, "{}", line.trim_end())
    }
}

/// As much of a text as has room: its end where that tells it from others.
fn cut(text: &str, room: usize, by_end: bool) -> String {
    let length = text.chars().count();
    if length <= room {
        return text.to_owned();
    }
    let kept = room.saturating_sub(1);
    match by_end {
        true => std::iter::once('…').chain(text.chars().skip(length - kept)).take(room).collect(),
        false => text.chars().take(kept).chain(std::iter::once('…')).take(room).collect(),
    }
}

/// As it is, with what a terminal would obey escaped.
pub(super) fn revealed(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "null".to_owned(), |bytes| format!("\"{}\"", String::from_utf8_lossy(bytes).escape_debug()))
}

fn seen(text: &str) -> String {
    Plain(text).to_string()
}

fn time(millis: i64, form: SecondsFormat) -> String {
    let time = DateTime::from_timestamp_millis(millis);
    time.map_or_else(|| "-".to_owned(), |time| time.to_rfc3339_opts(form, true))
}

/// Deeper JSON would be more indents than text, and nobody's to read.
const MOST_DEPTH: usize = 64;

/// JSON with a member a line, every name and number as it came, duplicates included; `None` where it is none, or too deep.
fn pretty(text: &str) -> Option<String> {
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let (mut out, mut depth) = (String::from("  "), 1_usize);
    let (mut in_string, mut is_escaped) = (false, false);
    let mut characters = text.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(c) = characters.next() {
        if in_string {
            (in_string, is_escaped) = (c != '"' || is_escaped, c == '\\' && !is_escaped);
            push_escaped(&mut out, c);
            continue;
        }
        match c {
            ' ' | '\t' | '\r' | '\n' => {}
            '{' | '[' => {
                out.push(c);
                while characters.next_if(|c| c.is_ascii_whitespace()).is_some() {}
                if let Some(end) = characters.next_if(|c| matches!(c, '}' | ']')) {
                    out.push(end);
                } else if depth > MOST_DEPTH {
                    return None;
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth -= 1;
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c => {
                in_string = c == '"';
                out.push(c);
            }
        }
    }
    Some(out)
}

/// A character of a JSON string; as JSON escapes it where a terminal would obey it, or nobody see it.
fn push_escaped(out: &mut String, c: char) {
    match c {
        c if is_plain(c) => out.push(c),
        c => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revealed_bytes_do_not_steer_a_terminal() {
        assert_eq!(revealed(Some(b"a\x1b[2J\n\xff")), "\"a\\u{1b}[2J\\n\u{fffd}\"");
        assert_eq!((revealed(None), revealed(Some(b""))), ("null".to_owned(), "\"\"".to_owned()));
    }

    #[test]
    fn json_is_laid_out_as_it_came() {
        let text = "{\"b\":1.10,\"a\":[ ], \"b\":{\"x\\\"{\":[1,\"\u{9b}2J\u{202e}𝄞\",{}]}}";
        let shown = "  {\n    \"b\": 1.10,\n    \"a\": [],\n    \"b\": {\n      \"x\\\"{\": [\n        1,\n        \"\\u009b2J\\u202e𝄞\",\n        {}\n      ]\n    }\n  }";
        assert_eq!(pretty(text).unwrap(), shown);
        assert_eq!(pretty("7").as_deref(), Some("  7"));
        let deep = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
        for none in ["", "{", "{\"a\":1}x", "\"\u{1b}\"", &deep] {
            assert!(pretty(none).is_none(), "{none}");
        }
    }

    #[test]
    fn rows_fit_the_terminal() {
        let log = Log { topic_id: None, stretches: [(11, (Offset(0), Offset(123_456)))].into() };
        let headers = crate::record::Headers::NONE;
        let record = RecordView { offset: Offset(7), timestamp_ms: 5, key: None, value: Some(b"CANARY\x1b"), headers };
        let error_headers = ErrorHeaders {
            reason: Some("duplicate_field"),
            field: Some("ip"),
            message: Some("ip is there twice, and that is one time too many for this table"),
            topic: Some("a-topic-with-a-long-name"),
            partition: Some(3),
            offset: Some(99),
            ..ErrorHeaders::default()
        };
        for reveal in [false, true] {
            for columns in [1, 40, 80, 100, 132, 200] {
                let (layout, mut out) = (Layout::new(&log, columns, reveal), Vec::new());
                layout.heading(&mut out).unwrap();
                layout
                    .row(&mut out, &Shown { partition: 11, record: &record, error_headers: &error_headers, reveal })
                    .unwrap();
                let text = String::from_utf8(out).unwrap();
                assert!(text.lines().all(|line| line.chars().count() <= columns.max(60)), "{columns}: {text}");
                assert_eq!(text.contains("CANARY"), reveal && columns >= 80, "{columns}: {text}");
                assert!(!text.contains('\u{1b}'));
                assert_eq!(text.contains("SOURCE") && text.contains("-name/3:99"), columns >= 132, "{columns}: {text}");
            }
        }
    }
}
