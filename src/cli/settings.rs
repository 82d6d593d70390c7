//! `--config` and one flag a key, made from the schema.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, PossibleValue, StringValueParser, TypedValueParser};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::config::schema::{self, Default, KEYS, Key, Kind};
use crate::config::{Admin, Config, EndpointUrl, Problems, Sources, exposed};
use crate::observe::Given;

/// The configuration, as the command line has it.
#[derive(Debug, Clone, PartialEq, Eq, std::default::Default)]
pub struct Settings {
    /// `--config`, or `LOGIN_PIPELINE_CONFIG`.
    pub file: Option<PathBuf>,
    /// Keys and their texts, in the schema's order.
    pub flags: Vec<(String, String)>,
}

impl Settings {
    /// Whether a flag sets this key.
    pub fn has_flag(&self, key: &str) -> bool {
        self.flags.iter().any(|(flag, _)| flag == key)
    }

    /// The way to give another command this configuration.
    pub fn given(&self, config: &Config) -> Given {
        let is_set = |key: &&Key| self.has_flag(key.path) || is_in_environment(key);
        let over_file: Vec<_> = KEYS.iter().filter(is_set).map(|key| key.path).collect();
        let has_query = config.kafka.security.sasl.token_endpoint.url.as_ref().is_some_and(EndpointUrl::has_query);
        // A command is copied to another folder, perhaps.
        let file = self.file.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
        let is_hidden = |key: &Key| key.is_secret() || has_query && matches!(key.kind, Kind::Url);
        let hidden = KEYS.iter().filter(|key| is_hidden(key)).map(|key| key.path).collect();
        Given { file, over_file, hidden }
    }

    /// A warning for each file with a secret that others may read, the configuration's own included.
    pub fn exposed_files(&self, config: &Config) -> Vec<String> {
        let by_variable = |key: &str| schema::key(key).is_some_and(is_in_environment);
        let is_in_file = !["kafka.sasl.password", "kafka.sasl.client_secret"].into_iter().any(by_variable);
        let file = self.file.as_deref().filter(|_| is_in_file && config.has_secrets_of_its_own());
        let own = file.and_then(|path| exposed("--config", path));
        own.into_iter().chain(config.exposed_files()).collect()
    }

    /// Loads the configuration with this process's environment and host name.
    ///
    /// # Errors
    ///
    /// All the problems there are.
    pub fn load(&self) -> Result<Config, Problems> {
        self.load_as(false)
    }

    /// Loads them for a command that makes no pseudonyms, and may run where their key is not.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn load_without_key(&self) -> Result<Config, Problems> {
        self.load_as(true)
    }

    fn load_as(&self, makes_no_pseudonyms: bool) -> Result<Config, Problems> {
        let sources = Sources { makes_no_pseudonyms, ..self.sources() };
        let other = other(&sources.env);
        let config = Config::load(sources)?;
        if let Some(hint) = other.and_then(|other| unread(&config, other)) {
            tell!("login-pipeline: {hint}");
        }
        Ok(config)
    }

    /// Loads what says where the admin port is, and nothing else.
    ///
    /// # Errors
    /// What is wrong with that.
    pub fn load_admin(&self) -> Result<Admin, Problems> {
        Admin::load(self.sources())
    }

    fn sources(&self) -> Sources {
        let (file, flags) = (self.file.clone(), self.flags.clone());
        Sources { file, env: environment(), flags, hostname: hostname(), makes_no_pseudonyms: false }
    }
}

/// Whether a variable sets this key.
fn is_in_environment(key: &Key) -> bool {
    std::env::var_os(key.env()).is_some_and(|value| !value.is_empty())
}

/// Names that are not UTF-8 are not ours; values that are not are refused by their U+FFFD.
fn environment() -> Vec<(String, String)> {
    let utf8 =
        |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned()));
    std::env::vars_os().filter_map(utf8).collect()
}

/// What the kernel calls this host (in Kubernetes: the pod), else what the environment does.
fn hostname() -> Option<String> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = kernel.or_else(|| std::env::var("HOSTNAME").ok())?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// Where other programs look for brokers.
const OTHERS: [&str; 2] = ["KAFKA_BROKERS", "KAFKA_BOOTSTRAP_SERVERS"];

/// The first of them that is set.
fn other(env: &[(String, String)]) -> Option<&'static str> {
    OTHERS.into_iter().find(|other| env.iter().any(|(name, value)| name == other && !value.is_empty()))
}

/// What to say where nobody told this program of brokers, and another one's variable does.
fn unread(config: &Config, other: &str) -> Option<String> {
    let brokers = schema::key("kafka.brokers")?;
    let is_default = matches!(brokers.default, Default::Text(text) if config.kafka.brokers == [text]);
    is_default.then(|| {
        format!("{other} is not read, and kafka.brokers is its default: set --kafka.brokers or {}", brokers.env())
    })
}

const CONFIG: &str = "config";

/// The keys that a newcomer sets: the help of a command shows these.
const COMMON: [&str; 9] = [
    "kafka.brokers",
    "kafka.security_protocol",
    "source.topic",
    "output.topic",
    "dead_letter.topic",
    "group.id",
    "delivery.guarantee",
    "admin.listen",
    "log.level",
];

impl Args for Settings {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new(CONFIG)
            .long(CONFIG)
            .env("LOGIN_PIPELINE_CONFIG")
            .value_name("FILE")
            .value_parser(OsStringValueParser::new().map(PathBuf::from)) // clap's own takes no empty one
            .help("A configuration file (TOML); the environment and flags override it");
        let more = "Every key of the configuration is a flag: `login-pipeline help keys` shows the rest.\n\
             Each is a variable too: --kafka.brokers is LOGIN_PIPELINE__KAFKA__BROKERS.\n\
             What counts: defaults < file < environment < flags.";
        command.arg(config).args(flag_keys().map(flag)).after_help(more)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// The keys that have a flag: a secret has none, since lists of processes would show it.
fn flag_keys() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(|key| !key.is_secret())
}

fn flag(key: &'static Key) -> Arg {
    let default = match key.default {
        Default::Text(text) => text,
        Default::Unset(meaning) => meaning,
    };
    let words = match key.kind {
        Kind::Words(words) => words,
        _ => &[],
    };
    let is_common = COMMON.contains(&key.path);
    Arg::new(key.path)
        .long(key.path)
        .value_name(key.kind.value_name())
        .value_parser(Words(words))
        .help(format!("{} [default: {default}]", key.doc))
        .help_heading(if is_common { "Configuration" } else { key.section() })
        .hide_short_help(!is_common)
        .hide_long_help(!is_common)
}

/// Offers words to help and completions and takes any text: what is wrong with it is told with all
/// else that is wrong with the configuration.
#[derive(Debug, Clone)]
struct Words(&'static [&'static str]);

impl TypedValueParser for Words {
    type Value = String;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, text: &OsStr) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, arg, text)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        match self.0 {
            [] => None,
            words => Some(Box::new(words.iter().map(PossibleValue::new))),
        }
    }
}

impl FromArgMatches for Settings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut settings = Self::default();
        settings.update_from_arg_matches(matches)?;
        Ok(settings)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        // An empty LOGIN_PIPELINE_CONFIG is an unset one, as with every key's variable.
        let is_unset = |file: &PathBuf| {
            file.as_os_str().is_empty() && matches.value_source(CONFIG) == Some(ValueSource::EnvVariable)
        };
        self.file = matches.get_one(CONFIG).filter(|file| !is_unset(file)).cloned();
        let text = |key: &Key| matches.get_one::<String>(key.path).map(|text| (key.path.to_owned(), text.clone()));
        self.flags = flag_keys().filter_map(text).collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_keys_exist() {
        for path in COMMON {
            assert!(schema::key(path).is_some_and(|key| !key.is_secret()), "{path}");
        }
    }

    #[test]
    fn a_command_is_given_the_file_and_what_is_over_it() {
        let flags = [("kafka.brokers", "b:1"), ("kafka.sasl.token_endpoint_url", "https://idp/token?key=canary")];
        let flags: Vec<_> = flags.map(|(key, text)| (key.to_owned(), text.to_owned())).into();
        let settings = Settings { file: Some("pipeline.toml".into()), flags };
        let mut config = Config::default();
        let given = settings.given(&config);
        assert_eq!(given.over_file, ["kafka.brokers", "kafka.sasl.token_endpoint_url"]);
        assert_eq!(given.hidden, ["kafka.sasl.password", "kafka.sasl.client_secret"]);
        assert_eq!(given.file, Some(std::env::current_dir().unwrap().join("pipeline.toml")));
        config.kafka.security.sasl.token_endpoint.url = Some("https://idp/token?key=canary".parse().unwrap());
        assert!(settings.given(&config).hidden.contains(&"kafka.sasl.token_endpoint_url"));
    }

    #[test]
    fn another_programs_variable_is_hinted_at_where_ours_is_not_set() {
        let other = |name: &str, value: &str| super::other(&[(name.to_owned(), value.to_owned())]);
        assert_eq!(other("KAFKA_BOOTSTRAP_SERVERS", "b:9092"), Some("KAFKA_BOOTSTRAP_SERVERS"));
        assert_eq!(other("KAFKA_BROKERS", ""), None);
        assert_eq!(other("KAFKA_HOME", "b:9092"), None);
        let mut config = Config::default();
        assert_eq!(
            unread(&config, "KAFKA_BROKERS").unwrap(),
            "KAFKA_BROKERS is not read, and kafka.brokers is its default: set --kafka.brokers or \
             LOGIN_PIPELINE__KAFKA__BROKERS"
        );
        config.kafka.brokers = vec!["b:9092".to_owned()];
        assert_eq!(unread(&config, "KAFKA_BROKERS"), None);
    }
}
