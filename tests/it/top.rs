//! `top` as a process: once for scripts, and at a terminal, which it leaves as it was.
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

/// A demo that runs until it is dropped.
struct Demo {
    child: Child,
    address: String,
}

impl Demo {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_login-pipeline"));
        command.args(["demo", "--admin.listen", "127.0.0.1:0", "--log.level", "off"]).args(args);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let page = out.find(|line| line.contains("its page is http://")).unwrap();
        let address = page.split("//").nth(1).unwrap().split('/').next().unwrap().to_owned();
        // Read on, or it would wait for that.
        std::thread::spawn(move || out.for_each(drop));
        Self { child, address }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn top(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_login-pipeline"));
    command.arg("top").args(args).env_remove("NO_COLOR").env("TERM", "xterm-256color").stdin(Stdio::null());
    command
}

/// An address where nobody listens.
fn nowhere() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn without_a_terminal_it_is_a_table() {
    let demo = Demo::start(&["--rate", "200", "--bad", "0.2"]);
    let nowhere = nowhere();
    let told = loop {
        let output = top(&[&format!("http://{}/", demo.address), &nowhere]).output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(1), &b""[..]));
        let told = String::from_utf8(output.stdout).unwrap();
        // Each attempt is a process, which is pause enough.
        let begun = [&format!("{}  ready ", demo.address), "DEAD LETTERS", "DEVICE_TYPE"];
        if begun.iter().all(|part| told.contains(part)) {
            break told;
        }
    };
    for wanted in [
        &format!("{nowhere}  no answer  can't connect: "),
        "PARTITION     STATE    ",
        "user-login/5  running",
        "DEVICE_TYPE",
        "APP_VERSION",
        "LOCALE",
        "1/2 well",
    ] {
        assert!(told.contains(wanted), "{wanted}:\n{told}");
    }
    assert!(!told.contains('\u{1b}'), "{told:?}");
    let output = top(&["--once", &demo.address]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "all answer");

    let output = top(&["--json", &demo.address, &nowhere]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stdout).unwrap();
    let told: Vec<serde_json::Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [live, silent] = &told[..] else { panic!("{told:?}") };
    assert_eq!(
        (&live["instance"], &live["ready"], &live["silence"]),
        (&demo.address.as_str().into(), &true.into(), &().into())
    );
    assert!(live["tally"]["records_in"].as_u64().unwrap() > 0 && live["rates"]["read"].is_number(), "{live}");
    assert!(live["partitions"].as_array().unwrap().iter().all(|one| one["state"].is_string() && one["lag"].is_u64()));
    assert!(
        silent["silence"].as_str().unwrap().starts_with("can't connect: ") && silent.get("tally").is_none(),
        "{silent}"
    );
}

#[test]
fn by_default_it_asks_the_configured_port() {
    let output = top(&["--once", "--admin.listen", &nowhere()]).output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("no answer  can't connect: "));
    for wrong in [&["ftp://x"][..], &["--interval", "1ms"], &["--admin.listen", "x"]] {
        assert_eq!(top(wrong).output().unwrap().status.code(), Some(64), "{wrong:?}");
    }
}

/// `top` at a terminal of 80 by 24.
struct AtTerminal {
    child: Child,
    keys: File,
    /// The same terminal as the program has it.
    side: OwnedFd,
    seen: JoinHandle<Vec<u8>>,
    before: String,
}

impl AtTerminal {
    /// Once the page is drawn, and says that nobody is there.
    fn start(args: &[&str]) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let side = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        tcsetwinsize(&side, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let before = format!("{:?}", tcgetattr(&side).unwrap());
        let own = || Stdio::from(side.try_clone().unwrap());
        let child = top(args).stdin(own()).stdout(own()).stderr(own()).spawn().unwrap();
        let keys = File::from(controller);
        let (mut screen, (drawn, is_drawn)) = (keys.try_clone().unwrap(), std::sync::mpsc::channel());
        let seen = std::thread::spawn(move || {
            let (mut seen, mut chunk) = (Vec::new(), [0; 4096]);
            // Ends with an error once nobody has the other side.
            while let Ok(read @ 1..) = screen.read(&mut chunk) {
                seen.extend_from_slice(&chunk[..read]);
                let told = String::from_utf8_lossy(&seen);
                if told.contains("q quit") && told.contains("no answer") {
                    let _ = drawn.send(());
                }
            }
            seen
        });
        is_drawn.recv().unwrap();
        Self { child, keys, side: side.into(), seen, before }
    }

    /// What was on the screen, once the program has ended in order and the terminal is as it was.
    fn ended(mut self) -> String {
        assert!(self.child.wait().unwrap().success());
        assert_eq!(format!("{:?}", tcgetattr(&self.side).unwrap()), self.before);
        drop((self.side, self.keys));
        let seen = String::from_utf8(self.seen.join().unwrap()).unwrap();
        assert!(seen.starts_with("\u{1b}[?1049h") && seen.contains("\u{1b}[?1049l"), "{seen:?}");
        assert_eq!(seen.matches("\u{1b}[?25l").count() > 0, seen.rfind("\u{1b}[?25h") > seen.rfind("\u{1b}[?25l"));
        seen
    }
}

#[test]
fn the_terminal_is_left_as_it_was() {
    let nowhere = nowhere();
    for key in [&b"q"[..], b"\x03", b"?\tp\x1b[C\x1b[B\x1b"] {
        let mut page = AtTerminal::start(&[&nowhere]);
        page.keys.write_all(key).unwrap();
        page.ended();
    }
    for signal in [Signal::TERM, Signal::INT] {
        let page = AtTerminal::start(&[&nowhere]);
        let pid = Pid::from_raw(i32::try_from(page.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        let seen = page.ended();
        assert!(seen.contains("no answer"), "{seen}");
    }
}
