//! The page at `/` for people: written here in full, so that it reads without a script, and kept
//! up to date by one where scripts run.
//!
//! Topic names, errors and the values of dimensions come from outside: every text goes through
//! [`Text`], and the script sets text, never markup.

mod command;
mod configuration;
mod flow;
pub(super) mod state;
pub(super) mod text;

use std::fmt::{self, Display, Write};
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use self::command::Commands;
use self::state::State;
use self::text::{Number, Percent, Text, known, known_millis};
use super::examples::Example;
use super::failures::Failure;
use super::status::PartitionReport;
use super::tally::DistributionSnapshot;

/// The page's own policy: nothing but what this port serves.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                                 connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) const STYLE: &str = include_str!("page/page.css");
pub(super) const SCRIPT: &str = concat!(
    include_str!("page/text.js"),
    include_str!("page/charts.js"),
    include_str!("page/parts.js"),
    include_str!("page/page.js")
);
pub(super) const ICON: &str = include_str!("page/icon.svg");

const TEMPLATE: &str = include_str!("page/page.html");

/// The most values of a dimension, and the most errors, that are listed.
const LISTED: usize = 6;

/// So many masked dead letters of each reason are written; the script lists all that there are.
const EXAMPLES: usize = 3;

/// So many partitions are shown at once, the worst first; the others on request.
const SHOWN: usize = 20;

/// So many are written at all where there is no script that gets them by the stream.
const WRITTEN: usize = 40;

/// The whole page.
pub(super) fn render(state: &State) -> String {
    let mut page = String::with_capacity(64 * 1024);
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
    let (charts, status) = (&state.charts, &state.status);
    match name {
        "version" => write!(page, "{}", Text(&status.version)),
        "started" => write!(page, "{}", Text(&status.started_at)),
        "uptime" => write!(page, "{}", Text(uptime(status.uptime_seconds))),
        "verdict" => page.write_str(state.verdict.word),
        "verdict-class" => page.write_str(state.verdict.tone.as_str()),
        "findings" => findings(page, state),
        "reasons" => reasons(page, state),
        "flow" => flow::strip(page, state),
        "lag" => write!(page, "{}", known(state.lag)),
        "lag-time" => page.write_str(&known_millis(state.lag_ms)),
        "p50" => latency(page, &charts.p50),
        "p95" => latency(page, &charts.p95),
        "p99" => latency(page, &charts.p99),
        "group" => group(page, state),
        "states" => states(page, state),
        "partitions" => partitions(page, state, 0..SHOWN),
        "more" => more_partitions(page, state),
        "dlq-topic" => write!(page, "{}", Text(configuration::text(&status.configuration["dead_letter"]["topic"]))),
        "dead-class" => page.write_str(if status.tally.errors.is_empty() { "empty" } else { "" }),
        "dead-letters" => dead_letters(page, state),
        "variables" => write!(page, "{}", Text(commands(state).variables)),
        "flags" => write!(page, "{}", Text(commands(state).flags)),
        "distributions" => status.tally.distributions.iter().try_for_each(|it| distribution(page, it)),
        "errors" => errors(page, state),
        "marks" => marks(page, state),
        "port" => write!(page, "{}", Text(port(state))),
        "members" => members(page, state),
        "resume" => resume(page, state),
        "configuration-set" => configuration::set(page, &status.configuration),
        "configuration-defaults" => configuration::defaults(page, &status.configuration),
        _ => {
            debug_assert!(false, "the page has no part {name}");
            Ok(())
        }
    }
}

fn findings(page: &mut String, state: &State) -> fmt::Result {
    let findings = &state.verdict.findings;
    findings.iter().try_for_each(|it| write!(page, "<li class=\"{}\">{}</li>", it.tone.as_str(), Text(&it.text)))
}

fn reasons(page: &mut String, state: &State) -> fmt::Result {
    state.reasons.iter().take(LISTED).try_for_each(|reason| write!(page, "<li>{}</li>", Text(reason)))?;
    match state.reasons.len().saturating_sub(LISTED) {
        0 => Ok(()),
        more => write!(page, "<li>and {more} more: see <a href=\"readyz\">readyz</a></li>"),
    }
}

fn latency(page: &mut String, micros: &[Option<u64>]) -> fmt::Result {
    let micros = micros.last().copied().flatten();
    page.write_str(&known_millis(micros.map(|micros| micros.div_ceil(1000))))
}

fn group(page: &mut String, state: &State) -> fmt::Result {
    let Some(group) = &state.status.group else {
        return page.write_str("no consumer group");
    };
    write!(page, "group {}, {}, {}", Text(&group.id), Text(group.protocol), Text(group.state))?;
    if let Some(generation) = group.generation {
        write!(page, ", generation {generation}")?;
    }
    write!(page, ", member {}", Text(&state.owner))
}

/// How many partitions are in each state.
fn states(page: &mut String, state: &State) -> fmt::Result {
    state.states.iter().try_for_each(|(name, count)| {
        write!(page, "<li><span class=\"state {name}\">{} {name}</span></li>", Number(super::count(*count)))
    })
}

/// The rows of those partitions that have these places, the worst first.
fn partitions(page: &mut String, state: &State, places: std::ops::Range<usize>) -> fmt::Result {
    let mut all: Vec<_> = state.status.partitions.iter().collect();
    all.sort_by_key(|it| (it.state.urgency(), std::cmp::Reverse(it.lag), it.partition));
    all.into_iter().skip(places.start).take(places.len()).try_for_each(|it| partition(page, it))
}

fn partition(page: &mut String, report: &PartitionReport) -> fmt::Result {
    let PartitionReport { topic, partition, position, committed, high_watermark, lag, in_flight_bytes, .. } = report;
    let state = report.state.as_str();
    let offset = |offset: &Option<crate::record::Offset>| offset.map_or_else(|| "–".into(), |at| at.0.to_string());
    write!(
        page,
        "<tr data-row=\"{topic}/{partition}\"><th scope=\"row\">{topic}/{partition}</th>\
         <td><span class=\"state {state}\">{state}</span></td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"live\"></td>\
         <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
        known(*lag),
        known_millis(report.lag_ms),
        offset(position),
        offset(committed),
        offset(high_watermark),
        Number(*in_flight_bytes),
        topic = Text(topic),
    )
}

fn more_partitions(page: &mut String, state: &State) -> fmt::Result {
    let all = state.status.partitions.len();
    if all > SHOWN {
        write!(
            page,
            "<details class=\"static\"><summary>{} more partitions</summary>\
             <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"more partitions\"><table class=\"partitions\"><tbody>",
            all.min(WRITTEN) - SHOWN
        )?;
        partitions(page, state, SHOWN..all.min(WRITTEN))?;
        page.write_str("</tbody></table></div></details>")?;
    }
    let more = state.more_partitions + all.saturating_sub(WRITTEN);
    if more > 0 {
        write!(page, "<p class=\"quiet\">and {more} more: see <a href=\"status\">status</a></p>")?;
    }
    Ok(())
}

fn dead_letters(page: &mut String, state: &State) -> fmt::Result {
    let errors = &state.status.tally.errors;
    if errors.is_empty() {
        return page.write_str("<p class=\"quiet none\">none since the start</p>");
    }
    let mut errors: Vec<_> = errors.iter().collect();
    errors.sort_by_key(|(reason, count)| (std::cmp::Reverse(**count), **reason));
    let all = errors.iter().map(|(_, count)| **count).sum();
    let commands = commands(state);
    errors.into_iter().try_for_each(|(reason, count)| {
        let lately: u64 = state.charts.errors.get(reason).map_or(0, |gains| gains.iter().sum());
        write!(
            page,
            "<details data-row=\"{reason}\"><summary><span class=\"name\">{reason}</span>\
             <span class=\"n\">{}</span><span class=\"n\">{}</span><span class=\"n\">{}</span></summary>",
            Percent { of: *count, all },
            Number(lately),
            Number(*count),
            reason = Text(reason),
        )?;
        let examples = state.examples.get(reason).map_or(&[][..], Vec::as_slice);
        examples_of(page, examples)?;
        for command in [commands.list(reason), commands.replay(reason)] {
            write!(page, "<pre tabindex=\"0\"><code>{}</code></pre>", Text(command))?;
        }
        page.write_str("</details>")
    })
}

fn commands(state: &State) -> Commands {
    Commands::of(&state.status.configuration, state.given.as_ref())
}

fn examples_of(page: &mut String, examples: &[Example]) -> fmt::Result {
    if examples.is_empty() {
        return Ok(());
    }
    page.write_str("<ul class=\"examples\">")?;
    for Example { partition, offset, stage, field, shape, at, .. } in examples.iter().take(EXAMPLES) {
        write!(
            page,
            "<li><time>{}</time> partition {partition}, offset {offset}: {stage}{}{} <code>{}</code></li>",
            time(*at),
            if field.is_some() { ", field " } else { "" },
            Text(field.unwrap_or_default()),
            Text(shape)
        )?;
    }
    page.write_str("</ul>")
}

fn distribution(page: &mut String, counts: &DistributionSnapshot) -> fmt::Result {
    let name = Text(counts.name);
    write!(
        page,
        "<section class=\"card\" data-dimension=\"{name}\"><h2>{name}</h2><div class=\"chart low\"></div>\
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
    if state.failures.is_empty() {
        return page.write_str("<li class=\"quiet\">none</li>");
    }
    state.failures.iter().take(LISTED).try_for_each(|failure| {
        let Failure { partitions, class, message, at } = failure;
        let (partitions, message) = (Text(partitions), Text(message));
        write!(page, "<li><time>{}</time> <b>{partitions}</b> <i>{class}</i> {message}</li>", Text(at))
    })
}

fn marks(page: &mut String, state: &State) -> fmt::Result {
    state.marks.iter().rev().take(LISTED).try_for_each(|mark| {
        write!(page, "<li><time>{}</time> <b>{}</b> {}", time(mark.at), mark.kind.as_str(), Text(mark.about))?;
        if mark.count > 1 {
            write!(page, " × {}", mark.count)?;
        }
        page.write_str("</li>")
    })
}

/// The other members of the group, as far as anybody has told.
fn members(page: &mut String, state: &State) -> fmt::Result {
    if state.members.is_empty() {
        return page.write_str("<tr><td colspan=\"3\">none</td></tr>");
    }
    let port = port(state);
    state.members.iter().try_for_each(|member| {
        let host = Text(&member.host);
        write!(page, "<tr><th scope=\"row\">{}</th>", Text(&member.client_id))?;
        match has_page(&member.host) && !port.is_empty() {
            true => write!(page, "<td><a href=\"//{}:{port}/\">{host}</a></td>", Text(bracketed(&member.host)))?,
            false => write!(page, "<td>{host}</td>")?,
        }
        write!(page, "<td class=\"n\">{}</td></tr>", known(member.partitions))
    })
}

/// The port of this process's page, which those of the other members have who are configured alike; nothing where
/// it is any free one.
fn port(state: &State) -> String {
    let listen = configuration::text(&state.status.configuration["admin"]["listen"]);
    let port = listen.rsplit_once(':').map_or("", |(_, port)| port);
    if port == "0" { String::new() } else { port.to_owned() }
}

/// Whether a host is an address where another's page may be: on this machine it would be this one.
fn has_page(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok_and(|address| !address.is_loopback())
}

/// An address as URLs have it.
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// How to resume, where that can be had.
fn resume(page: &mut String, state: &State) -> fmt::Result {
    match state.status.configuration["admin"]["token_file"].is_null() {
        true => page.write_str(
            "<p>Set <code>admin.token_file</code> to resume partitions from here, or start again once the source \
             or the rules are corrected.</p>",
        ),
        false => page.write_str(
            "<form class=\"live\"><label>token of <code>admin.token_file</code> \
             <input type=\"password\" name=\"token\" autocomplete=\"off\" required></label> \
             <label>partition <input type=\"text\" inputmode=\"numeric\" pattern=\"[0-9]*\" name=\"partition\" size=\"6\" \
             placeholder=\"all\"></label> <button>Resume</button></form>\
             <p class=\"quiet\" role=\"status\" id=\"resumed\"></p>\
             <p class=\"quiet\">Or, at this port: <code>POST /resume</code>, or <code>POST /resume?partition=3</code>, \
             with <code>Authorization: Bearer</code> and the token.</p>",
        ),
    }
}

fn uptime(seconds: u64) -> impl Display {
    humantime::format_duration(Duration::from_secs(seconds))
}

/// A moment, RFC 3339.
fn time(unix_ms: u64) -> impl Display {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(unix_ms))
}

/// A value, where it may be empty.
fn shown(value: &str) -> &str {
    if value.is_empty() { "(empty)" } else { value }
}
