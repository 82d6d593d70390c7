//! A configuration as the TOML that loads as it.

use std::fmt::Write;

use serde::ser::Error;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::layers::STATIC;
use super::schema::{self, Default, KEYS};
use super::table::{Section, Written};
use super::{Config, EndpointUrl, RouteRule};

impl Config {
    /// This configuration in TOML, in the schema's order, keys that are unset as comments. Loading it gives
    /// an equal one, but for secrets, and a URL that may have one in it, which are comments too.
    ///
    /// # Errors
    ///
    /// If a value can't be written as text; values that were loaded can.
    pub fn to_toml(&self) -> Result<String, serde_json::Error> {
        let values = self.values()?;
        let mut toml = String::new();
        for section in schema::sections() {
            let blank = if toml.is_empty() { "" } else { "\n" };
            line(&mut toml, format_args!("{blank}[{section}]"));
            for key in KEYS.iter().filter(|key| key.section() == section) {
                match values.get(key.path) {
                    Some(Value::String(redacted)) if key.is_secret() => {
                        line(&mut toml, format_args!("# {} = {redacted}", key.name()))
                    }
                    Some(url) if key.path == TOKEN_ENDPOINT_URL && self.has_hidden_query() => {
                        line(&mut toml, format_args!("# {} = {}: its query is not shown", key.name(), scalar(url)))
                    }
                    // A key of the other mode of assignment.
                    None => {}
                    Some(Value::Null) => match key.default {
                        Default::Text(text) => {
                            line(&mut toml, format_args!("{} = {}", key.name(), scalar(&text.into())))
                        }
                        Default::Unset(meaning) => {
                            line(&mut toml, format_args!("# {} is unset: {meaning}", key.name()))
                        }
                    },
                    Some(value) => line(&mut toml, format_args!("{} = {}", key.name(), scalar(value))),
                }
            }
        }
        if !self.enrich.statics.is_empty() {
            line(&mut toml, format_args!("\n[{STATIC}]"));
            for (name, value) in &self.enrich.statics {
                line(&mut toml, format_args!("{name} = {}", scalar(&serde_json::to_value(value)?)));
            }
        }
        for rule in &self.route {
            route(&mut toml, rule)?;
        }
        Ok(toml)
    }
}

const TOKEN_ENDPOINT_URL: &str = "kafka.sasl.token_endpoint_url";

impl Config {
    /// The values of all keys, but for those of another mode.
    fn values(&self) -> serde_json::Result<Written> {
        let mut written = Written::new();
        self.write(&mut written)?;
        Ok(written)
    }

    fn has_hidden_query(&self) -> bool {
        self.kafka.security.sasl.token_endpoint.url.as_ref().is_some_and(EndpointUrl::has_query)
    }
}

/// As the file has it: each value below its section.
impl Serialize for Config {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut root = Value::Null;
        for (path, value) in self.values().map_err(S::Error::custom)? {
            *path.split('.').fold(&mut root, |within, name| &mut within[name]) = value;
        }
        root.serialize(serializer)
    }
}

fn route(toml: &mut String, rule: &RouteRule) -> Result<(), serde_json::Error> {
    line(toml, format_args!("\n[[route]]"));
    if let Value::Object(rule) = serde_json::to_value(rule)? {
        for (name, value) in &rule {
            line(toml, format_args!("{name} = {}", inline(value)));
        }
    }
    Ok(())
}

fn inline(value: &Value) -> String {
    match value {
        Value::Object(table) => {
            let entries: Vec<_> = table.iter().map(|(name, value)| format!("{name} = {}", inline(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        _ => scalar(value),
    }
}

/// JSON's texts, numbers, booleans and lists of them are TOML's too, but for the one control
/// character that JSON leaves as it is.
fn scalar(value: &Value) -> String {
    value.to_string().replace('\u{7f}', "\\u007F")
}

fn line(toml: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String can't fail.
    let _ = writeln!(toml, "{text}");
}
