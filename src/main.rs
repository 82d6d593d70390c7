//! The `login-pipeline` program.
#![forbid(unsafe_code)]

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use login_pipeline::cli::{self, Cli, Command, EXIT_USAGE};
use login_pipeline::config::Problems;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match dispatch(&cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure(error.as_ref()),
    }
}

fn dispatch(command: &Command) -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    match command {
        Command::Check(args) => {
            cli::check::run(args, &mut out)?;
            if args.connect { Err("--connect is not in this build".into()) } else { Ok(()) }
        }
        Command::Completions(args) => Ok(cli::completions::run(args, &mut out)?),
        Command::Run(_) | Command::Generate(_) | Command::Demo(_) | Command::Offsets(_) => {
            Err("this command is not in this build".into())
        }
    }
}

/// clap's own message; help and version are no failure.
fn usage(error: &clap::Error) -> ExitCode {
    let printed = error.print().is_ok();
    if error.use_stderr() {
        ExitCode::from(EXIT_USAGE)
    } else if printed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn failure(error: &(dyn Error + 'static)) -> ExitCode {
    eprintln!("login-pipeline: {error}");
    let is_config = error.is::<Problems>() || matches!(error.downcast_ref(), Some(cli::check::Error::Config(_)));
    if is_config { ExitCode::from(EXIT_USAGE) } else { ExitCode::FAILURE }
}
