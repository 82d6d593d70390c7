//! The audit: a line for whatever is done with rights that not everybody has.
//!
//! Lines have the target `audit`, which the log lets through at whatever level, unless `log.level` names it. What a
//! command does is also told to the system's log, where there is one: the operator's terminal keeps nothing.

use std::fmt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use tracing::info;

/// The target of the lines.
pub(crate) const TARGET: &str = "audit";

/// The system's log.
const SYSTEM_LOG: &str = "/dev/log";

/// authpriv.info, as syslog numbers it (RFC 3164).
const PRIORITY: u8 = 10 * 8 + 6;

/// Notes what was done, by whom, on what, and how it ended.
pub(crate) fn note(action: &'static str, by: &dyn fmt::Display, what: &str, result: &str) {
    info!(target: TARGET, action, %by, what, result, "audit");
}

/// The same of a command that was given at a terminal, or by a script.
pub(crate) fn note_command(action: &'static str, what: &str, result: &str) {
    let user = User::of_process();
    note(action, &user, what, result);
    // Where there is none, or it is full, the line above is what there is.
    let _ = tell_system(Path::new(SYSTEM_LOG), action, &user, what, result);
}

fn tell_system(log: &Path, action: &str, by: &User, what: &str, result: &str) -> std::io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    let line = format!("audit: action={action} by={:?} what={what:?} result={result:?}", by.to_string());
    let line = format!("<{PRIORITY}>login-pipeline[{}]: {line}", std::process::id());
    socket.send_to(line.as_bytes(), log).map(drop)
}

/// Who runs this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    uid: u32,
    name: Option<String>,
    /// As whom they came, where sudo says so.
    before_sudo: Option<String>,
    host: String,
}

impl User {
    /// By the system's word; names are those of /etc/passwd, not of variables that anybody may set.
    pub(crate) fn of_process() -> Self {
        let uid = rustix::process::getuid().as_raw();
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        // Who is root could say anything here, and could leave out the line as well.
        let before_sudo = std::env::var("SUDO_UID").ok().filter(|_| uid == 0).and_then(|uid| uid.parse().ok());
        Self {
            uid,
            name: name_of(&passwd, uid),
            before_sudo: before_sudo.map(|uid: u32| name_of(&passwd, uid).unwrap_or_else(|| uid.to_string())),
            host: host.trim().to_owned(),
        }
    }
}

fn name_of(passwd: &str, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    let of_line = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(uid.as_str())).then(|| name.to_owned())
    };
    passwd.lines().find_map(of_line)
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uid, name, before_sudo, host } = self;
        write!(f, "{} (uid {uid}", name.as_deref().unwrap_or("unnamed"))?;
        if let Some(user) = before_sudo {
            write!(f, ", by sudo of {user}")?;
        }
        write!(f, ") on {host}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_told_by_the_systems_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\nbroken\n";
        assert_eq!(name_of(passwd, 1000).as_deref(), Some("alice"));
        assert_eq!((name_of(passwd, 7), name_of("", 0)), (None, None));
        let mut user = User { uid: 1000, name: Some("alice".into()), before_sudo: None, host: "node-3".into() };
        assert_eq!(user.to_string(), "alice (uid 1000) on node-3");
        user = User { uid: 0, name: None, before_sudo: Some("alice".into()), ..user };
        assert_eq!(user.to_string(), "unnamed (uid 0, by sudo of alice) on node-3");
        assert_eq!(User::of_process().uid, rustix::process::getuid().as_raw());
    }

    #[test]
    fn the_systems_log_gets_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = UnixDatagram::bind(&path).unwrap();
        let user = User { uid: 7, name: None, before_sudo: None, host: "h".into() };
        tell_system(&path, "offsets.set", &user, "t/0: 1 -> 2\n<86>x", "stored").unwrap();
        let mut line = [0; 1024];
        let length = log.recv(&mut line).unwrap();
        let line = str::from_utf8(&line[..length]).unwrap();
        let (head, told) = line.split_once(": ").unwrap();
        assert_eq!(head, format!("<86>login-pipeline[{}]", std::process::id()));
        let expected =
            r#"audit: action=offsets.set by="unnamed (uid 7) on h" what="t/0: 1 -> 2\n<86>x" result="stored""#;
        assert_eq!(told, expected);
        assert!(tell_system(&folder.path().join("none"), "a", &user, "b", "c").is_err());
    }
}
