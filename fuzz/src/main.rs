//! `fuzz`: the stable engine by hand, and the corpus's seeds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use fuzz::campaign::{self, Limits};
use fuzz::{TARGETS, Target};

/// Hostile bytes against everything that reads some.
#[derive(Debug, Parser)]
enum Args {
    /// The targets
    List,
    /// Runs a target's corpus, then mutations of it
    Run {
        target: String,
        /// For how long
        #[arg(long, default_value_t = 1)]
        minutes: u64,
        /// How many mutations at most
        #[arg(long, default_value_t = u64::MAX)]
        runs: u64,
        /// Of the mutations; drawn where it is not given
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Runs a target on what these files hold
    Try { target: String, files: Vec<PathBuf> },
    /// Writes into the corpus what is made by code: a response of each API in each version, and the like
    Seeds,
    /// Writes what was found for a target, and kept, into a folder
    Unpack { target: String, folder: PathBuf },
    /// Keeps what a folder has as what was found for a target
    Pack { target: String, folder: PathBuf },
    /// A target's words, as libFuzzer's -dict takes them
    Words { target: String },
}

fn main() -> ExitCode {
    match Args::parse() {
        Args::List => TARGETS.iter().for_each(|target| println!("{:18} {}", target.name, target.about)),
        Args::Run { target, minutes, runs, seed } => {
            let seed = seed.unwrap_or_else(|| fastrand::u64(..1 << 40));
            println!("{target}: seed {seed}");
            let limits = Limits { time: Duration::from_secs(minutes * 60), runs };
            match campaign::run(named(&target), seed, limits) {
                Ok(ran) => println!(
                    "{target}: {} inputs of the corpus, {} mutations, nothing found",
                    ran.corpus, ran.mutations
                ),
                Err(why) => {
                    eprintln!("{why}");
                    return ExitCode::FAILURE;
                }
            }
        }
        Args::Try { target, files } => {
            let target = named(&target);
            for file in files {
                if let Err(why) = campaign::run_file(target, &file) {
                    eprintln!("{}: {why}", file.display());
                    return ExitCode::FAILURE;
                }
            }
        }
        Args::Seeds => TARGETS.iter().for_each(write_seeds),
        Args::Unpack { target, folder } => {
            for (number, input) in campaign::unpacked(named(&target)).iter().enumerate() {
                write(&folder.join(format!("found-{number}")), input);
            }
        }
        Args::Pack { target, folder } => {
            let inputs: Vec<_> = campaign::files(&folder).into_iter().map(|(_, input)| input).collect();
            campaign::pack(named(&target), &inputs);
        }
        Args::Words { target } => {
            for word in named(&target).words {
                let escaped: String = word.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
                println!("\"{escaped}\"");
            }
        }
    }
    ExitCode::SUCCESS
}

fn named(name: &str) -> &'static Target {
    let found = TARGETS.iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("there is no target {name}: fuzz list"))
}

fn write_seeds(target: &Target) {
    let folder = campaign::corpus_folder(target);
    fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for (name, seed) in (target.seeds)() {
        write(&folder.join(name), &seed);
    }
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
