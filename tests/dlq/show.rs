//! What is told of dead letters.

use login_pipeline::sandbox::NewRecord;
use serde_json::Value;

use crate::dead::{PREFIX, dead, dlq, sandbox, told, write};

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
    commands.push(vec!["replay", "--dry-run"]);
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
