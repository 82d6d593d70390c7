//! The `login-pipeline` program.

use std::error::Error;
use std::process::ExitCode;

use login_pipeline::cli::{self, Command, command_line, failure};
use login_pipeline::observe::logs;

/// musl's own serves one thread at a time.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    logs::hide_panics();
    let cli = match command_line() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let ended = dispatch(&cli.command).unwrap_or_else(|error| failure(error.as_ref()));
    logs::flush();
    ended
}

fn dispatch(command: &Command) -> Result<ExitCode, Box<dyn Error>> {
    let out = &mut cli::Out;
    match command {
        Command::Run(args) => cli::run::run(args),
        Command::Check(args) => {
            let config = cli::check::run(args, out)?;
            if args.connect {
                cli::check::connect(args, config, out)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Health(args) => {
            cli::health::run(args, out)?;
            Ok(ExitCode::SUCCESS)
        }
        #[cfg(feature = "top")]
        Command::Top(args) => cli::top::run(args, out),
        Command::Generate(args) => cli::generate::run(args, out),
        #[cfg(feature = "demo")]
        Command::Demo(args) => cli::demo::run(args),
        Command::Offsets(args) => cli::offsets::run(args, out),
        Command::Dlq(args) => cli::dlq::run(args, out),
        Command::Keys(args) => {
            cli::keys::run(args, out)?;
            Ok(ExitCode::SUCCESS)
        }
        #[cfg(feature = "completions")]
        Command::Completions(args) => {
            cli::completions::run(args, out)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
