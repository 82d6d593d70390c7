//! Dead letters past their limits: nothing more of them is written, and nothing is lost.

use std::time::Duration;

use login_pipeline::app::AppError;
use login_pipeline::config::ReaderKind::{Rskafka, Wire};
use login_pipeline::config::{OnLimit, Ratio, ReaderKind};
use rstest::rstest;

use crate::pipeline::support::{DLQ, Pipeline, World, dead};

/// Appends so many records that nobody can read, in one batch, which fills a fetch.
fn append_garbage(world: &World, partition: i32, count: usize) -> i64 {
    let garbage = || (world.named(None, Some([b'{'; 200].to_vec())), dead("validate", "malformed_json"));
    world.append(partition, (0..count).map(|_| garbage()).collect())
}

fn append_good(world: &World, partition: i32, count: usize) {
    world.append(partition, (0..count).map(|_| world.good()).collect());
}

fn dead_letters(world: &World, partition: i32) -> i64 {
    world.sandbox.end_offset(DLQ, partition).unwrap()
}

/// Two partitions, and at most ten dead letters in a row.
async fn world(reader: ReaderKind) -> World {
    let mut world = World::new(reader, 2).await;
    world.config.dead_letter.limits.max_consecutive = Some(10);
    // A fetch brings one batch.
    world.config.source.max_fetch_bytes = "1KiB".parse().unwrap();
    world
}

async fn resume(pipeline: &Pipeline, token: &str, path: &str) -> String {
    let lines = format!("POST {path} HTTP/1.1\r\nauthorization: Bearer {token}\r\ncontent-length: 0\r\n");
    pipeline.ask(&lines).await
}

#[rstest]
#[tokio::test]
async fn a_partition_past_its_limit_waits_while_others_go_on(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = world(reader).await;
    append_good(&world, 0, 30);
    let bad = append_garbage(&world, 0, 30);
    append_good(&world, 0, 30);
    world.fill(0);
    let pipeline = world.start().await;
    pipeline.until_unready("30 records in a row would be dead letters (dead_letter.max_consecutive)").await;
    world.send(1, 50);
    pipeline.until("what came before is stored", || world.stored(0) == Some(bad)).await;
    pipeline.until("the other partition goes on", || world.stored(1) == Some(50)).await;
    assert_eq!(dead_letters(&world, 0), 0);
    assert_eq!(pipeline.metric("login_pipeline_dead_letter_limits_passed_total", "max_consecutive"), 1);
    assert!(pipeline.page("/status").await.contains("\"state\":\"paused\""));

    // A stop leaves it where it is, and starting again resumes nothing.
    pipeline.stop().await;
    assert_eq!(world.stored(0), Some(bad));
    let pipeline = world.start().await;
    pipeline.until_unready("in a row").await;
    assert_eq!((world.stored(0), dead_letters(&world, 0)), (Some(bad), 0));
    pipeline.stop().await;

    // Nor does it keep what is mended from going on.
    let mut mended = world;
    mended.config.dead_letter.limits.max_consecutive = None;
    mended.run_and_audit().await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn an_operators_word_lets_the_batch_through(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = world(reader).await;
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "open-sesame-open").unwrap();
    world.config.admin.token_file = Some(token.path().to_owned());
    for partition in 0..2 {
        append_good(&world, partition, 20);
        append_garbage(&world, partition, 30);
        append_good(&world, partition, 20);
        append_garbage(&world, partition, 30);
    }
    let pipeline = world.start().await;
    pipeline.until_unready("2 partitions: dead letters of user-login/0, user-login/1: degraded").await;
    assert!(resume(&pipeline, "guessed", "/resume").await.starts_with("HTTP/1.1 401"));
    assert!(resume(&pipeline, "open-sesame-open", "/resume?partition=9").await.starts_with("HTTP/1.1 409"));
    assert!(resume(&pipeline, "open-sesame-open", "/resume?partition=x").await.starts_with("HTTP/1.1 400"));
    assert_eq!((dead_letters(&world, 0), dead_letters(&world, 1)), (0, 0));

    let answer = resume(&pipeline, "open-sesame-open", "/resume?partition=1").await;
    assert!(answer.ends_with("resumed: [1]\n"), "{answer}");
    // Its next garbage, too, passes: one word is enough.
    pipeline.until("it goes on", || world.stored(1) == Some(100)).await;
    assert!(pipeline.unready().contains("user-login/0") && !pipeline.unready().contains("user-login/1"));
    assert!(resume(&pipeline, "open-sesame-open", "/resume").await.ends_with("resumed: [0]\n"));
    let (audit, summary) = world.finish(pipeline).await;
    audit.assert_once();
    assert_eq!((summary.counted.totals.records_dead, summary.counted.totals.records_out), (120, 80));
    let counted = &summary.counted.distributions[0];
    assert_eq!(counted.total, 80, "what waited is counted once");
}

#[rstest]
#[tokio::test]
async fn a_share_past_its_limit_ends_the_program_where_that_is_asked_for(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = world(reader).await;
    let limits = &mut world.config.dead_letter.limits;
    (limits.max_consecutive, limits.max_ratio) = (None, Ratio::new(0.2));
    (limits.min_records, limits.window, limits.on_limit) = (50, Duration::from_secs(60), OnLimit::Stop);
    append_good(&world, 0, 100);
    append_garbage(&world, 0, 10);
    let bad = append_garbage(&world, 0, 30);
    world.send(1, 0);
    let error = world.start().await.ended().await.unwrap_err();
    assert!(matches!(error, AppError::DeadLetters(_)), "{error}");
    let said = "user-login/0: 40 of 140 records within 1m would be dead letters (dead_letter.max_ratio)";
    assert!(error.to_string().contains(said), "{error}");
    assert_eq!((world.stored(0), dead_letters(&world, 0)), (Some(bad), 10));
}
