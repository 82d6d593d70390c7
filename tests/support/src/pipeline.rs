//! The program itself, as a process: started, watched, asked and ended as an operator would.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::free_ports;

/// A running `login-pipeline run`. Dropping it kills it.
pub struct PipelineProcess {
    child: Child,
    log: PathBuf,
    admin: SocketAddr,
}

/// The program of this build, or another that `LOGIN_PIPELINE_BIN` names: a release, a cross build.
pub fn program() -> PathBuf {
    if let Some(other) = std::env::var_os("LOGIN_PIPELINE_BIN") {
        return other.into();
    }
    // Cargo puts a package's tests into the folder `deps` beside its programs, and builds those first.
    let test = std::env::current_exe().expect("the test's own file");
    let program = test.ancestors().nth(2).expect("a target folder").join("login-pipeline");
    assert!(program.is_file(), "{} is missing: build it, or name one as LOGIN_PIPELINE_BIN", program.display());
    program
}

const MODE: (&str, &str) = ("LOGIN_PIPELINE__ASSIGNMENT__MODE", "static");

/// A command of the program that works alone, on all partitions, with offsets in files: what most tests want. A file
/// can't say otherwise, a flag can.
pub fn command() -> Command {
    alone(Command::new(program()))
}

/// The same by a command that becomes the program.
pub fn alone(mut command: Command) -> Command {
    command.env(MODE.0, MODE.1);
    command
}

impl PipelineProcess {
    /// Starts `login-pipeline run` with `args`, such as `["--kafka.brokers", "127.0.0.1:9092"]`.
    /// `--admin.listen` is added, with a free port. Its log goes to a file of its own in `folder`.
    pub fn start(folder: &Path, args: &[&str]) -> Self {
        Self::start_with(folder, args, &[])
    }

    /// The same, with this in its environment.
    pub fn start_with(folder: &Path, args: &[&str], env: &[(&str, &str)]) -> Self {
        let admin = SocketAddr::from(([127, 0, 0, 1], free_ports(1)[0]));
        let log = folder.join(format!("pipeline-{}.log", admin.port()));
        let file = File::create(&log).expect("a log");
        let mut command = command();
        command.envs(env.iter().copied()).stdout(file.try_clone().expect("a log")).stderr(file);
        Self { child: spawned(command, args, admin), log, admin }
    }

    /// The same, by a command that becomes the program, as that has it, and with a log that goes elsewhere.
    pub fn start_by(command: Command, args: &[&str]) -> Self {
        let admin = SocketAddr::from(([127, 0, 0, 1], free_ports(1)[0]));
        Self { child: spawned(command, args, admin), log: PathBuf::new(), admin }
    }

    /// The flags that most tests need.
    pub fn usual_args(brokers: &str, source: &str, output: &str, dead_letter: &str, offsets: &Path) -> Vec<String> {
        let offsets = offsets.display().to_string();
        let pairs = [
            ("--kafka.brokers", brokers),
            ("--source.topic", source),
            ("--output.topic", output),
            ("--dead_letter.topic", dead_letter),
            ("--offsets.path", offsets.as_str()),
        ];
        pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()]).collect()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Asks it to stop.
    pub fn sigterm(&self) {
        self.signal(Signal::TERM);
    }

    /// Ctrl-C.
    pub fn sigint(&self) {
        self.signal(Signal::INT);
    }

    /// Ends it without asking.
    pub fn sigkill(&self) {
        self.signal(Signal::KILL);
    }

    /// SIGHUP: it reads log.level again.
    pub fn sighup(&self) {
        self.signal(Signal::HUP);
    }

    /// SIGSTOP: it stands still, and its connections stay open.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits for its end.
    pub async fn wait(&mut self, patience: Duration) -> ExitStatus {
        let until = Instant::now() + patience;
        loop {
            if let Some(ended) = self.child.try_wait().expect("a child") {
                return ended;
            }
            assert!(Instant::now() < until, "it runs still after {patience:?}; its log ends:\n{}", self.log_tail());
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until `/readyz` says 200.
    pub async fn wait_ready(&mut self, patience: Duration) {
        self.wait_for("/readyz to say 200", patience, |it| it.get("/readyz").is_ok_and(|(status, _)| status == 200))
            .await;
    }

    /// Waits until `done`, such as `|p| p.metric("…") >= 1000.0`.
    pub async fn wait_for(&mut self, what: &str, patience: Duration, mut done: impl FnMut(&Self) -> bool) {
        let until = Instant::now() + patience;
        while !done(self) {
            assert!(self.runs(), "it ended while waiting for {what}; its log ends:\n{}", self.log_tail());
            assert!(Instant::now() < until, "{patience:?} of waiting for {what}; its log ends:\n{}", self.log_tail());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Status and body of a GET on the admin port.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        let patience = Duration::from_secs(5);
        let mut stream = TcpStream::connect_timeout(&self.admin, patience)?;
        stream.set_read_timeout(Some(patience))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a head")?;
        let mut words = head.split_whitespace();
        ensure!(words.next().is_some_and(|word| word.starts_with("HTTP/1.")), "no HTTP: {head}");
        let status = words.next().context("no status")?.parse()?;
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        Ok((status, if chunked { unchunk(body)? } else { body.to_owned() }))
    }

    /// The text of `/metrics`; empty where there is no answer.
    pub fn metrics(&self) -> String {
        self.get("/metrics").map(|(_, body)| body).unwrap_or_default()
    }

    /// The sum of a metric over its labels; 0 where there is none of this name.
    pub fn metric(&self, name: &str) -> f64 {
        self.metric_where(name, "")
    }

    /// The sum of a metric over the lines whose labels contain `label`, such as `reason="too_large"`.
    pub fn metric_where(&self, name: &str, label: &str) -> f64 {
        let metrics = self.metrics();
        let lines = metrics.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let of_this_name = rest.starts_with('{') || rest.starts_with(' ');
            (of_this_name && rest.contains(label)).then(|| value_of(rest)).flatten()
        });
        lines.sum()
    }

    /// The most memory it has had, in bytes (VmHWM). It must run.
    pub fn peak_rss_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("/proc");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") * 1024
    }

    /// The CPU time it has used, user and system. It must run.
    pub fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("/proc");
        // The name, in parentheses, may hold blanks; utime and stime are the 14th and 15th field.
        let (_, rest) = stat.rsplit_once(") ").expect("a name");
        let ticks: u64 = rest.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().expect("ticks")).sum();
        Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second())
    }

    /// All it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the process is there");
    }
}

fn spawned(mut command: Command, args: &[&str], admin: SocketAddr) -> Child {
    let command = command.arg("run").args(args).args(["--admin.listen", &admin.to_string()]).stdin(Stdio::null());
    command.spawn().expect("the program starts")
}

impl Drop for PipelineProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The number that ends a metric's line, but for an exemplar.
fn value_of(line: &str) -> Option<f64> {
    let line = line.split(" # ").next()?;
    line.rsplit(' ').next()?.parse().ok()
}

fn unchunk(mut body: &str) -> Result<String> {
    let mut whole = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n").context("a chunk without a size")?;
        let size = usize::from_str_radix(size.trim(), 16)?;
        if size == 0 {
            return Ok(whole);
        }
        whole += rest.get(..size).context("a chunk is cut off")?;
        body = rest.get(size + 2..).context("a chunk is cut off")?;
    }
}
