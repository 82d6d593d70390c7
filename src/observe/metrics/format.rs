//! The two forms that metrics are told in, and which of them a client asks for.
//!
//! prometheus-client writes OpenMetrics. The classic text format of Prometheus has the same samples under other
//! heads: a counter's type is that of its `_total`, information is a gauge, and there are no units and no end mark.

use std::fmt::Write;

/// A form of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4, which everything reads.
    Text,
    /// OpenMetrics 1.0.0, for who asks for it.
    OpenMetrics,
}

impl Format {
    /// Its content type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The format that the values of a request's `Accept` ask for: OpenMetrics where it is named and nothing of the
    /// text format is liked better (RFC 9110, section 12.5.1); text in any other case, also where neither is wanted.
    pub fn accepted<'a>(accept: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut open_metrics, mut text) = (0, Liked::default());
        for range in accept.into_iter().flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
            let parameter = |name: &str| {
                let found = parameters.iter().find(|(known, _)| known.trim().eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.trim().trim_matches('"'))
            };
            let quality = parameter("q").map_or(1000, thousandths);
            match &*kind {
                "application/openmetrics-text" if matches!(parameter("version"), None | Some("1.0.0" | "0.0.1")) => {
                    open_metrics = quality.max(open_metrics);
                }
                "text/plain" => text.hears(2, quality),
                "text/*" => text.hears(1, quality),
                "*/*" => text.hears(0, quality),
                _ => {}
            }
        }
        if open_metrics > 0 && open_metrics >= text.quality { Self::OpenMetrics } else { Self::Text }
    }
}

/// How much a type is liked: as the most specific range says that it is in.
#[derive(Debug, Default)]
struct Liked {
    specific: u8,
    quality: u16,
}

impl Liked {
    fn hears(&mut self, specific: u8, quality: u16) {
        if specific > self.specific {
            *self = Self { specific, quality };
        } else if specific == self.specific {
            self.quality = self.quality.max(quality);
        }
    }
}

/// A quality of 0 to 1, with three digits at most; one that is none is liked as little as can be.
fn thousandths(quality: &str) -> u16 {
    let (whole, fraction) = quality.split_once('.').unwrap_or((quality, ""));
    let is_fraction = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    match whole {
        "0" if is_fraction => format!("{fraction:0<3}").parse().unwrap_or(0),
        "1" if is_fraction => 1000,
        _ => 0,
    }
}

/// Converts what prometheus-client has written into the classic form.
pub(super) fn classic(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        // Writing to a String does not fail.
        let _ = match line.strip_prefix("# ").and_then(|head| head.split_once(' ')) {
            // The name that it stands under depends on the type, which follows.
            Some(("HELP", said)) => {
                help = said.split_once(' ');
                Ok(())
            }
            Some(("TYPE", said)) => {
                let (name, kind) = said.split_once(' ').unwrap_or((said, "unknown"));
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "stateset" => ("", "gauge"),
                    "unknown" => ("", "untyped"),
                    kind => ("", kind),
                };
                let said = help.take().filter(|(of, _)| *of == name).map_or("", |(_, said)| said);
                writeln!(text, "# HELP {name}{suffix} {said}\n# TYPE {name}{suffix} {kind}")
            }
            Some(("UNIT", _)) => Ok(()),
            _ if line == "# EOF" => Ok(()),
            _ => writeln!(text, "{line}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;
    use crate::observe::Metrics;

    /// The families of a text of version 0.0.4, by name: type, and how many samples.
    ///
    /// As strict as its description, and as Prometheus' own parser: nothing that is not understood passes.
    fn parsed(text: &str) -> HashMap<String, (String, usize)> {
        let mut families: HashMap<String, (String, usize)> = HashMap::new();
        let (mut helped, mut seen) = (HashSet::new(), HashSet::new());
        assert!(text.ends_with('\n') && !text.contains('\r'));
        let is_name = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == ':')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
        };
        for line in text.lines() {
            if let Some(head) = line.strip_prefix("# ") {
                let (word, rest) = head.split_once(' ').unwrap_or_else(|| panic!("{line}"));
                let (name, said) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
                assert!(is_name(name), "{line}");
                match word {
                    "HELP" => assert!(helped.insert(name.to_owned()) && !said.is_empty(), "{line}"),
                    "TYPE" => {
                        assert!(["counter", "gauge", "histogram", "summary", "untyped"].contains(&said), "{line}");
                        assert!(families.insert(name.to_owned(), (said.to_owned(), 0)).is_none(), "{line}");
                    }
                    _ => panic!("neither help nor type: {line}"),
                }
                continue;
            }
            let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("{line}"));
            let (name, mut rest) = line.split_at(end);
            assert!(is_name(name), "{line}");
            if let Some(labels) = rest.strip_prefix('{') {
                rest = labels;
                while !rest.starts_with('}') {
                    let (label, value) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
                    assert!(is_name(label) && !label.contains(':'), "{line}");
                    let (mut escaped, mut close) = (false, None);
                    for (at, c) in value.char_indices() {
                        match c {
                            _ if escaped => {
                                assert!(['\\', '"', 'n'].contains(&c), "{line}");
                                escaped = false;
                            }
                            '\\' => escaped = true,
                            '"' => {
                                close = Some(at);
                                break;
                            }
                            _ => {}
                        }
                    }
                    rest = &value[close.unwrap_or_else(|| panic!("{line}")) + 1..];
                    rest = rest.strip_prefix(',').unwrap_or(rest);
                }
                rest = &rest[1..];
            }
            let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(value.parse::<f64>().is_ok(), "a value and nothing behind it: {line}");
            assert!(seen.insert(line[..line.len() - value.len()].to_owned()), "twice: {line}");
            let ends = ["_bucket", "_sum", "_count"].iter().filter_map(|end| name.strip_suffix(end));
            let family = ends.chain([name]).find(|name| families.contains_key(*name));
            let family = family.and_then(|name| families.get_mut(name)).unwrap_or_else(|| panic!("no type: {line}"));
            assert!(family.0 == "histogram" || !line.contains("le=\""), "{line}");
            family.1 += 1;
        }
        assert!(families.keys().all(|name| helped.contains(name)));
        families
    }

    #[test]
    fn the_classic_text_is_what_its_parsers_take() {
        let metrics = Metrics::new("1.2.3");
        let partition = metrics.partition("user-login", 3);
        partition.fetched(10, 2_100);
        partition.acknowledged(1_700_000_000_000, 1_700_000_000_040, 10);
        metrics.group("a \"group\"\nof\\ours # {x}").assigned(2);
        metrics.route("output").count(9, 2_400);
        metrics.retry("fetch", "transient");
        let families = parsed(&metrics.encode_as(Format::Text));
        let of = |name: &str| families.get(name).map(|(kind, samples)| (kind.as_str(), *samples));
        assert_eq!(of("login_pipeline_build_info"), Some(("gauge", 1)));
        assert_eq!(of("login_pipeline_source_records_total"), Some(("counter", 1)));
        assert_eq!(of("login_pipeline_source_bytes_total"), Some(("counter", 1)));
        assert_eq!(of("login_pipeline_group_assigned_partitions"), Some(("gauge", 1)));
        assert_eq!(of("login_pipeline_end_to_end_latency_seconds"), Some(("histogram", 20)));
        assert_eq!(of("process_start_time_seconds"), Some(("gauge", 1)));
        assert_eq!(of("login_pipeline_retries_total"), Some(("counter", 1)));
    }

    #[test]
    fn both_forms_have_the_same_samples() {
        let metrics = Metrics::new("1.2.3");
        let partition = metrics.partition("user-login", 3);
        partition.fetched(10, 2_100);
        let open = metrics.encode_as(Format::OpenMetrics);
        let samples = |text: &str| {
            // Of what changes all the time, what it is called.
            let stays = |line: &str| match line.split_once(' ') {
                Some((name, _)) if name.contains("_age_") || name.starts_with("process_") => name.to_owned(),
                _ => line.to_owned(),
            };
            text.lines().filter(|line| !line.starts_with('#')).map(stays).collect::<Vec<_>>()
        };
        assert!(open.ends_with("# EOF\n") && open.contains("# UNIT "));
        assert_eq!(samples(&open), samples(&metrics.encode_as(Format::Text)));
    }

    #[test]
    fn openmetrics_is_for_who_asks_for_it() {
        use Format::{OpenMetrics, Text};
        for (accept, format) in [
            (&[][..], Text),
            (&[""], Text),
            (&["*/*"], Text),
            (&["text/html,application/xhtml+xml,*/*;q=0.8"], Text),
            (&["text/plain;version=0.0.4"], Text),
            (&["application/*"], Text),
            (&["application/openmetrics-text"], OpenMetrics),
            (&["Application/OpenMetrics-Text; Version=1.0.0"], OpenMetrics),
            (&["application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"], OpenMetrics),
            (&["application/openmetrics-text; version=2.0.0, text/plain; q=0.1"], Text),
            (&["application/openmetrics-text;q=0"], Text),
            (&["application/openmetrics-text;q=0.3, text/plain;q=0.5"], Text),
            (&["application/openmetrics-text;q=0.3", "text/plain;q=0.5"], Text),
            (&["application/openmetrics-text;q=0.5, text/*;q=0.5, */*;q=0.1"], OpenMetrics),
            (&["application/openmetrics-text;q=0.3, text/plain;q=0.1, */*"], OpenMetrics),
            (&["application/openmetrics-text;q=0.3, */*"], Text),
            (&["application/openmetrics-text;q=x"], Text),
            (&["application/openmetrics-text;q=0.05, text/plain;q=0.4"], Text),
            (&["application/openmetrics-text;q=1.0, text/plain;q=0.999"], OpenMetrics),
            // Prometheus 2 and 3.
            (
                &["application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                   text/plain;version=0.0.4;q=0.5,*/*;q=0.1"],
                OpenMetrics,
            ),
            (
                &["application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                   application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,\
                   text/plain;version=0.0.4;q=0.3,*/*;q=0.2"],
                OpenMetrics,
            ),
            (&["text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.2"], Text),
        ] {
            assert_eq!(Format::accepted(accept.iter().copied()), format, "{accept:?}");
        }
    }
}
