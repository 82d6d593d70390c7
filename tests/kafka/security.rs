//! TLS and SASL on a real Apache Kafka, with keys made here: what must pass passes, and what is
//! refused says why. One broker for all, with a listener for each way.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use login_pipeline::config::{Sasl, SaslMechanism, Secret, Security, SecurityProtocol, Tls};
use login_pipeline::generator::{self, GenerateOptions};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use test_support::kafka::KafkaCluster;
use test_support::pipeline::PipelineProcess;
use test_support::token_endpoint::{Answer, Asked, Signer, TokenEndpoint, unsecured_token};
use test_support::topics::{PATIENCE, Topics, drained, ended_in_order};
use tokio::sync::OnceCell;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// In no log, status, error or printed configuration.
const PASSWORD: &str = "canary-password";
/// Given by the environment: they are no flags.
const SECRETS: [(&str, &str); 2] = [
    ("sasl.password", "LOGIN_PIPELINE__KAFKA__SASL__PASSWORD"),
    ("sasl.client_secret", "LOGIN_PIPELINE__KAFKA__SASL__CLIENT_SECRET"),
];
const PASSWORD_KEY: &str = SECRETS[0].1;

/// What Kafka has for tokens that someone signed, and what it is to expect of them here.
const VALIDATOR: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler";
const ISSUER: &str = "https://login.example/";
const AUDIENCE: &str = "kafka";

/// How long tokens live that are seen to be replaced, in seconds.
const TOKEN_LIFE: u64 = 6;

/// How long a SASL session lasts at the listener SHORT.
const SESSION: Duration = Duration::from_secs(2);

/// What is refused is so within this time: a lasting error is tried again after ten seconds.
const REFUSAL: Duration = Duration::from_secs(40);

struct Secured {
    cluster: KafkaCluster,
    files: PathBuf,
    /// Whose tokens the listener JWKS takes.
    signer: Signer,
}

async fn secured() -> &'static Secured {
    static SECURED: OnceCell<Secured> = OnceCell::const_new();
    SECURED.get_or_init(Secured::start).await
}

impl Secured {
    async fn start() -> Self {
        // In the folder of the build: a static is never dropped.
        let files = Path::new(env!("CARGO_TARGET_TMPDIR")).join("security");
        std::fs::create_dir_all(&files).unwrap();
        make_keys(&files);
        let signer = Signer::generate();
        std::fs::write(files.join("jwks.json"), signer.jwks()).unwrap();
        let at = |name: &str| files.join(name).display().to_string();
        let plain = format!(
            "org.apache.kafka.common.security.plain.PlainLoginModule required \
             user_alice=\"{PASSWORD}\" user_mallory=\"{PASSWORD}\";"
        );
        let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
        let bearer = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
                      unsecuredLoginStringClaim_sub=\"broker\";";
        let verified = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;";
        let jwks = format!("file://{}", at("jwks.json"));
        let short = SESSION.as_millis().to_string();
        let (good, expired, elsewhere, ca) = (at("broker.pem"), at("expired.pem"), at("elsewhere.pem"), at("ca.pem"));
        let settings = [
            ("ssl.keystore.type", "PEM"),
            ("ssl.keystore.location", good.as_str()),
            ("ssl.truststore.type", "PEM"),
            ("ssl.truststore.location", &ca),
            ("listener.name.mutual.ssl.client.auth", "required"),
            ("listener.name.expired.ssl.keystore.type", "PEM"),
            ("listener.name.expired.ssl.keystore.location", &expired),
            ("listener.name.elsewhere.ssl.keystore.type", "PEM"),
            ("listener.name.elsewhere.ssl.keystore.location", &elsewhere),
            ("listener.name.saslssl.sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-512,OAUTHBEARER"),
            ("listener.name.saslssl.plain.sasl.jaas.config", &plain),
            ("listener.name.saslssl.scram-sha-512.sasl.jaas.config", scram),
            ("listener.name.saslssl.oauthbearer.sasl.jaas.config", bearer),
            // Sessions end with the tokens.
            ("listener.name.oidc.sasl.enabled.mechanisms", "OAUTHBEARER"),
            ("listener.name.oidc.oauthbearer.sasl.jaas.config", bearer),
            ("listener.name.oidc.oauthbearer.connections.max.reauth.ms", "3600000"),
            ("listener.name.jwks.sasl.enabled.mechanisms", "OAUTHBEARER"),
            ("listener.name.jwks.oauthbearer.sasl.jaas.config", verified),
            ("listener.name.jwks.oauthbearer.sasl.server.callback.handler.class", VALIDATOR),
            ("listener.name.jwks.oauthbearer.connections.max.reauth.ms", "3600000"),
            ("sasl.oauthbearer.jwks.endpoint.url", &jwks),
            ("sasl.oauthbearer.expected.issuer", ISSUER),
            ("sasl.oauthbearer.expected.audience", AUDIENCE),
            ("listener.name.short.sasl.enabled.mechanisms", "PLAIN"),
            ("listener.name.short.plain.sasl.jaas.config", &plain),
            ("listener.name.short.plain.connections.max.reauth.ms", &short),
            ("listener.name.open.sasl.enabled.mechanisms", "SCRAM-SHA-256"),
            ("listener.name.open.scram-sha-256.sasl.jaas.config", scram),
            ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
            ("super.users", "User:ANONYMOUS;User:alice;User:CN=client"),
        ];
        let listeners = [
            ("SASLSSL", "SASL_SSL"),
            ("OIDC", "SASL_SSL"),
            ("JWKS", "SASL_SSL"),
            ("SHORT", "SASL_SSL"),
            ("OPEN", "SASL_PLAINTEXT"),
            ("MUTUAL", "SSL"),
            ("EXPIRED", "SSL"),
            ("ELSEWHERE", "SSL"),
        ];
        let cluster = KafkaCluster::start_listening(1, &listeners, &settings).await;
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            let hashed = format!("{mechanism}=[password={PASSWORD}]");
            let add = ["--alter", "--add-config", &hashed, "--entity-type", "users", "--entity-name", "alice"];
            let added = cluster.cli("kafka.admin.ConfigCommand", &add).await;
            assert!(added.status.success(), "{added:?}");
        }
        Self { cluster, files, signer }
    }

    fn file(&self, name: &str) -> String {
        self.files.join(name).display().to_string()
    }

    /// A pipeline at one of the listeners, with these keys of `kafka.`, `@` being the folder of files.
    fn pipeline(&self, listener: &str, topics: &Topics, folder: &Path, keys: &[(&str, &str)]) -> PipelineProcess {
        let brokers = match listener {
            "PLAINTEXT" => self.cluster.bootstrap(),
            listener => self.cluster.listener(listener),
        };
        let [source, output, dead] = &topics.names;
        let mut args = PipelineProcess::usual_args(&brokers, source, output, dead, &folder.join("offsets"));
        args.extend(["--log.level".to_owned(), "info,rskafka=debug,login_pipeline=debug".to_owned()]);
        let mut env = Vec::new();
        for (key, value) in keys {
            if let Some((_, variable)) = SECRETS.iter().find(|(secret, _)| secret == key) {
                env.push((*variable, *value));
            } else if key.starts_with("source.") {
                args.extend([format!("--{key}"), (*value).to_owned()]);
            } else {
                let at = format!("{}/", self.files.display());
                args.extend([format!("--kafka.{key}"), value.replace('@', &at)]);
            }
        }
        PipelineProcess::start_with(folder, &args.iter().map(String::as_str).collect::<Vec<_>>(), &env)
    }

    /// Moves records over this listener, each of them accounted for, and shows no secret meanwhile.
    async fn moves(&self, test: &str, listener: &str, keys: &[(&str, &str)], count: u64) {
        let topics = Topics::create(&self.cluster, test, 2).await;
        topics.generate(count, 1).await;
        let folder = tempfile::tempdir().unwrap();
        let pipeline = self.pipeline(listener, &topics, folder.path(), keys);
        all_moved(pipeline, &topics, count).await;
    }
}

/// Lets a hundred records through, and gives the log's length and the retries then. A broker that has just begun
/// may give no producer id at once, which is another matter, and of which the log tells up to a second later.
async fn begun(pipeline: &mut PipelineProcess, topics: &Topics) -> (usize, f64) {
    topics.generate(100, 2).await;
    let through = |it: &PipelineProcess| it.metric("login_pipeline_routed_records_total") >= 100.0;
    pipeline.wait_for("the first records", PATIENCE, through).await;
    sleep(Duration::from_secs(2)).await;
    (pipeline.log().len(), pipeline.metric("login_pipeline_retries_total"))
}

async fn all_moved(mut pipeline: PipelineProcess, topics: &Topics, count: u64) {
    drained(&mut pipeline, count).await;
    let (status, page) = pipeline.get("/status").unwrap();
    assert!(status == 200 && page.contains("security_protocol"), "{page}");
    assert!(
        !format!("{page}{}{}", pipeline.log(), pipeline.metrics()).contains("canary"),
        "{page}\n{}",
        pipeline.log()
    );
    ended_in_order(pipeline).await;
    let audit = topics.audit().await;
    audit.assert_clean();
    assert_eq!(audit.source, count);
}

const CA: (&str, &str) = ("tls.ca_file", "@ca.pem");
const SASL_SSL: (&str, &str) = ("security_protocol", "sasl_ssl");
const SSL: (&str, &str) = ("security_protocol", "ssl");
const ALICE: (&str, &str) = ("sasl.username", "alice");
const SECRET: (&str, &str) = ("sasl.password", PASSWORD);
const PLAIN: (&str, &str) = ("sasl.mechanism", "PLAIN");
const SCRAM: (&str, &str) = ("sasl.mechanism", "SCRAM-SHA-512");
const BEARER: (&str, &str) = ("sasl.mechanism", "OAUTHBEARER");
const WRONG: (&str, &str) = ("sasl.password", "canary-wrong");
const PLAINTEXT: (&str, &str) = ("security_protocol", "plaintext");
const SASL_PLAINTEXT: (&str, &str) = ("security_protocol", "sasl_plaintext");
const CREDENTIALS: &str = "SASL: the broker does not take our credentials (SASL_AUTHENTICATION_FAILED): check \
                           kafka.sasl.username and kafka.sasl.password or password_file";

/// A listener, keys, and what comes of them.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);

#[tokio::test]
async fn records_go_over_tls_with_scram_and_so_do_generated_ones() {
    if KafkaCluster::left_out() {
        return;
    }
    let it = secured().await;
    let topics = Topics::create(&it.cluster, "scram", 2).await;
    let tls = Tls { ca_file: Some(it.files.join("ca.pem")), ..Tls::default() };
    let sasl = Sasl {
        mechanism: Some(SaslMechanism::ScramSha512),
        username: Some("alice".to_owned()),
        password: Some(Secret::new(PASSWORD)),
        ..Sasl::default()
    };
    let security = Security { protocol: SecurityProtocol::SaslSsl, tls, sasl };
    let options = GenerateOptions {
        brokers: vec![it.cluster.listener("SASLSSL")],
        client_id: "generator".to_owned(),
        security,
        topic: topics.names[0].clone(),
        rate: None,
        count: Some(2_000),
        bad: 0.02,
        seed: 1,
        keyed: true,
        partitions: None,
        replication: -1,
        patience: Duration::from_secs(20),
        numbered: false,
    };
    generator::run(options, CancellationToken::new(), |_| ()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let pipeline = it.pipeline("SASLSSL", &topics, folder.path(), &[SASL_SSL, CA, SCRAM, ALICE, SECRET]);
    all_moved(pipeline, &topics, 2_000).await;
}

#[tokio::test]
async fn records_go_over_mutual_tls() {
    if KafkaCluster::left_out() {
        return;
    }
    let keys = [SSL, CA, ("tls.cert_file", "@client.pem"), ("tls.key_file", "@client.key")];
    secured().await.moves("mutual", "MUTUAL", &keys, 500).await;
}

#[tokio::test]
async fn records_go_over_tls_with_plain() {
    if KafkaCluster::left_out() {
        return;
    }
    let keys = [SASL_SSL, CA, PLAIN, ALICE, ("sasl.password_file", "@password")];
    secured().await.moves("plain", "SASLSSL", &keys, 500).await;
}

#[tokio::test]
async fn records_go_over_tls_with_a_bearer_token() {
    if KafkaCluster::left_out() {
        return;
    }
    let keys = [SASL_SSL, CA, BEARER, ("sasl.token_file", "@token")];
    secured().await.moves("bearer", "SASLSSL", &keys, 500).await;
}

#[tokio::test]
async fn records_go_without_tls_with_scram() {
    if KafkaCluster::left_out() {
        return;
    }
    let keys = [("security_protocol", "sasl_plaintext"), ("sasl.mechanism", "SCRAM-SHA-256"), ALICE, SECRET];
    secured().await.moves("open", "OPEN", &keys, 500).await;
}

/// Sessions end every two seconds, and nobody notices.
#[tokio::test]
async fn a_session_is_renewed_before_the_broker_ends_it() {
    if KafkaCluster::left_out() {
        return;
    }
    let it = secured().await;
    let topics = Topics::create(&it.cluster, "session", 2).await;
    let folder = tempfile::tempdir().unwrap();
    let mut pipeline = it.pipeline("SHORT", &topics, folder.path(), &[SASL_SSL, CA, PLAIN, ALICE, SECRET]);
    let (before, retries) = begun(&mut pipeline, &topics).await;
    topics.generate_at(Some(200.0), 1_500, 1).await;
    let log = pipeline.log().split_off(before);
    assert_eq!(pipeline.metric("login_pipeline_retries_total"), retries, "{log}");
    assert!(!log.contains("WARN") && !log.contains("connection lost"), "{log}");
    let connected = log.matches("Establishing new connection").count();
    assert!(connected >= 4, "rskafka connected {connected} times only: {log}");
    all_moved(pipeline, &topics, 1_600).await;
}

/// What a refused client says in its log and in `/readyz`, and what it does: it goes on trying.
#[tokio::test]
async fn what_is_refused_says_why() {
    if KafkaCluster::left_out() {
        return;
    }
    let it = secured().await;
    let topics = Topics::create(&it.cluster, "refused", 1).await;
    let cases: [Case; 13] = [
        ("SASLSSL", &[SASL_SSL, CA, SCRAM, ALICE, WRONG], CREDENTIALS),
        ("SASLSSL", &[SASL_SSL, CA, PLAIN, ALICE, WRONG], CREDENTIALS),
        ("SASLSSL", &[SASL_SSL, CA, BEARER, ("sasl.token_file", "@stale")], "check the token in kafka.sasl.token_file"),
        (
            "OPEN",
            &[SASL_PLAINTEXT, SCRAM, ALICE, SECRET],
            "the broker has no SCRAM-SHA-512 on this port, but SCRAM-SHA-256: check kafka.sasl.mechanism",
        ),
        ("EXPIRED", &[SSL, CA], "TLS: the broker's certificate has expired (2021-01-01T00:00:00Z): renew it"),
        (
            "SASLSSL",
            &[SASL_SSL, ("tls.ca_file", "@stranger.pem"), PLAIN, ALICE, SECRET],
            "TLS: the broker's certificate is signed by no CA that is trusted here: check kafka.tls.ca_file",
        ),
        ("SASLSSL", &[SASL_SSL, PLAIN, ALICE, SECRET], "signed by no CA that is trusted here: check kafka.tls.ca_file"),
        (
            "ELSEWHERE",
            &[SSL, CA],
            "the broker's certificate is for elsewhere.example, not for 127.0.0.1: kafka.brokers",
        ),
        ("MUTUAL", &[SSL, CA], "kafka.tls.cert_file"),
        ("SASLSSL", &[PLAINTEXT], "check kafka.security_protocol"),
        ("SASLSSL", &[SSL, CA], "check kafka.security_protocol"),
        ("PLAINTEXT", &[SSL, CA], "check kafka.security_protocol"),
        (
            "PLAINTEXT",
            &[SASL_PLAINTEXT, SCRAM, ALICE, SECRET],
            "the broker wants no SASL on this port: check kafka.security_protocol",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    let start = |(n, (listener, keys, why)): (usize, Case)| {
        // The store of offsets can have one process only.
        let folder = folder.path().join(n.to_string());
        std::fs::create_dir(&folder).unwrap();
        (it.pipeline(listener, &topics, &folder, keys), why)
    };
    let refused: Vec<_> = cases.into_iter().enumerate().map(start).collect();
    for (mut pipeline, why) in refused {
        pipeline.wait_for(why, REFUSAL, |it| unready(it, why)).await;
        let log = pipeline.log();
        println!("{}", log.lines().find(|line| line.contains(why)).unwrap_or_else(|| panic!("{why} in {log}")));
        let status = pipeline.get("/status").unwrap().1;
        assert!(!format!("{status}{log}").contains("canary"), "{status}{log}");
        assert!(pipeline.runs(), "{log}");
        ended_in_order(pipeline).await;
    }
}

/// Whether `/readyz` says this, which it escapes.
fn unready(pipeline: &PipelineProcess, why: &str) -> bool {
    pipeline.get("/readyz").is_ok_and(|(code, page)| code == 503 && page.replace('\\', "").contains(why))
}

/// A password is mended in its file, a certificate in its: the process goes on without a restart.
#[tokio::test]
async fn files_are_read_again() {
    if KafkaCluster::left_out() {
        return;
    }
    let it = secured().await;
    let topics = Topics::create(&it.cluster, "files", 1).await;
    topics.generate(500, 1).await;
    let folder = tempfile::tempdir().unwrap();
    let (password, ca) = (folder.path().join("password"), folder.path().join("ca.pem"));
    std::fs::write(&password, "canary-wrong").unwrap();
    std::fs::copy(it.file("stranger.pem"), &ca).unwrap();
    let (password_file, ca_file) = (password.display().to_string(), ca.display().to_string());
    let keys = [SASL_SSL, ("tls.ca_file", ca_file.as_str()), PLAIN, ALICE, ("sasl.password_file", &password_file)];
    let mut pipeline = it.pipeline("SASLSSL", &topics, folder.path(), &keys);
    pipeline.wait_for("the CA to be unknown", REFUSAL, |it| unready(it, "signed by no CA")).await;
    std::fs::copy(it.file("ca.pem"), &ca).unwrap();
    let wrong = |it: &PipelineProcess| unready(it, "SASL_AUTHENTICATION_FAILED");
    pipeline.wait_for("the password to be wrong", REFUSAL, wrong).await;
    std::fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    all_moved(pipeline, &topics, 500).await;
}

/// Gives a token to the client that shows [`PASSWORD`].
fn to_those_who_know(
    token: impl Fn(&Asked) -> String + Send + 'static,
    life: u64,
) -> impl FnMut(&Asked) -> Answer + Send + 'static {
    move |asked| match asked.client.as_str() {
        client if client == format!("pipeline:{PASSWORD}") => Answer::token(&token(asked), life),
        client => Answer::json(
            401,
            serde_json::json!({ "error": "invalid_client", "error_description": format!("who is {client}?") }),
        ),
    }
}

const CLIENT: (&str, &str) = ("sasl.client_id", "pipeline");
const CLIENT_SECRET: (&str, &str) = ("sasl.client_secret", PASSWORD);

/// Brokers end each session with its token, which lives for seconds, and nobody notices.
#[tokio::test]
async fn tokens_are_renewed_before_they_expire() {
    if KafkaCluster::left_out() {
        return;
    }
    let it = secured().await;
    let by_reader = async |reader: &str| {
        // Whole seconds: what the broker reads in the token is a second more than what the answer says.
        let life = i64::try_from(TOKEN_LIFE).unwrap() + 1;
        let endpoint = TokenEndpoint::start(to_those_who_know(move |_| unsecured_token("alice", life), TOKEN_LIFE));
        let topics = Topics::create(&it.cluster, &format!("oidc-{reader}"), 2).await;
        let folder = tempfile::tempdir().unwrap();
        let url = ("sasl.token_endpoint_url", endpoint.url.as_str());
        let keys = [SASL_SSL, CA, BEARER, url, CLIENT, CLIENT_SECRET, ("source.reader", reader)];
        let mut pipeline = it.pipeline("OIDC", &topics, folder.path(), &keys);
        let (before, retries) = begun(&mut pipeline, &topics).await;
        topics.generate_at(Some(80.0), 2_000, 1).await;
        let log = pipeline.log().split_off(before);
        assert_eq!(pipeline.metric("login_pipeline_retries_total"), retries, "{log}");
        assert!(!log.contains("WARN") && !log.contains("connection lost"), "{log}");
        let asked = endpoint.asked().len();
        // One for all connections, each time.
        assert!((4..=12).contains(&asked), "{asked} tokens in 25 seconds: {log}");
        all_moved(pipeline, &topics, 2_100).await;
    };
    tokio::join!(by_reader("rskafka"), by_reader("wire"));
}

/// The tokens are signed, and Kafka checks them against the provider's keys, issuer and audience.
#[tokio::test]
async fn records_go_with_tokens_that_kafka_verifies() {
    if KafkaCluster::left_out() {
        return;
    }
    let it = secured().await;
    for (reader, life) in [("rskafka", 4), ("wire", 3_600)] {
        let signer = it.signer.clone();
        let token = move |_: &Asked| signer.token("alice", ISSUER, AUDIENCE, 3_600);
        let endpoint = TokenEndpoint::start(to_those_who_know(token, life));
        let url = ("sasl.token_endpoint_url", endpoint.url.as_str());
        let asked_for = ("sasl.audience", AUDIENCE);
        let beside = ("sasl.extensions", "logicalCluster=lkc-1,identityPoolId=pool-1");
        let keys = [SASL_SSL, CA, BEARER, url, CLIENT, CLIENT_SECRET, asked_for, beside, ("source.reader", reader)];
        it.moves(&format!("jwks-{reader}"), "JWKS", &keys, 500).await;
        assert!(endpoint.asked()[0].form.ends_with("&audience=kafka"), "{:?}", endpoint.asked()[0]);
    }
}

/// The endpoint refuses us, or the broker its token; once that is mended, the process goes on.
#[tokio::test]
async fn what_is_wrong_with_tokens_is_told_and_can_be_mended() {
    if KafkaCluster::left_out() {
        return;
    }
    let it = secured().await;
    let topics = Topics::create(&it.cluster, "tokens", 1).await;
    topics.generate(200, 1).await;
    let folder = tempfile::tempdir().unwrap();
    let signer = it.signer.clone();
    let token = move |_: &Asked| signer.token("alice", ISSUER, "another", 3_600);
    let endpoint = TokenEndpoint::start(to_those_who_know(token, 3_600));
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "canary-wrong").unwrap();
    let file = ("sasl.client_secret_file", secret.to_str().unwrap());
    let keys = [SASL_SSL, CA, BEARER, ("sasl.token_endpoint_url", endpoint.url.as_str()), CLIENT, file];
    let mut pipeline = it.pipeline("JWKS", &topics, folder.path(), &keys);
    let why = "refuses with 401 invalid_client (it says: who is pipeline:[redacted]?): check kafka.sasl.client_id and \
               kafka.sasl.client_secret or client_secret_file";
    pipeline.wait_for(why, REFUSAL, |it| unready(it, why)).await;
    std::fs::write(&secret, PASSWORD).unwrap();
    let why = "check kafka.sasl.scope, kafka.sasl.audience and kafka.sasl.extensions, and whether the broker takes \
               tokens of kafka.sasl.token_endpoint_url";
    pipeline.wait_for(why, REFUSAL, |it| unready(it, why)).await;
    let signer = it.signer.clone();
    endpoint.answer(to_those_who_know(move |_| signer.token("alice", ISSUER, AUDIENCE, 3_600), 3_600));
    all_moved(pipeline, &topics, 200).await;
}

#[tokio::test]
async fn check_connects_with_the_same_settings() {
    if KafkaCluster::left_out() {
        return;
    }
    let it = secured().await;
    let topics = Topics::create(&it.cluster, "check", 2).await;
    let check = |user: &str, password: &str, more: &[&str]| {
        let [source, output, dead] = &topics.names;
        let output = Command::new(env!("CARGO_BIN_EXE_login-pipeline"))
            .args(["check", "--connect", "--kafka.brokers", &it.cluster.listener("SASLSSL")])
            .args(["--source.topic", source, "--output.topic", output, "--dead_letter.topic", dead])
            .args(["--kafka.security_protocol", "sasl_ssl", "--kafka.tls.ca_file", &it.file("ca.pem")])
            .args(["--kafka.sasl.mechanism", "PLAIN", "--kafka.sasl.username", user])
            .args(more)
            .env(PASSWORD_KEY, password)
            .output()
            .unwrap();
        let shown = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!shown.contains("canary"), "{shown}");
        (output.status.success(), shown)
    };
    let (ok, shown) = check("alice", PASSWORD, &[]);
    assert!(ok && shown.contains("source check-in: 2 partitions, Read is allowed"), "{shown}");
    assert!(!shown.contains("transactional ids check-"), "{shown}");
    let (ok, shown) = check("mallory", PASSWORD, &[]);
    assert!(!ok && shown.contains("grant this client Read and Describe on the source"), "{shown}");
    let (ok, shown) = check("alice", "canary-wrong", &[]);
    assert!(!ok && shown.contains("SASL_AUTHENTICATION_FAILED"), "{shown}");

    let exactly_once =
        ["--delivery.guarantee", "exactly_once", "--offsets.store", "group", "--group.id", "check-group"];
    let (ok, shown) = check("alice", PASSWORD, &exactly_once);
    assert!(ok && shown.contains("# ok    transactional ids check-group-*: Write and Describe are allowed"), "{shown}");
    let prefix = ["--delivery.transactional_id_prefix", "check-prefix"];
    let (ok, shown) = check("mallory", PASSWORD, &[&exactly_once[..], &prefix].concat());
    assert!(!ok && shown.contains("# WRONG transactional ids check-prefix-*: "), "{shown}");
    assert!(shown.contains("grant this client Write and Describe on the transactional ids that begin with"), "{shown}");
    let (ok, shown) =
        check("alice", PASSWORD, &[&exactly_once[..], &["--delivery.transaction_timeout", "20m"]].concat());
    assert!(!ok && shown.contains("transaction.max.timeout.ms"), "{shown}");
}

/// A CA, certificates of the broker and of a client, and what is wrong with either.
fn make_keys(folder: &Path) {
    let authority = |name: &str| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        (certificate.pem(), Issuer::new(params, key))
    };
    let (ca, issuer) = authority("ca");
    let (stranger, _) = authority("stranger");
    let signed = |name: &str, hosts: &[&str], until: i32| {
        let mut params =
            CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    };
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("ca.pem", &ca);
    write("stranger.pem", &stranger);
    let here = ["localhost", "127.0.0.1"];
    for (name, hosts, until) in
        [("broker", &here[..], 2099), ("expired", &here, 2021), ("elsewhere", &["elsewhere.example"], 2099)]
    {
        let (certificate, key) = signed(name, hosts, until);
        write(&format!("{name}.pem"), &format!("{key}{certificate}"));
    }
    let (certificate, key) = signed("client", &["client"], 2099);
    write("client.pem", &certificate);
    write("client.key", &key);
    write("password", &format!("{PASSWORD}\n"));
    write("token", &unsecured_token("alice", 3_600));
    write("stale", &unsecured_token("alice", -3_600));
}
