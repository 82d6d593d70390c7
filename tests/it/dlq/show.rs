//! What is told of dead letters.

use kafka_sandbox::NewRecord;
use serde_json::Value;

use crate::dlq::terminal::Terminal;
use test_support::dead_letters::{PREFIX, dead, dlq, sandbox, told, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_personal_is_shown_unless_revealed() {
    let sandbox = sandbox().await;
    let brokers = sandbox.bootstrap();
    for value in [
        r#"{"user_id":"CANARY","ip":"CANARY","device_id":"CANARY","locale":"CANARY","CANARY":"x"}"#,
        r#"{"ip":"CANARY"#,
        "CANARY",
        r#"["CANARY"]"#,
    ] {
        let foreign = NewRecord::new("CANARY", value).header("CANARY", Some(b"CANARY"));
        let foreign = foreign.header(format!("{PREFIX}message"), Some(b"CANARY"));
        let foreign = foreign.header(format!("{PREFIX}reason"), Some(b"CANARY"));
        write(&sandbox, 0, vec![dead("CANARY", value, "wrong_type", "0"), foreign]);
    }
    let offsets: Vec<_> = (0..8).map(|offset| format!("0:{offset}")).collect();
    let mut commands = vec![vec!["stats"], vec!["stats", "--table"], vec!["list"], vec!["list", "--grep", "CANARY"]];
    commands.extend(offsets.iter().map(|place| vec!["show", place.as_str()]));
    commands.extend([vec!["replay", "--dry-run"], vec!["retry", "--dry-run", "--output.topic", "other"]]);
    commands.push(vec!["list", "--json"]);
    for args in commands {
        let shown = dlq(&brokers, &args).await;
        assert!(shown.status.success(), "{args:?}: {shown:?}");
        let text = [shown.stdout, shown.stderr].concat();
        assert!(!String::from_utf8(text).unwrap().contains("CANARY"), "{args:?}");
    }
    let shown = dlq(&brokers, &["show", "0:0", "--reveal"]).await;
    assert!(String::from_utf8_lossy(&shown.stderr).contains("personal data"));
    assert!(told(shown).matches("CANARY").count() >= 5);
    let listed = told(dlq(&brokers, &["list", "--reason", "wrong_type", "--max", "3"]).await);
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let stats: Value = serde_json::from_str(&told(dlq(&brokers, &["stats"]).await)).unwrap();
    assert_eq!((&stats["records"], &stats["reasons"]["wrong_type"]), (&8.into(), &4.into()), "{stats}");
    assert_eq!(stats["source_partitions"]["in/1"], 4, "{stats}");
    let counts = serde_json::json!({"1970-01-01T00:00:00Z": 4, "2026-01-02T03:04:00Z": 4});
    assert_eq!((&stats["times"]["step"], &stats["times"]["counts"]), (&"minute".into(), &counts), "{stats}");
    let table = told(dlq(&brokers, &["stats", "--table"]).await);
    assert!(table.contains("\nMINUTE ") && table.contains("\n2026-01-02T03:04:00Z        4  █"), "{table}");
    assert!(told(dlq(&brokers, &["show", "7"]).await).starts_with("0:7 "), "no other partition has one");
    write(&sandbox, 1, vec![dead("k", "v", "wrong_type", "0")]);
    let two = dlq(&brokers, &["show", "0"]).await;
    assert_eq!(two.status.code(), Some(64), "{two:?}");
    assert!(told(dlq(&brokers, &["show", "1:0"]).await).starts_with("1:0 "));
    assert!(!dlq(&brokers, &["show", "0:99"]).await.status.success());
    assert!(!dlq(&brokers, &["list", "--partition", "2"]).await.status.success());
}

/// What a sender, or whoever writes to the dead-letter topic, would do to a terminal.
const STEERS: &str = "a\u{1b}[2J\u{9b}31m\u{202e}\r\nb";

fn steering() -> NewRecord {
    let value = serde_json::json!({ "b": STEERS, "a": [1, {"c": []}] }).to_string();
    let mut record = dead(STEERS, &value, "wrong_type", "0").header(STEERS, Some(STEERS.as_bytes()));
    let name = format!("{PREFIX}message");
    record.headers.iter_mut().filter(|header| header.name == name).for_each(|header| {
        header.value = Some(STEERS.into());
    });
    record
}

fn is_clean(shown: &str) {
    let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!shown.contains(steers), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_revealed_is_laid_out_and_steers_no_terminal() {
    let sandbox = sandbox().await;
    let brokers = sandbox.bootstrap();
    write(&sandbox, 0, vec![steering(), dead("k", "no JSON\u{1b}", "malformed_json", "0")]);
    for args in
        [&["show", "0:0"][..], &["list"], &["list", "--reveal"], &["list", "--json"], &["list", "--json", "--reveal"]]
    {
        is_clean(&told(dlq(&brokers, args).await));
    }
    let shown = told(dlq(&brokers, &["show", "0:0", "--reveal"]).await);
    is_clean(&shown);
    for line in [
        "  message   a\\u{1b}[2J",
        "  header    \"own\" = \"CANARY-header\"\n",
        "  header    \"own\" = null\n",
        "  header    \"__dlq.errors.stage\" = \"validate\"\n",
        "  key       \"a\\u{1b}[2J",
        "  value\n  {\n    \"a\": [\n      1,\n      {\n        \"c\": []\n      }\n    ],\n    \"b\": \"a\\u001b[2J",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let shown = told(dlq(&brokers, &["show", "0:1", "--reveal"]).await);
    assert!(shown.ends_with("  value     \"no JSON\\u{1b}\"\n"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_is_lines_json_or_a_table_that_fits() {
    let sandbox = sandbox().await;
    let brokers = sandbox.bootstrap();
    write(&sandbox, 0, vec![steering(), dead("k", "v", "missing_field", "2")]);
    let lines = told(dlq(&brokers, &["list"]).await);
    let last = lines.lines().last().unwrap();
    assert!(last.starts_with("0:1 2026-01-02T03:04:05.000Z missing_field ip from in/1:7 key <1 bytes>"), "{lines}");
    assert!(last.ends_with(" message ip is not right"), "{lines}");

    let json = told(dlq(&brokers, &["list", "--json"]).await);
    let json: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = serde_json::json!({
        "partition": 0, "offset": 1, "time": "2026-01-02T03:04:05.000Z", "reason": "missing_field", "field": "ip",
        "message": "ip is not right", "source": {"topic": "in", "partition": 1, "offset": 7}, "replays": 2,
        "is_cut": false, "key": "<1 bytes>", "value": "<1 bytes, no JSON object>",
    });
    assert_eq!((json.len(), &json[1]), (2, &expected));
    let revealed = told(dlq(&brokers, &["list", "--json", "--reveal", "--reason", "wrong_type"]).await);
    let revealed: Value = serde_json::from_str(&revealed).unwrap();
    assert_eq!((&revealed["key"], &revealed["headers"][1]), (&STEERS.into(), &serde_json::json!(["own", null])));

    for (columns, title) in [(60, "PLACE  TIME"), (80, "MESSAGE"), (132, "SOURCE")] {
        let table = Terminal::open().shown(columns, &brokers, &["list"]).await;
        is_clean(&table);
        let lines: Vec<_> = table.lines().collect();
        assert!(lines.len() == 3 && lines[0].contains(title) && lines[2].contains("missing_field"), "{table}");
        assert!(lines.iter().all(|line| line.chars().count() <= columns.into()), "{columns}: {table}");
    }
    let table = Terminal::open().shown(132, &brokers, &["list"]).await;
    assert!(table.contains(" in/1:7 ") && table.ends_with(" ip is not right\n"), "{table}");
    assert!(Terminal::open().shown(80, &brokers, &["list", "--json"]).await.starts_with("{\"partition\":0"));
}
