//! A dead-letter topic that loses letters while a command reads it, and how often a slow replay notes where it is.

use std::process::Output;

use kafka_sandbox::{Action, Api, Fault, Sandbox};
use tokio::time::{Instant, sleep, timeout};

use test_support::dead_letters::{command, dead, dlq, keys, sandbox, told, write};
use test_support::topics::PATIENCE;

/// Kafka's code.
const LEADER_NOT_AVAILABLE: i16 = 5;

/// So many letters to a batch.
const BATCH: usize = 10;

/// Two batches, of which a fetch brings one.
async fn two_batches() -> Sandbox {
    let sandbox = sandbox().await;
    for batch in 0..2 {
        let letter = |number: usize| dead(&(batch * BATCH + number).to_string(), &"x".repeat(500), "wrong_type", "0");
        write(&sandbox, 0, (0..BATCH).map(letter).collect());
    }
    sandbox
}

const SMALL: [&str; 4] = ["--source.max_fetch_bytes", "1KiB", "--timeout", "2s"];

async fn ended(command: impl Future<Output = Output>) -> Output {
    timeout(PATIENCE, command).await.unwrap()
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_cut_while_it_is_read_ends_the_command() {
    // At 10 the log ends where it was read up to; at 5 the whole first batch is gone, too.
    for (cut, end) in [(10, 10), (5, 0)] {
        for args in [&["stats"][..], &["list"], &["export"]] {
            let sandbox = two_batches().await;
            let brokers = sandbox.bootstrap();
            let held = sandbox.fault(
                Fault::on(Api::Fetch).topic("dead").from_offset(10).forever(),
                Action::Error(LEADER_NOT_AVAILABLE),
            );
            let args = [args, &["--partition", "0"], &SMALL].concat();
            let reading = ended(dlq(&brokers, &args));
            let cutting = async {
                until("the second batch is not asked for", || held.fired() > 0).await;
                sandbox.elect_uncleanly("dead", 0, sandbox.leader("dead", 0).unwrap(), cut).unwrap();
                held.remove();
            };
            let (output, ()) = tokio::join!(reading, cutting);
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{args:?}: {why}");
            let was_cut =
                format!("dead/0 was cut while it was read: it ended at 20 when this began, and ends at {end} now");
            assert!(why.contains(&was_cut) || why.contains("dead/0: the log was truncated"), "{args:?}: {why}");
            assert!(end == 0 || why.contains(&was_cut), "{args:?}: {why}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_of_a_log_that_is_cut_has_noted_what_it_wrote() {
    let sandbox = two_batches().await;
    let brokers = sandbox.bootstrap();
    let args = [&["replay", "--yes", "--rate", "20", "--partition", "0"][..], &SMALL].concat();
    let replaying = ended(dlq(&brokers, &args));
    let cutting = async {
        until("nothing is replayed", || !keys(&sandbox).is_empty()).await;
        sandbox.elect_uncleanly("dead", 0, sandbox.leader("dead", 0).unwrap(), 10).unwrap();
    };
    let (output, ()) = tokio::join!(replaying, cutting);
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && why.contains("was cut while it was read"), "{why}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("10 records were written to in"), "{output:?}");
    let again = told(dlq(&brokers, &args).await);
    assert!(again.contains("0 records were written"), "{again}");
    assert_eq!(keys(&sandbox).len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_replay_notes_where_it_is_now_and_then() {
    let sandbox = sandbox().await;
    let brokers = sandbox.bootstrap();
    let letters = |count: usize, reason: &'static str| -> Vec<_> {
        (0..count).map(|number| dead(&number.to_string(), "v", reason, "0")).collect()
    };
    write(&sandbox, 0, letters(40, "wrong_type"));
    let commits = || sandbox.requests(Api::OffsetCommit);
    let done = told(dlq(&brokers, &["replay", "--yes", "--rate", "19"]).await);
    assert!(done.contains("40 records were written to in"), "{done}");
    // One a second, and one at the end: of a letter each there were 40.
    assert!((2..20).contains(&commits()), "{}", commits());
    assert_eq!(sandbox.committed("login-pipeline-dlq-replay", "dead", 0).unwrap().offset, 40);

    // What a filter leaves out costs no commit each, and no time.
    write(&sandbox, 0, letters(500, "missing_field"));
    let before = commits();
    let done = told(dlq(&brokers, &["replay", "--yes", "--rate", "1", "--group", "g", "--only", "too_large"]).await);
    assert!(done.contains("0 records were written"), "{done}");
    assert!(commits() - before < 100, "{}", commits() - before);
    assert_eq!(sandbox.committed("g", "dead", 0).unwrap().offset, 540);

    // Killed in between, it writes again what it has not noted, and leaves out nothing.
    write(&sandbox, 1, letters(40, "wrong_type"));
    let mut child = command(&brokers, &["replay", "--yes", "--rate", "19", "--partition", "1"]).spawn().unwrap();
    until("nothing is replayed", || keys(&sandbox).len() > 40 + 25).await;
    child.kill().unwrap();
    child.wait().unwrap();
    told(dlq(&brokers, &["replay", "--yes"]).await);
    let mut seen = keys(&sandbox).split_off(40);
    seen.sort_by_key(|key| key.parse::<usize>().unwrap());
    let twice = seen.len();
    seen.dedup();
    // What a filter left out went, too: keys 0 to 499.
    assert!(twice > seen.len() && seen.len() == 500, "{twice} {}", seen.len());
}
