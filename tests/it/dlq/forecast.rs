//! What a dry run says, held against what the pipeline then does.

use std::path::{Path, PathBuf};

use kafka_sandbox::{NewRecord, Sandbox};
use tempfile::TempDir;

use test_support::dead_letters::{dead, dlq, login, sandbox, told, write};

/// Rules on what is only there once an event is enriched, and on what privacy leaves of it.
const RULES: &str = r#"
[enrich.geoip]
file = "countries.mmdb"
[enrich.static]
region = "eu"
[privacy]
user_id = "hmac_sha256"
key_file = "key"
[[route]]
name = "british"
when = { field = "country", equals = "GB" }
topic = "british"
[[route]]
name = "canary"
when = { header = "own", equals = "CANARY" }
topic = "canary"
[[route]]
name = "german"
when = { all = [{ field = "locale", equals = "DE" }, { field = "region", equals = "eu" }, { field = "user_id", matches = "^[0-9a-f]{64}$" }] }
drop = true
"#;

/// A configuration with these rules, and a database of countries unless it is left out.
pub(super) fn configured(folder: &Path, has_database: bool) -> PathBuf {
    std::fs::write(folder.join("key"), "a key of more than sixteen bytes\n").unwrap();
    if has_database {
        let database = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/countries.mmdb");
        std::fs::copy(database, folder.join("countries.mmdb")).unwrap();
    }
    let path = |text: &str, name: &str| text.replace(&format!("{name:?}"), &format!("{:?}", folder.join(name)));
    let file = folder.join("pipeline.toml");
    std::fs::write(&file, path(&path(RULES, "countries.mmdb"), "key")).unwrap();
    file
}

/// Dead letters that the rules in force let through, drop, and refuse.
pub(super) fn letters() -> Vec<NewRecord> {
    let letter = |key: &str, value: String| dead(key, &value, "wrong_type", "0");
    vec![
        letter("k1", login("81.2.69.1", "u1", "DE")),
        letter("k2", login("10.0.0.1", "u2", "DE")),
        letter("k3", login("10.0.0.1", "u3", "RU")),
        letter("k4", login("10.0.0.1", "u4", "DE")).header("own", Some(b"CANARY")),
        letter("k5", "{}".to_owned()),
    ]
}

pub(super) async fn with_outputs() -> Sandbox {
    let sandbox = sandbox().await;
    for topic in ["out", "british", "canary"] {
        sandbox.create_topic(topic, 3).unwrap();
    }
    sandbox
}

/// A sandbox with [`letters`], and the configuration for them.
pub(super) struct Given {
    pub sandbox: Sandbox,
    pub brokers: String,
    pub folder: TempDir,
    /// The path of the configuration.
    pub file: String,
}

impl Given {
    pub(super) async fn letters(has_database: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = configured(folder.path(), has_database).to_str().unwrap().to_owned();
        let sandbox = with_outputs().await;
        write(&sandbox, 0, letters());
        Self { brokers: sandbox.bootstrap(), sandbox, folder, file }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_goes_through_the_stages_of_a_run() {
    let Given { sandbox, brokers, file, folder: _folder } = Given::letters(true).await;
    let dry = ["replay", "--dry-run", "--config", &file, "--output.topic", "out"];
    let said = told(dlq(&brokers, &dry).await);
    assert!(said.starts_with("3 of 5 would pass now, 1 would be dropped by a rule"), "{said}");
    for line in [
        "1  accepted, to british by the rule british",
        "1  accepted, to canary by the rule canary",
        "1  accepted, to out",
        "1  dropped by the rule german",
        "1  refused: missing_field user_id",
    ] {
        assert!(said.contains(&format!("{line}\n")), "{line}: {said}");
    }
    let small = told(dlq(&brokers, &[&dry[..], &["--pipeline.max_record_bytes", "64KiB"]].concat()).await);
    assert!(!small.contains("too_large"), "{small}");
    let huge = login("10.0.0.1", &"u".repeat(70_000), "RU");
    write(&sandbox, 1, vec![dead("k6", &huge, "wrong_type", "0")]);
    let small = told(dlq(&brokers, &[&dry[..], &["--pipeline.max_record_bytes", "64KiB"]].concat()).await);
    assert!(small.contains("1  refused: too_large"), "{small}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_says_what_it_could_not_read() {
    let Given { sandbox: _sandbox, brokers, file, folder } = Given::letters(false).await;
    let dry = ["replay", "--dry-run", "--config", &file, "--output.topic", "out"];
    let said = dlq(&brokers, &dry).await;
    let warned = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(warned.contains("enrich.geoip.file: ") && warned.contains("without countries"), "{warned}");
    assert!(told(said).contains("2  dropped by the rule german"), "the first of them is British with a database");
    std::fs::remove_file(folder.path().join("key")).unwrap();
    let said = dlq(&brokers, &dry).await;
    let why = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.code() == Some(64) && why.contains("privacy.key_file"), "{why}");
    // Who makes no pseudonyms needs no key. The readers of the source judge what a replay writes.
    told(dlq(&brokers, &["stats", "--config", &file]).await);
    let replay = ["replay", "--yes", "--config", &file, "--output.topic", "out"];
    let said = dlq(&brokers, &replay).await;
    let why = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(why.contains("privacy.key_file") && why.contains("is not forecast"), "{why}");
    let said = told(said);
    assert!(said.starts_with("this writes them to the source, in: its readers get them again\n"), "{said}");
    assert!(said.contains("5 records were written to in") && !said.contains("what the rules"), "{said}");
    for more in [&["--dry-run"][..], &["--yes"]] {
        let refused = dlq(&brokers, &[&["retry", "--config", &file, "--output.topic", "out"][..], more].concat()).await;
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(64) && why.contains("privacy.key_file"), "a retry needs it: {why}");
    }
    // What no event can be is what a run would refuse, too.
    let never = r#"[[route]]
        when = { field = "device_type", equals = "iOS" }
        drop = true"#;
    std::fs::write(&file, never).unwrap();
    let said = dlq(&brokers, &dry).await;
    let why = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.code() == Some(64) && why.contains("device_type is never"), "{why}");
}
