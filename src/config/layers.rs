//! What each source says, as one layer for figment. A layer holds known keys only: unknown ones
//! become problems here, where it is still known who set them.

use std::path::Path;

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};

use super::key::{Default, ENV_PREFIX, Key, Keys};
use super::problem::{Problem, Problems};
use super::shown::{segment, show_line, show_of, show_plain, show_unknown};
use super::suggest::{closest, closest_key};

/// The key of the `[[route]]` tables. It and [`STATIC`] are not in the schema, and set in the file only.
pub(super) const ROUTE: &str = "route";

/// The key of the table of fields that every event gets.
pub(super) const STATIC: &str = "enrich.static";

/// Known keys from one origin.
pub(super) struct Layer {
    origin: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// The defaults of keys, each a layer.
pub(super) fn defaults(keys: &'static Keys) -> Vec<Layer> {
    let text = |key: &'static Key| match key.default {
        Default::Text(text) => Some(single(DEFAULT.to_owned(), key, text)),
        Default::Unset(_) => None,
    };
    keys.iter().filter_map(text).collect()
}

/// The origin of defaults.
pub(super) const DEFAULT: &str = "default";

/// The TOML file at `path`.
pub(super) fn file(path: &Path, keys: &Keys, problems: &mut Problems) -> Result<Layer, Problem> {
    let name = show_plain(&path.display().to_string());
    let bytes = std::fs::read(path).map_err(|error| Problem::new(&name, format!("can't be read: {error}")))?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let (line, column) = position(&bytes, error.valid_up_to());
        Problem::new(format!("{name}:{line}:{column}"), "not UTF-8")
    })?;
    let values = toml::from_str::<Dict>(text).map_err(|error| {
        let wrong = format!("not TOML: {}", error.message().trim().replace('\n', ", "));
        let Some(span) = error.span() else { return Problem::new(&name, wrong) };
        let (line, column) = position(&bytes, span.start);
        let problem = Problem::new(format!("{name}:{line}:{column}"), wrong);
        match show_line(text, line) {
            None => problem,
            Some(found) => problem.found(found, &format!("line {line}")),
        }
    })?;
    let origin = format!("file {name}");
    let values = known(values, "", &origin, keys, problems);
    Ok(Layer { origin, values })
}

impl Key {
    fn path_text(&self) -> String {
        self.path.to_owned()
    }
}

/// One layer a variable, in the order of their names. An empty variable is an unset one: a compose file or a
/// unit has no other way to say that it sets nothing (`${VAR:-}`). A name that no key has is told all the same.
pub(super) fn environment(
    mut variables: Vec<(String, String)>,
    keys: &'static Keys,
    problems: &mut Problems,
) -> Vec<Layer> {
    variables.sort();
    let mut layers = Vec::new();
    for (name, text) in variables {
        let origin = format!("environment variable {}", show_plain(&name));
        match name.strip_prefix(ENV_PREFIX) {
            Some(rest) => {
                let path = rest.to_lowercase().replace("__", ".");
                if text.is_empty() && keys.find(&path).is_some() {
                    continue;
                }
                layers.extend(one(origin, &path, &text, keys, problems, Key::env));
            }
            None => {
                let Some(key) = misspelt(&name, keys).filter(|_| !text.is_empty()) else { continue };
                let wrong = "the environment variable is spelt in another way";
                let problem = Problem::new(key.path, wrong).found(show_of(key, &text.into()), &origin);
                problems.push(problem.did_you_mean(Some(key.env())));
            }
        }
    }
    layers
}

/// The key that a variable with single underscores stands for: `LOGIN_PIPELINE_KAFKA_BROKERS`
/// would otherwise be ignored without a word. Others that begin so are left alone: Kubernetes
/// makes `LOGIN_PIPELINE_SERVICE_HOST` and more for a service of this name.
fn misspelt<'k>(name: &str, keys: &'k Keys) -> Option<&'k Key> {
    let squeezed = |name: &str| name.to_uppercase().replace("__", "_");
    let name = squeezed(name);
    keys.iter().find(|key| squeezed(&key.env()) == name)
}

/// One layer a flag, in the order given.
pub(super) fn flags(flags: Vec<(String, String)>, keys: &'static Keys, problems: &mut Problems) -> Vec<Layer> {
    let layer = |(path, text): (String, String)| {
        let origin = format!("flag --{}", show_plain(&path));
        if let Some(key) = keys.find(&path).filter(|key| key.is_secret()) {
            let wrong = "a secret can't be a flag: lists of processes show those";
            let problem = Problem::new(key.path, wrong).found(show_of(key, &Value::from(text)), &origin);
            problems.push(problem.allowed(format!("the environment variable {}, or a file", key.env())));
            return None;
        }
        one(origin, &path, &text, keys, problems, |key| format!("--{}", key.path))
    };
    flags.into_iter().filter_map(layer).collect()
}

/// The layer that sets one key by text, unless there is no such key.
fn one(
    origin: String,
    path: &str,
    text: &str,
    keys: &'static Keys,
    problems: &mut Problems,
    called: impl Fn(&Key) -> String,
) -> Option<Layer> {
    if let Some(key) = keys.find(path) {
        return Some(single(origin, key, text));
    }
    let path = show_plain(path);
    let value = Value::from(text);
    let within = |table: &str| path.strip_prefix(table).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    problems.push(if within(ROUTE) {
        Problem::new(ROUTE, "routes are set in the file only").found(show_unknown(&path, &value), &origin)
    } else if within(STATIC) {
        Problem::new(STATIC, "fields to add are set in the file only").found(show_unknown(&path, &value), &origin)
    } else {
        unknown(&path, &value, &origin, keys, called)
    });
    None
}

fn single(origin: String, key: &Key, text: &str) -> Layer {
    let value = listed(key, text).unwrap_or_else(|| Value::from(text));
    let innermost = Dict::from([(key.name().to_owned(), value)]);
    let within = |inner: Dict, section: &str| Dict::from([(section.to_owned(), Value::from(inner))]);
    Layer { origin, values: key.section().rsplit('.').fold(innermost, within) }
}

/// A list as a file has it, `["a:1", "b:2"]`, for a key that takes one.
fn listed(key: &Key, text: &str) -> Option<Value> {
    let is_list = key.kind.is_list() && text.trim_start().starts_with('[');
    // An IPv6 address begins so too, and is no list.
    let table = is_list.then(|| toml::from_str::<Dict>(&format!("list = {text}")).ok()).flatten();
    table?.remove("list")
}

/// Line and column, both from 1, of the byte at `offset`.
fn position(text: &[u8], offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |newline| newline + 1);
    let characters = |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().count();
    let lines = before.iter().filter(|b| **b == b'\n').count();
    (lines + 1, characters(before.get(line_start..).unwrap_or_default()) + 1)
}

/// `dict` without the keys that do not exist, each a problem.
fn known(dict: Dict, prefix: &str, origin: &str, keys: &Keys, problems: &mut Problems) -> Dict {
    let mut kept = Dict::new();
    for (name, value) in dict {
        let path = format!("{prefix}{}", segment(&name));
        if keys.find(&path).is_some() || path == ROUTE || path == STATIC {
            kept.insert(name, value);
        } else if !is_section(&path, keys) {
            problems.push(unknown(&path, &value, origin, keys, Key::path_text));
        } else if let Value::Dict(tag, inner) = value {
            let inner = known(inner, &format!("{path}."), origin, keys, problems);
            kept.insert(name, Value::Dict(tag, inner));
        } else {
            let wrong = Problem::new(&path, "a section, not a key").found(show_unknown(&path, &value), origin);
            problems.push(wrong.allowed(format!("keys below [{path}]")));
        }
    }
    kept
}

/// Whether there are keys below `path`.
fn is_section(path: &str, keys: &Keys) -> bool {
    keys.sections()
        .any(|section| section.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

fn unknown(path: &str, value: &Value, origin: &str, keys: &Keys, called: impl Fn(&Key) -> String) -> Problem {
    let is_section = match value {
        Value::Dict(..) => !path.contains('.'),
        Value::Array(_, items) => matches!(items.first(), Some(Value::Dict(..))),
        _ => false,
    };
    let wrong = if is_section { "no such section" } else { "no such key" };
    let problem = Problem::new(path, wrong).found(show_unknown(path, value), origin);
    if !is_section {
        return problem.did_you_mean(closest_key(path, keys).map(called));
    }
    let sections: Vec<_> = keys.sections().chain([ROUTE]).collect();
    let meant = closest(path, sections.iter().copied());
    problem.allowed(sections.join(", ")).did_you_mean(meant)
}

#[cfg(test)]
mod tests {
    use super::super::schema::KEYS;
    use super::*;

    #[test]
    fn counts_lines_and_columns_from_one() {
        assert_eq!(position(b"", 0), (1, 1));
        assert_eq!(position("a\nü b".as_bytes(), 5), (2, 3));
        assert_eq!(position(b"a", 9), (1, 2));
    }

    #[test]
    fn variables_of_a_kubernetes_service_are_left_alone() {
        let mut problems = Problems::default();
        let variables =
            [("LOGIN_PIPELINE_SERVICE_HOST", "10.0.0.1"), ("LOGIN_PIPELINE_CONFIG", "/x"), ("PATH", "/bin")];
        let variables = variables.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert!(environment(variables.into(), &KEYS, &mut problems).is_empty());
        assert!(problems.is_empty());
    }
}
