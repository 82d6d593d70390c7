//! The route of a good event: the output topic, unless a configured rule says otherwise.

use std::borrow::Cow;

use regex_lite::Regex;

use crate::config::{Condition, Config, Partitioner, RouteAction, RouteRule, Subject, Test};
use crate::murmur2::partition_of;
use crate::output::OUTPUT;
use crate::record::Headers;

/// The rules, and the topics that they name.
#[derive(Debug)]
pub struct Routes {
    rules: Vec<Rule>,
    names: Vec<String>,
    topics: Vec<String>,
    partitioner: Partitioner,
}

/// The route of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// To this one of the [`Routes::topics`].
    Topic(usize),
    /// Nowhere: the configuration asks for that.
    Drop,
}

#[derive(Debug)]
struct Rule {
    when: Matcher,
    route: Route,
}

/// A [`Condition`], ready to be looked at.
#[derive(Debug)]
enum Matcher {
    Field(String, Value),
    Header(String, Value),
    All(Vec<Matcher>),
    Any(Vec<Matcher>),
    Not(Box<Matcher>),
}

/// A [`Test`], with its expression compiled where it has one.
#[derive(Debug)]
struct Value {
    test: Test,
    expression: Option<Regex>,
}

impl Routes {
    /// The rules of a configuration, which has checked them.
    ///
    /// # Errors
    /// Where a rule's regular expression is none.
    pub fn new(config: &Config) -> Result<Self, regex_lite::Error> {
        let mut topics = vec![config.output.topic.clone(), config.dead_letter.topic.clone()];
        let mut rules = Vec::with_capacity(config.route.len());
        for rule in &config.route {
            rules.push(Rule::new(rule, &mut topics)?);
        }
        let names = config.route.iter().map(|rule| rule.name.clone()).collect();
        Ok(Self { rules, names, topics, partitioner: config.output.partitioner })
    }

    /// Every topic that is written to: the output topic, the dead-letter topic, and those of rules.
    pub fn topics(&self) -> &[String] {
        &self.topics
    }

    /// The rules' names, in their order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The first rule whose condition holds decides: where to, and its place among the [names](Self::names); without one
    /// it is the output topic.
    pub fn route<'e>(
        &self,
        field: impl Fn(&str) -> Option<Cow<'e, str>>,
        headers: Headers<'_>,
    ) -> (Route, Option<usize>) {
        let matching = self.rules.iter().position(|rule| rule.when.holds(&field, headers));
        match matching.and_then(|place| Some((place, self.rules.get(place)?))) {
            Some((place, rule)) => (rule.route, Some(place)),
            None => (Route::Topic(OUTPUT), None),
        }
    }

    /// The partition, of `count`, that a record with this key goes to.
    pub fn partition(&self, source: i32, key: Option<&[u8]>, count: i32) -> i32 {
        match (self.partitioner, key) {
            (Partitioner::Key, Some(key)) => partition_of(key, count),
            _ => source % count.max(1),
        }
    }
}

impl Rule {
    fn new(rule: &RouteRule, topics: &mut Vec<String>) -> Result<Self, regex_lite::Error> {
        let route = match &rule.action {
            RouteAction::Drop => Route::Drop,
            RouteAction::Topic(topic) => {
                Route::Topic(topics.iter().position(|known| known == topic).unwrap_or_else(|| {
                    topics.push(topic.clone());
                    topics.len() - 1
                }))
            }
        };
        Ok(Self { when: Matcher::new(&rule.when)?, route })
    }
}

impl Matcher {
    fn new(condition: &Condition) -> Result<Self, regex_lite::Error> {
        let each = |conditions: &[Condition]| conditions.iter().map(Self::new).collect::<Result<Vec<_>, _>>();
        Ok(match condition {
            Condition::Has { subject: Subject::Field(name), test } => Self::Field(name.clone(), Value::new(test)?),
            Condition::Has { subject: Subject::Header(name), test } => Self::Header(name.clone(), Value::new(test)?),
            Condition::All { all } => Self::All(each(all)?),
            Condition::Any { any } => Self::Any(each(any)?),
            Condition::Not { not } => Self::Not(Box::new(Self::new(not)?)),
        })
    }

    fn holds<'e>(&self, field: &impl Fn(&str) -> Option<Cow<'e, str>>, headers: Headers<'_>) -> bool {
        match self {
            Self::Field(name, test) => field(name).is_some_and(|text| test.holds(&text)),
            Self::Header(name, test) => {
                let named = headers.iter().filter(|(header, _)| *header == name.as_bytes());
                let value = named.last().and_then(|(_, value)| std::str::from_utf8(value?).ok());
                value.is_some_and(|text| test.holds(text))
            }
            Self::All(all) => all.iter().all(|each| each.holds(field, headers)),
            Self::Any(any) => any.iter().any(|each| each.holds(field, headers)),
            Self::Not(not) => !not.holds(field, headers),
        }
    }
}

impl Value {
    fn new(test: &Test) -> Result<Self, regex_lite::Error> {
        let expression = match test {
            Test::Matches(expression) => Some(Regex::new(expression)?),
            _ => None,
        };
        Ok(Self { test: test.clone(), expression })
    }

    fn holds(&self, text: &str) -> bool {
        self.test.holds(text, |_| self.expression.as_ref().is_some_and(|expression| expression.is_match(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(rules: Vec<RouteRule>) -> Routes {
        Routes::new(&Config { route: rules, ..Config::default() }).unwrap()
    }

    fn rule(field: &str, test: Test, action: RouteAction) -> RouteRule {
        RouteRule { name: "a rule".to_owned(), when: Condition::field(field, test), action }
    }

    fn ios<'e>(name: &str) -> Option<Cow<'e, str>> {
        (name == "device_type").then_some(Cow::Borrowed("ios"))
    }

    #[test]
    fn without_rules_all_goes_to_the_output() {
        assert_eq!(routes(vec![]).route(ios, Headers::NONE), (Route::Topic(OUTPUT), None));
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let to = |topic: &str| RouteAction::Topic(topic.to_owned());
        let routes = routes(vec![
            rule("locale", Test::Equals("RU".to_owned()), RouteAction::Drop),
            rule("device_type", Test::Matches("^android$".to_owned()), RouteAction::Drop),
            rule("device_type", Test::OneOf(vec!["x".to_owned(), "ios".to_owned()]), to("apple")),
            rule("device_type", Test::Equals("ios".to_owned()), RouteAction::Drop),
            rule("user_id", Test::Equals("x".to_owned()), to("apple")),
        ]);
        assert_eq!(routes.route(ios, Headers::NONE), (Route::Topic(2), Some(2)));
        assert_eq!(routes.route(|_| Some(Cow::Borrowed("android")), Headers::NONE), (Route::Drop, Some(1)));
        assert_eq!(routes.topics().len(), 3, "a topic that is named twice is one topic");
    }

    #[test]
    fn conditions_are_put_together() {
        let has = |name: &str, test| Condition::field(name, test);
        let canary = |test| Condition::Has { subject: Subject::Header("canary".to_owned()), test };
        let holds = |when: &Condition, latency: &str, headers: &[(&[u8], Option<&[u8]>)]| {
            let field = |name: &str| (name == "latency_ms").then(|| Cow::Owned(latency.to_owned()));
            Matcher::new(when).unwrap().holds(&field, Headers::Borrowed(headers))
        };
        let late = Condition::All { all: vec![has("latency_ms", Test::Gt(10.0)), has("latency_ms", Test::Lt(20.5))] };
        for (latency, expected) in [("10", false), ("11", true), ("20.4", true), ("20.5", false), ("x", false)] {
            assert_eq!(holds(&late, latency, &[]), expected, "{latency}");
        }
        let one = canary(Test::Equals("1".to_owned()));
        let last: &[(&[u8], Option<&[u8]>)] = &[(b"canary", Some(b"0")), (b"canary", Some(b"1"))];
        assert!(holds(&one, "", last) && !holds(&one, "", &last[..1]) && !holds(&one, "", &[(b"canary", None)]));
        let either = Condition::Any { any: vec![one.clone(), late] };
        assert!(holds(&either, "0", last) && holds(&either, "15", &[]) && !holds(&either, "0", &[]));
        let neither = Condition::Not { not: Box::new(either) };
        assert!(!holds(&neither, "0", last) && !holds(&neither, "15", &[]) && holds(&neither, "0", &[]));
        assert!(holds(&Condition::Not { not: Box::new(one) }, "", &[]), "what is not there is nothing");
    }

    #[test]
    fn partitions_by_source_or_key() {
        let by_source = routes(vec![]);
        assert_eq!(by_source.partition(7, Some(b"abc"), 3), 1);
        let mut config = Config::default();
        config.output.partitioner = Partitioner::Key;
        let by_key = Routes::new(&config).unwrap();
        assert_eq!(by_key.partition(7, Some(b"abc"), 1000), 107);
        assert_eq!(by_key.partition(7, None, 3), 1);
    }
}
