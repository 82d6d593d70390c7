//! README, followed by somebody who has read nothing else: its commands, taken from the file itself and run in its
//! order, on the demo's broker and on a real Kafka.
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use test_support::kafka::KafkaCluster;
use test_support::pipeline::{PipelineProcess, program};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PATIENCE: Duration = Duration::from_secs(120);

/// The arguments of each command that README shows, in its order.
fn shown() -> Vec<Vec<String>> {
    let readme = std::fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    let commands = readme.lines().filter_map(|line| line.strip_prefix("    cargo run --release -- "));
    commands.map(|line| line.split(" #").next().unwrap().split_whitespace().map(str::to_owned).collect()).collect()
}

/// As README has it, but for the broker's address: here it is another.
fn command(args: &[String], brokers: &str) -> Command {
    let mut command = Command::new(program());
    command.current_dir(ROOT).args(args).args(["--kafka.brokers", brokers]).stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], b"\n", &output.stderr].concat()).into_owned()
}

/// `run`, while the commands after it are tried.
fn start(args: &[String], brokers: &str) -> PipelineProcess {
    let mut command = Command::new(program());
    command.current_dir(ROOT).stdout(Stdio::null()).stderr(Stdio::null());
    let args: Vec<_> = args.iter().skip(1).map(String::as_str).chain(["--kafka.brokers", brokers]).collect();
    PipelineProcess::start_by(command, &args)
}

fn interrupt(child: &Child) {
    kill_process(Pid::from_child(child), Signal::INT).unwrap();
}

/// Does what README says, and looks whether it came out.
async fn follow(brokers: &str, alone: bool) {
    let mut running: Option<PipelineProcess> = None;
    let mut tried = Vec::new();
    for args in shown() {
        let name = args.iter().take_while(|arg| !arg.starts_with('-')).cloned().collect::<Vec<_>>().join(" ");
        if name == "run" {
            let mut run = start(&args, brokers);
            let least = if alone { 100_000.0 } else { 1.0 };
            let is_read = |run: &PipelineProcess| run.metric("login_pipeline_routed_records_total") >= least;
            run.wait_for("all is read", PATIENCE, is_read).await;
            running = Some(run);
        } else {
            let output = command(&args, brokers).output().unwrap();
            let said = said(&output);
            assert!(output.status.success(), "{args:?}: {said}");
            let expected = match &*name {
                "generate" => "100000",
                "check" => "# ok    source user-login",
                "dlq stats" => "REASON",
                "dlq replay" => " would pass now",
                other => panic!("README shows `{other}`, of which this test knows nothing"),
            };
            assert!(said.contains(expected) && !said.contains("# WRONG"), "{args:?}: {said}");
        }
        tried.push(name);
    }
    assert_eq!(tried, ["generate", "check", "run", "dlq stats", "dlq replay"]);
    let mut running = running.unwrap();
    running.sigint();
    assert!(running.wait(PATIENCE).await.success());
}

#[tokio::test]
async fn readme_works_on_the_demos_broker() {
    let mut demo = Command::new(program());
    demo.args(["demo", "--admin.listen", "127.0.0.1:0"]).stdin(Stdio::null()).stderr(Stdio::null());
    let mut demo = demo.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map(Result::unwrap);
    let brokers = lines.next().unwrap().rsplit(' ').next().unwrap().to_owned();
    let reader = std::thread::spawn(move || lines.last().unwrap());
    follow(&brokers, false).await;
    interrupt(&demo);
    assert!(demo.wait().unwrap().success());
    let verdict = reader.join().unwrap();
    assert!(verdict.starts_with("lost 0, "), "{verdict}");
}

#[tokio::test]
async fn readme_works_on_a_real_kafka() {
    if KafkaCluster::left_out() {
        return;
    }
    follow(&KafkaCluster::shared().await.bootstrap(), true).await;
}
