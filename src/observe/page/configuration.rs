//! The configuration in force: what is set, and apart from that what is as by default.

use std::fmt::{self, Write};
use std::sync::LazyLock;

use serde_json::Value;

use super::text::Text;
use crate::config::Config;

/// The configuration where nobody sets anything.
pub(super) static DEFAULTS: LazyLock<Value> =
    LazyLock::new(|| serde_json::to_value(Config::default()).unwrap_or_default());

/// The rows of what is set.
pub(super) fn set(page: &mut String, configuration: &Value) -> fmt::Result {
    let set = rows(configuration, true);
    if set.is_empty() {
        return page.write_str("<tr><td colspan=\"2\">nothing: all is as by default</td></tr>");
    }
    set.iter().try_for_each(|row| row.write(page))
}

/// The rows of what is as by default.
pub(super) fn defaults(page: &mut String, configuration: &Value) -> fmt::Result {
    rows(configuration, false).iter().try_for_each(|row| row.write(page))
}

struct Row {
    key: String,
    value: String,
}

impl Row {
    fn write(&self, page: &mut String) -> fmt::Result {
        write!(page, "<tr><th scope=\"row\">{}</th><td>{}</td></tr>", Text(&self.key), Text(&self.value))
    }
}

/// Tells of each value of an object, with its keys joined by dots, and whether it is the default's.
fn walk(value: &Value, default: Option<&Value>, path: &mut String, told: &mut impl FnMut(&str, &Value, bool)) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, member) in members {
                let length = path.len();
                if length > 0 {
                    path.push('.');
                }
                path.push_str(name);
                walk(member, default.and_then(|default| default.get(name)), path, told);
                path.truncate(length);
            }
        }
        _ => told(path, value, default == Some(value)),
    }
}

/// A value as people write it.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(all) if all.iter().all(Value::is_string) => all.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn rows(configuration: &Value, are_set: bool) -> Vec<Row> {
    let (mut rows, mut path) = (Vec::new(), String::new());
    walk(configuration, Some(&DEFAULTS), &mut path, &mut |key, value, is_default| {
        if is_default != are_set {
            rows.push(Row { key: key.to_owned(), value: text(value) });
        }
    });
    rows
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_set_stands_apart() {
        let mut configuration = DEFAULTS.clone();
        let mut page = String::new();
        set(&mut page, &configuration).unwrap();
        assert!(page.contains("nothing"), "{page}");
        configuration["source"]["topic"] = json!("<orders>");
        configuration["route"] = json!([{"name": "east"}]);
        let mut page = String::new();
        set(&mut page, &configuration).unwrap();
        assert_eq!(page.matches("<tr>").count(), 2, "{page}");
        assert!(page.contains("source.topic</th><td>&lt;orders&gt;"), "{page}");
        let mut page = String::new();
        defaults(&mut page, &configuration).unwrap();
        assert!(page.contains("dead_letter.topic") && !page.contains("source.topic<"), "{page}");
    }
}
