//! `completions`: a shell's completion script.

use std::io::{self, Write};

use clap::CommandFactory;

use super::{Cli, Completions};

/// Writes the script to `out`.
///
/// # Errors
///
/// If `out` takes no more.
pub fn run(args: &Completions, out: &mut dyn Write) -> io::Result<()> {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    // Into memory first: generate panics where its output is a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    out.write_all(&script)?;
    out.flush()
}
