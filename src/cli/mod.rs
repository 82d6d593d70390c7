//! The command line, parsed into types. Each subcommand's body is a file of its own.
//!
//! Every key of the configuration is a flag of the same name, made from
//! [`schema::KEYS`](crate::config::schema::KEYS).

/// Says a line on standard error, after what was logged. Never fails, where `eprintln!` panics.
macro_rules! tell {
    ($($text:tt)*) => { $crate::observe::logs::tell(format_args!($($text)*)) };
}

/// Says a line on standard output. Never fails, where `println!` panics: nobody may be left to read it.
#[cfg(feature = "demo")]
macro_rules! say {
    ($($text:tt)*) => { drop(::std::io::Write::write_fmt(&mut $crate::cli::Out, format_args!("{}\n", format_args!($($text)*)))) };
}

mod audited;
pub mod check;
#[cfg(feature = "completions")]
pub mod completions;
mod context;
#[cfg(feature = "demo")]
pub mod demo;
pub mod dlq;
pub mod generate;
mod guess;
pub mod health;
pub mod keys;
mod memory;
pub mod offsets;
mod out;
mod patience;
mod program;
pub mod run;
pub mod runtime;
mod settings;
mod sighup;
#[cfg(feature = "top")]
pub mod top;

use std::num::NonZeroU64;

use clap::{Args, Parser, Subcommand};

pub use dlq::{Dlq, DlqAction};
pub use offsets::{Offsets, OffsetsAction};
pub use out::Out;
pub use patience::Patience;
pub use program::{command_line, failure, program};
pub use settings::Settings;
#[cfg(feature = "top")]
pub use top::Top;

/// The exit code for a wrong command line or configuration: `EX_USAGE` of sysexits.h.
pub const EXIT_USAGE: u8 = 64;

/// A command that can't be carried out as it was given: [`EXIT_USAGE`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// The exit code where nobody reads the output any more: 128 and the number of SIGPIPE, as shells have it.
pub const EXIT_CLOSED_PIPE: u8 = 141;

/// The exit code after a second signal: 128 and the number of SIGINT, as shells have it.
pub const EXIT_FORCED: u8 = 130;

/// Moves login events from one Kafka topic to another: validated, enriched, none lost.
#[derive(Debug, Parser)]
#[command(name = "login-pipeline", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one; how much larger than others some are depends on features")]
pub enum Command {
    /// Run the pipeline until SIGTERM or SIGINT
    Run(Run),
    /// Check the configuration and print what it amounts to
    Check(Check),
    /// Ask the instance that runs here how it is, by its admin port: exit code 0 where it is ready
    Health(Health),
    /// Watch one instance or many at this terminal, by their admin ports
    #[cfg(feature = "top")]
    Top(Top),
    /// Write made-up login events to the source topic
    Generate(Generate),
    /// Run the whole pipeline, generator and broker included, in this process
    #[cfg(feature = "demo")]
    Demo(Demo),
    /// Show, set, export or import stored offsets
    Offsets(Offsets),
    /// Count, show, export, retry or replay dead letters
    Dlq(Dlq),
    /// Print the keys of the configuration, with defaults and what they allow
    Keys(Keys),
    /// Print a shell's completion script
    #[cfg(feature = "completions")]
    Completions(Completions),
}

/// `run`
#[derive(Debug, Args)]
pub struct Run {
    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,
}

/// `check`
#[derive(Debug, Args)]
pub struct Check {
    /// Also ask the brokers: reachable, topics there, partitions enough
    #[arg(long)]
    pub connect: bool,

    /// Print JSON objects, one a line: the configuration, then what the brokers say
    #[arg(long)]
    pub json: bool,

    /// How long to wait for them.
    #[command(flatten)]
    pub patience: Patience,

    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,
}

/// `health`
#[derive(Debug, Args)]
pub struct Health {
    /// Ask whether it is worth keeping (/livez), not whether it does its work (/readyz)
    #[arg(long)]
    pub live: bool,

    /// How long the answer may take
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    pub timeout: std::time::Duration,

    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,
}

/// `generate`
#[derive(Debug, Args)]
pub struct Generate {
    /// Events a second [default: as many as go]
    #[arg(long, value_name = "N")]
    pub rate: Option<NonZeroU64>,

    /// Stop after so many events [default: never]
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,

    /// The share of bad events, from 0 to 1
    #[arg(long, value_name = "RATIO", default_value_t = 0.0, value_parser = ratio)]
    pub bad: f64,

    /// Make the same events again [default: others each time]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Give each record its user's id as key
    #[arg(long)]
    pub keyed: bool,

    /// Create the source topic with so many partitions if it is missing, and write to so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=100_000))]
    pub partitions: Option<i32>,

    /// How long to wait for brokers.
    #[command(flatten)]
    pub patience: Patience,

    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,
}

/// `demo`
#[cfg(feature = "demo")]
#[derive(Debug, Args)]
pub struct Demo {
    /// Events a second
    #[arg(long, value_name = "N", default_value = "500")]
    pub rate: NonZeroU64,

    /// The share of bad events, from 0 to 1
    #[arg(long, value_name = "RATIO", default_value_t = 0.02, value_parser = ratio)]
    pub bad: f64,

    /// Stop after this long, such as 30s [default: never]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub duration: Option<std::time::Duration>,

    /// Run so many pipelines, which share the partitions as one consumer group
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=16))]
    pub instances: u32,

    /// How often an instance is added, killed or ended, in turn; or never [default: 15s of several, never of one]
    #[arg(long, value_name = "DURATION", value_parser = upsets)]
    pub upsets: Option<Upsets>,

    /// The configuration.
    #[command(flatten)]
    pub settings: Settings,
}

/// `--upsets`
#[cfg(feature = "demo")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upsets {
    /// Instances are left alone.
    Never,
    /// One comes or goes this often.
    Every(std::time::Duration),
}

/// `keys`
#[derive(Debug, Args)]
pub struct Keys {
    /// One section, such as kafka.tls, or one key [default: all]
    #[arg(value_name = "SECTION")]
    pub of: Option<String>,
}

/// `completions`
#[cfg(feature = "completions")]
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    pub shell: clap_complete::Shell,
}

fn ratio(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err("not a number from 0 to 1".to_owned()),
    }
}

#[cfg(feature = "demo")]
fn upsets(text: &str) -> Result<Upsets, String> {
    match humantime::parse_duration(text) {
        _ if text == "never" => Ok(Upsets::Never),
        Ok(every) if !every.is_zero() => Ok(Upsets::Every(every)),
        _ => Err("neither a duration such as 15s nor `never`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;

    fn parse(args: &[&str]) -> Result<Command, clap::Error> {
        Cli::try_parse_from([&["login-pipeline"], args].concat()).map(|cli| cli.command)
    }

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn keys_are_flags_in_the_order_given() {
        let args = ["run", "--config", "x.toml", "--source.topic=a", "--kafka.brokers", "b:1"];
        let Ok(Command::Run(run)) = parse(&args) else { panic!("not run") };
        assert_eq!(run.settings.file.as_deref(), Some("x.toml".as_ref()));
        let flags = [("kafka.brokers", "b:1"), ("source.topic", "a")];
        assert_eq!(run.settings.flags, flags.map(|(key, text)| (key.to_owned(), text.to_owned())));
    }

    #[test]
    fn every_command_that_loads_takes_every_key_but_secrets() {
        let offsets = ["offsets show", "offsets set --partition all --to 0", "offsets export", "offsets import x"];
        let dlq = ["dlq stats", "dlq list", "dlq show 0:0", "dlq retry", "dlq replay", "dlq export"];
        for command in ["run", "check", "health", "top", "generate", "demo"].into_iter().chain(offsets).chain(dlq) {
            for key in crate::config::schema::KEYS.iter() {
                let flag = format!("--{}", key.path);
                let mut args: Vec<_> = command.split(' ').collect();
                args.extend([flag.as_str(), "text"]);
                assert_eq!(parse(&args).is_ok(), !key.is_secret(), "{command} {flag}");
            }
        }
    }

    #[test]
    fn generate_and_demo_have_their_own_flags() {
        let args = "generate --rate 10 --count 5 --bad 0.5 --seed 7 --keyed --partitions 3";
        let Ok(Command::Generate(generate)) = parse(&args.split(' ').collect::<Vec<_>>()) else {
            panic!("not generate")
        };
        assert_eq!((generate.rate.map(NonZeroU64::get), generate.count, generate.seed), (Some(10), Some(5), Some(7)));
        assert_eq!((generate.bad, generate.keyed, generate.partitions), (0.5, true, Some(3)));

        let Ok(Command::Demo(demo)) = parse(&["demo"]) else { panic!("not demo") };
        assert_eq!((demo.rate.get(), demo.bad, demo.duration), (500, 0.02, None));
        assert_eq!((demo.instances, demo.upsets), (1, None));
        let Ok(Command::Demo(demo)) = parse(&["demo", "--instances", "3", "--upsets", "never"]) else {
            panic!("not demo")
        };
        assert_eq!((demo.instances, demo.upsets), (3, Some(Upsets::Never)));
        for wrong in [
            "--rate 0",
            "--bad 1.5",
            "--bad NaN",
            "--duration 5",
            "--instances 0",
            "--instances 17",
            "--upsets 0s",
            "--upsets often",
        ] {
            let args: Vec<_> = std::iter::once("demo").chain(wrong.split(' ')).collect();
            assert!(parse(&args).is_err(), "{wrong}");
        }
    }

    #[test]
    fn offsets_are_set_for_some_partitions_or_all() {
        let set = |args: &str| match parse(&args.split(' ').collect::<Vec<_>>()) {
            Ok(Command::Offsets(Offsets { action: OffsetsAction::Set(set), .. })) => Some(set.partitions()),
            _ => None,
        };
        assert_eq!(set("offsets set --partition 2 --partition 0 --to 7"), Some(Some(BTreeSet::from([0, 2]))));
        assert_eq!(set("offsets set --partition 2 --partition all --to 7"), Some(None));
        assert_eq!(set("offsets set --partition 2"), None);
        assert_eq!(set("offsets set --to 7"), None);
        assert_eq!(set("offsets set --partition -1 --to 7"), None);
        assert_eq!(set("offsets set --partition 1 --to -7"), None);
    }
}
