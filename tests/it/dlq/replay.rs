//! What a replay writes, and what it leaves.

use kafka_sandbox::NewRecord;

use test_support::dead_letters::{PREFIX, counts, dead, dlq, keys, sandbox, told, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_writes_what_came_and_goes_on_behind_it() {
    let sandbox = sandbox().await;
    let brokers = sandbox.bootstrap();
    let tombstone = NewRecord { value: None, ..dead("k4", "", "tombstone", "0") };
    let cut = dead("k5", "{", "too_large", "0").header(format!("{PREFIX}truncated.from"), Some(b"999"));
    write(&sandbox, 0, vec![dead("k1", "v1", "wrong_type", "0"), dead("k2", "v2", "missing_field", "2"), cut]);
    write(&sandbox, 1, vec![dead("k3", "v3", "wrong_type", "3"), tombstone]);

    sandbox.create_topic("dead-quarantine", 1).unwrap();
    let refused = dlq(&brokers, &["replay"]).await;
    assert_eq!(refused.status.code(), Some(64), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--yes"));
    let dry = told(dlq(&brokers, &["replay", "--dry-run"]).await);
    assert!(dry.starts_with("0 of 3 would pass now; this writes them to the source, in: its readers get them again\n"));
    for line in ["3 records are to be written to in", "truncated", "to dead-quarantine", "refused: malformed_json"] {
        assert!(dry.contains(line), "{line}: {dry}");
    }
    assert!(sandbox.read("in", 1).unwrap().is_empty(), "neither writes");

    let quarantine = ["replay", "--yes", "--quarantine-topic", "quarantine"];
    let done = told(dlq(&brokers, &quarantine).await);
    assert!(done.contains("3 records were written to in") && done.contains("1 records were written to quarantine"));
    let written = sandbox.read("in", 1).unwrap();
    assert_eq!(counts(&written), [Some(&b"1"[..]), Some(b"3"), Some(b"1")]);
    for (record, (key, value)) in written.iter().zip([("k1", Some("v1")), ("k2", Some("v2")), ("k4", None)]) {
        assert_eq!(record.key.as_deref(), Some(key.as_bytes()));
        assert_eq!(record.value.as_deref(), value.map(str::as_bytes));
        assert_eq!(record.timestamp_ms, 1_767_323_045_000);
        let own: Vec<_> = record.headers.iter().take(2).map(|h| (&*h.name, h.value.as_deref())).collect();
        assert_eq!(own, [(&b"own"[..], Some(&b"CANARY-header"[..])), (b"own", None)]);
        assert_eq!(record.headers.len(), 3);
    }
    let quarantined = sandbox.read("quarantine", 0).unwrap();
    assert_eq!(quarantined[0].headers, dead("k3", "v3", "wrong_type", "3").headers, "as it died");
    assert!(quarantined[0].timestamp_ms > 1_767_323_045_000, "retention counts from now");

    // Again: nothing is left. What comes later is replayed alone.
    assert!(told(dlq(&brokers, &quarantine).await).contains("0 records were written"));
    write(&sandbox, 0, vec![dead("k6", "v6", "wrong_type", "0")]);
    assert!(told(dlq(&brokers, &quarantine).await).contains("1 records were written to in"));
    assert_eq!(sandbox.read("in", 1).unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_takes_back_what_the_dead_letter_topic_asked_for() {
    let sandbox = sandbox().await;
    let brokers = sandbox.bootstrap();
    let mark = |name: &str| format!("{PREFIX}{name}");
    let keyless = dead("in/1/7", "v1", "wrong_type", "0").header(mark("key.null"), Some(b"true"));
    let later = keyless.clone().timestamp(1_900_000_000_000);
    let without_headers = dead("k2", "v2", "wrong_type", "0").header(mark("truncated.headers"), Some(b"3"));
    let cut_key = dead("k3", "v3", "wrong_type", "0").header(mark("truncated.key.from"), Some(b"5000"));
    write(&sandbox, 0, vec![keyless, later, without_headers, cut_key]);
    let shown = told(dlq(&brokers, &["list"]).await);
    assert_eq!(shown.lines().filter(|line| line.contains("key null")).count(), 2, "{shown}");
    let shown = told(dlq(&brokers, &["show", "0:2"]).await);
    assert!(shown.contains("3 of its headers are left out"), "{shown}");
    let done = told(dlq(&brokers, &["replay", "--yes"]).await);
    assert!(done.contains("2 records were written to in") && done.contains("2 dead letters stay, truncated"), "{done}");
    let written = sandbox.read("in", 1).unwrap();
    assert_eq!(written.iter().map(|record| &record.key).collect::<Vec<_>>(), [&None, &None]);
    // Whenever the dead letter was written, and whichever version wrote it.
    assert!(written.iter().all(|record| record.timestamp_ms == 1_767_323_045_000), "{written:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_filter_passes_over_is_not_done() {
    let sandbox = sandbox().await;
    let brokers = sandbox.bootstrap();
    write(&sandbox, 0, vec![dead("k1", "v1", "wrong_type", "0"), dead("k2", "v2", "missing_field", "0")]);
    let only = ["replay", "--yes", "--only", "missing_field", "--to", "other"];
    let done = told(dlq(&brokers, &only).await);
    assert!(done.contains("1 records were written to other"), "{done}");
    assert!(done.contains("login-pipeline-dlq-replay:reason=missing_field"), "{done}");
    assert!(told(dlq(&brokers, &only).await).contains("0 records were written"));
    let all = told(dlq(&brokers, &["replay", "--yes", "--max", "1"]).await);
    assert!(all.contains("1 records were written to in"), "{all}");
    let all = told(dlq(&brokers, &["replay", "--yes"]).await);
    assert!(all.contains("1 records were written to in"), "{all}");
    assert_eq!(keys(&sandbox), ["k1", "k2"], "each once, whatever another replay did");
    let grep = dlq(&brokers, &["replay", "--yes", "--grep", "v"]).await;
    assert_eq!(grep.status.code(), Some(64));
    let moving = dlq(&brokers, &["replay", "--yes", "--until", "1h"]).await;
    let said = String::from_utf8_lossy(&moving.stderr);
    assert!(moving.status.code() == Some(64) && said.contains("--until wants a time here"), "{said}");
    let missing = dlq(&brokers, &["replay", "--yes", "--to", "nowhere", "--group", "g"]).await;
    assert!(!missing.status.success() && String::from_utf8_lossy(&missing.stderr).contains("nowhere"), "{missing:?}");
    let itself = dlq(&brokers, &["replay", "--yes", "--to", "dead"]).await;
    assert_eq!(itself.status.code(), Some(64));
}

/// What a filter left out lies behind the group's offset, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_named_serves_the_filter_that_it_began_with() {
    let sandbox = sandbox().await;
    let brokers = sandbox.bootstrap();
    write(&sandbox, 0, vec![dead("k1", "v1", "wrong_type", "0"), dead("k2", "v2", "missing_field", "0")]);
    let named = ["replay", "--yes", "--group", "g"];
    let with = |more: &[&'static str]| [&named[..], more].concat();
    let done = told(dlq(&brokers, &with(&["--only", "missing_field"])).await);
    assert!(done.contains("1 records were written to in"), "{done}");
    let stored = sandbox.committed("g", "dead", 0).unwrap();
    for (more, what) in [
        (&[][..], "other filters than these"),
        (&["--only", "wrong_type"], "other filters than these"),
        (&["--only", "wrong_type", "--dry-run"], "other filters than these"),
        (&["--only", "missing_field", "--grep", "v"], "other filters than these"),
        (&["--only", "missing_field", "--to", "other"], "another --to or --allow-topic than this"),
        (&["--only", "missing_field", "--allow-topic", "other"], "another --to or --allow-topic than this"),
    ] {
        let refused = dlq(&brokers, &with(more)).await;
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        let expected = format!("the progress in group g is that of {what}: ");
        assert!(refused.status.code() == Some(64) && why.contains(&expected), "{more:?}: {why}");
        assert!(why.contains("--group names another group"), "{why}");
    }
    assert_eq!(sandbox.committed("g", "dead", 0), Some(stored));
    assert_eq!(keys(&sandbox), ["k2"]);
    // Nor is that of other letters counted.
    let stats = dlq(&brokers, &["stats", "--table", "--group", "g"]).await;
    let why = String::from_utf8_lossy(&stats.stderr).into_owned();
    assert!(why.contains("which of them are open is not known: the progress in group g is"), "{why}");
    let stats = told(dlq(&brokers, &["stats", "--table", "--group", "g", "--only", "missing_field"]).await);
    assert!(stats.contains("0 open, 1 replayed"), "{stats}");

    write(&sandbox, 0, vec![dead("k3", "v3", "missing_field", "0")]);
    let done = told(dlq(&brokers, &with(&["--only", "missing_field", "--rate", "5", "--max", "7"])).await);
    assert!(done.contains("1 records were written to in"), "the same filter goes on: {done}");
    let done = told(dlq(&brokers, &["replay", "--yes", "--group", "another"]).await);
    assert!(done.contains("3 records were written to in"), "{done}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_replayed_too_often_is_quarantined_or_nothing_is_written() {
    let sandbox = sandbox().await;
    let brokers = sandbox.bootstrap();
    let often = ["k1", "k2"].map(|key| dead(key, "v", "wrong_type", "3"));
    write(&sandbox, 0, [vec![dead("k0", "v", "wrong_type", "0")], often.into()].concat());
    for more in [&["--yes"][..], &["--dry-run"]] {
        let refused = dlq(&brokers, &[&["replay"], more].concat()).await;
        let error = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{error}");
        for part in ["dead-quarantine", "2 dead letters", "--create", "--quarantine-topic", "--max-replays"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        let plan = String::from_utf8_lossy(&refused.stdout);
        assert!(plan.contains("2 records are to be written to dead-quarantine"), "{plan}");
    }
    assert!(sandbox.read("in", 1).unwrap().is_empty(), "none is written, so that none is passed over");

    sandbox.create_topic("dead-quarantine", 3).unwrap();
    let done = told(dlq(&brokers, &["replay", "--yes"]).await);
    assert!(done.contains("1 records were written to in") && done.contains("2 of them are quarantined"), "{done}");
    let quarantined = sandbox.read("dead-quarantine", 0).unwrap();
    assert_eq!(counts(&quarantined), [Some(&b"3"[..]), Some(b"3")], "as they died");
    let more = told(dlq(&brokers, &["replay", "--yes", "--group", "more", "--max-replays", "4"]).await);
    assert!(more.contains("3 records were written to in"), "{more}");
    let wrong = dlq(&brokers, &["replay", "--yes", "--quarantine-topic", "no topic"]).await;
    assert_eq!(wrong.status.code(), Some(64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_would_harm_the_pipeline_is_refused() {
    let sandbox = sandbox().await;
    let brokers = sandbox.bootstrap();
    let often = dead("k1", "v", "wrong_type", "3");
    write(&sandbox, 0, vec![dead("k0", "v", "wrong_type", "0"), often]);
    let replay = ["replay", "--yes", "--source.topic", "in", "--output.topic", "out"];
    let kept = ["--assignment.mode", "static", "--offsets.store", "topic", "--offsets.topic", "other", "--to", "other"];
    for (more, why) in [
        (&["--quarantine-topic", "in"][..], "the quarantine topic in is source.topic"),
        (&["--quarantine-topic", "out"], "the quarantine topic out is output.topic"),
        (&[&kept[..], &["--max-replays", "9"]].concat(), "other is offsets.topic"),
    ] {
        let refused = dlq(&brokers, &[&replay[..], more].concat()).await;
        let error = String::from_utf8_lossy(&refused.stderr);
        assert!(refused.status.code() == Some(64) && error.contains(why), "{error}");
    }
    assert!(sandbox.read("in", 0).unwrap().is_empty() && sandbox.read("in", 1).unwrap().is_empty());
}

/// Whoever may write to the dead-letter topic may write any headers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_header_sends_a_replay_nowhere() {
    let sandbox = sandbox().await;
    let brokers = sandbox.bootstrap();
    let from = |topic: &str| {
        let mut forged = dead("k", "v", "wrong_type", "0");
        let name = format!("{PREFIX}topic");
        forged.headers.iter_mut().filter(|header| header.name == name).for_each(|header| {
            header.value = Some(topic.to_owned().into_bytes().into());
        });
        forged
    };
    write(&sandbox, 0, vec![from("in"), from("other"), from("quarantine")]);
    let replay = ["replay", "--yes", "--output.topic", "other"];
    let done = told(dlq(&brokers, &replay).await);
    assert!(
        done.contains("1 records were written to in") && done.contains("2 dead letters stay, from a topic"),
        "{done}"
    );
    assert!(sandbox.read("other", 0).unwrap().is_empty() && sandbox.read("quarantine", 0).unwrap().is_empty());
    let refused = dlq(&brokers, &[&replay[..], &["--allow-topic", "other"]].concat()).await;
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(64) && why.contains("other is written to by the pipeline"), "{why}");
    let allowed = [&replay[..], &["--allow-topic", "quarantine"]].concat();
    let done = told(dlq(&brokers, &allowed).await);
    assert!(done.contains("1 records were written to quarantine"), "{done}");
}
