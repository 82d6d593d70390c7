//! The log's level, changed while the program runs: by SIGHUP, which reads it again and nothing else, and
//! by the admin port.
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use test_support::pipeline::PipelineProcess;
use test_support::topics::PATIENCE;

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
    hang_up(&mut pipeline, "SIGHUP: the configuration has problems now, and log.level stays").await;
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

/// The status and the body that come back.
fn put(pipeline: &PipelineProcess, token: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(pipeline.admin()).unwrap();
    write!(
        stream,
        "PUT /log-level HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn whoever_bears_the_token_puts_another_level_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let (file, token) = (folder.path().join("pipeline.toml"), folder.path().join("token"));
    configure(&file, "info", "127.0.0.2:1");
    std::fs::write(&token, "open sesame, open\n").unwrap();
    let args = ["--config", file.to_str().unwrap(), "--admin.token_file", token.to_str().unwrap()];
    let mut pipeline = PipelineProcess::start(folder.path(), &args);
    pipeline.wait_for("its first line", PATIENCE, |it| it.get("/livez").is_ok() && it.log().contains("started")).await;

    assert_eq!(put(&pipeline, "open", "debug").0, 401);
    for (wrong, why) in [
        ("inof", "not a level; did you mean info?"),
        ("", "not a level"),
        ("login_pipeline=loud", "not filter directives"),
        (&"x".repeat(2_000), "longer than 1024 bytes"),
        ("info, audit=off", "the audit can't be changed from here"),
    ] {
        let (status, said) = put(&pipeline, "open sesame, open", wrong);
        assert!(status == 400 && said.contains(why), "{status} {said}");
    }
    assert_eq!(pipeline.get("/log-level").unwrap(), (200, "info\n".to_owned()));
    assert_eq!(fine_lines(&pipeline), 0);

    let directives = "info,login_pipeline::observe=debug";
    assert_eq!(put(&pipeline, "open sesame, open", &format!(" {directives}\n")), (200, format!("{directives}\n")));
    assert_eq!(pipeline.get("/log-level").unwrap(), (200, format!("{directives}\n")));
    pipeline.wait_for("lines of debug", PATIENCE, |it| fine_lines(it) > 0).await;
    assert!(pipeline.log().contains("the log's level was changed by the admin port"));

    // Whoever looks at it may have a terminal, and what comes by PUT is anybody's text.
    let (hostile, escaped) = ("info,\u{1b}x=debug", "info,\\u001bx=debug\n".to_owned());
    assert_eq!(put(&pipeline, "open sesame, open", hostile), (200, escaped.clone()));
    assert_eq!(pipeline.get("/log-level").unwrap(), (200, escaped));

    // The configuration's has the last word where somebody asks for that.
    hang_up(&mut pipeline, "SIGHUP: log.level is read again, and nothing else").await;
    pipeline
        .wait_for("the configuration's", PATIENCE, |it| it.get("/log-level").is_ok_and(|(_, level)| level == "info\n"))
        .await;
    pipeline.sigterm();
    assert!(pipeline.wait(PATIENCE).await.success());
}
