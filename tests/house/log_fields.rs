//! The table of the log's fields in docs/guides/runbook.md against the sources, in both directions, and
//! against what a run writes.
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::sources::rust_files;

/// What each line in JSON has, or may have, beside an event's own fields.
const OF_EACH_LINE: &[&str] = &["timestamp", "level", "target", "message", "span"];

const MACROS: &[&str] = &["error!(", "warn!(", "info!(", "debug!(", "trace!("];

/// Each character, where it stands, how many brackets are open behind it, and whether it is in a text.
fn scanned(text: &str) -> impl Iterator<Item = (usize, char, i32, bool)> {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    text.char_indices().map(move |(at, c)| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted => depth -= 1,
            _ => {}
        }
        (at, c, depth, quoted)
    })
}

/// What is between a macro's parentheses, from the byte after the first on.
fn arguments(text: &str) -> &str {
    let end = scanned(text).find(|(.., depth, _)| *depth < 0);
    let (end, ..) = end.unwrap_or_else(|| panic!("a macro that does not end: {text}"));
    &text[..end]
}

/// The arguments, parted at their commas.
fn parted(arguments: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for (_, c, depth, quoted) in scanned(arguments) {
        match c {
            ',' if depth == 0 && !quoted => parts.push(String::new()),
            _ => parts.last_mut().unwrap().push(c),
        }
    }
    parts
}

/// The fields of one call: what stands before its message.
fn fields(call: &str) -> Vec<String> {
    let mut names = Vec::new();
    for part in parted(call) {
        let part = part.trim();
        if part.starts_with('"') {
            break;
        }
        let name = part.split('=').next().unwrap().trim().trim_start_matches(['%', '?', '&', '*']);
        if name.is_empty() || name.contains("target:") {
            continue;
        }
        // Of a field of a struct, the last part is the name.
        names.push(name.rsplit('.').next().unwrap().to_owned());
    }
    names
}

/// The fields of all calls in the sources but tests.
fn logged() -> BTreeSet<String> {
    let mut found: BTreeSet<_> = OF_EACH_LINE.iter().map(|name| (*name).to_owned()).collect();
    let mut calls = 0;
    let all =
        ["src", "crates/kafka-client/src", "crates/kafka-sandbox/src"].map(|folder| rust_files(Path::new(folder)));
    for path in all.concat() {
        let text = fs::read_to_string(path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let is_comment = |at: usize| text[..at].rsplit('\n').next().unwrap().trim_start().starts_with("//");
        for name in MACROS {
            for (at, _) in text.match_indices(name) {
                let before = text[..at].chars().next_back().unwrap_or(' ');
                if is_comment(at) || before.is_alphanumeric() || before == '_' {
                    continue;
                }
                calls += 1;
                let call = arguments(&text[at + name.len()..]);
                found.extend(fields(call));
            }
        }
    }
    assert!(calls > 60, "only {calls} calls are found: the test has gone blind");
    found
}

/// The first column of the runbook's table.
fn documented() -> BTreeSet<String> {
    let text = fs::read_to_string("docs/guides/runbook.md").unwrap();
    let table = text.split("| field | what it is |\n").nth(1).unwrap();
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    let names =
        rows.flat_map(|row| row.split('|').nth(1).unwrap().split(',').map(|name| name.trim().trim_matches('`')));
    names.map(str::to_owned).collect()
}

#[test]
fn the_table_has_every_field_and_no_other() {
    let (logged, documented) = (logged(), documented());
    let missing: Vec<_> = logged.difference(&documented).collect();
    let stale: Vec<_> = documented.difference(&logged).collect();
    assert!(missing.is_empty() && stale.is_empty(), "docs/guides/runbook.md: missing {missing:?}, stale {stale:?}");
}

#[test]
fn calls_are_taken_apart() {
    let of = |call: &str| fields(arguments(call));
    assert_eq!(of(r#"partition, "a, b {x}", c)"#), ["partition"]);
    assert_eq!(
        of(r#"topic = f(a, b), ?missing, offset = x.0, %error, "said" )"#),
        ["topic", "missing", "offset", "error"]
    );
    assert_eq!(of(r#"checkpoint.topic, left_out = count, "\")")"#), ["topic", "left_out"]);
}

#[cfg(feature = "demo")]
mod run {
    use std::process::{Command, Stdio};

    use serde_json::Value;

    use super::documented;

    #[test]
    fn a_run_writes_what_the_table_has() {
        let mut command = Command::new(env!("CARGO_BIN_EXE_login-pipeline"));
        command.args(["demo", "--duration", "5s", "--bad", "0.2", "--admin.listen", "127.0.0.1:0"]);
        command.args(["--log.format", "json", "--log.level", "off,login_pipeline=debug"]);
        let ended = command.stdin(Stdio::null()).output().unwrap();
        assert!(ended.status.success());
        let log = String::from_utf8(ended.stderr).unwrap();
        let (documented, mut letters) = (documented(), 0);
        for line in log.lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let unknown: Vec<_> = line.as_object().unwrap().keys().filter(|key| !documented.contains(*key)).collect();
            assert!(unknown.is_empty(), "{unknown:?}: {line}");
            for always in ["timestamp", "level", "target", "message"] {
                assert!(line[always].is_string(), "{always}: {line}");
            }
            if line["message"] == "dead letter" {
                letters += 1;
                let numbers = (line["partition"].as_i64(), line["offset"].as_i64());
                assert!(matches!(numbers, (Some(0..), Some(0..))) && line["topic"] == "user-login", "{line}");
                assert!(line["reason"].is_string() && line["stage"] == "validate", "{line}");
            }
        }
        assert!(letters > 10, "{letters} dead letters:\n{log}");
    }
}
