//! Where a configuration comes from, and how it becomes one.

use std::path::PathBuf;

use super::problem::Problems;
use super::schema::KEYS;
use super::table::Section;
use super::values::Values;
use super::{Admin, Config, idle_rules, layers, privacy_rules, rules, security_rules};

/// The sources to load, each over the one before it; nothing is read from the process itself.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// Environment variables; those that do not begin with `LOGIN_PIPELINE__` are other programs'.
    pub env: Vec<(String, String)>,
    /// Keys and their texts, such as `kafka.brokers` and `localhost:9092`.
    pub flags: Vec<(String, String)>,
    /// The host's name, whose number is the default of `assignment.ordinal`.
    pub hostname: Option<String>,
    /// Whether the key of pseudonyms is left unread: by commands that make none.
    pub makes_no_pseudonyms: bool,
}

impl Config {
    /// Loads defaults, file, environment and flags, the later over the earlier. A value that a
    /// later source replaces is not looked at; an unknown key is a problem wherever it stands. The
    /// files that TLS, SASL and pseudonyms need are read too, to see whether they hold what they must.
    ///
    /// # Errors
    ///
    /// All the problems there are, not the first.
    pub fn load(sources: Sources) -> Result<Self, Problems> {
        let Sources { file, env, flags, hostname, makes_no_pseudonyms } = sources;
        let mut problems = Problems::default();
        let mut all = layers::defaults(&KEYS);
        let file = file.map(|path| layers::file(&path, &KEYS, &mut problems)).transpose();
        let over_file = [layers::environment(env, &KEYS, &mut problems), layers::flags(flags, &KEYS, &mut problems)];
        match file {
            Ok(file) => all.extend(file),
            Err(problem) => {
                // Keys that are each right may contradict each other only for want of the file.
                problems.push(problem);
                Values::read(&KEYS, over_file.into_iter().flatten().collect(), hostname, &mut problems);
                return Err(problems.sorted());
            }
        }
        all.extend(over_file.into_iter().flatten());
        let values = Values::read(&KEYS, all, hostname, &mut problems);
        let config = Self::read(&values, &mut problems);
        rules::check(&config, &values, &mut problems);
        idle_rules::check(&config, &values, &mut problems);
        privacy_rules::check(&config, &values, makes_no_pseudonyms, &mut problems);
        security_rules::check(&config, &values, &mut problems);
        problems.or(config)
    }
}

/// What says where the admin port is, and how it is asked.
const ADMIN_PORT: [&str; 4] = ["admin.listen", "admin.tls.cert_file", "admin.tls.key_file", "admin.tls.client_ca_file"];

impl Admin {
    /// Loads what says where the admin port is. Whatever else is wrong with the configuration is passed over, and no
    /// other file is read: who only asks an instance how it is doesn't need what that instance did when it started.
    ///
    /// # Errors
    /// A file that can't be read or is not TOML, and what is wrong with these keys.
    pub fn load(Sources { file, env, flags, .. }: Sources) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let mut all = layers::defaults(&KEYS);
        if let Some(path) = file {
            match layers::file(&path, &KEYS, &mut problems) {
                Ok(layer) => all.push(layer),
                Err(problem) => {
                    let mut only = Problems::default();
                    only.push(problem);
                    return Err(only);
                }
            }
        }
        all.extend(layers::environment(env, &KEYS, &mut problems));
        all.extend(layers::flags(flags, &KEYS, &mut problems));
        let values = Values::read(&KEYS, all, None, &mut problems);
        let admin = Self::read(&values, &mut problems);
        problems.about(&ADMIN_PORT).or(admin)
    }
}

/// What loading nothing gives.
impl Default for Config {
    fn default() -> Self {
        let mut problems = Problems::default();
        let values = Values::read(&KEYS, layers::defaults(&KEYS), None, &mut problems);
        let config = Self::read(&values, &mut problems);
        debug_assert!(problems.is_empty(), "{problems}");
        config
    }
}
