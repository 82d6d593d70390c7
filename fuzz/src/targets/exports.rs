//! Lines of an export, which a replay reads: one that is read is written as a line that is read as the same, and no terminal
//! obeys it. What is wrong is told without what stands there.

use login_pipeline::dead_letter::{Exported, RedactedValue, export};

use super::{MIB, Target};

/// See the module.
pub const TARGET: Target = Target {
    name: "exports",
    about: "lines of `dlq export`, as a replay reads them",
    run,
    seeds,
    words: &[
        "\"topic\":", "\"partition\":", "\"offset\":", "\"timestamp\":", "\"key\":", "\"value\":", "\"headers\":", "{\"base64\":\"", "/w==", "null", "[]", "\\u2028", "\\ud800", "-1",
    ],
    longest: 4 * 1024,
    memory: 16 * MIB,
};

fn run(line: &[u8]) {
    // Log lines have such records too.
    let shown = RedactedValue(Some(line)).to_string();
    assert!(shown.is_ascii() && shown.len() < 4 * 1024, "{shown}");
    let letter = match Exported::read(line) {
        Ok(letter) => letter,
        Err(broken) => {
            let text = broken.to_string();
            assert!(text.len() < 512 && !text.contains(char::is_control), "{text:?}");
            return;
        }
    };
    let mut written = Vec::new();
    export(&mut written, &letter.topic, letter.partition, &letter.record(letter.offset)).expect("memory takes it");
    assert_eq!(Exported::read(&written).as_ref(), Ok(&letter), "what is written is read as another");
    let text = std::str::from_utf8(&written).expect("JSON");
    let body = text.strip_suffix('\n').expect("a line");
    let steers = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!body.contains(steers), "{body:?}");
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    [
        ("usual", "{\"topic\":\"t\",\"partition\":0,\"offset\":1,\"timestamp\":5,\"key\":null,\"value\":\"v\",\"headers\":[[\"a\",\"1\"],[\"a\",null],[\"a\",{\"base64\":\"/w==\"}],[{\"base64\":\"/w==\"},\"x\"]]}\n"),
        ("spaced", " {\"headers\": [ ], \"value\": {\"base64\" : \"\"}, \"key\": \"k\\u0000\\u2028\\ud83d\\ude00\", \"timestamp\": -1, \"offset\": 9223372036854775807, \"partition\": 2147483647, \"topic\": \"\"}"),
    ]
    .map(|(name, line)| (format!("seed-{name}"), line.as_bytes().to_vec()))
    .to_vec()
}
