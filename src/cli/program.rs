//! What surrounds a program: its command line refused, its failure said, its exit code.
//!
//! [`program`] is a whole one around a processor of somebody else's: it does what `run` does. The
//! other commands know nothing of processors, so those of `login-pipeline` serve it as well.

use std::error::Error;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use super::{Cli, EXIT_CLOSED_PIPE, EXIT_USAGE, Out, Run, UsageError, check, guess, run};
use crate::app::AppError;
use crate::config::Problems;
use crate::observe::logs;
use crate::stages::Processor;

/// Runs the pipeline with a processor of its own until SIGTERM or SIGINT
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Program {
    #[command(flatten)]
    run: Run,
}

/// The whole of a program that runs this processor: all keys of the configuration as flags, exit
/// codes as those of `login-pipeline run`.
///
/// ```no_run
/// fn main() -> std::process::ExitCode {
///     login_pipeline::cli::program(login_pipeline::stages::Login)
/// }
/// ```
pub fn program<P: Processor + Clone>(processor: P) -> ExitCode {
    let ended = match Program::try_parse() {
        Ok(program) => run::with(&program.run, processor).unwrap_or_else(|error| failure(error.as_ref())),
        Err(error) => usage::<Program>(error),
    };
    logs::flush();
    ended
}

/// The command line of `login-pipeline`.
///
/// # Errors
/// The exit code where it is none, or asks for help only; the message is printed.
pub fn command_line() -> Result<Cli, ExitCode> {
    let args = without_help(std::env::args_os().collect());
    Cli::try_parse_from(args).map_err(usage::<Cli>)
}

/// `help keys` is `keys`: clap's own help would tell no key.
fn without_help(mut args: Vec<OsString>) -> Vec<OsString> {
    if args.iter().skip(1).take(2).eq(["help", "keys"]) {
        args.remove(1);
    }
    args
}

/// Prints clap's own message; help and version are no failure.
fn usage<C: CommandFactory>(error: clap::Error) -> ExitCode {
    let error = guess::improve(error, &C::command(), std::env::args_os());
    let printed = error.print().is_ok();
    if error.use_stderr() {
        ExitCode::from(EXIT_USAGE)
    } else if printed {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_CLOSED_PIPE)
    }
}

/// Says on standard error why a command failed.
///
/// Where that is that nobody reads its output any more, nothing is said, as `cat | head` does.
pub fn failure(error: &(dyn Error + 'static)) -> ExitCode {
    if Out::is_closed() && error.to_string().contains("Broken pipe") {
        return ExitCode::from(EXIT_CLOSED_PIPE);
    }
    tell!("login-pipeline: {error}");
    let is_config = error.is::<Problems>()
        || error.is::<UsageError>()
        || matches!(error.downcast_ref(), Some(check::Error::Config(_) | check::Error::Rules(_)))
        || matches!(error.downcast_ref(), Some(AppError::Rules(_)));
    if is_config { ExitCode::from(EXIT_USAGE) } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_takes_what_run_takes() {
        let program = Program::try_parse_from(["page_views", "--config", "x.toml", "--source.topic", "a"]).unwrap();
        assert_eq!(program.run.settings.file.as_deref(), Some("x.toml".as_ref()));
        assert_eq!(program.run.settings.flags, [("source.topic".to_owned(), "a".to_owned())]);
        assert!(Program::try_parse_from(["page_views", "run"]).is_err(), "it has no commands");
    }
}
