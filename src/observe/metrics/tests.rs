use std::time::Duration;

use super::*;
use crate::record::Offset;

fn line(encoded: &str, start: &str) -> Option<String> {
    let mut lines = encoded.lines().filter(|line| line.starts_with(start));
    let line = lines.next().map(str::to_owned);
    assert_eq!(lines.next(), None, "more than one line starts with {start}");
    line
}

#[test]
fn names_follow_prometheus_conventions() {
    let metrics = Metrics::new("1.2.3");
    let partition = metrics.partition("user-login", 3);
    partition.fetched(10, 2_100);
    partition.position(Offset(10));
    partition.in_flight_bytes(2_100);
    partition.expired.inc_by(7);
    partition.truncations.inc();
    partition.undecodable.inc();
    partition.clock_skew.inc();
    partition.fetch.observe(Duration::from_millis(20));
    partition.acknowledged(1_700_000_000_000, 1_700_000_000_040, 10);
    metrics.route("output").count(9, 2_400);
    metrics.dead("malformed_json", 1);
    metrics.retry("produce", "transient");
    metrics.produce("processed-user-login").observe(Duration::from_millis(2));

    let encoded = metrics.encode();
    for expected in [
        "login_pipeline_build_info{version=\"1.2.3\",rust=\"1.95\"} 1",
        "login_pipeline_source_records_total{topic=\"user-login\",partition=\"3\"} 10",
        "login_pipeline_source_bytes_total{topic=\"user-login\",partition=\"3\"} 2100",
        "login_pipeline_source_next_offset{topic=\"user-login\",partition=\"3\"} 10",
        "login_pipeline_in_flight_bytes{topic=\"user-login\",partition=\"3\"} 2100",
        "login_pipeline_source_records_expired_total{topic=\"user-login\"} 7",
        "login_pipeline_source_log_truncations_total{topic=\"user-login\"} 1",
        "login_pipeline_source_undecodable_stretches_total{topic=\"user-login\"} 1",
        "login_pipeline_routed_records_total{route=\"output\"} 9",
        "login_pipeline_routed_bytes_total{route=\"output\"} 2400",
        "login_pipeline_routed_records_total{route=\"dead_letter\"} 0",
        "login_pipeline_routed_records_total{route=\"dropped\"} 0",
        "login_pipeline_dead_letters_total{reason=\"malformed_json\"} 1",
        "login_pipeline_retries_total{operation=\"produce\",class=\"transient\"} 1",
        "login_pipeline_fetch_duration_seconds_count{topic=\"user-login\"} 1",
        "login_pipeline_produce_duration_seconds_count{topic=\"processed-user-login\"} 1",
        "login_pipeline_end_to_end_latency_seconds_bucket{le=\"0.05\",topic=\"user-login\"} 10",
        "login_pipeline_clock_skew_total 1",
    ] {
        assert_eq!(line(&encoded, expected).as_deref(), Some(expected), "{encoded}");
    }
    assert!(line(&encoded, "process_start_time_seconds ").is_some());
    assert!(encoded.ends_with("# EOF\n"));
}

#[test]
fn a_partition_given_up_leaves_no_series() {
    let metrics = Metrics::new("1.2.3");
    let old = metrics.partition("user-login", 3);
    let new = metrics.partition("user-login", 3);
    new.fetched(1, 1);
    old.retire();
    assert!(metrics.encode().contains("partition=\"3\""), "the newer handle still counts");
    drop(new);
    assert!(!metrics.encode().contains("partition=\"3\""));
    assert!(metrics.handles().is_empty());

    let again = metrics.partition("user-login", 3);
    assert_eq!(again.records_in.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_ages_until_the_next() {
    let metrics = Metrics::new("1.2.3");
    let partition = metrics.partition("user-login", 0);
    let name = "login_pipeline_checkpoint_age_seconds{topic=\"user-login\",partition=\"0\"}";
    let age = || line(&metrics.encode(), name);

    tokio::time::advance(Duration::from_millis(2_500)).await;
    assert_eq!(age(), Some(format!("{name} 2.5")));
    partition.checkpointed();
    assert_eq!(age(), Some(format!("{name} 0.0")));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(age(), Some(format!("{name} 1.0")));
}

#[test]
fn a_group_may_have_any_name() {
    let metrics = Metrics::new("1.2.3");
    metrics.group("a \"group\" of ours\\").assigned(2);
    let expected = r#"login_pipeline_group_assigned_partitions{group="a \"group\" of ours\\"} 2"#;
    assert_eq!(line(&metrics.encode(), "login_pipeline_group_assigned_partitions").as_deref(), Some(expected));
}

#[test]
fn time_from_the_future_is_no_latency() {
    let partition = Metrics::new("1.2.3").partition("user-login", 0);
    partition.acknowledged(1_700_000_002_000, 1_700_000_001_000, 3);
    partition.acknowledged(i64::MAX, i64::MIN, 1);
    assert_eq!((partition.end_to_end.count(), partition.end_to_end.counts()[0]), (4, 4));
}

#[test]
fn a_record_without_a_time_is_no_latency_of_55_years() {
    let partition = Metrics::new("1.2.3").partition("user-login", 0);
    let now = 1_700_000_000_000;
    for unknown in [i64::MIN, -1, 0, 1, now / 1000, 999_999_999_999] {
        partition.acknowledged(unknown, now, 100);
    }
    assert_eq!(partition.end_to_end.count(), 0);
    partition.acknowledged(1_000_000_000_000, now, 1);
    assert_eq!(partition.end_to_end.count(), 1, "a backlog may be old");
}
