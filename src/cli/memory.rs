//! What is in memory stays there: a run holds passwords, tokens and login events.

use rustix::process::{Resource, Rlimit, setrlimit};

/// From now on, this process leaves no core dump where it crashes, and nobody but root can look into its memory.
pub(super) fn keep_private() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps can't be switched off: a crash may write what is in memory to a file");
    }
    // A handler that core_pattern pipes dumps to heeds no limit, but this.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "other processes of this user can't be kept from reading this one's memory");
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::{DumpableBehavior, dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn a_crash_leaves_nothing() {
        keep_private();
        let Rlimit { current, maximum } = getrlimit(Resource::Core);
        assert_eq!((current, maximum), (Some(0), Some(0)));
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        // What the metrics of the process are made of can be read still.
        for file in ["stat", "limits", "status"] {
            assert!(std::fs::read(format!("/proc/self/{file}")).is_ok(), "{file}");
        }
        assert!(std::fs::read_dir("/proc/self/fd").is_ok());
    }
}
