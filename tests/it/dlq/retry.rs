//! What a retry writes, where to, and what it leaves open.

use std::fs;

use kafka_sandbox::{Action, Api, Fault, NewRecord, Sandbox};
use serde_json::Value;

use crate::dlq::forecast::{Given, configured, letters, with_outputs};
use test_support::dead_letters::{PREFIX, dead, dlq, login, told, write};

/// Where the pipeline writes in these tests.
const OUT: [&str; 2] = ["--output.topic", "out"];

/// A rule that leads elsewhere.
pub(super) const BRITISH: &str =
    "[[route]]\nname = \"b\"\nwhen = { field = \"locale\", equals = \"DE\" }\ntopic = \"british\"\n";

/// Kafka's code.
const MESSAGE_TOO_LARGE: i16 = 10;

/// The keys of what lies in a topic, sorted.
fn keys_in(sandbox: &Sandbox, topic: &str) -> Vec<String> {
    let of = |partition| sandbox.read(topic, partition).unwrap_or_default();
    let key = |key: Option<bytes::Bytes>| String::from_utf8(key.unwrap().to_vec()).unwrap();
    let mut keys: Vec<_> = (0..3).flat_map(of).map(|record| key(record.key)).collect();
    keys.sort();
    keys
}

fn nothing_in_the_source(sandbox: &Sandbox) {
    assert!(keys_in(sandbox, "in").is_empty(), "other readers of the source get nothing twice");
}

async fn stats(brokers: &str, more: &[&str]) -> Value {
    serde_json::from_str(&told(dlq(brokers, &[&["stats", "--json"], more].concat()).await)).unwrap()
}

fn states(stats: &Value) -> [u64; 3] {
    ["open", "replayed", "given_up"].map(|state| stats["state"][state].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_writes_what_passes_to_where_the_routes_lead() {
    let folder = tempfile::tempdir().unwrap();
    let file = configured(folder.path(), true);
    let sandbox = with_outputs().await;
    let brokers = sandbox.bootstrap();
    let cut = dead("k6", "{", "too_large", "0").header(format!("{PREFIX}truncated.from"), Some(b"999"));
    let often = dead("k7", &login("10.0.0.7", "u7", "RU"), "wrong_type", "3");
    write(&sandbox, 0, [letters(), vec![cut, often]].concat());
    let retry = [&["retry", "--config", file.to_str().unwrap()][..], &OUT].concat();

    let asked = dlq(&brokers, &retry).await;
    assert!(asked.status.code() == Some(64) && String::from_utf8_lossy(&asked.stderr).contains("--yes"), "{asked:?}");
    let dry = told(dlq(&brokers, &[&retry[..], &["--dry-run"]].concat()).await);
    assert!(
        dry.starts_with("4 of 6 would pass now, 1 would be dropped by a rule; a retry writes these to the outputs")
    );
    for line in ["2 records are to be written to out", "1 records are to be dropped", "1 dead letters stay open"] {
        assert!(dry.contains(line), "{line}: {dry}");
    }
    assert!(
        keys_in(&sandbox, "out").is_empty() && states(&stats(&brokers, &[]).await) == [7, 0, 0],
        "a dry run is one"
    );

    let done = told(dlq(&brokers, &[&retry[..], &["--yes"]].concat()).await);
    for line in [
        "2 records were written to out",
        "1 records were written to british",
        "1 records were written to canary",
        "1 records were dropped by a rule",
        "1 dead letters stay, truncated",
        "1 dead letters stay open, the rules refuse them still",
        "1  refused: missing_field user_id",
    ] {
        assert!(done.contains(line), "{line}: {done}");
    }
    nothing_in_the_source(&sandbox);
    let found = ["out", "british", "canary"].map(|topic| keys_in(&sandbox, topic));
    assert_eq!(
        found,
        [vec!["k3", "k7"], vec!["k1"], vec!["k4"]].map(|keys| keys.into_iter().map(str::to_owned).collect::<Vec<_>>())
    );
    // As the pipeline writes it: enriched, with its own headers and time, and what a replay would have added.
    let british = &sandbox.read("british", 1).unwrap()[0];
    let value: Value = serde_json::from_slice(british.value.as_deref().unwrap()).unwrap();
    assert_eq!(
        (&value["country"], &value["region"], &value["device_type"]),
        (&"GB".into(), &"eu".into(), &"ios".into())
    );
    assert_eq!(value["user_id"].as_str().map(str::len), Some(64), "a pseudonym");
    assert_eq!(british.timestamp_ms, 1_767_323_045_000);
    let names: Vec<_> =
        british.headers.iter().map(|header| String::from_utf8_lossy(&header.name).into_owned()).collect();
    assert_eq!(names, ["own", "own", "__dlq.errors.replay.count"]);

    // What failed is open, and nothing is written twice; who replays gets that alone.
    let after = stats(&brokers, &[]).await;
    assert_eq!(states(&after), [1, 4, 2], "{after}");
    assert_eq!(after["state"]["partitions"]["0"]["open"], 1, "{after}");
    let again = told(dlq(&brokers, &[&retry[..], &["--yes"]].concat()).await);
    assert!(again.starts_with("0 of 1 would pass now") && again.contains("0 records were written"), "{again}");
    write(&sandbox, 0, vec![dead("k8", &login("10.0.0.8", "u8", "RU"), "wrong_type", "0")]);
    let later = told(dlq(&brokers, &[&retry[..], &["--yes"]].concat()).await);
    assert!(later.starts_with("1 of 2 would pass now") && later.contains("1 records were written to out"), "{later}");
    let replayed = told(dlq(&brokers, &["replay", "--yes"]).await);
    assert!(replayed.contains("1 records were written to in"), "{replayed}");
    assert_eq!(keys_in(&sandbox, "in"), ["k5"]);
    assert_eq!(states(&stats(&brokers, &[]).await), [0, 6, 2]);
    assert_eq!(keys_in(&sandbox, "out"), ["k3", "k7", "k8"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_failed_passes_once_the_rules_have_changed() {
    let sandbox = with_outputs().await;
    let brokers = sandbox.bootstrap();
    let large = |key: &str| {
        let value = login("10.0.0.1", "u", "RU").replacen('{', &format!("{{\"more\":\"{}\",", "x".repeat(70_000)), 1);
        dead(key, &value, "too_large", "0")
    };
    let small = |key: &str| dead(key, &login("10.0.0.1", "u", "RU"), "wrong_type", "0");
    write(&sandbox, 0, vec![large("k1"), small("k2"), large("k3"), small("k4"), small("k5")]);
    write(&sandbox, 1, vec![small("k6"), large("k7")]);
    let retry = [&["retry", "--yes"][..], &OUT].concat();
    let some = [&retry[..], &["--pipeline.max_record_bytes", "64KiB", "--max", "2"]].concat();
    let first = told(dlq(&brokers, &some).await);
    assert!(first.contains("2 records were written to out") && first.contains("2  refused: too_large"), "{first}");
    assert_eq!(keys_in(&sandbox, "out"), ["k2", "k4"]);
    assert_eq!(states(&stats(&brokers, &[]).await), [5, 2, 0]);
    let rest = told(dlq(&brokers, &some).await);
    assert!(rest.contains("2 records were written to out"), "{rest}");
    let mended = told(dlq(&brokers, &retry).await);
    assert!(mended.starts_with("3 of 3 would pass now"), "{mended}");
    assert_eq!(keys_in(&sandbox, "out"), ["k1", "k2", "k3", "k4", "k5", "k6", "k7"], "each once");
    assert_eq!(states(&stats(&brokers, &[]).await), [0, 7, 0]);
    nothing_in_the_source(&sandbox);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_refuses_a_record_leaves_it_open() {
    let sandbox = with_outputs().await;
    let brokers = sandbox.bootstrap();
    let small = |key: &str, of: &str| dead(key, &login("10.0.0.1", "u", of), "wrong_type", "0");
    write(&sandbox, 0, vec![small("k1", "RU"), small("k2", "DE"), small("k3", "RU")]);
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("pipeline.toml");
    fs::write(&rules, BRITISH).unwrap();
    let retry = [&["retry", "--yes", "--config", rules.to_str().unwrap()][..], &OUT].concat();
    let refusing = sandbox.fault(Fault::on(Api::Produce).topic("british").forever(), Action::Error(MESSAGE_TOO_LARGE));
    let first = dlq(&brokers, &retry).await;
    let said = String::from_utf8_lossy(&first.stdout).into_owned();
    assert!(
        first.status.code() == Some(1) && said.contains("1 dead letters stay open, refused by the topic"),
        "{said}"
    );
    assert_eq!(keys_in(&sandbox, "out"), ["k1", "k3"]);
    assert_eq!(states(&stats(&brokers, &[]).await), [1, 2, 0]);
    refusing.remove();
    told(dlq(&brokers, &retry).await);
    assert_eq!((keys_in(&sandbox, "british"), keys_in(&sandbox, "out").len()), (vec!["k2".to_owned()], 2));
    assert_eq!(states(&stats(&brokers, &[]).await), [0, 3, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_without_what_it_needs_writes_nothing() {
    let Given { sandbox, brokers, file, folder: _folder } = Given::letters(false).await;
    let retry = [&["retry", "--yes", "--config", &file][..], &OUT].concat();
    let refused = dlq(&brokers, &retry).await;
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && why.contains("nothing is written without countries"), "{why}");
    let missing = dlq(&brokers, &["retry", "--yes", "--output.topic", "nowhere"]).await;
    let why = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(missing.status.code() == Some(1) && why.contains("nowhere"), "{why}");
    assert!(["out", "british", "canary"].iter().all(|topic| keys_in(&sandbox, topic).is_empty()));
    assert_eq!(states(&stats(&brokers, &[]).await), [5, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_open_ones_than_a_group_can_note_end_a_retry_early() {
    let sandbox = with_outputs().await;
    let brokers = sandbox.bootstrap();
    let good = login("10.0.0.1", "u", "RU");
    for _ in 0..30 {
        let letter = |n: usize| match n % 2 {
            0 => dead("k", &good, "wrong_type", "0"),
            _ => dead("k", "{}", "missing_field", "0"),
        };
        write(&sandbox, 0, (0..1_000).map(letter).collect());
    }
    let retry = [&["retry", "--yes", "--timeout", "60s"][..], &OUT].concat();
    let count = || (0..3).map(|partition| sandbox.read("out", partition).unwrap().len()).sum::<usize>();
    let stopped = dlq(&brokers, &retry).await;
    let said = String::from_utf8_lossy(&stopped.stdout).into_owned();
    assert!(stopped.status.code() == Some(1) && said.contains("stopped early in dead/0"), "{said}");
    let written = count();
    assert!((10_000..15_000).contains(&written), "{written}");
    let again = dlq(&brokers, &retry).await;
    assert_eq!((again.status.code(), count()), (Some(1), written), "what is noted is not written twice");
    // As it says: through the source goes what is open, and that alone.
    assert!(said.contains("or run dlq replay with the same flags, which writes what is open to the source"), "{said}");
    told(dlq(&brokers, &["replay", "--yes"]).await);
    assert_eq!((count(), keys_in(&sandbox, "in").len()), (written, 30_000 - written));
    assert_eq!(states(&stats(&brokers, &[]).await), [0, 30_000, 0]);
}

/// Whoever may write to the dead-letter topic may write any headers, and who has a file any line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_header_leads_a_retry_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = with_outputs().await;
    let brokers = sandbox.bootstrap();
    for topic in ["offsets", "dead-quarantine"] {
        sandbox.create_topic(topic, 1).unwrap();
    }
    let elsewhere = ["out", "british", "dead", "dead-quarantine", "offsets", "other"];
    let from = |topic: &str| {
        let mut forged = dead("k", &login("10.0.0.1", "u", "RU"), "wrong_type", "0");
        let name = format!("{PREFIX}topic");
        forged.headers.iter_mut().filter(|header| header.name == name).for_each(|header| {
            header.value = Some(topic.to_owned().into_bytes().into());
        });
        forged
    };
    let forged: Vec<NewRecord> = elsewhere.iter().map(|topic| from(topic)).collect();
    write(&sandbox, 0, forged);
    let path = folder.path().join("dead.ndjson");
    let file = path.to_str().unwrap();
    told(dlq(&brokers, &["export", "--output", file]).await);
    let rules = folder.path().join("pipeline.toml");
    fs::write(&rules, BRITISH).unwrap();
    let kept = ["--assignment.mode", "static", "--offsets.store", "topic", "--offsets.topic", "offsets"];
    let configured = [&["--config", rules.to_str().unwrap()][..], &OUT, &kept].concat();
    let ends = || {
        let topics = elsewhere.iter().filter(|topic| **topic != "dead").chain(&["in"]);
        topics
            .map(|topic| (0..3).filter_map(|of| Some(sandbox.read(topic, of).ok()?.len())).sum::<usize>())
            .sum::<usize>()
    };
    for command in ["replay", "retry"] {
        for more in [&[][..], &["--from-file", file]] {
            let alone = [command, "--yes", "--group", command];
            let said = told(dlq(&brokers, &[&alone[..], &configured, more].concat()).await);
            assert!(said.contains("6 dead letters stay, from a topic other than source.topic"), "{command}: {said}");
            for name in elsewhere.iter().filter(|name| **name != "other") {
                let group = ["--group", name, "--allow-topic", name];
                let refused = dlq(&brokers, &[&[command, "--yes"][..], &configured, more, &group].concat()).await;
                let why = String::from_utf8_lossy(&refused.stderr).into_owned();
                assert!(refused.status.code() == Some(64) && why.contains(&format!("--allow-topic {name}: ")), "{why}");
            }
        }
    }
    assert_eq!(ends(), 0, "nothing is written anywhere");
    // What is allowed is judged like everything else, and goes by the routes.
    let allowed = [&["retry", "--yes", "--allow-topic", "other"][..], &configured].concat();
    assert!(told(dlq(&brokers, &allowed).await).contains("1 records were written to out"));
    assert!(sandbox.read("other", 0).unwrap().is_empty());
}

/// An export, changed by hand, and replayed or retried.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_is_edited_and_goes_again() {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = with_outputs().await;
    let brokers = sandbox.bootstrap();
    let wrong = login("10.0.0.1", "u1", "RU").replace("\"2.3.0\"", "230");
    let cut = dead("k2", "{\"user_id\"", "too_large", "0").header(format!("{PREFIX}truncated.from"), Some(b"999"));
    write(&sandbox, 0, vec![dead("k1", &wrong, "wrong_type", "0"), cut]);
    let path = folder.path().join("dead.ndjson");
    let file = path.to_str().unwrap();
    told(dlq(&brokers, &["export", "--output", file]).await);
    let edited: Vec<String> = fs::read_to_string(&path)
        .unwrap()
        .lines()
        .map(|line| {
            let mut letter: Value = serde_json::from_str(line).unwrap();
            // As jq would: the value is text that holds JSON; what was cut is whole again, and says so no more.
            letter["value"] = match letter["key"].as_str() {
                Some("k1") => letter["value"].as_str().unwrap().replace("230", "\"2.3.0\"").into(),
                _ => login("10.0.0.2", "u2", "RU").into(),
            };
            let headers = letter["headers"].as_array_mut().unwrap();
            headers.retain(|header| header[0] != format!("{PREFIX}truncated.from"));
            letter.to_string()
        })
        .collect();
    fs::write(&path, edited.join("\n")).unwrap();
    let again = ["--from-file", file, "--yes"];
    let dry = told(dlq(&brokers, &[&["retry", "--dry-run"][..], &again[..2], &OUT].concat()).await);
    assert!(dry.starts_with("2 of 2 would pass now"), "{dry}");
    told(dlq(&brokers, &[&["replay"][..], &again, &OUT].concat()).await);
    assert_eq!((keys_in(&sandbox, "in"), keys_in(&sandbox, "out").len()), (vec!["k1".into(), "k2".into()], 0));
    // The same bytes have one progress, whichever way they go; others begin anew.
    let done = told(dlq(&brokers, &[&["retry"][..], &again, &OUT].concat()).await);
    assert!(done.contains("0 records were written"), "{done}");
    fs::write(&path, edited.join("\n") + "\n").unwrap();
    told(dlq(&brokers, &[&["retry"][..], &again, &OUT].concat()).await);
    assert_eq!(keys_in(&sandbox, "out"), ["k1", "k2"]);
}

/// Nothing would be written, and yet nothing of it would be taken again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_would_pass_all_of_them_is_asked() {
    let Given { sandbox: _sandbox, brokers, file, folder: _folder } = Given::letters(true).await;
    let elsewhere = [&["retry", "--config", &file, "--source.topic", "another"][..], &OUT].concat();
    let asked = dlq(&brokers, &elsewhere).await;
    assert!(asked.status.code() == Some(64) && String::from_utf8_lossy(&asked.stderr).contains("--yes"), "{asked:?}");
    assert_eq!(states(&stats(&brokers, &[]).await)[1..], [0, 0], "nothing is passed");
}
