use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json, json};

use super::*;

const REAL: &str = r#"{"user_id":"424cdd21-063a-43a7-b91b-7ca1a833afae","app_version":"2.3.0","ip":"199.172.111.135","locale":"RU","device_id":"593-47-5928","timestamp":1694479551,"device_type":"iOS"}"#;

const ENRICHMENT: Enrichment<'_> = Enrichment { processed_at: b"\"2026-01-02T03:04:05.678Z\"", latency_ms: 42 };

const ADDED: &str = r#""processed_at":"2026-01-02T03:04:05.678Z","latency_ms":42"#;

const KEY: &[u8] = b"a key of more than sixteen bytes";

/// What is asked for of user, device and address, and whether a country and fields are added.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    user_id: IdPrivacy,
    device_id: IdPrivacy,
    ip: IpPrivacy,
    country: bool,
    statics: bool,
}

const NOTHING: Wanted = Wanted {
    user_id: IdPrivacy::Keep,
    device_id: IdPrivacy::Keep,
    ip: IpPrivacy::Keep,
    country: false,
    statics: false,
};

fn edits(wanted: Wanted) -> Edits {
    let statics = [("cell", "-7"), ("region", r#""e\"u""#), ("share", "1.0"), ("test", "true")];
    let options = EditOptions {
        user_id: wanted.user_id,
        device_id: wanted.device_id,
        ip: wanted.ip,
        key: Some(KEY),
        country: wanted.country.then_some("country"),
        statics: statics
            .iter()
            .filter(|_| wanted.statics)
            .map(|(name, value)| (*name, value.as_bytes().to_vec()))
            .collect(),
    };
    Edits::new(&options).unwrap_or(Edits {
        user_id: Pseudonymizer::Keep,
        device_id: Pseudonymizer::Keep,
        ip: Pseudonymizer::Keep,
        country: None,
        statics: Vec::new(),
    })
}

fn written(text: &str, options: Wanted, country: Option<&[u8; 2]>) -> String {
    let edits = edits(options);
    let plan = edits.plan(LoginEvent::parse(text.as_bytes()).unwrap());
    let mut out = Vec::new();
    edits.write(&plan, &ENRICHMENT, country.filter(|_| options.country), &mut out);
    String::from_utf8(out).unwrap()
}

fn pseudonym(text: &str) -> String {
    match Pseudonymizer::of_id(IdPrivacy::HmacSha256, Some(KEY)).pseudonymize(text) {
        Written::Text(text) => String::from_utf8(text).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_added_follows_in_a_fixed_order() {
    let out = written(REAL, Wanted { country: true, statics: true, ..NOTHING }, Some(b"US"));
    let expected = r#","country":"US","cell":-7,"region":"e\"u","share":1.0,"test":true}"#;
    assert_eq!(out, REAL.replace("iOS", "ios").replace('}', &format!(",{ADDED}{expected}")));
}

#[test]
fn without_a_country_there_is_no_such_field() {
    let options = Wanted { country: true, ..NOTHING };
    let plain = REAL.replace("iOS", "ios").replace('}', &format!(",{ADDED}}}"));
    assert_eq!(written(REAL, options, None), plain);
    let claims = |at: &str, with: &str| REAL.replacen(at, with, 1);
    for text in [
        claims("{", r#"{"country":"XX","#),
        claims(",\"ip\"", r#" ,"c\u006funtry":{"x":[1,"}"]},"ip""#),
        claims("}", r#","country" :null}"#),
    ] {
        let out = written(&text, options, None);
        assert_eq!(out.replace(" ,", ","), plain, "{text}");
        let out = written(&text, options, Some(b"US"));
        assert_eq!(serde_json::from_str::<Json>(&out).unwrap()["country"], "US", "{out}");
        assert_eq!(out.matches("US").count(), 1);
    }
}

#[test]
fn fields_of_the_deployment_replace_those_of_the_event() {
    let text = REAL.replacen('{', r#"{ "region" : ["x"],"#, 1);
    let out = written(&text, Wanted { statics: true, ..NOTHING }, None);
    assert!(out.starts_with(r#"{ "region" : "e\"u","user_id""#), "{out}");
    assert_eq!(out.matches("region").count(), 1);
}

#[test]
fn people_are_hidden_in_place() {
    let options =
        Wanted { user_id: IdPrivacy::HmacSha256, device_id: IdPrivacy::HmacSha256, ip: IpPrivacy::Truncate, ..NOTHING };
    let (user, device) = (pseudonym("424cdd21-063a-43a7-b91b-7ca1a833afae"), pseudonym("593-47-5928"));
    let expected = REAL
        .replace("iOS", "ios")
        .replace("424cdd21-063a-43a7-b91b-7ca1a833afae", &user)
        .replace("593-47-5928", &device)
        .replace("111.135", "111.0")
        .replace('}', &format!(",{ADDED}}}"));
    assert_eq!(written(REAL, options, None), expected);
    let escaped = REAL.replace("424cdd21", "\\u003424cdd21");
    assert_eq!(written(&escaped, options, None), expected, "the text counts, not how it is written");
}

#[test]
fn what_is_removed_goes_with_its_comma() {
    let options = Wanted { user_id: IdPrivacy::Remove, device_id: IdPrivacy::Remove, ip: IpPrivacy::Remove, ..NOTHING };
    let end = format!(r#""locale":"RU","timestamp":1694479551,"device_type":"ios",{ADDED}}}"#);
    assert_eq!(written(REAL, options, None), format!(r#"{{"app_version":"2.3.0",{end}"#));
    let all_first = r#" { "ip" : "::1" , "user_id":"u", "device_id":"d" ,"x" : 1, "app_version":"2.3","locale":"RU","timestamp":1 } "#;
    let out = written(all_first, options, None);
    assert!(out.starts_with(r#" {"x" : 1, "app_version":"2.3""#), "{out}");
    assert!(serde_json::from_str::<Json>(&out).is_ok(), "{out}");
}

#[test]
fn a_key_says_no_more_than_the_value() {
    let user = "424cdd21-063a-43a7-b91b-7ca1a833afae";
    let key = |options, key: &str| {
        let edits = edits(options);
        let plan = edits.plan(LoginEvent::parse(REAL.as_bytes()).unwrap());
        edits.key(&plan, Some(key.as_bytes())).map(|key| String::from_utf8(key.to_vec()).unwrap())
    };
    assert_eq!(key(NOTHING, user).as_deref(), Some(user));
    let hashed = Wanted { user_id: IdPrivacy::HmacSha256, ip: IpPrivacy::Truncate, ..NOTHING };
    assert_eq!(key(hashed, user), Some(pseudonym(user)));
    assert_eq!(key(hashed, "199.172.111.135").as_deref(), Some("199.172.111.0"));
    assert_eq!(key(hashed, "593-47-5928").as_deref(), Some("593-47-5928"), "kept in the value, too");
    assert_eq!(key(hashed, "another").as_deref(), Some("another"));
    assert_eq!(key(Wanted { country: true, ..NOTHING }, "199.172.111.135").as_deref(), Some("199.172.111.135"));
    assert_eq!(key(Wanted { user_id: IdPrivacy::Remove, ..NOTHING }, user), None);
    let none = edits(hashed);
    assert_eq!(none.key(&none.plan(LoginEvent::parse(REAL.as_bytes()).unwrap()), None), None);
}

fn options() -> impl Strategy<Value = Wanted> {
    let id = || prop::sample::select(vec![IdPrivacy::Keep, IdPrivacy::HmacSha256, IdPrivacy::Remove]);
    let ip = prop::sample::select(vec![IpPrivacy::Keep, IpPrivacy::HmacSha256, IpPrivacy::Truncate, IpPrivacy::Remove]);
    (id(), id(), ip, any::<bool>(), any::<bool>()).prop_map(|(user_id, device_id, ip, country, statics)| Wanted {
        user_id,
        device_id,
        ip,
        country,
        statics,
    })
}

/// A value that a careless copy would change.
fn unknown_value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("123456789012345678901234567890".to_owned()),
        Just("0.10".to_owned()),
        Just("[ {\"ip\" :null}, \"a,b}\" ]".to_owned()),
        any::<String>().prop_map(|text| Json::String(text).to_string()),
    ]
}

proptest! {
    #[test]
    fn any_bytes_have_one_outcome(
        options in options(),
        at in 0..REAL.len(),
        with in prop::collection::vec(any::<u8>(), 0..6),
        cut in 0..REAL.len(),
    ) {
        let mut bytes = REAL.as_bytes().to_vec();
        bytes.splice(at..(at + with.len()).min(REAL.len()), with);
        for bytes in [&bytes[..], &bytes[..cut.min(bytes.len())]] {
            if let Ok(event) = LoginEvent::parse(bytes) {
                let edits = edits(options);
                let plan = edits.plan(event);
                let mut out = Vec::new();
                edits.write(&plan, &ENRICHMENT, None, &mut out);
                prop_assert!(serde_json::from_slice::<Map<String, Json>>(&out).is_ok());
            }
        }
    }

    #[test]
    fn all_is_as_asked_and_the_rest_keeps_its_bytes(
        options in options(),
        country in prop::option::of(Just(b"DE")),
        unknown in prop::collection::btree_map("[a-z]{12,14}", unknown_value(), 0..4),
        there in prop::sample::subsequence(vec!["country", "region", "test", "processed_at", "latency_ms"], 0..=5),
        space in prop::sample::select(vec!["", " ", "\n\t"]),
        order in any::<prop::sample::Index>(),
    ) {
        let event: BTreeMap<String, Box<RawValue>> = serde_json::from_str(REAL).unwrap();
        let mut members: Vec<(String, String)> = event.iter().map(|(name, raw)| (name.clone(), raw.get().to_owned())).collect();
        members.extend(unknown.clone());
        members.extend(there.iter().map(|name| ((*name).to_owned(), "{\"old\":[1,2]}".to_owned())));
        let middle = order.index(members.len());
        members.rotate_left(middle);
        let joined: Vec<_> =
            members.iter().map(|(name, raw)| format!("{space}\"{name}\"{space}:{space}{raw}{space}")).collect();
        let text = format!("{{{}}}{space}", joined.join(","));

        let out = written(&text, options, country);
        let found: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&out).unwrap();
        let mut expected: BTreeMap<String, String> = members.into_iter().collect();
        expected.insert("device_type".to_owned(), "\"ios\"".to_owned());
        expected.insert("processed_at".to_owned(), String::from_utf8(ENRICHMENT.processed_at.to_vec()).unwrap());
        expected.insert("latency_ms".to_owned(), "42".to_owned());
        let mut set = |name: &str, value: Option<String>| match value {
            Some(value) => drop(expected.insert(name.to_owned(), value)),
            None => drop(expected.remove(name)),
        };
        if options.country {
            set("country", country.map(|_| "\"DE\"".to_owned()));
        }
        if options.statics {
            let fields = json!({"region": "e\"u", "cell": -7, "share": 1.0, "test": true});
            fields.as_object().unwrap().iter().for_each(|(name, value)| set(name, Some(value.to_string())));
        }
        for (name, privacy, came) in [
            ("user_id", options.user_id, "424cdd21-063a-43a7-b91b-7ca1a833afae"),
            ("device_id", options.device_id, "593-47-5928"),
        ] {
            match privacy {
                IdPrivacy::Keep => {}
                IdPrivacy::HmacSha256 => set(name, Some(format!("\"{}\"", pseudonym(came)))),
                IdPrivacy::Remove => set(name, None),
            }
        }
        match options.ip {
            IpPrivacy::Keep => {}
            IpPrivacy::HmacSha256 => set("ip", Some(format!("\"{}\"", pseudonym("199.172.111.135")))),
            IpPrivacy::Truncate => set("ip", Some("\"199.172.111.0\"".to_owned())),
            IpPrivacy::Remove => set("ip", None),
        }
        let found: BTreeMap<String, String> = found.into_iter().map(|(name, raw)| (name, raw.get().to_owned())).collect();
        prop_assert_eq!(found, expected, "{}", text);
        let as_object: Map<String, Json> = serde_json::from_str(&out).unwrap();
        let names = out.matches("\"device_type\"").count();
        prop_assert_eq!((names, as_object.contains_key("device_type")), (1, true));
    }

    #[test]
    fn where_nothing_is_asked_it_is_the_usual_enrichment(at in 0..REAL.len(), piece in "[ -~]{0,9}", end in 0..8_usize) {
        let mut text = REAL.to_owned();
        text.replace_range(at..(at + end).min(REAL.len()), &piece);
        if let Ok(event) = LoginEvent::parse(text.as_bytes()) {
            let mut usual = Vec::new();
            event.write_enriched(&ENRICHMENT, &mut usual);
            prop_assert_eq!(written(&text, NOTHING, None).into_bytes(), usual);
        }
    }
}
