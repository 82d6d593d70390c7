//! The `[[route]]` tables:
//!
//! ```toml
//! [[route]]
//! name = "abroad"                                     # or by its topic, or "drop"
//! when = { field = "locale", one_of = ["RU", "CA"] }  # or equals, matches, lt, gt; or header = "..."
//! topic = "user-login-abroad"                         # or drop = true
//!
//! [[route]]
//! when = { all = [{ field = "device_type", equals = "ios" }, { not = { header = "canary", equals = "1" } }] }
//! topic = "user-login-ios"
//! ```

use std::collections::BTreeSet;

use figment::value::{Dict, Num, Value};
use regex_lite::Regex;

use super::key::{Key, Kind};
use super::layers::ROUTE;
use super::parse::{Refusal, Setting, text, topic, wrong_type};
use super::problem::{Found, Problem, Problems};
use super::shown::{segment, show};
use super::suggest::closest;
use super::table::{Section, WriteResult, Written};
use super::values::Values;
use super::{Condition, RouteAction, RouteRule, Subject, Test};

/// The store that keeps offsets in a topic.
const TOPIC_STORE: Setting = Setting::Word("topic");

/// What `privacy.*` says of a field that no event is written with.
const REMOVED: Setting = Setting::Word("remove");

const KINDS: [&str; 5] = ["field", "header", "all", "any", "not"];
const TESTS: [&str; 5] = ["equals", "one_of", "matches", "lt", "gt"];
const ACTIONS: [&str; 2] = ["topic", "drop"];
/// As deep a condition may be, and it is read by recursion.
const MAX_DEPTH: usize = 8;
const MAX_NAME: usize = 64;

/// Tables of their own: no key is behind them.
impl Section for Vec<RouteRule> {
    fn keys(_keys: &mut Vec<Key>) {}

    fn read(values: &Values, problems: &mut Problems) -> Self {
        rules(values, problems)
    }

    fn write(&self, written: &mut Written) -> WriteResult {
        written.insert(ROUTE, serde_json::to_value(self)?);
        Ok(())
    }
}

/// The rules in their order, without those that are problems.
fn rules(values: &Values, problems: &mut Problems) -> Vec<RouteRule> {
    let Some((value, origin)) = &values.route else { return Vec::new() };
    let mut parser = Parser { values, origin, problems, names: BTreeSet::new() };
    let Value::Array(_, tables) = value else {
        parser.refuse(ROUTE, wrong_type(value, "a list of tables"), Some(value), "[[route]] tables");
        return Vec::new();
    };
    // Names that are given are kept from rules that have none.
    parser.names.extend(tables.iter().filter_map(|table| dict_value(table, "name")?.as_str().map(str::to_owned)));
    let mut given = BTreeSet::new();
    let mut rules: Vec<(usize, RouteRule)> = Vec::with_capacity(tables.len());
    for (i, table) in tables.iter().enumerate() {
        let path = format!("{ROUTE}[{i}]");
        let Some(rule) = parser.rule(&path, table) else { continue };
        if dict_value(table, "name").is_some() && !given.insert(rule.name.clone()) {
            let refusal = Refusal::new("the name of another rule");
            parser.refuse(&format!("{path}.name"), refusal, dict_value(table, "name"), "a name of its own");
        }
        if let Some(hiding) = hidden(&rule.when, &rules) {
            let wrong = format!("whatever this holds of, {hiding} decides first: the rule would do nothing");
            parser.refuse(
                &format!("{path}.when"),
                Refusal::new(wrong),
                dict_value(table, "when"),
                "what is left to it",
            );
        }
        rules.push((i, rule));
    }
    rules.into_iter().map(|(_, rule)| rule).collect()
}

/// Which earlier rules decide about all that a condition holds of, as far as that can be told from texts: what a rule
/// before it says word for word, and lists of values of which each is some earlier rule's.
fn hidden(when: &Condition, before: &[(usize, RouteRule)]) -> Option<String> {
    let named = |i: usize| format!("{ROUTE}[{i}]");
    if let Some((first, _)) = before.iter().find(|(_, rule)| rule.when == *when) {
        return Some(named(*first));
    }
    let Condition::Has { subject, test } = when else { return None };
    // An expression is compiled each time, which is quick enough for checking rules.
    let matches = |pattern: &str, value: &str| Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(value));
    let takes = |rule: &RouteRule, value: &str| match &rule.when {
        Condition::Has { subject: same, test } => {
            same == subject && test.holds(value, |pattern| matches(pattern, value))
        }
        _ => false,
    };
    let decide: Option<BTreeSet<usize>> = test
        .values()?
        .iter()
        .map(|value| before.iter().find(|(_, rule)| takes(rule, value)).map(|(i, _)| *i))
        .collect();
    decide.map(|all| all.into_iter().map(named).collect::<Vec<_>>().join(" or "))
}

fn dict_value<'v>(table: &'v Value, name: &str) -> Option<&'v Value> {
    table.as_dict()?.get(name)
}

struct Parser<'a> {
    values: &'a Values,
    origin: &'a str,
    problems: &'a mut Problems,
    /// Those that are taken.
    names: BTreeSet<String>,
}

impl Parser<'_> {
    fn rule(&mut self, path: &str, value: &Value) -> Option<RouteRule> {
        let table = self.table(path, value, &["name", "when", "topic", "drop"])?;
        let name = match table.get("name") {
            Some(name) => {
                let allowed = "1 to 64 letters, digits, '.', '_' and '-'";
                Some(self.take(&format!("{path}.name"), name, allowed, |name| rule_name(text(name)?)))
            }
            None => None,
        };
        let when = match table.get("when") {
            Some(when) => self.condition(&format!("{path}.when"), when, 0),
            None => self.missing(path, "no condition", "when = { field = ..., and equals, one_of, matches, lt or gt }"),
        };
        let action = self.action(path, table);
        let (when, action) = (when?, action?);
        let name = match name {
            Some(given) => given?,
            None => self.unnamed(match &action {
                RouteAction::Topic(topic) => topic,
                RouteAction::Drop => "drop",
            }),
        };
        Some(RouteRule { name, when, action })
    }

    /// A name for a rule that has none.
    fn unnamed(&mut self, usual: &str) -> String {
        let cut = |length| usual.chars().take(length).collect::<String>();
        let numbered = (2..).map(|n: u32| format!("{}-{n}", cut(MAX_NAME - 8)));
        let name =
            std::iter::once(cut(MAX_NAME)).chain(numbered).find(|name| !self.names.contains(name)).unwrap_or_default();
        self.names.insert(name.clone());
        name
    }

    fn condition(&mut self, path: &str, value: &Value, depth: usize) -> Option<Condition> {
        if depth > MAX_DEPTH {
            let refusal = Refusal::new(format!("nested deeper than {MAX_DEPTH}"));
            self.refuse(path, refusal, None, "all, any and not within each other a few times");
            return None;
        }
        let known: Vec<&str> = KINDS.iter().chain(&TESTS).copied().collect();
        let table = self.table(path, value, &known)?;
        let kind = self.exactly_one(path, table, &KINDS, "nothing to look at");
        let kind = kind.map(|(kind, of)| (kind, of, format!("{path}.{kind}")));
        let subject = match &kind {
            Some(("field", of, at)) => self.field(at, of).map(Subject::Field),
            Some(("header", of, at)) => self.take(at, of, "the name of a header", not_empty).map(Subject::Header),
            Some((kind, of, at)) => {
                if let Some((test, value)) = table.iter().find(|(name, _)| TESTS.contains(&name.as_str())) {
                    let refusal = Refusal::new("a test of nothing");
                    self.refuse(&format!("{path}.{test}"), refusal, Some(value), "a field or header with it");
                    return None;
                }
                return match *kind {
                    "not" => Some(Condition::Not { not: Box::new(self.condition(at, of, depth + 1)?) }),
                    "all" => Some(Condition::All { all: self.conditions(at, of, depth + 1)? }),
                    _ => Some(Condition::Any { any: self.conditions(at, of, depth + 1)? }),
                };
            }
            None => None,
        };
        let (name, value) = self.exactly_one(path, table, &TESTS, "no test of its value")?;
        let path = format!("{path}.{name}");
        let test = match name {
            "equals" => self.take(&path, value, "text", |value| text(value).map(str::to_owned)).map(Test::Equals),
            "one_of" => self.take(&path, value, "a list of texts", one_of).map(Test::OneOf),
            "matches" => self.take(&path, value, "a regular expression", regex).map(Test::Matches),
            "lt" => self.take(&path, value, "a number", number).map(Test::Lt),
            _ => self.take(&path, value, "a number", number).map(Test::Gt),
        };
        Some(Condition::Has { subject: subject?, test: test? })
    }

    fn conditions(&mut self, path: &str, value: &Value, depth: usize) -> Option<Vec<Condition>> {
        let items = self.take(path, value, "a list of conditions", |value| match value {
            Value::Array(_, items) if items.is_empty() => Err(Refusal::new("an empty list")),
            Value::Array(_, items) => Ok(items.clone()),
            _ => Err(wrong_type(value, "a list of tables")),
        })?;
        let read = |(i, item)| self.condition(&format!("{path}[{i}]"), item, depth);
        let read: Vec<_> = items.iter().enumerate().map(read).collect(); // all of them, for all their problems
        read.into_iter().collect()
    }

    fn field(&mut self, path: &str, value: &Value) -> Option<String> {
        let fields = [("ip", "privacy.ip"), ("user_id", "privacy.user_id"), ("device_id", "privacy.device_id")];
        let removed = fields.map(|(name, key)| (name, self.values.setting(key) == Some(&REMOVED)));
        self.take(path, value, "the name of a field", |field| match not_empty(field)? {
            name if removed.contains(&(name.as_str(), true)) => {
                Err(Refusal::new(format!("privacy.{name} removes it, so that the rule would do nothing")))
            }
            name => Ok(name),
        })
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
        let name = self.take(&path, value, Kind::Topic, |value| text(value).and_then(topic))?;
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
            let is_used = key != "offsets.topic" || self.values.setting("offsets.store") == Some(&TOPIC_STORE);
            if is_used && self.values.text(key) == Some(name) {
                let mut problem = Problem::new(path, wrong).found(show(value), self.origin);
                problem.found.extend(self.values.found(key));
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

fn rule_name(name: &str) -> Result<String, Refusal> {
    let is_named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match name.len() {
        1..=MAX_NAME if name.chars().all(is_named) => Ok(name.to_owned()),
        _ => Err(Refusal::new("not a name")),
    }
}

fn not_empty(value: &Value) -> Result<String, Refusal> {
    match text(value)? {
        "" => Err(Refusal::new("empty")),
        name => Ok(name.to_owned()),
    }
}

fn number(value: &Value) -> Result<f64, Refusal> {
    #[expect(clippy::cast_precision_loss, reason = "values are compared as such, too")]
    let whole = |number: Num| number.to_i128().map(|number| number as f64);
    let number = match value {
        Value::Num(_, number) => number.to_f64().or_else(|| whole(*number)),
        _ => None,
    };
    match number {
        Some(number) if number.is_finite() => Ok(number),
        _ => Err(wrong_type(value, "a number")),
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
    Regex::new(pattern)
        .map(|_| pattern.to_owned())
        .map_err(|error| Refusal::new(format!("not a regular expression: {error}")))
}
