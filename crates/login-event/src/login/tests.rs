use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::ipv4::is_ipv4;
use super::rules::{decimal, is_ip};
use super::*;
use crate::Reason;

const REAL: &str = r#"{"user_id":"424cdd21-063a-43a7-b91b-7ca1a833afae","app_version":"2.3.0","ip":"199.172.111.135","locale":"RU","device_id":"593-47-5928","timestamp":1694479551,"device_type":"android"}"#;

const ENRICHMENT: Enrichment<'_> = Enrichment { processed_at: b"\"2026-01-02T03:04:05.678Z\"", latency_ms: 42 };

fn with(field: &str, value: Json) -> String {
    let mut event: Map<String, Json> = serde_json::from_str(REAL).unwrap();
    event.insert(field.to_owned(), value);
    Json::Object(event).to_string()
}

fn enriched(text: &str) -> String {
    let event = LoginEvent::parse(text.as_bytes()).unwrap();
    let mut out = Vec::new();
    event.write_enriched(&ENRICHMENT, &mut out);
    String::from_utf8(out).unwrap()
}

fn refused(text: &str) -> (Reason, Option<&'static str>) {
    let rejection = LoginEvent::parse(text.as_bytes()).unwrap_err();
    (rejection.reason, rejection.field)
}

#[test]
fn a_real_event_gains_two_fields_at_its_end() {
    let expected = REAL.replace('}', r#","processed_at":"2026-01-02T03:04:05.678Z","latency_ms":42}"#);
    assert_eq!(enriched(REAL), expected);
}

#[test]
fn device_type_is_lower_cased_in_place_and_unknown_where_absent() {
    assert!(enriched(&REAL.replace("\"android\"", "\"iOS\"")).contains(r#","device_type":"ios","processed_at""#));
    assert!(enriched(&REAL.replace("\"android\"", "\"\"")).contains(r#","device_type":"unknown","processed_at""#));
    assert!(enriched(&REAL.replace("\"android\"", "null")).contains(r#","device_type":"unknown","processed_at""#));
    assert!(
        enriched(&REAL.replace(",\"device_type\":\"android\"", ""))
            .contains(r#"1694479551,"device_type":"unknown","processed_at""#)
    );
    assert!(enriched(&REAL.replace("\"android\"", "\"ANDRO\\u0049D\"")).contains(r#""device_type":"android""#));
}

#[test]
fn fields_that_enrichment_writes_are_replaced_not_repeated() {
    let text = REAL.replacen('{', r#"{"latency_ms":{"x":[1]},"processed_at" : "then", "#, 1);
    let out = enriched(&text);
    assert!(out.starts_with(r#"{"latency_ms":42,"processed_at" : "2026-01-02T03:04:05.678Z", "user_id""#), "{out}");
    assert_eq!(out.matches("latency_ms").count(), 1);
}

#[test]
fn unknown_fields_keep_their_bytes() {
    let text = REAL.replacen('{', r#"{ "big":123456789012345678901234567890.10, "e":1E+400,"n":{"ip":null} ,"#, 1);
    assert!(
        enriched(&text)
            .starts_with(r#"{ "big":123456789012345678901234567890.10, "e":1E+400,"n":{"ip":null} ,"user_id""#)
    );
}

#[test]
fn timestamps_come_as_integers_strings_and_milliseconds() {
    let at = |value: Json| LoginEvent::parse(with("timestamp", value).as_bytes()).map(|event| event.timestamp_ms);
    assert_eq!(at(json!(1_694_479_551)), Ok(1_694_479_551_000));
    assert_eq!(at(json!("1694479551")), Ok(1_694_479_551_000));
    assert_eq!(at(json!(1_694_479_551_123_i64)), Ok(1_694_479_551_123));
    assert_eq!(at(json!(100_000_000_000_i64)), Ok(100_000_000_000));
    assert_eq!(at(json!(4_133_980_799_i64)), Ok(4_133_980_799_000), "the last second of the year 2100");
    assert_eq!(at(json!("4133980799999")), Ok(4_133_980_799_999));
}

#[test]
fn a_timestamp_in_micro_or_nanoseconds_is_no_time_of_the_year_55000() {
    for timestamp in [
        4_133_980_800,         // seconds, 2101
        99_999_999_999,        // the last that would be seconds
        4_133_980_800_000,     // milliseconds, 2101
        1_694_479_551_000_000, // microseconds
        1_694_479_551_000_000_000,
        i64::MAX,
    ] {
        for value in [json!(timestamp), json!(timestamp.to_string())] {
            let text = with("timestamp", value);
            assert_eq!(refused(&text), (Reason::InvalidValue, Some("timestamp")), "{text}");
            let refused = LoginEvent::parse(text.as_bytes()).unwrap_err();
            assert!(refused.message.contains("beyond the year 2100"), "{refused:?}");
        }
    }
}

#[test]
fn a_byte_order_mark_is_said_by_name() {
    let utf16 = |bytes: fn(u16) -> [u8; 2]| "\u{feff}{}".encode_utf16().flat_map(bytes).collect::<Vec<_>>();
    let utf32 = |bytes: fn(u32) -> [u8; 4]| "\u{feff}{}".chars().flat_map(|c| bytes(c.into())).collect::<Vec<_>>();
    for (value, reason, said) in [
        (format!("\u{feff}{REAL}").into_bytes(), Reason::MalformedJson, "a UTF-8 byte order mark"),
        (b"\xef\xbb\xbf".to_vec(), Reason::MalformedJson, "a UTF-8 byte order mark"),
        (utf16(u16::to_le_bytes), Reason::InvalidUtf8, "the byte order mark of UTF-16"),
        (utf16(u16::to_be_bytes), Reason::InvalidUtf8, "the byte order mark of UTF-16"),
        (utf32(u32::to_le_bytes), Reason::InvalidUtf8, "the byte order mark of UTF-32"),
        (utf32(u32::to_be_bytes), Reason::InvalidUtf8, "the byte order mark of UTF-32"),
    ] {
        let refused = LoginEvent::parse(&value).unwrap_err();
        assert_eq!(refused.reason, reason, "{refused:?}");
        assert!(refused.message.contains(said), "{refused:?}");
    }
    let within = LoginEvent::parse(format!("{REAL}\u{feff}").as_bytes()).unwrap_err();
    assert!(!within.message.contains("mark"), "only what comes first is one: {within:?}");
}

#[test]
fn each_broken_rule_has_its_reason_and_field() {
    use Reason::*;
    let cases = [
        ("".to_owned(), Tombstone, None),
        ("{".to_owned(), MalformedJson, None),
        (format!("{REAL} x"), MalformedJson, None),
        ("[]".to_owned(), NotAnObject, None),
        ("\"text\"".to_owned(), NotAnObject, None),
        (REAL.replacen('{', r#"{"ip":"1.1.1.1","#, 1), DuplicateField, Some("ip")),
        (REAL.replacen('{', r#"{"u\u0073er_id":"x","#, 1), DuplicateField, Some("user_id")),
        (REAL.replacen('{', r#"{"x":1,"y":2,"x":3,"#, 1), DuplicateField, None),
        (REAL.replace("\"ip\"", "\"pi\""), MissingField, Some("ip")),
        (with("user_id", Json::Null), MissingField, Some("user_id")),
        (with("user_id", json!(7)), WrongType, Some("user_id")),
        (with("user_id", json!("")), InvalidValue, Some("user_id")),
        (with("user_id", json!("u".repeat(257))), InvalidValue, Some("user_id")),
        (with("device_id", json!(["x"])), WrongType, Some("device_id")),
        (with("device_type", json!(1)), WrongType, Some("device_type")),
        (with("locale", json!("l".repeat(36))), InvalidValue, Some("locale")),
        (with("ip", json!("300.1.1.1")), InvalidValue, Some("ip")),
        (with("ip", json!("10.0.0.1 ")), InvalidValue, Some("ip")),
        (with("app_version", json!("2")), InvalidValue, Some("app_version")),
        (with("app_version", json!("2.3.4.5.6")), InvalidValue, Some("app_version")),
        (with("app_version", json!("2.x")), InvalidValue, Some("app_version")),
        (with("app_version", json!("2..3")), InvalidValue, Some("app_version")),
        (with("timestamp", json!(0)), InvalidValue, Some("timestamp")),
        (with("timestamp", json!(-5)), InvalidValue, Some("timestamp")),
        (with("timestamp", json!(1.5)), WrongType, Some("timestamp")),
        (with("timestamp", json!(true)), WrongType, Some("timestamp")),
        (with("timestamp", json!("")), InvalidValue, Some("timestamp")),
        (with("timestamp", json!("12a")), InvalidValue, Some("timestamp")),
        (with("timestamp", json!(u64::MAX)), InvalidValue, Some("timestamp")),
        (REAL.replace("\"593-47-5928\"", "\"\\ud800\""), InvalidValue, Some("device_id")),
        (REAL.replacen('{', &format!("{{\"deep\":{}{},", "[".repeat(128), "]".repeat(128)), 1), TooDeep, None),
    ];
    for (text, reason, field) in cases {
        assert_eq!(refused(&text), (reason, field), "{text}");
    }
    assert_eq!(LoginEvent::parse(b"{\"a\":\"\xff\"}").unwrap_err().reason, InvalidUtf8);
}

#[test]
fn reserved_and_ipv6_addresses_are_valid() {
    for ip in ["245.17.10.63", "0.0.0.0", "::1", "2001:db8::ff00:42:8329"] {
        assert!(LoginEvent::parse(with("ip", json!(ip)).as_bytes()).is_ok(), "{ip}");
    }
}

#[test]
fn fields_are_found_by_name() {
    let event = LoginEvent::parse(REAL.as_bytes()).unwrap();
    assert_eq!(event.field("locale").as_deref(), Some("RU"));
    assert_eq!(event.field("timestamp").as_deref(), Some("1694479551"));
    assert_eq!(event.field("none"), None);
}

/// JSON values with the numbers and escapes that a careless copy would change.
fn unknown_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("123456789012345678901234567890".to_owned()),
        Just("0.10".to_owned()),
        Just("-1E-7".to_owned()),
        Just("null".to_owned()),
        Just("\"\\u00e9\\/\"".to_owned()),
        any::<String>().prop_map(|text| Json::String(text).to_string()),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|v| format!("[ {} ]", v.join(", "))),
            inner.prop_map(|v| format!("{{\"latency_ms\" :{v}}}")),
        ]
    })
}

proptest! {
    #[test]
    fn addresses_are_those_of_the_standard_library(text in "[0-9.]{0,16}|([0-9]{1,3}\\.){3}[0-9]{1,3}|[0-9a-f:.]{0,20}") {
        prop_assert_eq!(is_ip(text.as_bytes()), text.parse::<std::net::IpAddr>().is_ok(), "{}", text);
        prop_assert_eq!(is_ipv4(text.as_bytes()), text.parse::<std::net::Ipv4Addr>().is_ok(), "{}", text);
    }

    #[test]
    fn numbers_are_those_of_the_standard_library(text in "[0-9]{0,21}|[0-9+ -]{0,10}|[0-9]{7}.[0-9]{0,3}") {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        prop_assert_eq!(decimal(text.as_bytes()), text.parse::<i64>().ok().filter(|_| digits), "{}", text);
    }

    #[test]
    fn any_bytes_have_one_outcome(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(event) = LoginEvent::parse(&bytes) {
            event.write_enriched(&ENRICHMENT, &mut Vec::new());
        }
    }

    #[test]
    fn damaged_events_have_one_outcome(at in 0..REAL.len(), with in any::<u8>(), cut in 0..REAL.len()) {
        let mut bytes = REAL.as_bytes().to_vec();
        bytes[at] = with;
        for bytes in [&bytes[..], &bytes[..cut]] {
            if let Ok(event) = LoginEvent::parse(bytes) {
                let mut out = Vec::new();
                event.write_enriched(&ENRICHMENT, &mut out);
                prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&out).is_ok());
            }
        }
    }

    #[test]
    fn enriched_is_json_and_keeps_unknown_fields(
        unknown in prop::collection::btree_map("[a-z]{12,14}", unknown_value(), 0..5),
        device_type in prop::option::of(".{0,12}"),
        old in any::<[bool; 2]>(),
        order in any::<prop::sample::Index>(),
    ) {
        let mut members: Vec<String> = unknown.iter().map(|(name, value)| format!(" \"{name}\":\t{value}")).collect();
        let known = &REAL[1..REAL.find(",\"device_type\"").unwrap()];
        members.push(known.to_owned());
        members.extend(device_type.iter().map(|text| format!("\"device_type\":{}", Json::String(text.clone()))));
        members.extend(old[0].then(|| "\"processed_at\":[1,{}]".to_owned()));
        members.extend(old[1].then(|| "\"latency_ms\": \"old\" ".to_owned()));
        let mid = order.index(members.len());
        members.rotate_left(mid);
        let text = format!("{{{}}} ", members.join(","));

        let out = enriched(&text);
        let oracle: Map<String, Json> = serde_json::from_str(&out).unwrap();
        let raw: std::collections::BTreeMap<String, Box<serde_json::value::RawValue>> = serde_json::from_str(&out).unwrap();
        for (name, value) in &unknown {
            prop_assert_eq!(raw[name].get(), value);
        }
        let lower = device_type.filter(|text| !text.is_empty()).map_or("unknown".to_owned(), |text| text.to_lowercase());
        prop_assert_eq!(oracle["device_type"].as_str(), Some(lower.as_str()));
        prop_assert_eq!(oracle["processed_at"].to_string().into_bytes(), ENRICHMENT.processed_at);
        prop_assert_eq!(oracle["latency_ms"].as_i64(), Some(42));
        let fields = 6 + 3 + unknown.len();
        prop_assert_eq!(oracle.len(), fields);
        prop_assert_eq!(out.matches("\"processed_at\"").count(), 1);
    }
}
