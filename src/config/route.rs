//! The `[[route]]` tables:
//!
//! ```toml
//! [[route]]
//! when = { field = "locale", one_of = ["RU", "CA"] }  # or equals = "RU", or matches = "^R"
//! topic = "user-login-abroad"                         # or drop = true
//! ```

use figment::value::{Dict, Value};

use super::layers::ROUTE;
use super::parse::{Refusal, Setting, text, topic, wrong_type};
use super::problem::{Found, Problem, Problems, segment, show};
use super::settings::Settings;
use super::suggest::closest;
use super::{Condition, RouteAction, RouteRule, Test};

/// The store that keeps offsets in a topic.
const TOPIC_STORE: Setting = Setting::Word("topic");

/// What `privacy.*` says of a field that no event is written with.
const REMOVED: Setting = Setting::Word("remove");

const TESTS: [&str; 3] = ["equals", "one_of", "matches"];
const ACTIONS: [&str; 2] = ["topic", "drop"];

/// The rules in their order, without those that are problems.
pub(super) fn rules(settings: &Settings, problems: &mut Problems) -> Vec<RouteRule> {
    let Some((value, origin)) = &settings.route else { return Vec::new() };
    let mut parser = Parser { settings, origin, problems };
    let Value::Array(_, tables) = value else {
        parser.refuse(ROUTE, wrong_type(value, "a list of tables"), Some(value), "[[route]] tables");
        return Vec::new();
    };
    let mut rules: Vec<(usize, RouteRule)> = Vec::with_capacity(tables.len());
    for (i, table) in tables.iter().enumerate() {
        let Some(rule) = parser.rule(&format!("{ROUTE}[{i}]"), table) else { continue };
        if let Some((first, _)) = rules.iter().find(|(_, before)| before.when == rule.when) {
            let wrong = format!("the condition of {ROUTE}[{first}], which decides first: this rule would do nothing");
            let path = format!("{ROUTE}[{i}].when");
            parser.refuse(&path, Refusal::new(wrong), dict_value(table, "when"), "a condition of its own");
        }
        rules.push((i, rule));
    }
    rules.into_iter().map(|(_, rule)| rule).collect()
}

fn dict_value<'v>(table: &'v Value, name: &str) -> Option<&'v Value> {
    table.as_dict()?.get(name)
}

struct Parser<'a> {
    settings: &'a Settings,
    origin: &'a str,
    problems: &'a mut Problems,
}

impl Parser<'_> {
    fn rule(&mut self, path: &str, value: &Value) -> Option<RouteRule> {
        let table = self.table(path, value, &["when", "topic", "drop"])?;
        let when = match table.get("when") {
            Some(when) => self.condition(&format!("{path}.when"), when),
            None => self.missing(path, "no condition", "when = { field = ..., and equals, one_of or matches }"),
        };
        let action = self.action(path, table);
        Some(RouteRule { when: when?, action: action? })
    }

    fn condition(&mut self, path: &str, value: &Value) -> Option<Condition> {
        let table = self.table(path, value, &["field", "equals", "one_of", "matches"])?;
        let field = match table.get("field") {
            Some(field) => {
                let fields = [("ip", "privacy.ip"), ("user_id", "privacy.user_id"), ("device_id", "privacy.device_id")];
                let removed = fields.map(|(name, key)| (name, self.settings.setting(key) == Some(&REMOVED)));
                self.take(&format!("{path}.field"), field, "the name of a field", |field| match text(field)? {
                    "" => Err(Refusal::new("empty")),
                    name if removed.contains(&(name, true)) => {
                        Err(Refusal::new(format!("privacy.{name} removes it, so that the rule would do nothing")))
                    }
                    name => Ok(name.to_owned()),
                })
            }
            None => self.missing(path, "no field", "field = the name of a field, such as device_type"),
        };
        let test = self.exactly_one(path, table, &TESTS, "no test of the field").and_then(|(name, value)| {
            let path = format!("{path}.{name}");
            match name {
                "equals" => self.take(&path, value, "text", |value| text(value).map(str::to_owned)).map(Test::Equals),
                "one_of" => self.take(&path, value, "a list of texts", one_of).map(Test::OneOf),
                _ => self.take(&path, value, "a regular expression", regex).map(Test::Matches),
            }
        });
        Some(Condition { field: field?, test: test? })
    }

    fn action(&mut self, path: &str, table: &Dict) -> Option<RouteAction> {
        let (name, value) = self.exactly_one(path, table, &ACTIONS, "no destination")?;
        let path = format!("{path}.{name}");
        if name == "drop" {
            let drop = |value: &Value| match value.to_bool() {
                Some(true) => Ok(RouteAction::Drop),
                Some(false) => Err(Refusal::new("a route that does not drop needs a topic")),
                None => Err(wrong_type(value, "true")),
            };
            return self.take(&path, value, "drop = true, or topic = \"...\"", drop);
        }
        let name = self.take(&path, value, super::schema::Kind::Topic, |value| text(value).and_then(topic))?;
        self.loops(&path, &name, value);
        Some(RouteAction::Topic(name))
    }

    /// A route may lead to the output topic, but not back to the source, not among the dead letters, which all
    /// carry the headers that say why, and not into the offsets topic, which is unreadable from then on.
    fn loops(&mut self, path: &str, name: &str, value: &Value) {
        for (key, wrong) in [
            ("source.topic", "records would go back to the source topic and be read again for ever"),
            ("dead_letter.topic", "good records would lie among the dead letters"),
            ("offsets.topic", "records would lie among the offsets, which could not be read any more"),
        ] {
            let is_used = key != "offsets.topic" || self.settings.setting("offsets.store") == Some(&TOPIC_STORE);
            if is_used && self.settings.at::<String>(key) == name {
                let mut problem = Problem::new(path, wrong).found(show(value), self.origin);
                problem.found.extend(self.settings.found(key));
                self.problems.push(problem.allowed(format!("a topic other than {key}")));
            }
        }
    }

    /// The table `value`, whose keys may be `known` ones.
    fn table<'v>(&mut self, path: &str, value: &'v Value, known: &[&str]) -> Option<&'v Dict> {
        let Value::Dict(_, table) = value else {
            self.refuse(path, wrong_type(value, "a table"), Some(value), &format!("a table of {}", known.join(", ")));
            return None;
        };
        for (name, value) in table.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
            let refusal = Refusal {
                wrong: "no such key".to_owned(),
                did_you_mean: closest(name, known.iter().copied()).map(str::to_owned),
            };
            self.refuse(&format!("{path}.{}", segment(name)), refusal, Some(value), &known.join(", "));
        }
        Some(table)
    }

    /// The one key of `names` that `table` has.
    fn exactly_one<'v>(
        &mut self,
        path: &str,
        table: &'v Dict,
        names: &[&'static str],
        none: &str,
    ) -> Option<(&'static str, &'v Value)> {
        let mut given = names.iter().filter_map(|name| table.get(*name).map(|value| (*name, value)));
        let allowed = format!("exactly one of {}", names.join(", "));
        let Some(first) = given.next() else { return self.missing(path, none, &allowed) };
        let rest: Vec<_> = given.collect();
        if rest.is_empty() {
            return Some(first);
        }
        let found = std::iter::once(&first)
            .chain(&rest)
            .map(|(name, value)| Found { value: format!("{name} = {}", show(value)), origin: self.origin.to_owned() });
        let mut problem = Problem::new(path, "more than one of a kind").allowed(allowed);
        problem.found.extend(found);
        self.problems.push(problem);
        None
    }

    fn take<T>(
        &mut self,
        path: &str,
        value: &Value,
        allowed: impl ToString,
        read: impl FnOnce(&Value) -> Result<T, Refusal>,
    ) -> Option<T> {
        read(value).map_err(|refusal| self.refuse(path, refusal, Some(value), &allowed.to_string())).ok()
    }

    fn missing<T>(&mut self, path: &str, wrong: &str, allowed: &str) -> Option<T> {
        self.refuse(path, Refusal::new(wrong), None, allowed);
        None
    }

    fn refuse(&mut self, path: &str, refusal: Refusal, value: Option<&Value>, allowed: &str) {
        let mut problem = Problem::new(path, refusal.wrong).allowed(allowed).did_you_mean(refusal.did_you_mean);
        let value = value.map_or_else(|| "nothing".to_owned(), show);
        problem.found.push(Found { value, origin: self.origin.to_owned() });
        self.problems.push(problem);
    }
}

fn one_of(value: &Value) -> Result<Vec<String>, Refusal> {
    let Value::Array(_, items) = value else { return Err(wrong_type(value, "a list of texts")) };
    if items.is_empty() {
        return Err(Refusal::new("an empty list"));
    }
    items.iter().map(|item| text(item).map(str::to_owned)).collect()
}

fn regex(value: &Value) -> Result<String, Refusal> {
    let pattern = text(value)?;
    regex_lite::Regex::new(pattern)
        .map(|_| pattern.to_owned())
        .map_err(|error| Refusal::new(format!("not a regular expression: {error}")))
}
