//! The page at `/` for people: written here in full, so that it reads without a script, and kept
//! up to date by one where scripts run.
//!
//! Topic names, errors and the values of dimensions come from outside: every text goes through
//! [`Text`], and the script sets text, never markup.

use std::fmt::{self, Display, Write};
use std::time::Duration;

use serde_json::Value;

use super::live::State;
use super::stats::per_second;
use super::status::PartitionReport;
use super::tally::DistributionSnapshot;
use crate::plain::Plain;

/// The page's own policy: nothing but what this port serves.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                                 connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) const STYLE: &str = include_str!("page/page.css");
pub(super) const SCRIPT: &str = include_str!("page/page.js");
pub(super) const ICON: &str = include_str!("page/icon.svg");

const TEMPLATE: &str = include_str!("page/page.html");

/// The most values of a dimension, and the most errors, that are listed.
const LISTED: usize = 6;

/// The whole page.
pub(super) fn render(state: &State) -> String {
    let mut page = String::with_capacity(32 * 1024);
    let mut rest = TEMPLATE;
    while let Some((before, after)) = rest.split_once("{{") {
        page.push_str(before);
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        // Writing to a String does not fail.
        let _ = part(&mut page, name, state);
        rest = after;
    }
    page.push_str(rest);
    page
}

fn part(page: &mut String, name: &str, state: &State) -> fmt::Result {
    let (totals, charts) = (&state.status.tally.totals, &state.charts);
    match name {
        "version" => write!(page, "{}", Text(&state.status.version)),
        "started" => write!(page, "{}", Text(&state.status.started_at)),
        "uptime" => write!(page, "{}", Text(uptime(state.status.uptime_seconds))),
        "verdict" => write!(page, "{}", if state.ready { "ready" } else { "not ready" }),
        "verdict-class" => write!(page, "{}", if state.ready { "good" } else { "bad" }),
        "reasons" => state.reasons.iter().try_for_each(|reason| write!(page, "<li>{}</li>", Text(reason))),
        "in" => tile(page, totals.records_in, &charts.records_in, &charts.took),
        "out" => tile(page, totals.records_out, &charts.records_out, &charts.took),
        "dead" => tile(page, totals.records_dead, &charts.records_dead, &charts.took),
        "dropped" => tile(page, totals.records_dropped, &charts.records_dropped, &charts.took),
        "lag" => write!(page, "{}", known(state.lag)),
        "p50" => latency(page, &charts.p50),
        "p95" => latency(page, &charts.p95),
        "p99" => latency(page, &charts.p99),
        "group" => group(page, state),
        "partitions" => state.status.partitions.iter().try_for_each(|it| partition(page, it, &state.owner)),
        "more" if state.more_partitions > 0 => write!(page, "and {} more: see status", state.more_partitions),
        "more" => Ok(()),
        "dead-letters" => dead_letters(page, state),
        "distributions" => state.status.tally.distributions.iter().try_for_each(|it| distribution(page, it)),
        "errors" => errors(page, state),
        "configuration" => configuration(page, &state.status.configuration),
        _ => {
            debug_assert!(false, "the page has no part {name}");
            Ok(())
        }
    }
}

/// A rate of the last stretch, and the count since the start.
fn tile(page: &mut String, total: u64, gains: &[u64], took: &[u64]) -> fmt::Result {
    let last = gains.last().copied().unwrap_or(0);
    let rate = per_second(last, 0, Duration::from_millis(took.last().copied().unwrap_or(0)));
    write!(
        page,
        "<p class=\"big\"><b data-rate>{}</b> <small>/s</small></p><p class=\"sub\"><span data-total>{}</span> since the start</p>",
        Number(rate),
        Number(total)
    )
}

fn latency(page: &mut String, micros: &[Option<u64>]) -> fmt::Result {
    match micros.last().copied().flatten() {
        Some(micros) => write!(page, "{} ms", Number(micros.div_ceil(1000))),
        None => page.write_str("–"),
    }
}

fn group(page: &mut String, state: &State) -> fmt::Result {
    let Some(group) = &state.status.group else {
        return page.write_str("no consumer group");
    };
    write!(page, "group {}, {}, {}", Text(&group.id), Text(group.protocol), Text(group.state))?;
    if let Some(generation) = group.generation {
        write!(page, ", generation {generation}")?;
    }
    write!(page, ", owner {}", Text(&state.owner))
}

fn partition(page: &mut String, report: &PartitionReport, owner: &str) -> fmt::Result {
    let PartitionReport { topic, partition, position, committed, high_watermark, lag, in_flight_bytes, .. } = report;
    let state = report.state.as_str();
    let offset = |offset: &Option<crate::record::Offset>| offset.map_or_else(|| "–".into(), |at| at.0.to_string());
    write!(
        page,
        "<tr><th scope=\"row\">{}/{partition}</th><td><span class=\"state {state}\">{state}</span></td>\
         <td class=\"owner\">{}</td><td class=\"n\">{}</td><td></td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
         <td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
        Text(topic),
        Text(owner),
        known(*lag),
        offset(position),
        offset(committed),
        offset(high_watermark),
        Number(*in_flight_bytes),
    )
}

fn dead_letters(page: &mut String, state: &State) -> fmt::Result {
    let errors = &state.status.tally.errors;
    if errors.is_empty() {
        return page.write_str("<tr><td colspan=\"4\">none</td></tr>");
    }
    errors.iter().try_for_each(|(reason, count)| {
        let (reason, count) = (Text(reason), Number(*count));
        write!(page, "<tr><th scope=\"row\">{reason}</th><td class=\"reason-chart\"></td><td></td><td class=\"n\">{count}</td></tr>")
    })
}

fn distribution(page: &mut String, counts: &DistributionSnapshot) -> fmt::Result {
    let name = Text(counts.name);
    write!(
        page,
        "<section class=\"card\" data-dimension=\"{name}\"><h2>{name}</h2><div class=\"chart\"></div>\
         <table><thead><tr><th scope=\"col\">value</th><th scope=\"col\" class=\"n\" data-share>count</th></tr></thead><tbody>"
    )?;
    for entry in counts.top.iter().take(LISTED) {
        write!(
            page,
            "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td></tr>",
            Text(shown(&entry.value)),
            Number(entry.count)
        )?;
    }
    page.write_str("</tbody></table></section>")
}

fn errors(page: &mut String, state: &State) -> fmt::Result {
    let mut failed: Vec<_> =
        state.status.partitions.iter().filter_map(|it| Some((it, it.last_error.as_ref()?))).collect();
    if failed.is_empty() {
        return page.write_str("<li>none</li>");
    }
    failed.sort_by(|(_, a), (_, b)| b.at.cmp(&a.at));
    failed.iter().take(LISTED).try_for_each(|(partition, error)| {
        write!(
            page,
            "<li><time>{}</time> <b>partition {}</b> <i>{}</i> {}</li>",
            Text(&error.at),
            partition.partition,
            Text(error.class),
            Text(&error.message)
        )
    })
}

fn configuration(page: &mut String, configuration: &Value) -> fmt::Result {
    write!(page, "{}", Text(format_args!("{configuration:#}")))
}

fn uptime(seconds: u64) -> impl Display {
    humantime::format_duration(Duration::from_secs(seconds))
}

/// A value, where it may be empty.
fn shown(value: &str) -> &str {
    if value.is_empty() { "(empty)" } else { value }
}

/// Any text, unable to be markup, within an element or a quoted attribute.
struct Text<T>(T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match c {
            '&' => self.0.write_str("&amp;"),
            '<' => self.0.write_str("&lt;"),
            '>' => self.0.write_str("&gt;"),
            '"' => self.0.write_str("&quot;"),
            '\'' => self.0.write_str("&#39;"),
            // Lines of the configuration, and what parts thousands.
            '\n' | '\u{202f}' => self.0.write_char(c),
            _ => write!(self.0, "{}", Plain(c)),
        })
    }
}

/// A number, where it is known.
fn known(number: Option<u64>) -> String {
    number.map_or_else(|| "–".into(), |number| Number(number).to_string())
}

/// 1 234 567.
struct Number(u64);

impl Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_char('\u{202f}')?;
            }
            f.write_char(digit)?;
        }
        Ok(())
    }
}
