use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::*;

fn scan(text: &str) -> Result<Vec<(String, String)>, ScanError> {
    let mut members = Members::of(text)?;
    let mut found = Vec::new();
    loop {
        match members.step()? {
            Step::Member(name, value) => {
                let raw = value.raw(text);
                assert_eq!(value.kind == Kind::Number { integer: true }, raw.parse::<i128>().is_ok());
                found.push((name.into_owned(), raw.to_owned()));
            }
            Step::End(close) => {
                assert_eq!(text.as_bytes()[close], b'}');
                return Ok(found);
            }
        }
    }
}

#[test]
fn finds_members_where_they_lie() {
    let text = " { \"a\" : 1.5e3 , \"b\\u0063\":[{},[ ],{\"x\":[1]}] ,\"s\":\"q\\\"\"}\n";
    let found = scan(text).unwrap();
    let found: Vec<_> = found.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(found, [("a", "1.5e3"), ("bc", "[{},[ ],{\"x\":[1]}]"), ("s", "\"q\\\"\"")]);
}

#[test]
fn a_guessed_member_is_taken_only_where_it_stands() {
    let text = r#"{"a":1,"a":2,"processed_at":3, "a":4}"#;
    let mut members = Members::of(text).unwrap();
    let (a, processed_at) = (Opening::of("a"), Opening::of("processed_at"));
    assert!(members.value_behind(&a).is_none(), "the first has no comma");
    assert!(matches!(members.step(), Ok(Step::Member(..))));
    assert!(members.value_behind(&processed_at).is_none());
    assert_eq!(members.value_behind(&a).unwrap().unwrap().raw(text), "2");
    assert_eq!(members.value_behind(&processed_at).unwrap().unwrap().raw(text), "3");
    assert!(members.value_behind(&a).is_none(), "white space is for step()");
    assert!(matches!(members.step(), Ok(Step::Member(..))));
    assert!(matches!(members.step(), Ok(Step::End(_))));
}

#[test]
fn says_why_not() {
    assert_eq!(scan("[1]").unwrap_err(), ScanError::NotAnObject);
    assert_eq!(scan(" null ").unwrap_err(), ScanError::NotAnObject);
    assert_eq!(scan("{} x").unwrap_err(), ScanError::Malformed(3));
    for text in ["", "{", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{,}", "{\"a\":01}", "{\"a\":[}]}", "{\"a\":tru}", "nul"]
    {
        assert!(matches!(scan(text), Err(ScanError::Malformed(_))), "{text}");
    }
}

#[test]
fn nests_up_to_the_limit() {
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    assert!(scan(&nested(128)).is_ok());
    assert_eq!(scan(&nested(129)).unwrap_err(), ScanError::TooDeep);
    assert_eq!(scan(&"[".repeat(1 << 20)).unwrap_err(), ScanError::TooDeep);
}

/// Texts that are nearly JSON, far likelier to find a difference than random bytes.
fn nearly_json() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"a\"",
        "\"b\\n\"",
        "\"\\u00e9\"",
        "\"\\ud800\"",
        "\"\\x\"",
        "1",
        "-0",
        "01",
        "1.5",
        "1.",
        "1e5",
        "-",
        "true",
        "false",
        "null",
        "nul",
        " ",
        "\n",
        "\"",
        "\\",
        "é",
        "\u{1}",
    ]);
    prop::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat())
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec!["1", "\"s\"", "null", "true", "-2.5e-3", "\"\\\"\\u0041\"", "\"é\""])
        .prop_map(String::from);
    leaf.prop_recursive(6, 48, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|v| format!("[{}]", v.join(" , "))),
            prop::collection::vec(inner, 0..5).prop_map(|v| {
                let members: Vec<_> = v.iter().enumerate().map(|(i, v)| format!("\"k{i}\" :{v}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

fn agrees_with_serde_json(text: &str) {
    let oracle = serde_json::from_str::<IgnoredAny>(text).is_ok();
    match scan(text) {
        Ok(_) => assert!(oracle, "accepted {text:?}"),
        Err(ScanError::NotAnObject) => assert!(oracle && !text.trim_start().starts_with('{'), "{text:?}"),
        Err(ScanError::Malformed(_) | ScanError::ByteOrderMark) => assert!(!oracle, "refused {text:?}"),
        Err(ScanError::TooDeep) => {}
    }
}

proptest! {
    #[test]
    fn accepts_what_serde_json_accepts(text in prop_oneof![nearly_json(), json(), ".*"]) {
        agrees_with_serde_json(&text);
    }

    #[test]
    fn accepts_damaged_json_as_serde_json_does(text in json(), at in any::<prop::sample::Index>(), with in any::<u8>()) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = with;
        if let Ok(text) = String::from_utf8(bytes) {
            agrees_with_serde_json(&text);
        }
    }
}
