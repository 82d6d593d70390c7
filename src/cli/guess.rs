//! What a mistyped flag was meant to be.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, Error};

use crate::config::{closest, closest_key};

/// Names the flag that was meant: one of the command's own before a key of the configuration, of which there are so many
/// that one of them is like almost anything.
pub(super) fn improve(mut error: Error, command: &Command, args: impl IntoIterator<Item = OsString>) -> Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidArg) else { return error };
    let Some(given) = given.strip_prefix("--").map(|given| given.split('=').next().unwrap_or(given).to_owned()) else {
        return error;
    };
    error.remove(ContextKind::SuggestedArg);
    error.remove(ContextKind::Suggested);
    if let Some(meant) = meant(&given, asked(command, args)) {
        error.insert(ContextKind::SuggestedArg, ContextValue::String(format!("--{meant}")));
    }
    error
}

/// The command that the arguments lead to.
fn asked(program: &Command, args: impl IntoIterator<Item = OsString>) -> &Command {
    args.into_iter().fold(program, |command, arg| command.find_subcommand(&arg).unwrap_or(command))
}

fn meant(given: &str, command: &Command) -> Option<String> {
    let is_key = |long: &&str| long.contains('.');
    let longs: Vec<_> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
    let own = closest(given, longs.iter().copied().filter(|long| !is_key(long)));
    let takes_keys = longs.iter().any(is_key);
    let key = || closest_key(given).filter(|key| takes_keys && !key.is_secret()).map(|key| key.path);
    own.or_else(key).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::cli::Cli;

    fn told(line: &str) -> String {
        let args: Vec<_> = line.split(' ').map(OsString::from).collect();
        let error = Cli::try_parse_from(&args).unwrap_err();
        improve(error, &Cli::command(), args).to_string()
    }

    #[test]
    fn a_flag_of_the_commands_own_is_meant_before_a_key() {
        for (line, meant) in [
            ("login-pipeline generate --partition 3", "'--partitions'"),
            ("login-pipeline dlq list --reason x --reveel", "'--reveal'"),
            ("login-pipeline demo --instance=3", "'--instances'"),
            ("login-pipeline run --brokers b:1", "'--kafka.brokers'"),
            ("login-pipeline run --source.topics x", "'--source.topic'"),
        ] {
            let told = told(line);
            assert!(told.contains(meant), "{line}: {told}");
        }
    }

    #[test]
    fn nothing_is_guessed_where_nothing_is_like_it() {
        let told = told("login-pipeline run --verbose");
        assert!(!told.contains("similar"), "{told}");
    }
}
