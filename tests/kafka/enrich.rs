//! Countries, fields of the deployment and hidden people, with the real program: every record is what
//! the description makes of it, and no log or metric says more than an output does.

use std::net::IpAddr;
use std::path::Path;

use test_support::audit::AuditPlan;
use test_support::kafka::KafkaCluster;
use test_support::oracle::{Asked, Cover};
use test_support::pipeline::PipelineProcess;
use test_support::topics::{PATIENCE, Topics, drained, ended_in_order};

const KEY: &str = "a key of more than sixteen bytes";

/// What tests/data/countries.py put into the database.
fn country(address: IpAddr) -> Option<&'static str> {
    let IpAddr::V4(address) = address else { return None };
    match address.octets() {
        [81, 2, 69, _] => Some("GB"),
        [128..=191 | 199, ..] => Some("US"),
        [64..=79, ..] => Some("TR"),
        _ => None,
    }
}

/// Everything at once: a database, three fields, and each way to hide.
fn configured(folder: &Path) -> (String, Asked) {
    let database = folder.join("countries.mmdb");
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/countries.mmdb"), &database).unwrap();
    let key_file = folder.join("key");
    std::fs::write(&key_file, format!("{KEY}\n")).unwrap();
    let text = format!(
        r#"
        [enrich.geoip]
        file = {database:?}
        check_interval = "100ms"
        [enrich.static]
        region = "eu \"1\""
        cell = 7
        canary = true
        [privacy]
        user_id = "hmac_sha256"
        device_id = "remove"
        ip = "truncate"
        key_file = {key_file:?}
        "#
    );
    let file = folder.join("pipeline.toml");
    std::fs::write(&file, text).unwrap();
    let asked = Asked {
        user_id: Cover::Hmac,
        device_id: Cover::Remove,
        ip: Cover::Truncate,
        key: KEY.into(),
        country: Some(("country".to_owned(), country)),
        statics: [("canary", "true"), ("cell", "7"), ("region", r#""eu \"1\"""#)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
    };
    (file.display().to_string(), asked)
}

/// Sends so many events through a pipeline, a broken database in the middle of them.
async fn all_come_through_as_asked(topics: &Topics, count: u64) {
    let folder = tempfile::tempdir().unwrap();
    let (file, asked) = configured(folder.path());
    topics.generate(count / 2, 7).await;
    let mut pipeline = topics.pipeline(folder.path(), &["--config", &file]);
    drained(&mut pipeline, count / 2).await;
    std::fs::write(folder.path().join("countries.mmdb"), "no database").unwrap();
    let told = |it: &PipelineProcess| it.metric("login_pipeline_geoip_loads_total") >= 2.0;
    pipeline.wait_for("the broken database to be counted", PATIENCE, told).await;
    topics.generate(count / 2, 8).await;
    drained(&mut pipeline, count).await;
    let log = pipeline.log();
    assert!(log.contains("the database from before stays in use"), "{log}");
    assert!(!log.contains(KEY), "{log}");
    assert!(!pipeline.get("/status").unwrap().1.contains(KEY));
    ended_in_order(pipeline).await;

    let [source, output, dead] = &topics.names;
    let plan = AuditPlan { asked, ..AuditPlan::new(&topics.brokers, source, output, dead) };
    let audit = plan.run().await.unwrap();
    println!("{audit}");
    audit.assert_clean();
    assert_eq!((audit.source, audit.output + audit.dead), (count, count));
    // Not asked for what was, it finds every output wrong.
    let audit = topics.audit().await;
    assert_eq!(audit.lost, audit.output, "{audit}");
}

#[tokio::test]
async fn all_of_it_at_once_on_the_sandbox() {
    let sandbox = kafka_sandbox::Sandbox::builder().nodes(1).start().await.unwrap();
    let names = ["in", "out", "dead"].map(str::to_owned);
    names.iter().for_each(|name| sandbox.create_topic(name, 3).unwrap());
    all_come_through_as_asked(&Topics { brokers: sandbox.bootstrap(), names }, 4_000).await;
}

#[tokio::test]
async fn all_of_it_at_once_on_kafka() {
    if KafkaCluster::left_out() {
        return;
    }
    let topics = Topics::create(KafkaCluster::shared().await, "enrich", 3).await;
    all_come_through_as_asked(&topics, 20_000).await;
}
