//! What ends the brokers of a test however the test ends.

use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};

/// A shell that waits for the end of its input, which comes however this process ends, even by
/// SIGKILL; then it kills the brokers it was told of last and removes their data. A cluster in a
/// static is never dropped.
pub(super) struct Watchdog {
    input: Option<ChildStdin>,
    shell: Child,
}

impl Watchdog {
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let script = r#"while read -r line; do pids=$line; done
            for pid in $pids; do kill -9 "$pid" 2>/dev/null; done
            sleep 0.2; rm -rf -- "$0""#;
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("sh")?;
        Ok(Self { input: shell.stdin.take(), shell })
    }

    pub(super) fn watch(&mut self, processes: impl Iterator<Item = u32>) {
        let line = processes.fold(String::new(), |line, pid| line + &format!("{pid} "));
        let input = self.input.as_mut().expect("the watchdog has an input");
        writeln!(input, "{line}").expect("the watchdog lives");
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.shell.wait();
    }
}
