//! The chart's `config` is the program's configuration: `definitions.config` of the chart's schema of values is made
//! from the program's own. After a change of either:
//!
//! ```sh
//! UPDATE_DOCS=1 cargo test --test house
//! ```
//! The rest of that file is written by hand; this puts its keys in order.

// Tests all of it, helpers too; clippy.toml's permission reaches only the functions marked so.

use std::path::Path;

use login_pipeline::config::OWN_FIELDS;
use login_pipeline::config::schema::{Default, KEYS, Key, Kind};
use serde_json::{Map, Value, json};

#[test]
fn the_charts_values_are_the_programs_keys() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/helm/login-pipeline/values.schema.json");
    let written = std::fs::read_to_string(&path).unwrap();
    let mut values: Value = serde_json::from_str(&written).unwrap();
    *values.pointer_mut("/definitions/config").unwrap() = config();
    let rendered = serde_json::to_string_pretty(&values).unwrap() + "\n";
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &rendered).unwrap();
        return;
    }
    assert!(written == rendered, "the chart's schema is behind the program's: UPDATE_DOCS=1 cargo test --test house");
}

/// All sections with their keys, but for secrets, which have no place in values.
fn config() -> Value {
    let mut root = section(Map::new());
    for key in KEYS.iter().filter(|key| !key.is_secret()) {
        let mut within = root.get_mut("properties").and_then(Value::as_object_mut).unwrap();
        for name in key.section().split('.') {
            let inner = within.entry(name).or_insert_with(|| section(Map::new()));
            within = inner.get_mut("properties").and_then(Value::as_object_mut).unwrap();
        }
        within.insert(key.name().to_owned(), property(key));
    }
    root["properties"]["enrich"]["properties"]["static"] = statics();
    root["properties"]["route"] = routes();
    root
}

fn section(properties: Map<String, Value>) -> Value {
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn property(key: &Key) -> Value {
    let mut property = kind(key.kind);
    let default = match key.default {
        Default::Text(default) => default,
        Default::Unset(meaning) => meaning,
    };
    property["description"] = format!("{}. Default: {default}", key.doc).into();
    property
}

/// As much of what the program takes from a file as a schema can say; the rest is for `login-pipeline check`.
fn kind(kind: Kind) -> Value {
    let list = |item: Value| json!({ "type": "array", "minItems": 1, "items": item });
    match kind {
        Kind::Text => json!({ "type": "string", "minLength": 1, "maxLength": 255 }),
        Kind::Topic => topic(),
        Kind::NewField => json!({ "type": "string", "pattern": NEW_FIELD, "not": { "enum": OWN_FIELDS } }),
        Kind::Brokers => json!({ "anyOf": [ends_in_a_port(), list(ends_in_a_port())] }),
        Kind::Duration(..) => {
            json!({ "type": "string", "pattern": r"^\s*([0-9][0-9 ]*(\.[0-9]+)?\s*[a-zµ]+\s*)+$" })
        }
        Kind::Size(from, to) => {
            let text = json!({ "type": "string", "pattern": r"^\s*[0-9]+\s*([kKmMgG][iI]?[bB]|[bB])?\s*$" });
            json!({ "anyOf": [text, { "type": "integer", "minimum": from.0, "maximum": to.0 }] })
        }
        Kind::Words(words) => json!({ "enum": words }),
        Kind::WordList(words) => list(json!({ "enum": words })),
        Kind::Integer(from, to) => json!({ "type": "integer", "minimum": from, "maximum": to }),
        Kind::Ratio => json!({ "type": "number", "minimum": 0, "exclusiveMaximum": 1 }),
        Kind::Address => ends_in_a_port(),
        Kind::Path | Kind::LogFilter => json!({ "type": "string", "minLength": 1 }),
        Kind::Extensions => {
            let extension = json!({ "type": "string", "pattern": "^[A-Za-z]+=[ -~]+$" });
            json!({ "anyOf": [extension, list(extension.clone())] })
        }
        Kind::Url => json!({ "type": "string", "pattern": "^https?://[^/?#@ ]+([/?][^# ]*)?$" }),
        Kind::Partitions => json!({ "type": ["string", "integer", "array"] }),
        Kind::Boolean => json!({ "type": "boolean" }),
        Kind::Secret => unreachable!("left out"),
    }
}

fn ends_in_a_port() -> Value {
    json!({ "type": "string", "pattern": ":[0-9]+$" })
}

fn topic() -> Value {
    json!({ "type": "string", "pattern": "^[A-Za-z0-9._-]{1,249}$" })
}

/// A name of the deployment's own.
const NEW_FIELD: &str = "^[A-Za-z_][A-Za-z0-9_-]{0,63}$";

/// The `[enrich.static]` table, whose names are nobody's keys.
fn statics() -> Value {
    let value = json!({ "type": ["string", "number", "boolean"], "minLength": 1, "maxLength": 255 });
    json!({
        "type": "object",
        "maxProperties": 32,
        "propertyNames": { "pattern": NEW_FIELD, "not": { "enum": OWN_FIELDS } },
        "additionalProperties": value,
        "description": "Fields that every good event gets",
    })
}

/// The `[[route]]` tables, which are not among the keys.
fn routes() -> Value {
    let text = json!({ "type": "string" });
    let several = json!({ "type": "array", "minItems": 1, "items": { "type": "object" } });
    let kinds = ["field", "header", "all", "any", "not"].map(|kind| json!({ "required": [kind] }));
    let when = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "field": { "type": "string", "minLength": 1 },
            "header": { "type": "string", "minLength": 1 },
            "equals": text,
            "one_of": { "type": "array", "minItems": 1, "items": text },
            "matches": text,
            "lt": { "type": "number" },
            "gt": { "type": "number" },
            "all": several,
            "any": several,
            "not": { "type": "object" },
        },
        "oneOf": kinds,
    });
    let name = json!({ "type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$" });
    let rule = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["when"],
        "properties": { "name": name, "when": when, "topic": topic(), "drop": { "const": true } },
        "oneOf": [{ "required": ["topic"] }, { "required": ["drop"] }],
    });
    json!({ "type": "array", "items": rule, "description": "Rules that send some of the good records elsewhere" })
}
