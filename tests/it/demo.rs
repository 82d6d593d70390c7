//! `demo` as a process: what it prints, and how it ends.
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

fn demo(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_login-pipeline"));
    command.args(["demo", "--admin.listen", "127.0.0.1:0"]).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Who has which partition, in a line that says so.
fn owners(line: &str) -> Option<BTreeMap<i32, u32>> {
    let mut owners = BTreeMap::new();
    for shown in line.strip_prefix("partitions  ")?.split("  ") {
        let (instance, ranges) = shown.split_once(": ").unwrap();
        for range in ranges.split(',').filter(|range| *range != "-") {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let range = first.parse::<i32>().unwrap()..=last.parse::<i32>().unwrap();
            owners.extend(range.map(|partition| (partition, instance.parse::<u32>().unwrap())));
        }
    }
    Some(owners)
}

/// How many partitions each instance has.
fn shares(owners: &BTreeMap<i32, u32>) -> Vec<usize> {
    let mut shares: BTreeMap<u32, usize> = BTreeMap::new();
    owners.values().for_each(|instance| *shares.entry(*instance).or_default() += 1);
    shares.into_values().collect()
}

#[test]
fn partitions_move_when_instances_come_and_go() {
    // The second kill would come after twelve seconds, and what is killed is read on only when its
    // session has ended.
    let args = ["--instances", "3", "--upsets", "2s", "--duration", "11s", "--log.level", "info"];
    let ended = demo(&args).output().unwrap();
    let (out, log) = (String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap());
    assert!(ended.status.success(), "{:?}\n{out}\n{log}", ended.status);

    let lines: Vec<_> = out.lines().filter(|line| line.starts_with("partitions")).collect();
    assert!(lines.windows(2).all(|pair| pair[0] != pair[1]), "told without a change:\n{out}");
    let seen: Vec<_> = lines.into_iter().filter_map(owners).collect();
    let shared = seen.iter().position(|owners| shares(owners) == [2, 2, 2]);
    let shared = shared.unwrap_or_else(|| panic!("three never shared six:\n{out}"));
    let moved = seen[shared..].iter().any(|owners| owners.len() == 6 && owners.get(&0) != seen[shared].get(&0));
    assert!(moved, "partition 0 never moved:\n{out}");
    for told in
        ["instance 4 starts: its page is http://127.0.0.1:", "instance 1 is killed", "instance 2 has ended in order"]
    {
        assert!(out.contains(told), "{told}:\n{out}");
    }
    let last = seen.last().unwrap();
    assert!(last.values().all(|instance| *instance > 2), "those that are gone have nothing:\n{out}");

    let counted = |name: &str| {
        let line = out.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}:\n{out}"));
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let (source, written, dead) = (counted("source"), counted("written"), counted("dead"));
    assert!(source > 1_000 && written + dead >= source, "what a killed one had counted is in it:\n{out}");
    let verdict = out.lines().last().unwrap();
    assert!(verdict.starts_with("lost 0, written twice ") && verdict.contains(" (by 1 kill), not yet read "), "{out}");
    assert!(out.lines().any(|line| line.starts_with("in ") && line.len() < 120), "counts by the way:\n{out}");
    assert!(log.contains("instance=1") && log.contains("instance=3"), "the log says who speaks:\n{log}");
}

#[test]
fn a_signal_drains_one_pipeline() {
    let out = drained(&["--rate", "100"], |line| line.starts_with("partitions  1: 0-5"));
    assert!(out.ends_with("\nlost 0, written twice 0, not yet read 0\n"), "{out}");
}

/// Both versions of transactions; what is given up with an instance that is killed does not count.
#[test]
fn exactly_once_writes_nothing_twice() {
    let running = ["1", "auto"].map(|version| {
        let args = ["--delivery.guarantee", "exactly_once", "--delivery.transaction_version", version];
        let upsets = ["--instances", "3", "--upsets", "2s", "--duration", "11s"];
        (version, demo(&[&args[..], &upsets].concat()).spawn().unwrap())
    });
    for (version, child) in running {
        let ended = child.wait_with_output().unwrap();
        let (out, log) = (String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap());
        assert!(ended.status.success(), "{:?}\n{out}\n{log}", ended.status);
        let verdict = out.lines().last().unwrap();
        assert!(verdict.starts_with("lost 0, written twice 0 (by 1 kill)"), "version {version}:\n{out}\n{log}");
    }
}

#[test]
fn a_signal_drains_all_instances() {
    let all_owned = |line: &str| owners(line).is_some_and(|owners| owners.len() == 6);
    drained(&["--instances", "2", "--upsets", "never"], all_owned);
}

/// What `health` says of the instance at this address: its exit code and its line.
fn health(address: &str, more: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_login-pipeline"));
    let output = command.args(["health", "--admin.listen", address]).args(more).output().unwrap();
    let said = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn health_asks_the_instance_that_runs() {
    let mut child = demo(&["--rate", "100"]).spawn().unwrap();
    let log = child.stderr.take().unwrap();
    let log = std::thread::spawn(move || std::io::read_to_string(log).unwrap());
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let page = out.by_ref().find(|line| line.contains("its page is http://")).unwrap();
    let address = page.split("//").nth(1).unwrap().split('/').next().unwrap();
    assert_eq!(health(address, &["--live"]), (Some(0), "live\n".to_owned()));
    // Each attempt is a process, which is pause enough.
    while health(address, &[]) != (Some(0), "ready\n".to_owned()) {}
    signal(&child);
    assert!(out.last().is_some() && child.wait().unwrap().success(), "{}", log.join().unwrap());
    let (code, said) = health(address, &[]);
    assert_eq!(code, Some(1));
    assert!(said.starts_with(&format!("login-pipeline: {address}/readyz: ")), "{said}");
    let (code, said) = health("127.0.0.1:0", &[]);
    assert!(code == Some(1) && said.contains("port 0"), "{said}");
}

#[test]
fn what_the_demo_can_not_heed_is_refused() {
    for (args, why) in [
        (["--kafka.brokers", "localhost:9092"], "--kafka.brokers: the demo has its own broker"),
        (["--assignment.mode", "static"], "--assignment.mode: the demo has its own broker"),
        (["--group.protocol", "consumer"], "the demo's broker has classic groups only"),
    ] {
        let refused = demo(&args).output().unwrap();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(64), "{said}");
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn a_port_that_is_taken_is_no_reason_to_fail() {
    let taken = std::net::TcpListener::bind("127.0.0.1:9464");
    let mut command = Command::new(env!("CARGO_BIN_EXE_login-pipeline"));
    let output = command.args(["demo", "--duration", "1s"]).stdin(Stdio::null()).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && out.contains("its page is http://127.0.0.1:"), "{out}");
    assert!(taken.is_err() || out.contains("the page has another port"), "{out}");
}

#[test]
fn nobody_reads_on() {
    let mut child = demo(&["--rate", "100"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("broker, for commands in another terminal: --kafka.brokers 127.0.0.1:"), "{first}");
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(141));
    assert_eq!(String::from_utf8(ended.stderr).unwrap(), "");
}

/// `login-pipeline COMMAND | head -1`: no command complains that its output is not read.
#[test]
fn no_command_minds_a_reader_that_goes() {
    let mut child = demo(&["--rate", "2000"]).stderr(Stdio::null()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let brokers = out.next().unwrap().rsplit(' ').next().unwrap().to_owned();
    let page = out.by_ref().find(|line| line.contains("its page is http://")).unwrap();
    let page = page.split("//").nth(1).unwrap().trim_end_matches('/').to_owned();
    let reader = std::thread::spawn(move || out.count());
    let commands = [
        "check",
        "check --connect",
        "health",
        "generate --count 5000",
        "offsets show",
        "offsets export",
        "dlq stats",
        "dlq list",
        "dlq show 0:0",
        "dlq export",
        "dlq replay --dry-run",
        "dlq retry --dry-run",
        "keys",
        "help",
        "run --help",
        #[cfg(feature = "completions")]
        "completions bash",
        #[cfg(feature = "top")]
        "top --once",
        "demo --duration 1s",
    ];
    for command in commands {
        let keys = match command.split(' ').next().unwrap() {
            "keys" | "help" | "completions" | "run" => String::new(),
            "demo" => "--admin.listen 127.0.0.1:0".to_owned(),
            "health" | "top" => format!("--admin.listen {page}"),
            _ => format!("--kafka.brokers {brokers}"),
        };
        let line = format!(r#""$PROGRAM" {command} {keys} | head -n 1; exit "${{PIPESTATUS[0]}}""#);
        let mut shell = Command::new("bash");
        shell.args(["-c", &line]).env("PROGRAM", env!("CARGO_BIN_EXE_login-pipeline")).stdin(Stdio::null());
        let ended = shell.output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(matches!(ended.status.code(), Some(0 | 141)), "{command}: {:?} {said}", ended.status);
        let is_told =
            |line: &&str| line.starts_with("login-pipeline:") && !line.ends_with("personal data, in the clear");
        let complains = |line: &&str| line.contains("Broken pipe") || !ended.status.success() && is_told(line);
        let complaints: Vec<_> = said.lines().filter(complains).collect();
        assert!(complaints.is_empty(), "{command}: {complaints:?}");
        assert!(!ended.stdout.is_empty(), "{command} says nothing");
    }
    signal(&child);
    assert!(child.wait().unwrap().success() && reader.join().unwrap() > 0);
}

/// Ends it by a signal once it has printed such a line, and returns all that it has printed.
fn drained(args: &[&str], ready: impl Fn(&str) -> bool) -> String {
    let mut child = demo(args).spawn().unwrap();
    // The log is read, too, or the program would wait for that.
    let log = child.stderr.take().unwrap();
    let log = std::thread::spawn(move || std::io::read_to_string(log).unwrap());
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut told = String::new();
    while !told.lines().any(&ready) {
        assert!(out.read_line(&mut told).unwrap() > 0, "it ended early:\n{told}");
    }
    signal(&child);
    out.read_to_string(&mut told).unwrap();
    assert!(child.wait().unwrap().success(), "{told}\n{}", log.join().unwrap());
    assert!(told.contains("\nread     ") && told.contains("\nlost 0, "), "a summary:\n{told}");
    told
}

fn signal(child: &Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
}
