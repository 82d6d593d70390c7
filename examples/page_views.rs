//! A second event type on the same engine: page views. docs/guides/extending.md goes through it.
//!
//! ```text
//! in    {"visitor_id":"v-17","url":"https://Shop.example/basket?step=2","viewed_at":1694479551000}
//! out   {"visitor_id":"v-17","url":"https://Shop.example/basket?step=2","viewed_at":1694479551000,
//!        "host":"shop.example","processed_at":"2026-01-02T03:04:05.678Z"}
//! ```

use std::borrow::Cow;
use std::process::ExitCode;

use login_pipeline::event::{Kind, Members, Reason, Rejection, Step, Value, utf8_text};
use login_pipeline::observe::{Dimensions, Tally};
use login_pipeline::record::RecordView;
use login_pipeline::stages::{Enriched, Now, Processor};

/// The longest visitor's id, in bytes.
const MAX_VISITOR_ID: usize = 64;

fn main() -> ExitCode {
    login_pipeline::cli::program(PageViews)
}

/// The rules of page views.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageViews;

/// A valid page view, borrowed from the record's value.
#[derive(Debug)]
pub(crate) struct PageView<'a> {
    /// The whole event.
    text: &'a str,
    /// Where its closing brace stands.
    close: usize,
    /// The host of its URL, in lower case: letters, digits, dots and hyphens.
    host: String,
    viewed_at_ms: i64,
}

impl Processor for PageViews {
    type Event<'a> = PageView<'a>;

    const NAME: &'static str = "page_views";
    const DIMENSIONS: Dimensions = &["host"];

    fn validate<'a>(&self, record: &RecordView<'a>) -> Result<PageView<'a>, Rejection> {
        PageView::parse(utf8_text(record.value)?)
    }

    fn enrich(&self, view: &PageView<'_>, now: &Now, out: &mut Vec<u8>) -> Enriched {
        out.extend_from_slice(&view.text.as_bytes()[..view.close]);
        out.extend_from_slice(format!(",\"host\":\"{}\",\"processed_at\":", view.host).as_bytes());
        out.extend_from_slice(&now.rfc3339_json);
        out.push(b'}');
        Enriched { clock_skewed: view.viewed_at_ms > now.unix_ms }
    }

    fn field<'e>(&self, view: &'e PageView<'_>, name: &str, _: &Now) -> Option<Cow<'e, str>> {
        (name == "host").then_some(Cow::Borrowed(&view.host))
    }

    fn count(&self, view: &PageView<'_>, tally: &mut Tally) {
        tally.count(0, &view.host);
    }
}

impl<'a> PageView<'a> {
    /// Finds the fields where they lie, and copies none.
    fn parse(text: &'a str) -> Result<Self, Rejection> {
        let (mut visitor_id, mut url, mut viewed_at) = (None, None, None);
        let mut members = Members::of(text)?;
        let close = loop {
            let (name, value) = match members.step()? {
                Step::Member(name, value) => (name, value),
                Step::End(close) => break close,
            };
            let (field, known) = match &*name {
                "visitor_id" => ("visitor_id", &mut visitor_id),
                "url" => ("url", &mut url),
                "viewed_at" => ("viewed_at", &mut viewed_at),
                "host" => return Err(invalid("host", "host is added here: the sender must not")),
                "processed_at" => {
                    return Err(invalid("processed_at", "processed_at is added here: the sender must not"));
                }
                _ => continue, // kept as it is
            };
            if known.replace(value).is_some() {
                return Err(Rejection::field(Reason::DuplicateField, field, format!("{field} occurs twice")));
            }
        };
        let visitor_id = required_text(text, "visitor_id", visitor_id)?;
        if visitor_id.is_empty() || visitor_id.len() > MAX_VISITOR_ID {
            return Err(invalid("visitor_id", format!("visitor_id is not 1 to {MAX_VISITOR_ID} bytes long")));
        }
        let host = host_of(&required_text(text, "url", url)?)
            .ok_or_else(|| invalid("url", "url is not http:// or https:// with a host"))?;
        let viewed_at_ms = milliseconds(text, "viewed_at", viewed_at)?;
        Ok(Self { text, close, host, viewed_at_ms })
    }
}

/// The host of a URL, in lower case.
fn host_of(url: &str) -> Option<String> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let host = rest.split(['/', '?', '#', ':']).next()?;
    let is_host = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    is_host.then(|| host.to_ascii_lowercase())
}

fn required_text<'t>(text: &'t str, field: &'static str, value: Option<Value>) -> Result<Cow<'t, str>, Rejection> {
    let value = required(field, value)?;
    value.text(text).ok_or_else(|| Rejection::field(Reason::WrongType, field, format!("{field} is not a string")))
}

fn milliseconds(text: &str, field: &'static str, value: Option<Value>) -> Result<i64, Rejection> {
    let value = required(field, value)?;
    if value.kind != (Kind::Number { integer: true }) {
        return Err(Rejection::field(Reason::WrongType, field, format!("{field} is not an integer")));
    }
    let number = value.raw(text).parse().ok().filter(|milliseconds| *milliseconds > 0);
    number.ok_or_else(|| invalid(field, format!("{field} is not a positive number of milliseconds")))
}

fn required(field: &'static str, value: Option<Value>) -> Result<Value, Rejection> {
    let there = value.filter(|value| value.kind != Kind::Null);
    there.ok_or_else(|| Rejection::field(Reason::MissingField, field, format!("{field} is missing or null")))
}

/// What is wrong never quotes the value: it goes into a header of the dead letter, and may go into logs.
fn invalid(field: &'static str, message: impl Into<Cow<'static, str>>) -> Rejection {
    Rejection::field(Reason::InvalidValue, field, message)
}
