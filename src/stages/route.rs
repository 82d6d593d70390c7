//! Where a good event goes: the output topic, unless a configured rule says otherwise.

use std::borrow::Cow;

use regex_lite::Regex;

use crate::broker::OUTPUT;
use crate::config::{Config, Partitioner, RouteAction, RouteRule, Test};
use crate::murmur2::partition_of;

/// The rules, and the topics that they name.
#[derive(Debug)]
pub struct Routes {
    rules: Vec<Rule>,
    topics: Vec<String>,
    partitioner: Partitioner,
}

/// Where an event goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// To this one of the [`Routes::topics`].
    Topic(usize),
    /// Nowhere: the configuration asks for that.
    Drop,
}

#[derive(Debug)]
struct Rule {
    field: String,
    test: Matcher,
    route: Route,
}

#[derive(Debug)]
enum Matcher {
    Equals(String),
    OneOf(Vec<String>),
    Matches(Regex),
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
        Ok(Self { rules, topics, partitioner: config.output.partitioner })
    }

    /// Every topic that is written to: the output topic, the dead-letter topic, and those of rules.
    pub fn topics(&self) -> &[String] {
        &self.topics
    }

    /// The first rule that matches decides; without one it is the output topic.
    pub fn route<'e>(&self, field: impl Fn(&str) -> Option<Cow<'e, str>>) -> Route {
        let matching = self.rules.iter().find(|rule| field(&rule.field).is_some_and(|text| rule.test.matches(&text)));
        matching.map_or(Route::Topic(OUTPUT), |rule| rule.route)
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
        let test = match &rule.when.test {
            Test::Equals(text) => Matcher::Equals(text.clone()),
            Test::OneOf(texts) => Matcher::OneOf(texts.clone()),
            Test::Matches(expression) => Matcher::Matches(Regex::new(expression)?),
        };
        Ok(Self { field: rule.when.field.clone(), test, route })
    }
}

impl Matcher {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Equals(expected) => text == expected,
            Self::OneOf(expected) => expected.iter().any(|expected| text == expected),
            Self::Matches(expression) => expression.is_match(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Condition;

    fn routes(rules: Vec<RouteRule>) -> Routes {
        Routes::new(&Config { route: rules, ..Config::default() }).unwrap()
    }

    fn rule(field: &str, test: Test, action: RouteAction) -> RouteRule {
        RouteRule { when: Condition { field: field.to_owned(), test }, action }
    }

    fn ios<'e>(name: &str) -> Option<Cow<'e, str>> {
        (name == "device_type").then_some(Cow::Borrowed("ios"))
    }

    #[test]
    fn without_rules_all_goes_to_the_output() {
        assert_eq!(routes(vec![]).route(ios), Route::Topic(OUTPUT));
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
        assert_eq!(routes.route(ios), Route::Topic(2));
        assert_eq!(routes.route(|_| Some(Cow::Borrowed("android"))), Route::Drop);
        assert_eq!(routes.topics().len(), 3, "a topic that is named twice is one topic");
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
