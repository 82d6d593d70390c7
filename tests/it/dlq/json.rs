//! What `check` prints for programs.

use std::process::Output;

use kafka_sandbox::Sandbox;
use serde_json::Value;

use test_support::dead_letters::sandbox;
use test_support::pipeline;

async fn check(sandbox: &Sandbox, args: &[&str]) -> Output {
    let mut command = pipeline::command();
    let brokers = sandbox.bootstrap();
    let topics = ["--source.topic", "in", "--dead_letter.topic", "dead"];
    let output = if args.contains(&"--output.topic") { &[][..] } else { &["--output.topic", "other"] };
    command.args(["check", "--json", "--kafka.brokers", &brokers]).args(topics).args(output).args(args);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_and_what_brokers_say_are_json_lines() {
    let sandbox = sandbox().await;
    let alone = check(&sandbox, &["--kafka.sasl.mechanism", "plain", "--kafka.sasl.username", "u"]).await;
    assert_eq!((alone.status.code(), alone.stdout.len()), (Some(64), 0), "what is wrong is told as ever: {alone:?}");
    let alone = check(&sandbox, &[]).await;
    let [found] = &lines(&alone)[..] else { panic!("{alone:?}") };
    assert_eq!(found["configuration"]["source"]["topic"], "in");
    assert_eq!((&found["countries"], &found["warnings"]), (&Value::Null, &serde_json::json!([])));

    let all = check(&sandbox, &["--connect"]).await;
    assert!(all.status.success(), "{all:?}");
    let said = lines(&all);
    assert!(said.len() > 3 && said[1..].iter().all(|line| line["ok"] == true), "{said:?}");
    let missing = check(&sandbox, &["--connect", "--output.topic", "nowhere", "--topics.create", "never"]).await;
    assert_eq!(missing.status.code(), Some(1), "{missing:?}");
    let said = lines(&missing);
    let wrong: Vec<_> = said.iter().filter(|line| line["ok"] == false).collect();
    assert!(wrong.len() == 1 && wrong[0]["check"].as_str().unwrap().contains("nowhere"), "{said:?}");
}
