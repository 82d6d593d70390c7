//! A terminal, with nobody at it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Output, Stdio};

use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use test_support::dead_letters::command;

/// A terminal that nobody sits at: what is written to one end is typed at the other.
pub(super) struct Terminal {
    keyboard: File,
    pub end: File,
}

impl Terminal {
    pub(super) fn open() -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let path = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
        let end = OpenOptions::new().read(true).write(true).open(path).unwrap();
        Self { keyboard: keyboard.into(), end }
    }

    /// A command that is typed an answer.
    pub(super) async fn asked(mut self, brokers: &str, args: &[&str], answer: &str) -> Output {
        self.keyboard.write_all(answer.as_bytes()).unwrap();
        let mut command = command(brokers, args);
        command.stdin(self.end.try_clone().unwrap());
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// What a command writes to a terminal of so many columns.
    pub(super) async fn shown(self, columns: u16, brokers: &str, args: &[&str]) -> String {
        let Self { mut keyboard, end } = self;
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&end, size).unwrap();
        let mut command = command(brokers, args);
        command.env_remove("COLUMNS").stdout(end).stderr(Stdio::null());
        let read = tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().unwrap();
            drop(command); // its end of the terminal
            let mut shown = Vec::new();
            // Linux says so when nobody has the other end any more.
            let end = keyboard.read_to_end(&mut shown);
            assert!(end.is_ok() || end.unwrap_err().raw_os_error() == Some(Errno::IO.raw_os_error()));
            assert!(child.wait().unwrap().success());
            shown
        });
        String::from_utf8(read.await.unwrap()).unwrap().replace("\r\n", "\n")
    }
}
