//! A replay asks before it writes, and stops in order when it is told to.

use std::io::{Read, Write};
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use kafka_sandbox::Sandbox;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use crate::dlq::terminal::Terminal;
use test_support::dead_letters::{command, dead, dlq, keys, sandbox, told, write};
use test_support::topics::PATIENCE;

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

async fn ended(child: Child) -> Output {
    tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap()
}

async fn sandbox_with(count: usize) -> Sandbox {
    let sandbox = sandbox().await;
    let letters = (0..count).map(|number| dead(&number.to_string(), "{}", "wrong_type", "0"));
    write(&sandbox, 0, letters.collect());
    sandbox
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_yes_goes_on() {
    let sandbox = sandbox_with(3).await;
    let brokers = sandbox.bootstrap();
    for answer in ["n\n", "\n", "no\n", "yet\n", "\x04"] {
        let output = Terminal::open().asked(&brokers, &["replay"], answer).await;
        assert_eq!(output.status.code(), Some(1), "{answer:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("Go on? [y/N] "), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).ends_with("nothing is written\n"), "{output:?}");
        assert!(keys(&sandbox).is_empty(), "{answer:?}");
    }
    // Without a terminal there is nobody to ask, whatever stands at standard input.
    let mut piped = command(&brokers, &["replay"]).stdin(Stdio::piped()).spawn().unwrap();
    piped.stdin.take().unwrap().write_all(b"y\n").unwrap();
    let piped = ended(piped).await;
    assert_eq!(piped.status.code(), Some(64), "{piped:?}");
    assert!(String::from_utf8_lossy(&piped.stderr).contains("--yes goes on without asking"), "{piped:?}");
    assert!(keys(&sandbox).is_empty());

    let done = told(Terminal::open().asked(&brokers, &["replay"], "y\n").await);
    assert!(done.contains("3 records were written to in"), "{done}");
    assert_eq!(keys(&sandbox), ["0", "1", "2"]);
    let none = told(dlq(&brokers, &["replay"]).await);
    assert!(none.contains("0 records were written"), "nothing to write, nothing to ask: {none}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_at_the_question_is_a_no() {
    let sandbox = sandbox_with(1).await;
    let terminal = Terminal::open();
    let mut replay = command(&sandbox.bootstrap(), &["replay"]);
    let mut child = replay.stdin(terminal.end.try_clone().unwrap()).spawn().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let (asks, asked) = tokio::sync::oneshot::channel();
    let reading = tokio::task::spawn_blocking(move || {
        let (mut said, mut byte) = (Vec::new(), [0]);
        while !said.ends_with(b"[y/N] ") {
            stderr.read_exact(&mut byte).unwrap();
            said.extend(byte);
        }
        asks.send(()).unwrap();
        stderr.read_to_end(&mut said).unwrap();
        String::from_utf8(said).unwrap()
    });
    asked.await.unwrap();
    signal(&child, Signal::INT);
    let output = ended(child).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(reading.await.unwrap().ends_with("interrupted, before anything was written\n"));
    assert!(keys(&sandbox).is_empty());
    drop(terminal);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_is_stopped_goes_on_where_it_was() {
    const LETTERS: usize = 300;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dead.ndjson");
    let from_file = ["--from-file", file.to_str().unwrap()];
    for more in [&[][..], &from_file] {
        let sandbox = sandbox_with(LETTERS).await;
        let brokers = sandbox.bootstrap();
        told(dlq(&brokers, &["export", "--overwrite", "--output", file.to_str().unwrap()]).await);
        let args = [&["replay", "--yes", "--rate", "200"], more].concat();
        for (part, stop) in [(1, Signal::TERM), (2, Signal::INT)] {
            let child = command(&brokers, &args).spawn().unwrap();
            let until = Instant::now() + PATIENCE;
            while keys(&sandbox).len() < LETTERS * part / 4 {
                assert!(Instant::now() < until, "nothing is replayed");
                sleep(Duration::from_millis(2)).await;
            }
            signal(&child, stop);
            let output = ended(child).await;
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(said.ends_with("interrupted: the same command goes on where this one stopped\n"), "{said}");
            assert!(keys(&sandbox).len() < LETTERS, "it was stopped before its end");
        }
        told(dlq(&brokers, &[&["replay", "--yes"], more].concat()).await);
        let expected: Vec<_> = (0..LETTERS).map(|number| number.to_string()).collect();
        assert_eq!(keys(&sandbox), expected, "each once, in order");
    }
}
