//! Whether a rule of routing can hold of any login: what is known of its fields, held against what the rule says.

use serde_json::json;

use crate::config::{Condition, Config, IdPrivacy, IpPrivacy, Subject, Test};
use crate::event::LoginEvent;

/// The fields that a login has, or is written with.
const FIELDS: [&str; 9] =
    ["user_id", "app_version", "ip", "locale", "device_id", "timestamp", "device_type", "processed_at", "latency_ms"];

/// What is wrong with the rules: values that no event is written with.
///
/// # Errors
/// All such values, a line each.
pub fn check(config: &Config) -> Result<(), String> {
    let mut wrong = Vec::new();
    each_test(config, |rule, field, test| {
        for value in test.values().unwrap_or_default() {
            if let Some(why) = impossible(config, field, value) {
                wrong.push(format!("route {rule}: {field} is never {value:?}: {why}"));
            }
        }
    });
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// What may be meant otherwise: fields that are spelled much like one of a login's.
pub fn doubts(config: &Config) -> Vec<String> {
    let mut doubts = Vec::new();
    each_test(config, |rule, field, _| {
        let is_known = FIELDS.contains(&field)
            || config.enrich.statics.contains_key(field)
            || (config.enrich.geoip.file.is_some() && config.enrich.geoip.field == field);
        if let Some(meant) = crate::config::closest(field, FIELDS).filter(|_| !is_known) {
            doubts.push(format!(
                "route {rule}: {field} is no field of a login, unless senders add it; did you mean {meant}?"
            ));
        }
    });
    doubts
}

fn each_test<'c>(config: &'c Config, mut visit: impl FnMut(&'c str, &'c str, &'c Test)) {
    for rule in &config.route {
        let mut left = vec![&rule.when];
        while let Some(condition) = left.pop() {
            match condition {
                Condition::Has { subject: Subject::Field(field), test } => visit(&rule.name, field, test),
                Condition::Has { subject: Subject::Header(_), .. } => {}
                Condition::All { all: parts } | Condition::Any { any: parts } => left.extend(parts.iter().rev()),
                Condition::Not { not } => left.push(not),
            }
        }
    }
}

/// Why no event is written with this value in this field; [`None`] where one may be.
fn impossible(config: &Config, field: &str, value: &str) -> Option<String> {
    let privacy = &config.privacy;
    let is_covered = match field {
        "user_id" => privacy.user_id != IdPrivacy::Keep,
        "device_id" => privacy.device_id != IdPrivacy::Keep,
        "ip" => privacy.ip != IpPrivacy::Keep,
        _ => false,
    };
    if is_covered || !FIELDS.contains(&field) {
        return None;
    }
    let mut event = json!({
        "user_id": "u", "app_version": "1.0", "ip": "192.0.2.1", "locale": "DE", "device_id": "d",
        "timestamp": 1_694_479_551, "device_type": "ios",
    });
    event[field] = value.into();
    let event = event.to_string();
    match LoginEvent::parse(event.as_bytes()) {
        Err(rejection) if rejection.field == Some(field) => {
            Some(format!("such an event is a dead letter ({})", rejection.reason.code()))
        }
        Ok(event) if field == "device_type" && event.device_type.to_str() != value => {
            Some(format!("it is written as {:?}", event.device_type.to_str()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{RouteAction, RouteRule};

    fn config(when: Condition) -> Config {
        let rule = RouteRule { name: "r".to_owned(), when, action: RouteAction::Drop };
        Config { route: vec![rule], ..Config::default() }
    }

    fn equals(field: &str, value: &str) -> Config {
        config(Condition::field(field, Test::Equals(value.to_owned())))
    }

    #[test]
    fn values_that_no_event_is_written_with_are_told() {
        for (field, value, why) in [
            ("device_type", "iOS", r#"route r: device_type is never "iOS": it is written as "ios""#),
            ("app_version", "latest", "such an event is a dead letter (invalid_value)"),
            ("ip", "10.0.0.0/8", "such an event is a dead letter (invalid_value)"),
            ("locale", "", "such an event is a dead letter (invalid_value)"),
        ] {
            let told = check(&equals(field, value)).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
        for (field, value) in [("device_type", "ios"), ("app_version", "2.0"), ("ip", "::1"), ("mine", "iOS")] {
            assert_eq!(check(&equals(field, value)), Ok(()), "{field}");
        }
        let nested = Condition::Not {
            not: Box::new(Condition::Any { any: vec![equals("device_type", "X").route[0].when.clone()] }),
        };
        assert!(check(&config(nested)).is_err());
        let mut covered = equals("ip", "10.0.0.0/8");
        covered.privacy.ip = IpPrivacy::HmacSha256;
        assert_eq!(check(&covered), Ok(()), "what is written is another text");
    }

    #[test]
    fn fields_that_are_spelled_much_like_others_are_doubted() {
        let doubts = doubts(&equals("device_typ", "ios"));
        assert!(doubts.len() == 1 && doubts[0].ends_with("did you mean device_type?"), "{doubts:?}");
        for field in ["device_type", "tenant", "latency_ms"] {
            assert_eq!(super::doubts(&equals(field, "1")), [""; 0], "{field}");
        }
    }
}
