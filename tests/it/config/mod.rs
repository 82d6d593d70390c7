//! The configuration from outside: what is told of broken ones, what its secrets and certificates
//! must be, and what sources mean together.

// Tests all of it, helpers too; clippy.toml's permission reaches only the functions marked so.

mod loading;
mod problems;
mod security;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use login_pipeline::config::{Config, Problems, Sources};

/// The program with nothing in its environment but `env`.
fn check(args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_login-pipeline"));
    command.arg("check").args(args).env_clear().envs(env.iter().copied()).output().unwrap()
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/config/files").join(name)
}

fn assert_round_trip(config: &Config) {
    let printed = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(printed.path(), config.to_toml().unwrap()).unwrap();
    let again = load(Sources { file: Some(printed.path().into()), ..Sources::default() }).unwrap();
    assert_eq!(&again, config);
}

fn load(sources: Sources) -> Result<Config, Problems> {
    Config::load(sources)
}

fn texts(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}
