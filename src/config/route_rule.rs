//! A rule of routing: which records, and where they go.

use serde::Serialize;

/// One `[[route]]`: good records of which its condition holds go to a topic of their own, or nowhere.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteRule {
    /// What counts call it; no two rules have the same.
    pub name: String,
    /// Which records.
    pub when: Condition,
    /// Where they go.
    #[serde(flatten)]
    pub action: RouteAction,
}

/// A condition on a record.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Condition {
    /// It has this field or header, with such a value.
    Has {
        /// What is looked at.
        #[serde(flatten)]
        subject: Subject,
        /// What its value must be.
        #[serde(flatten)]
        test: Test,
    },
    /// All of these hold.
    All {
        /// At least one.
        all: Vec<Condition>,
    },
    /// One of these holds.
    Any {
        /// At least one.
        any: Vec<Condition>,
    },
    /// This does not hold.
    Not {
        /// What must not be.
        not: Box<Condition>,
    },
}

/// The part of a record that a test looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A field of the event as it is written, such as `device_type`.
    Field(String),
    /// A header of the record; the last one of that name.
    Header(String),
}

/// A test of a value.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// Exactly this.
    Equals(String),
    /// One of these.
    OneOf(Vec<String>),
    /// A match of this regular expression, anywhere unless anchored. Checked when parsed.
    Matches(String),
    /// A number less than this.
    Lt(f64),
    /// A number greater than this.
    Gt(f64),
}

impl Test {
    /// The values that it holds of, where it names them.
    pub fn values(&self) -> Option<&[String]> {
        match self {
            Self::Equals(value) => Some(std::slice::from_ref(value)),
            Self::OneOf(values) => Some(values),
            Self::Matches(_) | Self::Lt(_) | Self::Gt(_) => None,
        }
    }

    /// Whether it holds of this value, which `matches` an expression or not.
    pub fn holds(&self, value: &str, matches: impl FnOnce(&str) -> bool) -> bool {
        let number = || value.parse::<f64>().ok();
        match self {
            Self::Equals(expected) => value == expected,
            Self::OneOf(expected) => expected.iter().any(|expected| value == expected),
            Self::Matches(expression) => matches(expression),
            Self::Lt(limit) => number().is_some_and(|number| number < *limit),
            Self::Gt(limit) => number().is_some_and(|number| number > *limit),
        }
    }
}

impl Condition {
    /// A condition on a field of the event.
    pub fn field(name: &str, test: Test) -> Self {
        Self::Has { subject: Subject::Field(name.to_owned()), test }
    }
}

/// The destination of records that match a rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteAction {
    /// To this topic.
    Topic(String),
    /// Nowhere; counted.
    #[serde(serialize_with = "drop_true")]
    Drop,
}

/// `drop = true`, as the file has it.
fn drop_true<S: serde::Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(true)
}
