//! The lines that commands leave in the audit.

use std::process::{Command, Output};

use crate::dlq::retry::BRITISH;
use test_support::dead_letters::{dead, dlq, sandbox, write};

/// The lines of the audit among what a command said: action, what and result of each.
fn audited(output: &Output) -> Vec<[String; 3]> {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    let lines = said.lines().filter(|line| line.contains(" audit: audit action="));
    let lines = lines.map(|line| {
        let field = |name: &str| {
            let (_, rest) = line.split_once(&format!(" {name}=\"")).unwrap_or_else(|| panic!("no {name}: {line}"));
            rest.split('"').next().unwrap().to_owned()
        };
        // As whom, and where.
        assert!(line.contains(&format!("(uid {}", rustix::process::getuid().as_raw())), "{line}");
        [field("action"), field("what"), field("result")]
    });
    lines.collect()
}

fn lines(expected: &[[&str; 3]]) -> Vec<[String; 3]> {
    expected.iter().map(|line| line.map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_rights_leaves_lines_and_nothing_else_does() {
    let sandbox = sandbox().await;
    let brokers = sandbox.bootstrap();
    write(&sandbox, 0, vec![dead("k1", "CANARY", "wrong_type", "0")]);
    for silent in [
        &["stats"][..],
        &["list"],
        &["show", "0:0"],
        &["replay", "--dry-run"],
        &["retry", "--dry-run", "--output.topic", "other"],
    ] {
        let output = dlq(&brokers, silent).await;
        assert!(output.status.success(), "{output:?}");
        assert_eq!(audited(&output), lines(&[]), "{silent:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("export");
    let file = file.to_str().unwrap();
    let exported = format!("dead to {file}");
    for topic in ["out", "british"] {
        sandbox.create_topic(topic, 1).unwrap();
    }
    let rules = folder.path().join("pipeline.toml");
    std::fs::write(&rules, BRITISH).unwrap();
    let routed = ["--output.topic", "out", "--config", rules.to_str().unwrap()];
    for (args, action, what, result) in [
        (&["list", "--reveal"][..], "dlq.reveal", "dead", "done"),
        (&["show", "0:0", "--reveal"], "dlq.reveal", "dead/0 offset 0", "done"),
        (&["export", "--output", file], "dlq.export", &exported, "done"),
        (&["export"], "dlq.export", "dead to standard output", "done"),
        (&["retry", "--yes", "--output.topic", "other"], "dlq.retry", "dead to other", "done"),
        (&["replay", "--yes"], "dlq.replay", "dead to in", "done"),
        (&["replay", "--yes", "--allow-topic", "other"], "dlq.replay", "dead to in, other", "done"),
        (
            &[&["retry", "--yes", "--group", "routed"][..], &routed].concat(),
            "dlq.retry",
            "dead to out, british",
            "done",
        ),
    ] {
        let output = dlq(&brokers, args).await;
        assert!(output.status.success(), "{args:?} {output:?}");
        assert_eq!(audited(&output), lines(&[[action, what, "begun"], [action, what, result]]), "{args:?}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("CANARY"), "{output:?}");
    }
    let refused = dlq(&brokers, &["export", "--output", file]).await;
    let ends = audited(&refused).pop().unwrap();
    assert!(ends[2].starts_with("failed: ") && ends[2].contains("is there already"), "{ends:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_that_are_set_by_hand_leave_lines() {
    let sandbox = sandbox().await;
    let brokers = sandbox.bootstrap();
    let offsets = async |args: &'static [&'static str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_login-pipeline"));
        let usual = ["--source.topic", "in", "--group.id", "g", "--kafka.brokers"];
        command.arg("offsets").args(args).args(usual).arg(&brokers);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    };
    for silent in [&["show"][..], &["set", "--partition", "all", "--to", "earliest", "--dry-run"]] {
        let output = offsets(silent).await;
        assert_eq!((output.status.code(), audited(&output)), (Some(0), lines(&[])), "{output:?}");
    }
    let set = offsets(&["set", "--partition", "0", "--to", "0"]).await;
    let what = "in {0} of group g to 0";
    assert_eq!(audited(&set), lines(&[["offsets.set", what, "begun"], ["offsets.set", what, "done"]]), "{set:?}");
    let refused = offsets(&["set", "--partition", "0", "--to", "999"]).await;
    assert!(audited(&refused)[1][2].contains("lies behind the log's end"), "{refused:?}");
}
