//! Stopping in the middle of things, crashing, and going on where it ended.

use std::fs;
use std::time::Duration;

use kafka_sandbox::{Action, Api, Fault};
use login_pipeline::app::{App, AppError};
use login_pipeline::config::ReaderKind;
use login_pipeline::config::ReaderKind::{Rskafka, Wire};
use rstest::rstest;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::pipeline::support::{DLQ, OUTPUT, SOURCE, World};

#[rstest]
#[tokio::test]
async fn a_clean_stop_stores_all_and_a_restart_doubles_nothing(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = World::new(reader, 3).await;
    // Only the stop itself stores anything.
    world.config.offsets.checkpoint_interval = Duration::from_secs(3600);
    for round in 1..=4 {
        world.fill(30);
        let pipeline = world.start().await;
        pipeline.until("all is delivered", || world.missing() == 0).await;
        pipeline.stop().await;
        world.audit().assert_once();
        assert_eq!(world.stored(2), Some(30 * round));
    }
}

#[rstest]
#[tokio::test]
async fn a_stop_in_full_flight_drains_and_a_restart_doubles_nothing(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = World::new(reader, 2).await;
    world.config.source.max_fetch_bytes = "4KiB".parse().unwrap();
    world.config.pipeline.max_in_flight_bytes = "8KiB".parse().unwrap();
    // A request given up on a busy machine would double what is not this test's.
    world.config.kafka.request_timeout = Duration::from_secs(10);
    world.sandbox.fault(Fault::on(Api::Produce).forever(), Action::Delay(Duration::from_millis(5)));
    world.fill(600);
    let mut stops = 0;
    while world.missing() > 0 {
        let written = world.sandbox.end_offset(OUTPUT, 0).unwrap();
        let pipeline = world.start().await;
        let more = || world.sandbox.end_offset(OUTPUT, 0).unwrap() > written || world.missing() == 0;
        pipeline.until("it writes", more).await;
        pipeline.stop().await;
        stops += 1;
    }
    assert!(stops > 2, "{stops}");
    world.run_and_audit().await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_stop_in_the_middle_of_a_retry_drains_when_it_passes(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::new(reader, 1).await;
    world.send(0, 20);
    let failing = world.sandbox.fault(Fault::on(Api::Produce).forever(), Action::Error(19));
    let pipeline = world.start().await;
    pipeline.until("it tries", || failing.fired() > 3).await;
    let healed = async {
        sleep(Duration::from_millis(200)).await;
        failing.remove();
    };
    let (summary, ()) = tokio::join!(pipeline.stop(), healed);
    assert_eq!(summary.counted.totals.records_in, 20, "what was in flight is finished");
    assert_eq!(world.stored(0), Some(20));
    world.audit().assert_once();
}

#[rstest]
#[tokio::test]
async fn a_stop_during_an_outage_takes_no_longer_than_allowed(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = World::new(reader, 1).await;
    world.config.shutdown.timeout = Duration::from_millis(300);
    world.send(0, 20);
    let failing = world.sandbox.fault(Fault::on(Api::Produce).topic(OUTPUT).forever(), Action::Error(19));
    let pipeline = world.start().await;
    pipeline.until("it tries", || failing.fired() > 3).await;
    let begun = Instant::now();
    let stopped = pipeline.try_stop().await;
    assert!(matches!(stopped, Err(AppError::Unfinished(1))), "a checkpoint that is not stored is no clean end");
    assert!(begun.elapsed() >= Duration::from_millis(300) && begun.elapsed() < Duration::from_secs(3));
    assert_eq!(world.stored(0), Some(0), "nothing of it is acknowledged");
    failing.remove();
    let (audit, _) = world.run_and_audit().await;
    assert!(audit.doubled <= audit.dead, "only dead letters were written before: {audit:?}");
}

#[rstest]
#[tokio::test]
async fn a_stop_while_the_broker_is_silent_takes_no_longer_than_allowed(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = World::new(reader, 1).await;
    world.config.kafka.request_timeout = Duration::from_secs(60);
    world.config.shutdown.timeout = Duration::from_millis(300);
    world.send(0, 20);
    let silent = world.sandbox.fault(Fault::on(Api::Produce).forever(), Action::Silence);
    let pipeline = world.start().await;
    pipeline.until("it waits", || silent.fired() > 0).await;
    let begun = Instant::now();
    assert!(matches!(pipeline.try_stop().await, Err(AppError::Unfinished(1))));
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[rstest]
#[tokio::test]
async fn a_stop_without_any_broker_is_prompt(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::new(reader, 1).await;
    world.sandbox.crash(1).await.unwrap();
    let pipeline = world.start().await;
    pipeline.until("it tries", || pipeline.metric("login_pipeline_retries_total", "metadata") > 1).await;
    let begun = Instant::now();
    pipeline.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[rstest]
#[tokio::test]
async fn a_stop_before_the_first_answer_is_prompt(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::new(reader, 1).await;
    world.sandbox.fault(Fault::any().forever(), Action::Silence);
    let pipeline = world.start().await;
    let begun = Instant::now();
    pipeline.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(world.stored(0), None);
}

/// Runs a pipeline on a runtime of its own and takes that away, as kill -9 takes a process.
async fn run_and_kill(world: &World, when: impl Fn() -> bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = world.config.clone();
    let run = async move {
        let app = loop {
            match App::open(config.clone()).await {
                Ok(app) => break app,
                Err(_) => sleep(Duration::from_millis(5)).await,
            }
        };
        app.run(CancellationToken::new()).await
    };
    let running = runtime.spawn(run);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !when() {
        assert!(Instant::now() < deadline && !running.is_finished());
        sleep(Duration::from_millis(1)).await;
    }
    runtime.shutdown_background();
}

#[rstest]
#[tokio::test]
async fn a_crash_loses_nothing_and_repeats_what_was_not_stored(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = World::new(reader, 1).await;
    world.config.offsets.checkpoint_interval = Duration::from_secs(3600);
    world.send(0, 100);
    run_and_kill(&world, || world.missing() == 0).await;
    assert_eq!(world.stored(0), Some(0));
    let pipeline = world.start().await;
    let written = || [OUTPUT, DLQ].map(|topic| world.sandbox.end_offset(topic, 0).unwrap()).iter().sum::<i64>();
    pipeline.until("all is there twice", || written() == 200).await;
    pipeline.stop().await;
    assert_eq!(world.audit().doubled, 100);
}

#[rstest]
#[tokio::test]
async fn crashes_at_any_moment_lose_nothing_and_repeat_little(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let mut world = World::new(reader, 2).await;
    world.config.source.max_fetch_bytes = "4KiB".parse().unwrap();
    world.config.pipeline.max_in_flight_bytes = "16KiB".parse().unwrap();
    // A request given up on a busy machine would double what is not this test's.
    world.config.kafka.request_timeout = Duration::from_secs(10);
    world.sandbox.fault(Fault::on(Api::Produce).forever(), Action::Delay(Duration::from_millis(5)));
    world.fill(500);
    let (mut crashes, mut repeated) = (0, 0);
    while world.missing() > 0 && crashes < 12 {
        let written = world.sandbox.end_offset(OUTPUT, 0).unwrap() + 5 * crashes;
        run_and_kill(&world, || world.sandbox.end_offset(OUTPUT, 0).unwrap() > written || world.missing() == 0).await;
        // What was on its way when it died still arrives at the broker.
        sleep(Duration::from_millis(200)).await;
        repeated += world.unstored();
        crashes += 1;
    }
    assert!(crashes > 2, "{crashes}");
    let (audit, _) = world.run_and_audit().await;
    assert!(audit.doubled <= repeated, "no more than what was not stored: {repeated}, {audit:?}");
}

#[rstest]
#[tokio::test]
async fn a_crash_long_after_the_last_record_repeats_nothing(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::new(reader, 2).await;
    world.fill(50);
    run_and_kill(&world, || world.missing() == 0 && (0..2).all(|p| world.stored(p) == Some(50))).await;
    world.fill(10);
    world.run_and_audit().await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_damaged_checkpoint_holds_its_partition_and_is_taken_up_when_mended(
    #[values(Rskafka, Wire)] reader: ReaderKind,
) {
    let world = World::new(reader, 2).await;
    world.fill(20);
    world.run_and_audit().await.0.assert_once();
    world.fill(20);
    let path = world.offsets().join(SOURCE).join("1");
    let whole = fs::read(&path).unwrap();
    for damaged in [&whole[..whole.len() / 2], b"", b"0"] {
        fs::write(&path, damaged).unwrap();
        let pipeline = world.start().await;
        pipeline.until_unready("is not a whole checkpoint").await;
        assert!(pipeline.unready().contains(&path.display().to_string()));
        pipeline.until("the other partition works", || world.stored(0) == Some(40)).await;
        pipeline.stop().await;
        assert_eq!(fs::read(&path).unwrap(), damaged, "nobody writes over it");
    }
    let pipeline = world.start().await;
    pipeline.until_unready("is not a whole checkpoint").await;
    fs::write(&path, &whole).unwrap();
    pipeline.until_ready().await;
    world.finish(pipeline).await.0.assert_once();
}

#[rstest]
#[tokio::test]
async fn a_second_pipeline_is_kept_out_of_the_offsets(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::new(reader, 1).await;
    let pipeline = world.start().await;
    let second = App::open(world.config.clone()).await.map(drop).unwrap_err().to_string();
    assert!(second.contains("in use by another process"), "{second}");
    pipeline.stop().await;
}

#[rstest]
#[tokio::test]
async fn a_checkpoint_that_cannot_be_written_is_told_and_written_later(#[values(Rskafka, Wire)] reader: ReaderKind) {
    let world = World::new(reader, 1).await;
    world.send(0, 20);
    let pipeline = world.start().await;
    world.until_done(&pipeline).await;
    // A folder where the temporary file must be made: not even root can write that.
    let temporary = world.offsets().join(SOURCE).join("0.new");
    fs::create_dir(&temporary).unwrap();
    world.send(0, 20);
    let failed = || pipeline.metric("login_pipeline_retries_total", "checkpoint") > 1;
    pipeline.until("it has failed", failed).await;
    assert_eq!(world.stored(0), Some(20));
    fs::remove_dir(&temporary).unwrap();
    world.until_done(&pipeline).await;

    world.send(0, 20);
    fs::create_dir(&temporary).unwrap();
    pipeline.until("it is delivered", || world.missing() == 0).await;
    let error = pipeline.try_stop().await.map(drop).unwrap_err().to_string();
    assert!(error.contains("0.new"), "{error}");
}
