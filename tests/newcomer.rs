//! README, followed by somebody who has read nothing else: its commands, taken from the file itself and run in its
//! order, on the demo's broker and on a real Kafka.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use support::free_ports;
use support::kafka::KafkaCluster;
use tokio::time::{Instant, sleep};

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
    let mut command = Command::new(env!("CARGO_BIN_EXE_login-pipeline"));
    command.current_dir(ROOT).args(args).args(["--kafka.brokers", brokers]).stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], b"\n", &output.stderr].concat()).into_owned()
}

/// `run`, while the commands after it are tried.
struct Running {
    child: Child,
    admin: u16,
}

impl Running {
    fn start(args: &[String], brokers: &str) -> Self {
        let admin = free_ports(1)[0];
        let mut command = command(args, brokers);
        command.args(["--admin.listen", &format!("127.0.0.1:{admin}")]);
        Self { child: command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(), admin }
    }

    /// A metric, over all its labels; 0 where it doesn't answer yet.
    fn metric(&self, name: &str) -> f64 {
        let mut page = String::new();
        let asked = TcpStream::connect(("127.0.0.1", self.admin)).and_then(|mut stream| {
            stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
            stream.read_to_string(&mut page)
        });
        asked.map_or(0.0, |_| {
            let lines = page.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        })
    }

    async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(self.child.try_wait().unwrap().is_none(), "`run` ended before {what}");
            assert!(Instant::now() < until, "never came: {what}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Ctrl-C.
    fn end(mut self) {
        interrupt(&self.child);
        assert!(self.child.wait().unwrap().success());
    }
}

fn interrupt(child: &Child) {
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
}

/// Does what README says, and looks whether it came out.
async fn follow(brokers: &str, alone: bool) {
    let mut running: Option<Running> = None;
    let mut tried = Vec::new();
    for args in shown() {
        let name = args.iter().take_while(|arg| !arg.starts_with('-')).cloned().collect::<Vec<_>>().join(" ");
        if name == "run" {
            let mut run = Running::start(&args, brokers);
            run.until("all is read", |run| {
                let read = run.metric("login_pipeline_routed_records_total");
                if alone { read >= 100_000.0 } else { read > 0.0 }
            })
            .await;
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
    running.unwrap().end();
}

#[tokio::test]
async fn readme_works_on_the_demos_broker() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_login-pipeline"));
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
