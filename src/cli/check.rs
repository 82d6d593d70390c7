//! `check`: is the configuration right, and what does it amount to?

use std::io::{self, Write};

use super::Check;
use crate::config::{Config, Problems};

/// Loads the configuration and writes it to `out` in TOML. Nothing is bound and no broker asked;
/// `--connect` is the caller's, with the configuration that this returns.
///
/// # Errors
///
/// [`Error::Config`] where there is no configuration to check further.
pub fn run(args: &Check, out: &mut impl Write) -> Result<Config, Error> {
    let config = args.settings.load()?;
    let toml = config.to_toml().map_err(io::Error::from)?;
    out.write_all(toml.as_bytes())?;
    out.flush()?;
    Ok(config)
}

/// Why `check` found no configuration, or could not print it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] Problems),
    /// It is right and can't be printed.
    #[error("can't print the configuration: {0}")]
    Print(#[from] io::Error),
}
