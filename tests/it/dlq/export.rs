//! What is exported, and replayed from a file.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Output;

use kafka_sandbox::{Action, Api, Fault, NewRecord};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use test_support::dead_letters::{PREFIX, command, dead, dlq, keys, sandbox, told, write};

fn error(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_whole_private_and_never_replaced_unasked() {
    let sandbox = sandbox().await;
    let brokers = sandbox.bootstrap();
    let tombstone = NewRecord { value: None, ..dead("k2", "", "tombstone", "0") };
    write(&sandbox, 0, vec![dead("k1", "v1", "wrong_type", "0"), tombstone]);
    write(&sandbox, 1, vec![dead("k3", "v3", "wrong_type", "0")]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dead.ndjson");
    let export = ["export", "--output", path.to_str().unwrap()];

    let done = dlq(&brokers, &export).await;
    let said = error(&done, 0);
    assert!(said.contains("personal data") && said.contains("3 dead letters of dead are exported"), "{said}");
    assert!(done.stdout.is_empty());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let whole = fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let places: Vec<_> = lines.iter().map(|line| (line["partition"].clone(), line["offset"].clone())).collect();
    assert_eq!(places, [(0, 0), (0, 1), (1, 0)].map(|(partition, offset)| (partition.into(), offset.into())));
    assert_eq!((&lines[0]["value"], &lines[1]["value"]), (&"v1".into(), &Value::Null));
    assert_eq!(lines[0]["headers"][1], serde_json::json!(["own", null]));

    let refused = error(&dlq(&brokers, &export).await, 64);
    assert!(refused.contains("is there already: --overwrite replaces it"), "{refused}");
    let only = ["--overwrite", "--only", "tombstone", "--partition", "0"];
    told(dlq(&brokers, &[&export[..], &only].concat()).await);
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
    assert_eq!(told(dlq(&brokers, &["export"]).await), whole, "to standard output the same");

    // What fails leaves nothing behind, and what was there as it was.
    let before = fs::read(&path).unwrap();
    let failed = dlq(&brokers, &[&export[..], &["--overwrite", "--partition", "9"]].concat()).await;
    assert!(error(&failed, 1).contains("dead/9 is not there"));
    assert_eq!((fs::read(&path).unwrap(), files(folder.path())), (before, 1));
    let dangling = folder.path().join("link");
    symlink("nowhere", &dangling).unwrap();
    assert!(error(&dlq(&brokers, &["export", "--output", dangling.to_str().unwrap()]).await, 64).contains("already"));
    let of_folder = dlq(&brokers, &["export", "--output", folder.path().to_str().unwrap()]).await;
    assert!(error(&of_folder, 64).contains("is a folder"));
    let nowhere = folder.path().join("no/where");
    assert!(error(&dlq(&brokers, &["export", "--output", nowhere.to_str().unwrap()]).await, 1).contains("can't write"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_is_stopped_leaves_nothing() {
    let sandbox = sandbox().await;
    write(&sandbox, 0, vec![dead("k1", "v1", "wrong_type", "0")]);
    let silent = sandbox.fault(Fault::on(Api::Fetch), Action::Silence);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dead.ndjson");
    let child = command(&sandbox.bootstrap(), &["export", "--output", path.to_str().unwrap()]).spawn().unwrap();
    assert_eq!(silent.until_fired(1).await, 1);
    assert_eq!((files(folder.path()), path.exists()), (1, false), "it has another name until it is whole");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert!(error(&output, 1).ends_with("interrupted\n"), "{output:?}");
    assert_eq!(files(folder.path()), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_replayed_like_the_topic_and_once() {
    let sandbox = sandbox().await;
    let brokers = sandbox.bootstrap();
    let cut = dead("k3", "{", "too_large", "0").header(format!("{PREFIX}truncated.from"), Some(b"999"));
    write(&sandbox, 0, vec![dead("k1", "v1", "wrong_type", "0"), dead("k2", "v2", "missing_field", "3"), cut]);
    write(&sandbox, 1, vec![dead("k4", "v4", "wrong_type", "0")]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dead.ndjson");
    let file = path.to_str().unwrap();
    told(dlq(&brokers, &["export", "--output", file]).await);
    let replay = ["replay", "--yes", "--quarantine-topic", "quarantine", "--from-file", file];

    let dry = told(dlq(&brokers, &["replay", "--from-file", file, "--dry-run", "--max-replays", "9"]).await);
    assert!(dry.contains("3 records are to be written to in") && dry.contains("truncated"), "{dry}");
    assert!(keys(&sandbox).is_empty());
    let first = told(dlq(&brokers, &[&replay[..], &["--max", "1"]].concat()).await);
    assert!(first.contains("1 records were written to in") && first.contains(":file="), "{first}");
    let rest = told(dlq(&brokers, &replay).await);
    assert!(rest.contains("1 records were written to in") && rest.contains("1 of them are quarantined"), "{rest}");
    assert_eq!(keys(&sandbox), ["k1", "k4"]);
    assert_eq!(sandbox.read("quarantine", 0).unwrap()[0].key.as_deref(), Some(&b"k2"[..]));
    // Under whatever name, the same bytes are the same file.
    let copy = folder.path().join("copy");
    fs::copy(&path, &copy).unwrap();
    let again = told(dlq(&brokers, &["replay", "--yes", "--from-file", copy.to_str().unwrap()]).await);
    assert!(again.contains("0 records were written"), "{again}");

    // A filter, and what is not the same file, have progress of their own, also in a group that is named.
    let of = ["--from-file", file, "--to", "other", "--partition", "1"];
    let other = told(dlq(&brokers, &[&["replay", "--yes"], &of[..]].concat()).await);
    assert!(other.contains("1 records were written to other") && other.contains(":partition=1:to=other"), "{other}");
    let lines: Vec<_> = fs::read_to_string(&path).unwrap().lines().rev().map(str::to_owned).collect();
    let named = ["replay", "--yes", "--group", "named", "--to", "other", "--max-replays", "9", "--from-file"];
    for (name, lines) in [("one", &lines[..]), ("two", &lines[..1])] {
        let path = folder.path().join(name);
        fs::write(&path, lines.join("\n")).unwrap();
        let done = told(dlq(&brokers, &[&named[..], &[path.to_str().unwrap()]].concat()).await);
        let count = if lines.len() == 1 { 1 } else { 3 };
        assert!(done.contains(&format!("{count} records were written to other")), "{name}: {done}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn standard_output_in_a_file_is_kept_from_others() {
    let sandbox = sandbox().await;
    let brokers = sandbox.bootstrap();
    write(&sandbox, 0, vec![dead("k1", "v1", "wrong_type", "0")]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dead.ndjson");
    let redirected = async |mode: u32, append: bool| {
        let file =
            fs::OpenOptions::new().create(true).append(append).write(true).truncate(!append).open(&path).unwrap();
        file.set_permissions(fs::Permissions::from_mode(mode)).unwrap();
        let mut command = command(&brokers, &["export"]);
        command.stdout(file);
        let said = error(&tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap(), 0);
        (said, fs::metadata(&path).unwrap().permissions().mode() & 0o777)
    };
    let (said, mode) = redirected(0o644, false).await;
    assert!(said.contains("standard output is a file that others could read: its mode is 0600 now"), "{said}");
    assert_eq!(mode, 0o600);
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
    let (said, mode) = redirected(0o640, true).await;
    assert!(said.contains("others may read (mode 0640)") && mode == 0o640, "what stood there is left alone: {said}");
    let (said, mode) = redirected(0o600, false).await;
    assert!(!said.contains("others") && mode == 0o600, "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_no_export_writes_nothing() {
    let sandbox = sandbox().await;
    let brokers = sandbox.bootstrap();
    write(&sandbox, 0, (0..3).map(|number| dead(&format!("k{number}"), "v", "wrong_type", "0")).collect());
    let whole = told(dlq(&brokers, &["export"]).await);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dead.ndjson");
    let replay = ["replay", "--yes", "--from-file", path.to_str().unwrap()];
    let half = &whole[..whole.len() - 30];
    let broken = whole.replacen("\"v\"", "CANARY", 1);
    let unknown = whole.replacen("\"key\":\"k1\"", "\"key\":\"k1\",\"CANARY\":\"CANARY\"", 1);
    let huge = format!("{whole}{{\"topic\":\"{}\"", "CANARY".repeat(4_000));
    let small = ["--kafka.max_frame_bytes", "3KiB", "--source.max_fetch_bytes", "1KiB"];
    for (text, code, told) in [
        ("", 64, "is empty"),
        (half, 1, "line 3, column "),
        (half, 1, "cut off: the export did not come to its end"),
        (&broken, 1, "dead.ndjson, line 1, column "),
        (&unknown, 1, "dead.ndjson, line 2, column "),
        (&format!("{whole}\n"), 1, "line 4, column 0: EOF while parsing a value; it is empty"),
        (&huge, 1, "line 4: it has more than 18432 bytes"),
    ] {
        fs::write(&path, text).unwrap();
        let said = error(&dlq(&brokers, &[&replay[..], &small].concat()).await, code);
        assert!(said.contains(told) && !said.contains("CANARY"), "{told}: {said}");
    }
    let of = async |path: &Path| dlq(&brokers, &["replay", "--yes", "--from-file", path.to_str().unwrap()]).await;
    assert!(error(&of(folder.path()).await, 64).contains("is no file"));
    assert!(error(&of(&folder.path().join("x")).await, 1).contains("can't read"));
    assert!(error(&of(Path::new("/dev/null")).await, 64).contains("is no file"));
    fs::write(&path, &whole).unwrap();
    let elsewhere = dlq(&brokers, &[&replay[..], &["--dead_letter.topic", "gone"]].concat()).await;
    assert!(error(&elsewhere, 1).contains("--dead_letter.topic"), "{elsewhere:?}");
    assert!(keys(&sandbox).is_empty(), "none of these wrote anything");
    told(dlq(&brokers, &replay).await);
    assert_eq!(keys(&sandbox), ["k0", "k1", "k2"]);
}
