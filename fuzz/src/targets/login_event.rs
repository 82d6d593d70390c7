//! The login event: its fast path against its scanner, its rules and what is written against an oracle that was written a
//! second time on serde_json, whatever a deployment asks for.
//!
//! An input: what is asked for, and the record's value.

use std::net::IpAddr;

use login_event::{EditOptions, Edits, Enrichment, IdPrivacy, IpPrivacy, LoginEvent};
use test_support::oracle::{Asked, Cover, Expected, Output, judge, judge_as};

use super::{MIB, Target};
use crate::input::Input;

/// See the module.
pub const TARGET: Target = Target {
    name: "login_event",
    about: "login events: fast path, rules, enrichment, pseudonyms",
    run,
    seeds,
    words: &[
        "\"user_id\":", "\"app_version\":", "\"ip\":", "\"locale\":", "\"device_id\":", "\"timestamp\":", "\"device_type\":",
        "\"processed_at\":", "\"latency_ms\":", "\"country\":", "\"region\":", "\\u0041", "\\ud800", "::ffff:1.2.3.4", "2.3.0", "null", "1694479551000", "é", "İ",
    ],
    longest: 4 * 1024,
    memory: 16 * MIB,
};

/// 2026-01-02T03:04:05.678Z.
const NOW_MS: i64 = 1_767_323_045_678;
const NOW: &[u8; 26] = b"\"2026-01-02T03:04:05.678Z\"";

const KEY: &[u8] = b"a key of more than sixteen bytes";

fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let asked = input.byte();
    let value = input.rest();
    let expected = judge(Some(value));
    // The fast path takes no white space.
    let spaced = [value, b" "].concat();
    let by_scanner = LoginEvent::parse(&spaced);
    let event = match (LoginEvent::parse(value), expected) {
        (Ok(event), Ok(expected)) => {
            check(&enriched(&event), &expected);
            event
        }
        (Err(rejection), Err(_)) => {
            assert!(by_scanner.is_err(), "refused only without white space: {rejection:?}");
            return;
        }
        (Ok(_), Err(why)) => panic!("taken, but the oracle says: {why}"),
        (Err(rejection), Ok(_)) => panic!("refused, and the oracle takes it: {rejection:?}"),
    };
    let by_scanner = by_scanner.unwrap_or_else(|rejection| panic!("refused with white space only: {rejection:?}"));
    let fields = |event: &LoginEvent<'_>| {
        let text = |text: &[u8]| text.to_vec();
        (text(event.device_type.as_bytes()), text(event.app_version.as_bytes()), text(event.locale.as_bytes()), event.timestamp_ms)
    };
    assert_eq!(fields(&event), fields(&by_scanner), "fast path and scanner");
    assert_eq!([&enriched(&event)[..], b" "].concat(), enriched(&by_scanner), "fast path and scanner");
    edited(asked, value, event);
}

fn enriched(event: &LoginEvent<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    event.write_enriched(&enrichment(event), &mut out);
    out
}

fn enrichment(event: &LoginEvent<'_>) -> Enrichment<'static> {
    Enrichment { processed_at: NOW, latency_ms: (NOW_MS - event.timestamp_ms).max(0) }
}

fn check(written: &[u8], expected: &Expected) {
    let output = Output::parse(Some(written)).unwrap_or_else(|why| panic!("what is written is no event: {why}"));
    assert_eq!(output.processed_at_ms, NOW_MS);
    output.check(expected).unwrap_or_else(|why| panic!("{why}"));
}

/// What a deployment may ask for beyond that.
fn edited(asked: u8, value: &[u8], event: LoginEvent<'_>) {
    let id = |bits: u8| match bits & 3 {
        0 | 1 => (IdPrivacy::Keep, Cover::Keep),
        2 => (IdPrivacy::HmacSha256, Cover::Hmac),
        _ => (IdPrivacy::Remove, Cover::Remove),
    };
    let (user_id, user_cover) = id(asked);
    let (device_id, device_cover) = id(asked >> 2);
    let (ip, ip_cover) = match asked >> 4 & 3 {
        0 => (IpPrivacy::Keep, Cover::Keep),
        1 => (IpPrivacy::HmacSha256, Cover::Hmac),
        2 => (IpPrivacy::Truncate, Cover::Truncate),
        _ => (IpPrivacy::Remove, Cover::Remove),
    };
    let has_country = asked & 0x40 != 0;
    let statics = [("cell", "-7"), ("region", r#""e\"u""#), ("share", "1.0")];
    let statics: Vec<_> = statics.into_iter().filter(|_| asked & 0x80 != 0).collect();
    let options = EditOptions {
        user_id,
        device_id,
        ip,
        key: Some(KEY),
        country: has_country.then_some("country"),
        statics: statics.iter().map(|(name, value)| (*name, value.as_bytes().to_vec())).collect(),
    };
    let Some(edits) = Edits::new(&options) else { return };
    let as_asked = Asked {
        user_id: user_cover,
        device_id: device_cover,
        ip: ip_cover,
        key: KEY.to_vec(),
        country: has_country.then(|| ("country".to_owned(), country_of as _)),
        statics: statics.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    };
    let expected = judge_as(Some(value), &as_asked).unwrap_or_else(|why| panic!("the oracle takes it without edits: {why}"));
    let enrichment = enrichment(&event);
    let plan = edits.plan(event);
    let code = plan.address().and_then(country_of).and_then(|code| code.as_bytes().first_chunk().copied());
    let mut out = Vec::new();
    edits.write(&plan, &enrichment, code.as_ref(), &mut out);
    check(&out, &expected);
    let key = plan.address().map(|address| address.to_string().into_bytes());
    assert_eq!(edits.key(&plan, key.as_deref()), as_asked.key(key.as_deref(), Some(value)).as_deref(), "the record's key");
}

/// Some addresses have a country.
fn country_of(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) if address.octets()[0] % 2 == 1 => Some("US"),
        IpAddr::V6(_) => Some("GB"),
        IpAddr::V4(_) => None,
    }
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    const REAL: &str = r#"{"user_id":"424cdd21-063a-43a7-b91b-7ca1a833afae","app_version":"2.3.0","ip":"199.172.111.135","locale":"RU","device_id":"593-47-5928","timestamp":1694479551,"device_type":"iOS"}"#;
    let mut seeds = vec![
        ("seed-usual".to_owned(), [b"\0", REAL.as_bytes()].concat()),
        ("seed-everything".to_owned(), [b"\xff", REAL.as_bytes()].concat()),
        (
            "seed-other-order".to_owned(),
            b"\xe6 {\"timestamp\" : \"1694479551000\", \"country\":[1,{}],\"region\":\"x\",\"device_id\":\"d\\u00e9\",\"locale\":\"de-DE\",\"ip\":\"2001:db8::1\",\"app_version\":\"1.2.3.4\",\"user_id\":\"u\",\"latency_ms\": \"old\" ,\"processed_at\":null,\"device_type\":null,\"more\":1e400}\n".to_vec(),
        ),
    ];
    for (name, from, to) in [("no-device-type", ",\"device_type\":\"iOS\"", ""), ("bad-version", "2.3.0", "2"), ("escaped", "RU", "\\u0052U"), ("unfinished", "iOS\"", "")] {
        seeds.push((format!("seed-{name}"), [b"\x2a", REAL.replace(from, to).as_bytes()].concat()));
    }
    seeds
}
