//! What commands print, word for word. The texts are in `tests/it/snapshots/`; one that changes fails here. Read the
//! difference, and accept it by
//!
//! ```sh
//! UPDATE_SNAPSHOTS=1 cargo test --test it snapshots && git diff tests/it/snapshots
//! ```

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::CommandFactory;
use kafka_sandbox::{NewBatch, NewRecord, Sandbox};
use login_pipeline::cli::Cli;
use login_pipeline::config::Admin;
use login_pipeline::observe::{AdminServer, Observe, PartitionState, Severity};
use login_pipeline::record::Offset;
use regex_lite::Regex;
use tokio_util::sync::CancellationToken;

/// What is snapshotted beside the help of each command.
const OTHERS: [&str; 13] = [
    "all-keys",
    "check",
    "check-contradicts",
    "check-json",
    "check-no-toml",
    "check-typo",
    "dlq-list",
    "dlq-show",
    "dlq-stats-table",
    "keys-kafka.tls",
    "top-once",
    "unknown-flag",
    "version",
];

/// The file of a snapshot.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots").join(format!("{name}.txt"))
}

/// The program, with nothing of this process's environment.
fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_login-pipeline"));
    command.env_clear().args(args).stdin(Stdio::null());
    command
}

/// Runs the program and compares all that it says and its exit code with the snapshot of this name, after `redacted`
/// texts are replaced by what stands beside them.
#[track_caller]
fn snapshot(name: &str, args: &[&str], redacted: &[(&str, &str)]) {
    let output = program(args).output().unwrap();
    let mut said = format!("$ login-pipeline {}\n", args.join(" "));
    for (stream, bytes) in [("standard output", &output.stdout), ("standard error", &output.stderr)] {
        if !bytes.is_empty() {
            write!(said, "--- {stream}\n{}", std::str::from_utf8(bytes).unwrap()).unwrap();
        }
    }
    writeln!(said, "--- exit code {}", output.status.code().unwrap()).unwrap();
    for (text, instead) in redacted {
        said = said.replace(text, instead);
    }
    let said = said.replace(env!("CARGO_PKG_VERSION"), "<version>");
    let ports = Regex::new(r"127\.0\.0\.1:\d{5}\b").unwrap();
    let said: String =
        ports.replace_all(&said, "127.0.0.1:#####").lines().map(|line| format!("{}\n", line.trim_end())).collect();
    compare(name, &said);
}

/// Compares with a snapshot, or writes it where that is asked for.
#[track_caller]
fn compare(name: &str, said: &str) {
    let file = file(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, said).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    let at = written.lines().zip(said.lines()).take_while(|(before, now)| before == now).count();
    let line = |text: &str| text.lines().nth(at).unwrap_or("(nothing)").to_owned();
    assert!(
        written == said,
        "tests/it/snapshots/{name}.txt, line {}:\n  was: {}\n  is:  {}\nUPDATE_SNAPSHOTS=1 cargo test --test it snapshots \
         accepts all that is said now",
        at + 1,
        line(&written),
        line(said),
    );
}

/// Each command's words, such as `["dlq", "list"]`.
fn commands() -> Vec<Vec<String>> {
    fn add(before: &[String], command: &clap::Command, all: &mut Vec<Vec<String>>) {
        for command in command.get_subcommands() {
            let words = [before, &[command.get_name().to_owned()]].concat();
            all.push(words.clone());
            add(&words, command, all);
        }
    }
    let mut all = vec![Vec::new()];
    add(&[], &Cli::command(), &mut all);
    all
}

fn help_name(words: &[String]) -> String {
    [&["help".to_owned()], words].concat().join("-")
}

#[test]
fn the_help_of_each_command() {
    for words in commands() {
        let mut args: Vec<_> = words.iter().map(String::as_str).collect();
        args.push("--help");
        snapshot(&help_name(&words), &args, &[]);
    }
}

#[test]
fn no_snapshot_is_left_over() {
    let named = commands().into_iter().map(|words| help_name(&words)).chain(OTHERS.map(str::to_owned));
    let named: BTreeSet<_> = named.collect();
    let folder = file("").parent().unwrap().to_owned();
    let there = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let there: BTreeSet<_> = there.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    let left_over: Vec<_> = there.difference(&named).collect();
    assert!(left_over.is_empty(), "no test has these: {left_over:?}");
}

#[test]
fn the_version_and_a_wrong_command_line() {
    snapshot("version", &["--version"], &[]);
    snapshot("unknown-flag", &["run", "--kafka.broker", "b:9092"], &[]);
    snapshot("keys-kafka.tls", &["keys", "kafka.tls"], &[]);
    snapshot("all-keys", &["help", "keys"], &[]);
}

#[test]
fn a_configuration_that_is_right_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipeline.toml");
    let toml = "[kafka]\nbrokers = [\"a:9092\", \"b:9092\"]\n\n[dead_letter]\nmax_ratio = 0.2\n\n\
                [enrich.static]\nregion = \"eu\"\n\n[[route]]\nwhen = { field = \"locale\", one_of = [\"RU\"] }\n\
                topic = \"abroad\"\n";
    fs::write(&path, toml).unwrap();
    let (path, redacted) = (path.to_str().unwrap(), [(folder.path().to_str().unwrap(), "<folder>")]);
    snapshot("check", &["check", "--config", path], &redacted);
    snapshot("check-json", &["check", "--json", "--config", path], &redacted);
}

#[test]
fn a_configuration_that_is_wrong_is_told_with_all_that_is() {
    let folder = tempfile::tempdir().unwrap();
    let redacted = [(folder.path().to_str().unwrap(), "<folder>")];
    let check = |name: &str, toml: &str| {
        let path = folder.path().join(format!("{name}.toml"));
        fs::write(&path, toml).unwrap();
        snapshot(name, &["check", "--config", path.to_str().unwrap()], &redacted);
    };
    check("check-typo", "[kafka]\nbrokers = \"a\"\nclient = \"x\"\n\n[source]\nmax_wait = 30\nreader = \"wires\"\n");
    check(
        "check-contradicts",
        "[source]\ntopic = \"x\"\n\n[output]\ntopic = \"x\"\n\n[kafka]\nsecurity_protocol = \"sasl_plaintext\"\n\n\
         [kafka.sasl]\nmechanism = \"PLAIN\"\npassword = \"hidden\"\n\n[offsets]\ntopic = \"kept\"\n",
    );
    check("check-no-toml", "[kafka.sasl]\npassword = hidden\n");
}

/// A dead letter of fixed times and places.
fn dead(reason: &str, field: &str, message: &str) -> NewRecord {
    let value = r#"{"user_id":"u","ip":"not an address"}"#;
    let record = NewRecord::new("u", value).timestamp(1_767_323_045_000).header("trace", Some(b"1"));
    let told = [
        ("topic", "in"),
        ("partition", "1"),
        ("offset", "7"),
        ("timestamp", "1767323045000"),
        ("reason", reason),
        ("field", field),
        ("message", message),
        ("stage", "validate"),
        ("replay.count", "0"),
    ];
    told.into_iter()
        .fold(record, |record, (name, value)| record.header(format!("__dlq.errors.{name}"), Some(value.as_bytes())))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters() {
    let sandbox = Sandbox::start().await.unwrap();
    for (topic, partitions) in [("in", 2), ("dead", 1)] {
        sandbox.create_topic(topic, partitions).unwrap();
    }
    let records = vec![
        dead("invalid_value", "ip", "ip is not an address"),
        dead("missing_field", "locale", "locale is missing"),
        NewRecord::new("u", "of another program").timestamp(1_767_323_046_000),
    ];
    sandbox.append_batch("dead", 0, &NewBatch::new(records)).unwrap();
    let brokers = sandbox.bootstrap();
    tokio::task::spawn_blocking(move || {
        let topics = ["--source.topic", "in", "--dead_letter.topic", "dead", "--kafka.brokers", &brokers];
        for (name, args) in [
            ("dlq-list", &["dlq", "list"][..]),
            ("dlq-show", &["dlq", "show", "0:1"]),
            ("dlq-stats-table", &["dlq", "stats", "--table"]),
        ] {
            snapshot(name, &[args, &topics].concat(), &[]);
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn top_of_one_instance_in_trouble_and_one_that_does_not_answer() {
    let observe = Observe::new("9.9.9", &["device_type"], Duration::ZERO, serde_json::json!({}));
    observe.health.started();
    let trouble = observe.health.component("partition user-login/3");
    trouble.degraded("user-login/3: no leader", Severity::Fatal);
    let running = observe.partitions.partition("user-login", 0);
    running.state(PartitionState::Running);
    running.position(Offset(1_200));
    running.committed(Offset(1_000));
    running.high_watermark(Offset(3_500));
    let retrying = observe.partitions.partition("user-login", 3);
    retrying.state(PartitionState::Retrying);
    retrying.committed(Offset(100));
    let tally = observe.tallies.register();
    tally.lock().totals().records_in = 1_300;
    tally.lock().totals().records_out = 1_290;
    tally.lock().errors("tombstone", 10);
    for (value, count) in [("ios", 3), ("android", 2)] {
        (0..count).for_each(|_| tally.lock().count(0, value));
    }
    let server = AdminServer::bind(&Admin::at(([127, 0, 0, 1], 0).into())).await.unwrap();
    let (address, stop) = (server.local_addr().to_string(), CancellationToken::new());
    let serving = tokio::spawn(server.serve(observe, stop.clone()));
    let uptimes = ["0s  9.9.9", "1s  9.9.9", "2s  9.9.9", "3s  9.9.9"].map(|up| (up, "#s  9.9.9"));
    tokio::task::spawn_blocking(move || snapshot("top-once", &["top", "--once", &address, "127.0.0.1:1"], &uptimes))
        .await
        .unwrap();
    stop.cancel();
    serving.await.unwrap();
}
