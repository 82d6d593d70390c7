//! Traces by OTLP: the real program on the embedded broker, with a collector that takes, refuses, is silent
//! or is not there.
#![allow(clippy::unwrap_used, reason = "a helper fails as its test would; clippy.toml allows it inside #[test] only")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::net::TcpListener as StdListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use kafka_sandbox::{NewBatch, NewRecord, Sandbox, TopicConfig};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use prost::Message;
use rcgen::{CertificateParams, KeyPair};
use rskafka::client::ClientBuilder;
use rskafka::client::partition::{Compression, UnknownTopicHandling};
use rskafka::record::Record;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use test_support::kafka::KafkaCluster;
use test_support::pipeline::PipelineProcess;
use test_support::topics::{PATIENCE, Topics};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const SOURCE: &str = "user-login";
const OUTPUT: &str = "processed-user-login";
const DLQ: &str = "user-login-dlq";

/// The most bytes of a batch in the output topic.
const LARGEST_OUTPUT: usize = 3_000;

/// The variable that switches traces on.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// What no span may hold.
const PERSONAL: [&str; 6] = ["canary-user", "canary-device", "199.172.111.135", "canary-key", "canary-state", "RU"];

const TOKEN: &str = "canary-collector-token";

/// What a collector was sent.
struct Asked {
    line: String,
    headers: hyper::HeaderMap,
    body: Bytes,
}

/// What it does with it.
#[derive(Clone, Copy)]
enum Answer {
    Status(u16),
    Silence,
}

struct Collector {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Collector {
    fn start(answer: Answer, tls: Option<TlsAcceptor>) -> Self {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let (scheme, host) = if tls.is_some() { ("https", "localhost") } else { ("http", "127.0.0.1") };
        let url = format!("{scheme}://{host}:{}", listener.local_addr().unwrap().port());
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let hears = Arc::clone(&asked);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(listener, tls, answer, hears));
        });
        Self { url, asked }
    }

    /// All spans that it was sent, with their service's name.
    fn spans(&self) -> Vec<(String, Span)> {
        let mut spans = Vec::new();
        for asked in self.asked.lock().unwrap().iter() {
            for of in ExportTraceServiceRequest::decode(asked.body.clone()).unwrap().resource_spans {
                let said = attributes(&of.resource.unwrap().attributes);
                let service = said["service.name"].clone();
                let within = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
                spans.extend(within.map(|span| (service.clone(), span)));
            }
        }
        spans
    }
}

async fn serve(listener: StdListener, tls: Option<TlsAcceptor>, answer: Answer, asked: Arc<Mutex<Vec<Asked>>>) {
    let listener = TcpListener::from_std(listener).unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, asked) = (tls.clone(), Arc::clone(&asked));
        tokio::spawn(async move {
            let service = service_fn(|request| respond(request, answer, Arc::clone(&asked)));
            let _ = match tls {
                None => http1::Builder::new().serve_connection(TokioIo::new(stream), service).await,
                Some(tls) => {
                    http1::Builder::new()
                        .serve_connection(TokioIo::new(tls.accept(stream).await.unwrap()), service)
                        .await
                }
            };
        });
    }
}

async fn respond(
    request: Request<Incoming>,
    answer: Answer,
    asked: Arc<Mutex<Vec<Asked>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let line = format!("{} {}", head.method, head.uri);
    asked.lock().unwrap().push(Asked { line, headers: head.headers, body });
    match answer {
        Answer::Status(status) => Ok(Response::builder().status(status).body(Full::default()).unwrap()),
        Answer::Silence => std::future::pending().await,
    }
}

/// As text, by name.
fn attributes(found: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("neither text nor a whole number: {other:?}"),
    };
    found.iter().map(|it| (it.key.clone(), text(&it.value))).collect()
}

/// A broker with the three topics, and where programs put their files.
struct World {
    sandbox: Sandbox,
    folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let sandbox = Sandbox::start().await.unwrap();
        sandbox.create_topic(SOURCE, 2).unwrap();
        sandbox.create_topic(DLQ, 2).unwrap();
        let config = TopicConfig { max_message_bytes: LARGEST_OUTPUT, ..TopicConfig::new(2) };
        sandbox.create_topic_with(OUTPUT, config).unwrap();
        Self { sandbox, folder: tempfile::tempdir().unwrap() }
    }

    fn append(&self, partition: i32, records: Vec<NewRecord>) {
        self.sandbox.append_batch(SOURCE, partition, &NewBatch::new(records)).unwrap();
    }

    /// How many records a topic has.
    fn count(&self, topic: &str) -> usize {
        (0..2).map(|partition| self.sandbox.read(topic, partition).unwrap().len()).sum()
    }

    fn start(&self, more: &[&str], env: &[(&str, &str)]) -> PipelineProcess {
        let folder = self.folder.path();
        let usual =
            PipelineProcess::usual_args(&self.sandbox.bootstrap(), SOURCE, OUTPUT, DLQ, &folder.join("offsets"));
        let args: Vec<_> = usual.iter().map(String::as_str).chain(more.iter().copied()).collect();
        PipelineProcess::start_with(folder, &args, env)
    }

    /// Runs until so many records are delivered, then stops in order; the log.
    async fn run(&self, delivered: usize, more: &[&str], env: &[(&str, &str)]) -> String {
        let mut pipeline = self.start(more, env);
        let done = |_: &PipelineProcess| self.count(OUTPUT) + self.count(DLQ) >= delivered;
        pipeline.wait_for("all records to be delivered", PATIENCE, done).await;
        end(&mut pipeline).await
    }
}

async fn end(pipeline: &mut PipelineProcess) -> String {
    pipeline.sigterm();
    let ended = pipeline.wait(PATIENCE).await;
    assert!(ended.success(), "{ended}:\n{}", pipeline.log());
    pipeline.log()
}

fn event(more: &str) -> NewRecord {
    let value = format!(
        r#"{{"user_id":"canary-user","app_version":"2.3.0","device_type":"android","ip":"199.172.111.135","locale":"RU","device_id":"canary-device","timestamp":1694479551{more}}}"#
    );
    NewRecord::new("canary-key", value).timestamp(1_700_000_000_000)
}

fn trace(number: u8) -> String {
    format!("4bf92f3577b34da6a3ce929d0e0e47{number:02x}")
}

fn parent(number: u8) -> String {
    format!("00f067aa0ba902{number:02x}")
}

trait Traced {
    /// With a sender's span.
    fn traced(self, number: u8, flags: &str) -> Self;
}

impl Traced for NewRecord {
    fn traced(self, number: u8, flags: &str) -> Self {
        let text = format!("00-{}-{}-{flags}", trace(number), parent(number));
        self.header("traceparent", Some(text.as_bytes()))
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A span as the conventions have it: of which record, and why that died.
fn expected(number: u8, partition: i32, offset: i64, group: Option<&str>, reason: Option<&str>) -> Vec<String> {
    let mut all = BTreeMap::from(
        [
            ("messaging.destination.name", SOURCE.to_owned()),
            ("messaging.destination.partition.id", partition.to_string()),
            ("messaging.kafka.offset", offset.to_string()),
            ("messaging.operation.name", "process".to_owned()),
            ("messaging.operation.type", "process".to_owned()),
            ("messaging.system", "kafka".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    all.extend(group.map(|group| ("messaging.consumer.group.name".to_owned(), group.to_owned())));
    all.extend(reason.map(|reason| ("error.type".to_owned(), reason.to_owned())));
    let status = reason.map(|reason| (StatusCode::Error, reason.to_owned())).unwrap_or_default();
    vec![trace(number), parent(number), format!("process {SOURCE}"), format!("{status:?}"), format!("{all:?}")]
}

fn told(span: &Span) -> Vec<String> {
    let status = span.status.clone().unwrap_or_default();
    vec![
        hexadecimal(&span.trace_id),
        hexadecimal(&span.parent_span_id),
        span.name.clone(),
        format!("{:?}", (status.code(), status.message)),
        format!("{:?}", attributes(&span.attributes)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sampled_record_has_a_span_and_no_other() {
    for (more, group) in
        [(&[][..], None), (&["--offsets.store", "group", "--source.reader", "wire"], Some("login-pipeline"))]
    {
        let (world, collector) = (World::new().await, Collector::start(Answer::Status(200), None));
        let large = format!(r#","extra":"{}""#, "x".repeat(LARGEST_OUTPUT));
        world.append(
            0,
            vec![
                event("").traced(1, "01").header("tracestate", Some(b"vendor=canary-state")),
                event("").traced(2, "00"),
                event("").header("traceparent", Some(b"00-canary-state-01")),
                event(""),
                NewRecord::new("canary-key", "canary-user").traced(3, "01"),
                NewRecord::new("canary-key", "canary-user").traced(4, "02"),
                event(&large).traced(5, "01"),
                event("").traced(6, "ff"),
            ],
        );
        world.append(1, vec![event(""), event("").traced(7, "01")]);
        let env = [
            (ENDPOINT, &*collector.url),
            ("OTEL_EXPORTER_OTLP_HEADERS", &format!("authorization=Bearer {TOKEN}")),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
        ];
        let log = world.run(10, more, &env).await;
        assert_eq!((world.count(OUTPUT), world.count(DLQ)), (7, 3), "{log}");

        let mut spans = collector.spans();
        spans.sort_by_key(|(_, span)| span.trace_id.clone());
        let wanted = [
            expected(1, 0, 0, group, None),
            expected(3, 0, 4, group, Some("malformed_json")),
            expected(5, 0, 6, group, Some("too_large")),
            expected(6, 0, 7, group, None),
            expected(7, 1, 1, group, None),
        ];
        assert_eq!(spans.iter().map(|(_, span)| told(span)).collect::<Vec<_>>(), wanted, "{log}");
        for (service, span) in &spans {
            assert_eq!((&**service, span.kind()), ("login-pipeline", SpanKind::Consumer));
            assert!(0 < span.start_time_unix_nano && span.start_time_unix_nano <= span.end_time_unix_nano);
            assert_eq!((span.span_id.len(), span.events.len(), span.links.len(), &*span.trace_state), (8, 0, 0, ""));
        }
        for asked in collector.asked.lock().unwrap().iter() {
            assert_eq!(asked.line, "POST /v1/traces");
            assert_eq!(asked.headers["authorization"], format!("Bearer {TOKEN}"));
            assert_eq!(asked.headers["content-type"], "application/x-protobuf");
            let sent = String::from_utf8_lossy(&asked.body);
            assert!(sent.contains("deployment.environment.name"), "{sent}");
            assert!(PERSONAL.iter().all(|personal| !sent.contains(personal)), "{sent}");
        }
        assert!(!log.contains("WARN") && !log.contains(TOKEN), "{log}");
    }
}

/// On a real Kafka, since the embedded broker has no transactions.
#[tokio::test(flavor = "multi_thread")]
async fn within_a_transaction_a_span_ends_with_it() {
    if KafkaCluster::left_out() {
        return;
    }
    let (cluster, collector) = (KafkaCluster::shared().await, Collector::start(Answer::Status(200), None));
    let topics = Topics::create(cluster, "traces", 1).await;
    let [source, output, dead] = &topics.names;
    let header = format!("00-{}-{}-01", trace(1), parent(1));
    let NewRecord { key, value, .. } = event("");
    let record = Record {
        key: key.map(Into::into),
        value: value.map(Into::into),
        headers: [("traceparent".to_owned(), header.into_bytes())].into(),
        timestamp: chrono::DateTime::UNIX_EPOCH,
    };
    let client = ClientBuilder::new(vec![topics.brokers.clone()]).build().await.unwrap();
    let partition = client.partition_client(source, 0, UnknownTopicHandling::Retry).await.unwrap();
    partition.produce(vec![record], Compression::NoCompression).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let usual = PipelineProcess::usual_args(&topics.brokers, source, output, dead, &folder.path().join("offsets"));
    let once = ["--delivery.guarantee", "exactly_once", "--offsets.store", "group", "--group.id", "traces"];
    let slowly = ["--delivery.transaction_interval", "2s"];
    let args: Vec<_> = usual.iter().map(String::as_str).chain(once).chain(slowly).collect();
    let env = [(ENDPOINT, &*collector.url), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
    let mut pipeline = PipelineProcess::start_with(folder.path(), &args, &env);
    pipeline.wait_for("the span", PATIENCE, |_| !collector.spans().is_empty()).await;
    let log = end(&mut pipeline).await;
    let spans = collector.spans();
    assert_eq!(spans.len(), 1, "{log}");
    let (_, span) = &spans[0];
    let within = expected(1, 0, 0, Some("traces"), None).join("\n").replace(SOURCE, source);
    assert_eq!(told(span).join("\n"), within);
    let lasted = Duration::from_nanos(span.end_time_unix_nano - span.start_time_unix_nano);
    assert!(lasted >= Duration::from_secs(2), "it ended before its transaction: {lasted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_is_reached_over_tls() {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let (chain, secret) = (certificate.pem(), key.serialize_pem());
    let chain_der = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
    let tls = tls
        .with_no_client_auth()
        .with_single_cert(chain_der, PrivateKeyDer::from_pem_slice(secret.as_bytes()).unwrap());
    let collector = Collector::start(Answer::Status(200), Some(TlsAcceptor::from(Arc::new(tls.unwrap()))));
    let world = World::new().await;
    let file = world.folder.path().join("ca.pem");
    fs::write(&file, chain).unwrap();
    world.append(0, vec![event("").traced(1, "01")]);
    let env = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &*format!("{}/own/path", collector.url)),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", file.to_str().unwrap()),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", ""),
        ("OTEL_SERVICE_NAME", "logins"),
    ];
    let log = world.run(1, &[], &env).await;
    let spans = collector.spans();
    assert_eq!((spans.len(), &*spans[0].0), (1, "logins"), "{log}");
    assert_eq!(collector.asked.lock().unwrap()[0].line, "POST /own/path");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_takes_nothing_costs_a_line() {
    let (refusing, silent) = (Collector::start(Answer::Status(400), None), Collector::start(Answer::Silence, None));
    let gone = format!("http://user:{TOKEN}@127.0.0.1:{}", support::free_ports(1)[0]);
    for (url, why) in
        [(&*refusing.url, "status code: 400"), (&silent.url, "spans are lost"), (&gone, "can't be reached")]
    {
        let world = World::new().await;
        world.append(0, (0..200).map(|_| event("").traced(1, "01")).collect());
        // The queue is full at once.
        let env = [(ENDPOINT, url), ("OTEL_BSP_MAX_QUEUE_SIZE", "50"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")];
        let log = world.run(200, &[], &env).await;
        assert_eq!(world.count(OUTPUT), 200, "{log}");
        let lines: Vec<_> = log.lines().filter(|line| line.contains("WARN")).collect();
        assert!((1..=8).contains(&lines.len()) && lines.iter().any(|line| line.contains(why)), "{log}");
        assert!(
            lines.last().unwrap().contains("spans=200") || lines.iter().any(|line| line.contains("spans=200")),
            "{log}"
        );
        assert!(!log.contains(TOKEN), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_endpoint_nothing_begins() {
    let collector = Collector::start(Answer::Status(200), None);
    let empty = tempfile::NamedTempFile::new().unwrap();
    for (env, begins) in [
        (&[][..], false),
        (&[(ENDPOINT, "")], false),
        (&[(ENDPOINT, &*collector.url), ("OTEL_SDK_DISABLED", "true")], false),
        (&[(ENDPOINT, &collector.url), ("OTEL_TRACES_EXPORTER", "none")], false),
        (&[(ENDPOINT, "no url")], false),
        (&[(ENDPOINT, &collector.url), ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere")], false),
        // Who trusts nobody reaches nobody.
        (&[(ENDPOINT, &collector.url), ("OTEL_EXPORTER_OTLP_CERTIFICATE", empty.path().to_str().unwrap())], false),
        (&[(ENDPOINT, &collector.url)], true),
    ] {
        let world = World::new().await;
        world.append(0, vec![event("").traced(1, "01")]);
        let mut pipeline = world.start(&[], env);
        pipeline.wait_for("the record", PATIENCE, |_| world.count(OUTPUT) == 1).await;
        let threads = fs::read_dir(format!("/proc/{}/task", pipeline.pid())).unwrap();
        let names = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("comm")).unwrap());
        let has_thread = names.into_iter().any(|name| name.starts_with("OpenTelemetry"));
        let log = end(&mut pipeline).await;
        assert_eq!((has_thread, collector.spans().len()), (begins, usize::from(begins)), "{env:?}: {log}");
    }
}
