//! The log's level, changed while the program runs: by SIGHUP, which reads it again and nothing else.
#![allow(clippy::unwrap_used, reason = "a helper fails as its test would; clippy.toml allows it inside #[test] only")]

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;

use support::pipeline::PipelineProcess;
use support::topics::PATIENCE;

/// A configuration of this level and brokers, which nobody has to answer for.
fn configure(file: &Path, level: &str, brokers: &str) {
    let folder = file.parent().unwrap().join("offsets");
    let text = format!("kafka.brokers = [{brokers:?}]\nlog.level = {level:?}\noffsets.path = {folder:?}\n");
    std::fs::write(file, text).unwrap();
}

/// How many lines there are of what is said at the level debug only, once there was reason for one more.
fn fine_lines(pipeline: &PipelineProcess) -> usize {
    let mut stream = TcpStream::connect(pipeline.admin()).unwrap();
    stream.write_all(b"no http\r\n\r\n").unwrap();
    drop(stream);
    // Whoever is answered after that comes behind it in the log, by some milliseconds.
    pipeline.get("/livez").unwrap();
    pipeline.log().matches("DEBUG").count()
}

/// Sends SIGHUP and waits until the log has this once more.
async fn hang_up(pipeline: &mut PipelineProcess, text: &str) {
    let before = pipeline.log().matches(text).count();
    pipeline.sighup();
    pipeline.wait_for(text, PATIENCE, |it| it.log().matches(text).count() > before).await;
}

#[tokio::test]
async fn sighup_reads_the_level_again_and_nothing_else() {
    const READ: &str = "SIGHUP: log.level is read again, and nothing else";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pipeline.toml");
    configure(&file, "info", "127.0.0.2:1");
    let mut pipeline = PipelineProcess::start(folder.path(), &["--config", file.to_str().unwrap()]);
    pipeline.wait_for("its start", PATIENCE, |it| it.get("/livez").is_ok()).await;
    pipeline.wait_for("its first line", PATIENCE, |it| it.log().contains("started")).await;
    assert_eq!(fine_lines(&pipeline), 0);

    configure(&file, "debug", "127.0.0.3:1");
    hang_up(&mut pipeline, READ).await;
    pipeline.wait_for("lines of debug", PATIENCE, |it| fine_lines(it) > 0).await;
    let (_, status) = pipeline.get("/status").unwrap();
    assert!(status.contains("127.0.0.2:1") && !status.contains("127.0.0.3:1"), "nothing else: {status}");

    std::fs::write(&file, "log.level = 'loud=very'").unwrap();
    hang_up(&mut pipeline, "SIGHUP: the configuration is wrong by now, and log.level stays").await;
    let before = fine_lines(&pipeline);
    pipeline.wait_for("more of debug", PATIENCE, |it| fine_lines(it) > before).await;

    // Back again.
    configure(&file, "info", "127.0.0.2:1");
    hang_up(&mut pipeline, READ).await;
    // The line comes before the change.
    pipeline
        .wait_for("an end of debug", PATIENCE, |it| {
            let before = fine_lines(it);
            (0..5).map(|_| fine_lines(it)).all(|lines| lines == before)
        })
        .await;
    pipeline.sigterm();
    assert!(pipeline.wait(PATIENCE).await.success());
}
