//! Configuration: a TOML file, its routes among it, and environment variables. What loads is printed as TOML that loads as
//! the same, and its routes compile; what is wrong is told without secrets and without what a terminal would obey.
//!
//! An input: environment variables, a line each, up to an empty line; then the file; in it a line of `===` ends the file, and
//! an event for the routes follows.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fs;

use login_pipeline::config::{Config, Sources};
use login_pipeline::record::{Header, Headers};
use login_pipeline::stages::Routes;
use tempfile::TempDir;

use super::{MIB, Target};

/// See the module.
pub const TARGET: Target = Target {
    name: "configuration",
    about: "configuration files, routes and environment variables",
    run,
    seeds,
    words: &[
        "[kafka]\n", "[[route]]\n", "when = { ", "field = ", "header = ", "equals = ", "one_of = [", "matches = ", "lt = ", "gt = ", "not = { ", "all = [", "any = [", "drop = true", "topic = \"", "enrich.static", "\"30s\"", "\"512KiB\"",
        "LOGIN_PIPELINE__", "__", "(?i)", "{1000}", "not.", "===", "inf", "0x7f", "1979-05-27", "'''", "\"\"\"",
    ],
    longest: 4 * 1024,
    memory: 64 * MIB,
};

const SECRET: &str = "CANARY-CANARY";

thread_local! {
    static FOLDER: RefCell<TempDir> = RefCell::new(folder());
}

/// In memory, where there is such a place.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder for the files")
}

fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (variables, file) = text.split_once("\n\n").unwrap_or(("", text));
    let (file, event) = file.split_once("\n===\n").unwrap_or((file, ""));
    let mut env: Vec<(String, String)> = variables.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    // One that nothing uses is a problem by itself.
    if input.to_ascii_lowercase().windows(4).any(|four| four == b"sasl") {
        env.push(("LOGIN_PIPELINE__KAFKA__SASL__PASSWORD".to_owned(), SECRET.to_owned()));
    }
    let loaded = load(file, env);
    let config = match loaded {
        Ok(config) => config,
        Err(problems) => {
            let steers = |c: char| c.is_control() && c != '\n';
            assert!(!problems.contains(steers), "{problems:?}");
            assert!(!problems.contains(SECRET), "{problems:?}");
            return;
        }
    };
    printed(&config);
    routed(&config, event);
}

fn load(file: &str, env: Vec<(String, String)>) -> Result<Config, String> {
    let path = FOLDER.with_borrow(|folder| folder.path().join("login-pipeline.toml"));
    fs::write(&path, file).expect("the folder takes a file");
    let sources = Sources { file: Some(path), env, hostname: Some("host-3".to_owned()), ..Sources::default() };
    Config::load(sources).map_err(|problems| problems.to_string())
}

fn printed(config: &Config) {
    let toml = config.to_toml().expect("what was loaded can be written");
    assert!(!toml.contains(SECRET), "{toml}");
    // Secrets, and a URL that may have one in it, are comments.
    if toml.contains("\n# password = ") || toml.contains("\n# client_secret = ") || toml.contains("its query is not shown") {
        return;
    }
    let again = load(&toml, Vec::new()).unwrap_or_else(|problems| panic!("what is printed is refused: {problems}\n{toml}"));
    assert_eq!(again.to_toml().expect("as before"), toml, "what is printed is printed otherwise");
}

fn routed(config: &Config, event: &str) {
    let routes = Routes::new(config).expect("its expressions were looked at");
    let fields: Vec<(&str, &str)> = event.lines().filter_map(|line| line.split_once('=')).collect();
    let field = |name: &str| fields.iter().find(|(known, _)| *known == name).map(|(_, value)| Cow::Borrowed(*value));
    let headers: Vec<Header> = fields
        .iter()
        .map(|(name, value)| Header { name: name.as_bytes().to_vec().into(), value: Some(value.as_bytes().to_vec().into()) })
        .collect();
    let (_, rule) = routes.route(field, Headers::List(&headers));
    assert!(rule.is_none_or(|rule| rule < config.route.len()), "{rule:?}");
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let routes = "\n\n[[route]]\nname = \"abroad\"\nwhen = { field = \"locale\", one_of = [\"RU\", \"CA\"] }\ntopic = \"user-login-abroad\"\n\n[[route]]\nwhen = { all = [{ field = \"device_type\", equals = \"ios\" }, { not = { header = \"canary\", matches = \"^1+$\" } }] }\ntopic = \"user-login-ios\"\n\n[[route]]\nwhen = { any = [{ field = \"latency_ms\", gt = 5e3 }, { field = \"n\", lt = -1 }] }\ndrop = true\n===\nlocale=DE\ndevice_type=ios\ncanary=2\nlatency_ms=7000\n";
    let secured = "LOGIN_PIPELINE__KAFKA__SECURITY_PROTOCOL=sasl_plaintext\nLOGIN_PIPELINE__KAFKA__SASL__MECHANISM=SCRAM-SHA-256\n\n[kafka]\nbrokers = [\"a:9092\", \"[::1]:9092\"]\nsasl.username = \"u\"\n\n[enrich.static]\nregion = \"eu\"\ncell = 7\nshare = 0.5\ntest = true\n";
    let wrong = "LOGIN_PIPELINE_KAFKA_BROKERS=x\nLOGIN_PIPELINE__ADMIN__LISTEN=nowhere\nLOGIN_PIPELINE__KAFKA__CLIENT_SECRET=x\n\n[kafka]\nbrokrs = \"a\"\nrequest_timeout = \"3 parsecs\"\nmax_frame_bytes = -1\n[source]\ntopic = \"a b\"\n[[route]]\nwhen = {}\n";
    let printed = Config::default().to_toml().unwrap_or_default();
    [("routes", routes.to_owned()), ("secured", secured.to_owned()), ("wrong", wrong.to_owned()), ("default", format!("\n\n{printed}"))]
        .map(|(name, text)| (format!("seed-{name}"), text.into_bytes()))
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Or nothing that follows a load would ever be looked at.
    #[test]
    fn what_is_meant_to_load_loads() {
        let all: Vec<String> = seeds().into_iter().map(|(_, seed)| String::from_utf8(seed).unwrap()).collect();
        for (name, loads) in [("[[route]]\nname", true), ("SCRAM-SHA-256\n", true), ("brokrs", false), ("[kafka]\nbrokers = [\"localhost:9092\"]", true)] {
            let text = all.iter().find(|seed| seed.contains(name)).unwrap_or_else(|| panic!("{name}"));
            let (variables, file) = text.split_once("\n\n").unwrap();
            let env = variables.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned()));
            let env = env.chain(variables.contains("SASL").then(|| ("LOGIN_PIPELINE__KAFKA__SASL__PASSWORD".to_owned(), SECRET.to_owned())));
            let loaded = load(file.split_once("\n===\n").unwrap_or((file, "")).0, env.collect());
            assert_eq!(loaded.is_ok(), loads, "{name}: {:?}", loaded.err());
        }
    }
}
