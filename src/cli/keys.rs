//! `keys`: what can be configured, and how.

use std::io::{self, Write};

use super::{Keys, UsageError};
use crate::config::closest_key;
use crate::config::schema::{Default, KEYS, Key};

/// Writes the keys that are asked for, all of them where none is.
///
/// # Errors
/// Where there is no such key, or `out` takes no more.
pub fn run(args: &Keys, out: &mut dyn Write) -> Result<(), Box<dyn std::error::Error>> {
    let of = args.of.as_deref().unwrap_or_default();
    let within = |key: &&Key| {
        let rest = key.path.strip_prefix(of);
        rest.is_some_and(|rest| of.is_empty() || rest.is_empty() || rest.starts_with('.'))
    };
    let found: Vec<_> = KEYS.iter().filter(within).collect();
    if found.is_empty() {
        let meant = closest_key(of).map(|key| format!(": did you mean {}?", key.path)).unwrap_or_default();
        return Err(UsageError(format!("no key and no section is called {of}{meant}")).into());
    }
    for key in found {
        describe(key, out)?;
    }
    out.flush()?;
    Ok(())
}

fn describe(key: &Key, out: &mut dyn Write) -> io::Result<()> {
    let default = match key.default {
        Default::Text(text) => text,
        Default::Unset(meaning) => meaning,
    };
    writeln!(out, "{} [default: {default}]\n    {}\n    {}\n    {}", key.path, key.doc, key.kind, key.env())
}
