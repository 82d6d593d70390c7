//! How a process was given its configuration: what a command has to repeat that is to find the same brokers and topics.

use std::path::PathBuf;

/// Told by whoever has read the command line and the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The configuration's file, where there is one.
    pub file: Option<PathBuf>,
    /// The keys that the environment or a flag has set, over the file.
    pub over_file: Vec<&'static str>,
    /// Those of them whose value is not shown.
    pub hidden: Vec<&'static str>,
}
