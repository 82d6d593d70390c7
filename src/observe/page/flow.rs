//! The strip from the source to where records go, with shares on one scale.

use std::fmt::{self, Write};

use serde_json::Value;

use super::configuration::text;
use super::state::State;
use super::text::{Number, Percent, Text};

/// How wide a bar of all records is.
const WHOLE: u64 = 1000;

pub(super) fn strip(page: &mut String, state: &State) -> fmt::Result {
    let (charts, totals, configuration) = (&state.charts, &state.status.tally.totals, &state.status.configuration);
    let at = |section: &str, key: &str| text(&configuration[section][key]);
    let partitions = state.states.values().sum::<usize>();
    write!(
        page,
        "<div class=\"end\"><p class=\"quiet\">source topic</p><p class=\"topic\">{}</p><p class=\"big\"><b data-rate=\"records_in\">{}</b> /s</p>\
         <p class=\"quiet\"><span data-total=\"records_in\">{}</span> read since the start, <span id=\"held\">{partitions}</span> partitions here</p>\
         <p class=\"quiet\">brokers {}</p></div>",
        Text(at("source", "topic")),
        Number(charts.rate_now(&charts.records_in)),
        Number(totals.records_in),
        Text(at("kafka", "brokers")),
    )?;
    write!(
        page,
        "<div class=\"middle\"><p class=\"quiet\">processor</p><p class=\"topic\">{}</p><ul><li>{}</li><li>{}</li><li>offsets: {}</li></ul></div>",
        Text(at("pipeline", "processor")),
        Text(guarantee(configuration)),
        Text(mode(configuration)),
        Text(at("offsets", "store")),
    )?;
    page.write_str("<ul class=\"ways\">")?;
    let all = charts.records_in.iter().sum::<u64>();
    for way in ways(configuration) {
        let (column, total) = match way.name {
            "records_out" => (&charts.records_out, totals.records_out),
            "records_dead" => (&charts.records_dead, totals.records_dead),
            _ => (&charts.records_dropped, totals.records_dropped),
        };
        let of = column.iter().sum::<u64>();
        write!(
            page,
            "<li data-way=\"{name}\"><span class=\"to\"><span class=\"quiet\">{kind}</span> <span class=\"topic\">{topic}</span></span>\
             <svg class=\"bar\" viewBox=\"0 0 {WHOLE} 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
             <rect class=\"track\" width=\"{WHOLE}\" height=\"10\"/><rect class=\"{name}\" width=\"{width}\" height=\"10\"/></svg>\
             <span class=\"n share\">{share}</span><span class=\"n\"><b data-rate=\"{name}\">{rate}</b> /s</span>\
             <span class=\"n quiet\"><span data-total=\"{name}\">{total}</span></span></li>",
            name = way.name,
            kind = way.kind,
            topic = Text(&way.topic),
            width = (of.min(all) * WHOLE).checked_div(all).unwrap_or(0),
            share = Percent { of, all },
            rate = Number(charts.rate_now(column)),
            total = Number(total),
        )?;
    }
    page.write_str("<li class=\"scale quiet\">shares of what was read in the last 15 minutes, on one scale</li></ul>")
}

/// Where records go.
struct Way {
    name: &'static str,
    kind: &'static str,
    topic: String,
}

fn ways(configuration: &Value) -> [Way; 3] {
    let rules = configuration["route"].as_array().map_or(&[][..], Vec::as_slice);
    let mut topics = vec![text(&configuration["output"]["topic"])];
    let more = rules.iter().filter_map(|rule| rule["topic"].as_str().map(str::to_owned));
    topics.extend(more);
    topics.dedup();
    let more = topics.len().saturating_sub(1);
    let first = topics.into_iter().next().unwrap_or_default();
    let output = if more == 0 { first } else { format!("{first} and {more} more by rules") };
    [
        Way { name: "records_out", kind: "written", topic: output },
        Way { name: "records_dead", kind: "dead letters", topic: text(&configuration["dead_letter"]["topic"]) },
        Way { name: "records_dropped", kind: "dropped", topic: "by rules".to_owned() },
    ]
}

fn guarantee(configuration: &Value) -> String {
    text(&configuration["delivery"]["guarantee"]).replace('_', " ")
}

fn mode(configuration: &Value) -> String {
    match text(&configuration["assignment"]["mode"]).as_str() {
        "group" => format!("group {}", text(&configuration["group"]["id"])),
        mode => format!("assignment: {mode}"),
    }
}
