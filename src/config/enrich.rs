//! `enrich.*`: what is added to every event beside what the pipeline itself adds.
//!
//! ```toml
//! [enrich.geoip]
//! file = "/var/lib/GeoIP/GeoLite2-Country.mmdb"
//!
//! [enrich.static]                                     # names of your own
//! region = "eu-central-1"
//! ```

use std::collections::BTreeMap;

use figment::value::Value;
use serde::Serialize;

pub use crate::event::OWN_FIELDS;

use super::key::{Key, Kind};
use super::layers::STATIC;
use super::parse::{Refusal, line, new_field, text, wrong_type};
use super::problem::{Problem, Problems};
use super::shown::{segment, show};
use super::table::{Section, WriteResult, Written};
use super::values::Values;

/// The most fields that [`Enrich::statics`](super::Enrich::statics) may have.
const MOST_STATICS: usize = 32;

/// The value of a field of `[enrich.static]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum StaticValue {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction; finite.
    Float(f64),
    /// true or false.
    Boolean(bool),
}

/// A table of its own: no key is behind it.
impl Section for BTreeMap<String, StaticValue> {
    fn keys(_keys: &mut Vec<Key>) {}

    fn read(values: &Values, problems: &mut Problems) -> Self {
        statics(values, problems)
    }

    fn write(&self, written: &mut Written) -> WriteResult {
        written.insert(STATIC, serde_json::to_value(self)?);
        Ok(())
    }
}

/// The fields of `[enrich.static]`, without those that are problems.
fn statics(values: &Values, problems: &mut Problems) -> BTreeMap<String, StaticValue> {
    let Some((value, origin)) = &values.statics else { return BTreeMap::new() };
    let mut refuse = |path: &str, refusal: Refusal, value: &Value, allowed: &str| {
        let problem = Problem::new(path, refusal.wrong).allowed(allowed).found(show(value), origin);
        problems.push(problem.did_you_mean(refusal.did_you_mean));
    };
    let Value::Dict(_, table) = value else {
        let allowed = format!("[{STATIC}] with a line for each field");
        refuse(STATIC, wrong_type(value, "a table"), value, &allowed);
        return BTreeMap::new();
    };
    if table.len() > MOST_STATICS {
        refuse(STATIC, Refusal::new("too many fields"), value, &format!("at most {MOST_STATICS}"));
    }
    let country = values.setting("enrich.geoip.file").and_then(|_| values.text("enrich.geoip.field"));
    let mut statics = BTreeMap::new();
    for (name, value) in table {
        let path = format!("{STATIC}.{}", segment(name));
        match new_field(name) {
            Err(refusal) => refuse(&path, refusal, value, &Kind::NewField.to_string()),
            Ok(name) if Some(name.as_str()) == country => {
                let refusal = Refusal::new("the country is written to the field of this name");
                refuse(&path, refusal, value, "a name other than enrich.geoip.field");
            }
            Ok(name) => match static_value(value) {
                Ok(value) => drop(statics.insert(name, value)),
                Err(refusal) => refuse(&path, refusal, value, "text of 1 to 255 bytes, a number, true or false"),
            },
        }
    }
    statics
}

fn static_value(value: &Value) -> Result<StaticValue, Refusal> {
    match value {
        Value::String(..) | Value::Char(..) => text(value).and_then(|text| line(text, 255)).map(StaticValue::Text),
        Value::Bool(_, boolean) => Ok(StaticValue::Boolean(*boolean)),
        Value::Num(_, number) => match (number.to_i128(), number.to_f64()) {
            (Some(whole), _) => {
                i64::try_from(whole).map(StaticValue::Integer).map_err(|_| Refusal::new("too large a number"))
            }
            (None, Some(number)) if number.is_finite() => Ok(StaticValue::Float(number)),
            _ => Err(Refusal::new("not a number that JSON has")),
        },
        _ => Err(wrong_type(value, "text, a number or a boolean")),
    }
}
