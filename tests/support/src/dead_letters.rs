//! Dead letters on the sandbox, and the program.

use std::process::{Command, Output, Stdio};

use kafka_sandbox::{NewBatch, NewRecord, Sandbox, StoredRecord};

use crate::pipeline::program;

pub const PREFIX: &str = "__dlq.errors.";

/// Dead letters are in `dead`, and came from `in`, unless `args` say otherwise.
pub fn command(brokers: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.arg("dlq").args(args).args(["--kafka.brokers", brokers]);
    for (flag, topic) in [("--dead_letter.topic", "dead"), ("--source.topic", "in")] {
        if !args.contains(&flag) {
            command.args([flag, topic]);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub async fn dlq(brokers: &str, args: &[&str]) -> Output {
    let mut command = command(brokers, args);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[track_caller]
pub fn told(output: Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}\n{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout).unwrap()
}

/// A dead letter from partition 1 of `in`.
pub fn dead(key: &str, value: &str, reason: &str, replays: &str) -> NewRecord {
    let record = NewRecord::new(key.to_owned(), value.to_owned()).timestamp(1_767_323_045_000);
    let record = record.header("own", Some(b"CANARY-header")).header("own", None);
    let marks = [
        ("topic", "in"),
        ("partition", "1"),
        ("offset", "7"),
        ("timestamp", "1767323045000"),
        ("reason", reason),
        ("field", "ip"),
        ("message", "ip is not right"),
        ("stage", "validate"),
        ("replay.count", replays),
    ];
    marks
        .into_iter()
        .fold(record, |record, (name, value)| record.header(format!("{PREFIX}{name}"), Some(value.as_bytes())))
}

pub fn write(sandbox: &Sandbox, partition: i32, records: Vec<NewRecord>) {
    sandbox.append_batch("dead", partition, &NewBatch::new(records)).unwrap();
}

pub async fn sandbox() -> Sandbox {
    let sandbox = Sandbox::start().await.unwrap();
    for (topic, partitions) in [("in", 3), ("dead", 2), ("other", 1), ("quarantine", 1)] {
        sandbox.create_topic(topic, partitions).unwrap();
    }
    sandbox
}

pub fn counts(records: &[StoredRecord]) -> Vec<Option<&[u8]>> {
    let name = format!("{PREFIX}replay.count");
    records.iter().map(|record| record.headers.iter().find(|h| h.name == name).unwrap().value.as_deref()).collect()
}

/// The keys of what was replayed to partition 1 of `in`.
pub fn keys(sandbox: &Sandbox) -> Vec<String> {
    let key = |record: StoredRecord| String::from_utf8(record.key.unwrap().to_vec()).unwrap();
    sandbox.read("in", 1).unwrap().into_iter().map(key).collect()
}

/// A login from this address, with this user and locale.
pub fn login(ip: &str, user: &str, locale: &str) -> String {
    format!(
        r#"{{"user_id":"{user}","app_version":"2.3.0","ip":"{ip}","locale":"{locale}","device_id":"d","timestamp":1694479551,"device_type":"iOS"}}"#
    )
}
