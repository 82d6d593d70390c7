//! The program, as a process, where something around it stands still or runs out: whoever reads its log, the disk that
//! the log is on, the files that it may have open.
use std::fs::{File, OpenOptions};
use std::io::{PipeReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use kafka_sandbox::{NewBatch, NewRecord, Sandbox};
use login_pipeline::generator::{EventGenerator, GeneratorConfig};
use tempfile::TempDir;
use test_support::pipeline::{PipelineProcess, alone, program};
use test_support::topics::PATIENCE;

const SOURCE: &str = "user-login";
const OUTPUT: &str = "processed-user-login";
const DLQ: &str = "user-login-dlq";
const OUT: &str = "login_pipeline_routed_records_total";
const DROPPED: &str = "login_pipeline_log_lines_dropped_total";

/// A broker with the topics.
struct World {
    sandbox: Sandbox,
    folder: TempDir,
    args: Vec<String>,
}

impl World {
    async fn new(partitions: i32) -> Self {
        let sandbox = Sandbox::start().await.unwrap();
        for topic in [SOURCE, OUTPUT, DLQ] {
            sandbox.create_topic(topic, partitions).unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let offsets = folder.path().join("offsets");
        let args = PipelineProcess::usual_args(&sandbox.bootstrap(), SOURCE, OUTPUT, DLQ, &offsets);
        Self { sandbox, folder, args }
    }

    /// Events, so many to each partition. Half of them are bad: a line of the log for each, at the level debug.
    fn fill(&self, count: usize) {
        let mut events = EventGenerator::new(GeneratorConfig { bad: 0.5, ..GeneratorConfig::default() }).unwrap();
        for partition in 0..self.sandbox.partitions(SOURCE) {
            let values = (0..count).map(|_| events.next_record().value);
            let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
            let record = |value: Option<Vec<u8>>| NewRecord {
                value: value.map(Into::into),
                timestamp_ms: now,
                ..NewRecord::default()
            };
            let records = values.map(record);
            self.sandbox.append_batch(SOURCE, partition, &NewBatch::new(records.collect())).unwrap();
        }
    }

    /// Starts it with a log that says much, and goes there.
    fn start(&self, stderr: Stdio) -> PipelineProcess {
        let mut command = test_support::pipeline::command();
        command.stderr(stderr);
        self.start_by(command, &["--log.level", "debug", "--stats.interval", "1s"])
    }

    fn start_by(&self, command: Command, more: &[&str]) -> PipelineProcess {
        let mut args: Vec<_> = self.args.iter().map(String::as_str).collect();
        args.extend(more);
        PipelineProcess::start_by(command, &args)
    }

    /// Sees records through, until so many lines of the log were dropped, the probe answered, and an orderly end.
    async fn goes_through(&self, mut pipeline: PipelineProcess, dropped: f64) {
        for round in 1.. {
            self.fill(200);
            let wanted = f64::from(200 * round * self.sandbox.partitions(SOURCE));
            pipeline.wait_for("the records", PATIENCE, |it| it.metric(OUT) >= wanted).await;
            assert_eq!(pipeline.get("/livez").unwrap().0, 200);
            assert!(round < 10_000, "only {} lines were dropped", pipeline.metric(DROPPED));
            if round >= 20 && pipeline.metric(DROPPED) >= dropped {
                break;
            }
        }
        pipeline.sigterm();
        assert!(pipeline.wait(PATIENCE).await.success());
    }
}

fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

/// A pipe that nobody reads as long as its other end is held.
fn unread() -> (PipeReader, Stdio) {
    let (reader, writer) = std::io::pipe().unwrap();
    (reader, writer.into())
}

#[tokio::test]
async fn a_log_on_a_full_disk_costs_its_lines_only() {
    let world = World::new(1).await;
    world.goes_through(world.start(full()), 1.0).await;
}

#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_nothing() {
    let world = World::new(2).await;
    let (mut reader, stderr) = unread();
    world.goes_through(world.start(stderr), 1.0).await;
    let mut read = String::new();
    reader.read_to_string(&mut read).unwrap();
    assert!(read.contains("started"), "what the pipe took is there");
}

#[tokio::test]
async fn a_log_whose_reader_has_gone_costs_its_lines_only() {
    let world = World::new(1).await;
    let (reader, stderr) = unread();
    let pipeline = world.start(stderr);
    drop(reader);
    world.goes_through(pipeline, 1.0).await;
}

#[tokio::test]
async fn a_log_that_is_read_again_says_how_much_is_missing() {
    let world = World::new(2).await;
    let (mut reader, stderr) = unread();
    let mut pipeline = world.start(stderr);
    for round in 1.. {
        world.fill(200);
        pipeline.wait_for("the records", PATIENCE, |it| it.metric(OUT) >= f64::from(2 * 200 * round)).await;
        if pipeline.metric(DROPPED) > 0.0 {
            break;
        }
    }
    let read = std::thread::spawn(move || {
        let mut read = String::new();
        reader.read_to_string(&mut read).map(|_| read)
    });
    pipeline.sigterm();
    assert!(pipeline.wait(PATIENCE).await.success());
    let read = read.join().unwrap().unwrap();
    for line in ["log lines dropped", "final statistics", "login_pipeline::cli::run: ended"] {
        assert!(read.contains(line), "{line} is missing: {} bytes", read.len());
    }
}

#[test]
fn a_wrong_configuration_is_told_by_the_exit_code_where_nobody_hears_why() {
    let run = |args: &[&str], stderr: Stdio| {
        let ended = Command::new(program()).args(args).stdout(Stdio::null()).stderr(stderr).status().unwrap();
        ended.code()
    };
    for args in [&["check", "--kafka.brokers="][..], &["run", "--kafka.brokers="], &["run", "--no-such-flag"]] {
        assert_eq!(run(args, full()), Some(64), "{args:?}");
        let (reader, stderr) = unread();
        drop(reader);
        assert_eq!(run(args, stderr), Some(64), "{args:?}");
    }
}

#[test]
fn a_command_that_fails_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stderr");
    for (args, says) in
        [(&["check", "--kafka.brokers="][..], "kafka.brokers"), (&["run", "--admin.listen", "1.2.3.4:1"], "1.2.3.4:1")]
    {
        let status = Command::new(program()).args(args).stderr(File::create(&path).unwrap()).status().unwrap();
        let told = std::fs::read_to_string(&path).unwrap();
        assert!(!status.success() && told.contains("login-pipeline: ") && told.contains(says), "{told}");
    }
}

/// Runs the program with these limits of open files, the soft and the hard one; the file that its log is in.
fn limited(world: &World, soft: u32, hard: u32) -> (PipelineProcess, PathBuf) {
    let log = world.folder.path().join("stderr");
    let mut command = Command::new("sh");
    let script = format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\" \"$@\"");
    command.args(["-c", &script]).arg(program()).stderr(File::create(&log).unwrap());
    (world.start_by(alone(command), &["--source.reader", "wire", "--log.level", "info"]), log)
}

#[tokio::test]
async fn as_many_files_are_opened_as_the_system_allows() {
    let world = World::new(80).await;
    let (pipeline, _) = limited(&world, 64, 1_000);
    world.goes_through(pipeline, 0.0).await;
}

#[tokio::test]
async fn a_limit_of_open_files_is_named_and_leaves_the_admin_port_alone() {
    let world = World::new(80).await;
    let (mut pipeline, log) = limited(&world, 64, 64);
    let named = |_: &PipelineProcess| std::fs::read_to_string(&log).unwrap().contains("RLIMIT_NOFILE");
    pipeline.wait_for("the limit's name in the log", PATIENCE, named).await;
    for _ in 0..20 {
        assert_eq!(pipeline.get("/livez").unwrap().0, 200);
    }
    let unready =
        |it: &PipelineProcess| it.get("/readyz").is_ok_and(|(status, why)| status == 503 && why.contains("ulimit -n"));
    pipeline.wait_for("unready for it", PATIENCE, unready).await;
    pipeline.sigterm();
    pipeline.wait(PATIENCE).await;
}
