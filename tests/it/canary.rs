//! Secrets that sing: every command gets canaries for passwords, tokens and keys, the broker quotes them
//! back, and nothing that the program writes may hold one. Each is proved to be read, or the test would
//! pass for want of it.
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};
use kafka_protocol::messages::{ApiKey, ResponseHeader, SaslAuthenticateResponse, SaslHandshakeResponse};
use kafka_protocol::protocol::{Encodable, StrBytes};
use kafka_sandbox::Sandbox;
use login_pipeline::config::{Config, LogFormat, Sources};
use login_pipeline::observe::logs;
use rcgen::{CertificateParams, KeyPair};
use test_support::pipeline::PipelineProcess;
use test_support::token_endpoint::{Answer, TokenEndpoint};
use test_support::topics::PATIENCE;

const PASSWORD: &str = "canary-password-7f3a";
const OTHER_PASSWORD: &str = "canary-environment-51c9";
const ADMIN_TOKEN: &str = "canary-admin-token-90b2";
const PSEUDONYMS: &str = "canary-pseudonyms-key-6d18";
const BEARER: &str = "canary.bearer-token.e44d";
const CLIENT_SECRET: &str = "canary-client-secret-2b6e";
const GRANTED: &str = "canary.granted-token.71af";
const QUERY: &str = "canary-query-58c0";

/// What `offsets export` writes.
const EXPORTED: &str = r#"{"format": "login-pipeline offsets v1", "topic": "user-login", "offsets":
    [{"partition": 0, "next_offset": 7, "topic_id": null}]}"#;

/// The files of a deployment with every kind of secret, and what must not be seen of them.
struct Deployment {
    folder: tempfile::TempDir,
    canaries: Vec<String>,
}

impl Deployment {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["client".to_owned()]).unwrap().self_signed(&key).unwrap();
        let key = key.serialize_pem();
        for (name, text) in [
            ("password", format!("{PASSWORD}\n")),
            ("admin", format!("{ADMIN_TOKEN}\n")),
            ("pseudonyms", format!("{PSEUDONYMS}\n")),
            ("bearer", BEARER.to_owned()),
            ("client-secret", CLIENT_SECRET.to_owned()),
            ("exported.json", EXPORTED.to_owned()),
            ("client.pem", certificate.pem()),
            ("client.key", key.clone()),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let secrets = [PASSWORD, OTHER_PASSWORD, ADMIN_TOKEN, PSEUDONYMS, BEARER, CLIENT_SECRET, GRANTED, QUERY];
        let mut canaries: Vec<_> = secrets.into_iter().flat_map(disguises).collect();
        // As HTTP Basic has it.
        canaries.push(STANDARD.encode(format!("pipeline:{CLIENT_SECRET}")));
        canaries.extend(key.lines().filter(|line| !line.starts_with("-----")).map(str::to_owned));
        Self { folder, canaries }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A configuration with this under `[kafka]`, and pseudonyms and an admin token.
    fn config(&self, name: &str, broker: &str, kafka: &str) -> String {
        let (admin, pseudonyms, offsets) = (self.path("admin"), self.path("pseudonyms"), self.path("offsets"));
        let text = format!(
            "admin.token_file = {admin:?}\nassignment.mode = 'static'\noffsets.path = {offsets:?}\nlog.level = 'trace,rskafka=trace'\n\
             privacy = {{ user_id = 'hmac_sha256', key_file = {pseudonyms:?} }}\n\
             retry = {{ initial = '10ms', max = '50ms' }}\n[kafka]\nbrokers = [{broker:?}]\nrequest_timeout = '1s'\n\
             connect_timeout = '500ms'\n{kafka}\n"
        );
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// By a password in a file; of `broker`, which may be any.
    fn plain(&self, broker: &str) -> String {
        let password = self.path("password");
        let sasl = format!("sasl = {{ mechanism = 'PLAIN', username = 'u', password_file = {password:?}");
        self.config(
            "plain.toml",
            broker,
            &format!("security_protocol = 'sasl_plaintext'\n{sasl}, allow_plaintext = true }}"),
        )
    }

    fn bearer(&self, broker: &str) -> String {
        let token = self.path("bearer");
        let sasl = format!("sasl = {{ mechanism = 'OAUTHBEARER', token_file = {token:?}, allow_plaintext = true }}");
        self.config("bearer.toml", broker, &format!("security_protocol = 'sasl_plaintext'\n{sasl}"))
    }

    /// By tokens of an endpoint.
    fn endpoint(&self, broker: &str, url: &str) -> String {
        let secret = self.path("client-secret");
        let url = format!("{url}?key={QUERY}");
        let client = format!("token_endpoint_url = {url:?}, client_id = 'pipeline', client_secret_file = {secret:?}");
        let sasl = format!("sasl = {{ mechanism = 'OAUTHBEARER', {client}, allow_plaintext = true }}");
        self.config("endpoint.toml", broker, &format!("security_protocol = 'sasl_plaintext'\n{sasl}"))
    }

    fn mutual_tls(&self, broker: &str) -> String {
        let (certificate, key) = (self.path("client.pem"), self.path("client.key"));
        let tls = format!("tls = {{ cert_file = {certificate:?}, key_file = {key:?} }}");
        self.config("tls.toml", broker, &format!("security_protocol = 'ssl'\n{tls}"))
    }

    fn assert_silent(&self, what: &str, said: &str) {
        for canary in &self.canaries {
            assert!(!said.contains(canary.as_str()), "{what} shows {canary:?}:\n{said}");
        }
    }

    /// Runs a command to its end: its exit code, and what it said, which holds no canary.
    fn run(&self, args: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_login-pipeline"));
        let Output { status, stdout, stderr } = command.args(args).envs(env.iter().copied()).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        self.assert_silent(&args.join(" "), &said);
        (status.code(), said)
    }

    /// The same for so long at most.
    #[expect(clippy::disallowed_methods, reason = "there is no runtime here")]
    fn run_for(&self, patience: Duration, args: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_login-pipeline"));
        let mut child = command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let until = Instant::now() + patience;
        while child.try_wait().unwrap().is_none() && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill(); // it may have ended
        let Output { stdout, stderr, .. } = child.wait_with_output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        self.assert_silent(&args.join(" "), &said);
    }
}

/// A secret as it is, and as careless code prints it.
fn disguises(secret: &str) -> Vec<String> {
    let bytes: Vec<_> = secret.bytes().map(|byte| byte.to_string()).collect();
    let hexadecimal: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    // Behind a prefix of another length, base64 looks different: only what stands alone is found.
    vec![secret.to_owned(), STANDARD.encode(secret), bytes.join(", "), hexadecimal]
}

/// A token endpoint that quotes what it was told where it refuses, which it does every other time.
fn token_parrot() -> TokenEndpoint {
    TokenEndpoint::start(|asked| match asked.before % 2 {
        0 => {
            let encoded = STANDARD.encode(&asked.client);
            let words = format!("who is {} ({encoded})? {}", asked.client, asked.form);
            Answer::json(401, serde_json::json!({ "error": asked.client, "error_description": words }))
        }
        _ => Answer::token(GRANTED, 1),
    })
}

/// A broker that lets nobody in, and quotes what it was told.
struct Parrot {
    address: String,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Parrot {
    fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, heard) = (listener.local_addr().unwrap().to_string(), Arc::<Mutex<Vec<u8>>>::default());
        let hears = Arc::clone(&heard);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let hears = Arc::clone(&hears);
                thread::spawn(move || converse(stream, &hears));
            }
        });
        Self { address, heard }
    }

    fn has_heard(&self, secret: &str) -> bool {
        self.heard.lock().unwrap().windows(secret.len()).any(|window| window == secret.as_bytes())
    }
}

/// Answers one request after the other; `None` once the client has gone.
fn converse(mut stream: TcpStream, heard: &Mutex<Vec<u8>>) -> Option<()> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length).ok()?;
        let mut request = vec![0; usize::try_from(i32::from_be_bytes(length)).ok()?];
        stream.read_exact(&mut request).ok()?;
        heard.lock().unwrap().extend_from_slice(&request);
        let short = |at: usize| Some(i16::from_be_bytes(request.get(at..at + 2)?.try_into().ok()?));
        let (key, version) = (ApiKey::try_from(short(0)?).ok()?, short(2)?);
        let mut body = BytesMut::new();
        match key {
            ApiKey::ApiVersions => {
                let offered = [ApiKey::ApiVersions, ApiKey::Metadata, ApiKey::SaslHandshake, ApiKey::SaslAuthenticate];
                let offered = offered.map(|key| {
                    let range = key.valid_versions();
                    ApiVersion::default()
                        .with_api_key(key as i16)
                        .with_min_version(range.min)
                        .with_max_version(range.max)
                });
                ApiVersionsResponse::default().with_api_keys(offered.into()).encode(&mut body, version).ok()?;
            }
            ApiKey::SaslHandshake => SaslHandshakeResponse::default().encode(&mut body, version).ok()?,
            ApiKey::SaslAuthenticate => {
                let quoted: String = String::from_utf8_lossy(&request).chars().filter(|c| !c.is_control()).collect();
                let answer = SaslAuthenticateResponse::default()
                    .with_error_code(58)
                    .with_error_message(Some(StrBytes::from_string(format!("no entry for {quoted}"))))
                    .with_auth_bytes(Bytes::copy_from_slice(&request));
                answer.encode(&mut body, version).ok()?;
            }
            _ => return None,
        }
        let mut head = BytesMut::new();
        let correlation = i32::from_be_bytes(request.get(4..8)?.try_into().ok()?);
        let header = ResponseHeader::default().with_correlation_id(correlation);
        header.encode(&mut head, key.response_header_version(version)).ok()?;
        let length = i32::try_from(head.len() + body.len()).ok()?;
        stream.write_all(&[&length.to_be_bytes()[..], &head, &body].concat()).ok()?;
    }
}

#[test]
fn no_command_tells_a_secret() {
    let (deployment, parrot) = (Deployment::new(), Parrot::listen());
    let (plain, bearer) = (deployment.plain(&parrot.address), deployment.bearer(&parrot.address));
    let tls = deployment.mutual_tls(&parrot.address);
    let tokens = token_parrot();
    let endpoint = deployment.endpoint(&parrot.address, &tokens.url);
    for config in [&plain, &bearer, &tls, &endpoint] {
        for args in [&["check"][..], &["check", "--log.format", "json"]] {
            let (code, said) = deployment.run(&[args, &["--config", config]].concat(), &[]);
            assert_eq!(code, Some(0), "{said}");
        }
        for args in [
            &["check", "--connect"][..],
            &["offsets", "show", "--offsets.store", "group"],
            &["offsets", "export", "--offsets.store", "topic"],
            &["offsets", "set", "--partition", "all", "--to", "latest", "--offsets.store", "group"],
            &["offsets", "set", "--partition", "0", "--to", "7", "--dry-run"],
            &["offsets", "import", "--offsets.store", "topic", &deployment.path("exported.json")],
            &["health"],
        ] {
            let (code, said) = deployment.run(&[args, &["--config", config]].concat(), &[]);
            assert!(code == Some(1) && said.contains("login-pipeline: "), "{args:?}: {said}");
        }
    }
    // `dlq` has patience with a broker that speaks no TLS.
    for config in [&plain, &bearer] {
        for args in [&["dlq", "export", "--timeout", "2s"][..], &["dlq", "replay", "--dry-run", "--timeout", "2s"]] {
            let (code, said) = deployment.run(&[args, &["--config", config]].concat(), &[]);
            assert!(code == Some(1) && said.contains("no entry for"), "{args:?}: {said}");
        }
    }
    assert!(parrot.has_heard(PASSWORD) && parrot.has_heard(BEARER) && parrot.has_heard(GRANTED));
    assert!(tokens.asked().iter().all(|asked| asked.client == format!("pipeline:{CLIENT_SECRET}")));

    // These may go on trying: they get some seconds, all at once.
    thread::scope(|scope| {
        for config in [&plain, &bearer, &tls, &endpoint] {
            for args in [
                &["generate", "--count", "5"][..],
                &["dlq", "stats"],
                &["dlq", "list"],
                &["dlq", "show", "0:0", "--reveal"],
                &["dlq", "replay", "--rate", "1"],
            ] {
                let deployment = &deployment;
                scope
                    .spawn(move || deployment.run_for(Duration::from_secs(4), &[args, &["--config", config]].concat()));
            }
        }
    });

    // From the environment, which has the last word over a file.
    let from_env = [("LOGIN_PIPELINE__KAFKA__SASL__PASSWORD", OTHER_PASSWORD)];
    let sasl = "sasl = { mechanism = 'PLAIN', username = 'u', allow_plaintext = true }";
    let config =
        deployment.config("env.toml", &parrot.address, &format!("security_protocol = 'sasl_plaintext'\n{sasl}"));
    let (_, said) = deployment.run(&["check", "--config", &config], &from_env);
    assert!(said.contains("[redacted]"), "{said}");
    let (code, said) = deployment.run(&["check", "--connect", "--config", &config], &from_env);
    assert!(code == Some(1) && said.contains("no entry for"), "the broker's words are told: {said}");
    assert!(parrot.has_heard(OTHER_PASSWORD));

    // The broker is away, the command is wrong, and what needs no broker of ours.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (code, _) = deployment.run(&["check", "--connect", "--config", &deployment.plain(&gone)], &[]);
    assert_eq!(code, Some(1));
    let mistaken = format!("--kafka.sasl.password={PASSWORD}");
    for (args, expected) in [
        (&["run", "--config", &plain, &mistaken][..], 64),
        (&["run", "--config", &plain, "--kafka.sasl.mechanism", "CRAM"], 64),
        (&["completions", "bash"], 0),
        (&["demo", "--duration", "300ms", "--admin.listen", "127.0.0.1:0", "--config", &plain], 0),
        (&["--help"], 0),
    ] {
        let (code, said) = deployment.run(args, &from_env[..usize::from(args[0] != "demo" && args[0] != "run")]);
        assert_eq!(code, Some(expected), "{args:?}: {said}");
    }
}

#[test]
fn each_file_with_a_secret_is_read_and_none_is_quoted_where_it_is_wrong() {
    let deployment = Deployment::new();
    let broker = "127.0.0.1:1";
    let (plain, bearer, tls) = (deployment.plain(broker), deployment.bearer(broker), deployment.mutual_tls(broker));
    let endpoint = deployment.endpoint(broker, "https://login.example/token");
    for (file, config, key) in [
        ("password", &plain, "kafka.sasl.password_file"),
        ("bearer", &bearer, "kafka.sasl.token_file"),
        ("client-secret", &endpoint, "kafka.sasl.client_secret_file"),
        ("client.key", &tls, "kafka.tls.key_file"),
        ("admin", &plain, "admin.token_file"),
        ("pseudonyms", &plain, "privacy.key_file"),
    ] {
        let path = deployment.path(file);
        let good = fs::read(&path).unwrap();
        // Damaged so that its words are still there.
        let damaged = [&good[..], b"\n\x01\n", &good].concat();
        for (bytes, expected) in [(&good[..], 0), (&damaged, 64), (b"", 64)] {
            fs::write(&path, bytes).unwrap();
            let (code, said) = deployment.run(&["check", "--config", config], &[]);
            // Behind a key there may be anything, in PEM.
            if (file, expected, bytes.is_empty()) != ("client.key", 64, false) {
                assert_eq!(code, Some(expected), "{file}: {said}");
            }
            assert!(code == Some(0) || said.contains(key), "{file}: {said}");
        }
        fs::write(&path, good).unwrap();
        let loaded = Config::load(Sources { file: Some(config.into()), ..Sources::default() }).unwrap();
        deployment.assert_silent("Debug", &format!("{loaded:?} {loaded:#?}"));
        deployment.assert_silent("the configuration", &loaded.to_toml().unwrap());
    }
}

/// The part of [`a_panic_tells_no_secret`] that panics, where this says how.
const PANICS: &str = "CANARY_PANICS";

#[test]
fn panics_where_it_is_asked_to() {
    let Some(how) = std::env::var_os(PANICS) else { return };
    logs::hide_panics();
    if how == "with a log" {
        logs::init(LogFormat::Text, "trace").unwrap();
    }
    let config = format!("{PASSWORD} {:?}", BEARER.as_bytes());
    assert!(config.is_empty(), "the configuration is {config}");
}

#[test]
fn a_panic_tells_no_secret() {
    let deployment = Deployment::new();
    for how in ["without a log", "with a log"] {
        let mut itself = Command::new(std::env::current_exe().unwrap());
        itself.args(["--exact", "canary::panics_where_it_is_asked_to", "--nocapture"]);
        let ended = itself.env(PANICS, how).env("RUST_BACKTRACE", "full").output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        assert!(!ended.status.success() && said.contains("panicked") && said.contains("canary.rs"), "{how}: {said}");
        deployment.assert_silent(how, &said);
    }
}

/// Whoever takes what a command says may have gone.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_takes_ends_a_command_in_order() {
    let (deployment, sandbox) = (Deployment::new(), Sandbox::start().await.unwrap());
    let plain = deployment.plain("127.0.0.1:1");
    let brokers = sandbox.bootstrap();
    for args in [
        &["--help"][..],
        &["completions", "bash"],
        &["check", "--config", &plain],
        &["offsets", "show", "--offsets.store", "file", "--config", &plain],
        &["generate", "--count", "5", "--partitions", "1", "--kafka.brokers", &brokers],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_login-pipeline"));
        let ended = command.args(args).env("RUST_BACKTRACE", "full").stdout(writer).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(141), "{args:?}: {said}");
        assert!(!said.contains("Broken pipe") && !said.contains("panicked"), "{args:?}: {said}");
        deployment.assert_silent(&args.join(" "), &said);
    }
}

/// What comes back within a second, or until the port closes.
fn ask(pipeline: &PipelineProcess, request: &str) -> String {
    let mut stream = TcpStream::connect(pipeline.admin()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    write!(stream, "{request}\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut chunk) {
        answer.extend_from_slice(&chunk[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_run_tells_no_secret_anywhere() {
    let (deployment, parrot) = (Deployment::new(), Parrot::listen());
    let tokens = token_parrot();
    for (config, format) in [
        (deployment.plain(&parrot.address), "json"),
        (deployment.bearer(&parrot.address), "text"),
        (deployment.endpoint(&parrot.address, &tokens.url), "json"),
    ] {
        run_tells_nothing(&deployment, &config, format).await;
    }
    assert!(parrot.has_heard(PASSWORD) && parrot.has_heard(BEARER) && parrot.has_heard(GRANTED));
}

async fn run_tells_nothing(deployment: &Deployment, config: &str, format: &str) {
    let folder: &Path = deployment.folder.path();
    let mut pipeline = PipelineProcess::start(folder, &["--config", config, "--log.format", format]);
    let told = |it: &PipelineProcess| it.get("/readyz").is_ok_and(|(_, why)| why.contains("no entry for"));
    pipeline.wait_for("readiness to tell the broker's words", PATIENCE, told).await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", pipeline.pid())).unwrap();
    let cores = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(cores.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "a crash would leave {cores}");
    let mut shown = String::new();
    for path in ["/", "/livez", "/readyz", "/metrics", "/status", "/events", "/page.js", "/resume"] {
        shown += &ask(&pipeline, &format!("GET {path} HTTP/1.1\r\naccept: text/html"));
    }
    let with = |token: &str| format!("POST /resume HTTP/1.1\r\nauthorization: Bearer {token}");
    for token in ["wrong", ADMIN_TOKEN] {
        shown += &ask(&pipeline, &format!("PUT /log-level HTTP/1.1\r\nauthorization: Bearer {token}"));
    }
    let (wrong, right) = (ask(&pipeline, &with(&format!("{ADMIN_TOKEN}x"))), ask(&pipeline, &with(ADMIN_TOKEN)));
    assert!(wrong.starts_with("HTTP/1.1 401") && right.starts_with("HTTP/1.1 409"), "{wrong}{right}");
    shown += &wrong;
    shown += &right;
    let commands = format!("data-variables=\"\" data-flags=\" --config {config}\"");
    assert!(shown.contains(&commands), "what the page offers to copy finds the same brokers: {shown}");
    assert!(shown.contains("data: ") && shown.contains("# TYPE"), "stream and metrics are there: {shown}");
    deployment.assert_silent("the admin port", &shown);
    pipeline.sigterm();
    pipeline.wait(PATIENCE).await;
    let log = pipeline.log();
    let told = ["no entry for", "who is pipeline:[redacted]"].iter().any(|words| log.contains(words));
    assert!(told, "the words of the broker or the endpoint are logged: {log}");
    // Its files are for all to read here.
    assert!(
        log.contains("admin.token_file: ") && log.contains(" holds a secret, and anybody on this machine"),
        "{log}"
    );
    // What was done by the token, and by whom.
    let audited = log.lines().filter(|line| line.contains("audit") && line.contains("resume"));
    let results: Vec<_> = audited.map(|line| (line.contains("refused"), line.contains("127.0.0.1:"))).collect();
    assert_eq!(results, [(true, true), (false, true)], "{log}");
    deployment.assert_silent("the log", &log);
}
