//! Traces by OTLP over HTTP: a span for each record whose sender's trace is sampled. Cargo feature `otlp`.
//!
//! ```text
//! traceparent ──► Spans of a batch ── acknowledged, or committed ──► Traces ── a bounded queue ──► a collector
//! ```
//! OpenTelemetry's environment variables configure it, and nothing else does. Where they name no endpoint
//! nothing begins. What the queue has no room for, or the collector does not take, is lost; nobody waits
//! for either but [`Traces::finish`], within a bound. A span has a record's place and what became of it:
//! nothing of the record itself.

mod client;

use std::env;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Span, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
    TracerProvider,
};
use opentelemetry::{Context, Key, KeyValue};
use opentelemetry_otlp::{OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanData, SpanExporter};
use tracing::{info, warn};

use self::client::{Client, variable};
use super::count;
use crate::record::{RecordView, trace_parent};
use crate::topic::TopicPartition;

/// How long the last spans may take at the end.
const FINISH_GRACE: Duration = Duration::from_secs(2);

/// The exporter of spans. Clones are the same.
#[derive(Debug, Clone)]
pub struct Traces(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Never dropped: that would wait for a collector, even where the program is to end at once.
    provider: ManuallyDrop<SdkTracerProvider>,
    tracer: ManuallyDrop<SdkTracer>,
    group: Option<String>,
    /// How many spans there were, and how many of them the collector has.
    ended: AtomicU64,
    exported: Arc<AtomicU64>,
}

/// The spans of one batch, from the beginning of work on it until its records count. Dropped before, they
/// never were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spans {
    batch: Option<(TopicPartition, SystemTime)>,
    /// In the order of the batch.
    open: Vec<Open>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Open {
    index: usize,
    offset: i64,
    parent: SpanContext,
    error: Option<&'static str>,
}

impl Spans {
    /// The record at `index` of the batch is a dead letter, for this reason.
    pub fn failed(&mut self, index: usize, reason: &'static str) {
        if let Ok(at) = self.open.binary_search_by_key(&index, |span| span.index) {
            self.open[at].error = Some(reason);
        }
    }
}

impl Traces {
    /// As the environment says; `None` where it names no endpoint, or is wrong, which is logged. A `group`
    /// is told with each span. To be called within a runtime.
    pub fn start(group: Option<&str>) -> Option<Self> {
        let is_named = [OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, OTEL_EXPORTER_OTLP_ENDPOINT].map(variable) != [None, None];
        let says = |name, word: &str| variable(name).is_some_and(|value| value.eq_ignore_ascii_case(word));
        if !is_named || says("OTEL_SDK_DISABLED", "true") || says("OTEL_TRACES_EXPORTER", "none") {
            return None;
        }
        let client = Client::new()
            .inspect_err(|error| warn!(%error, "no traces: OTEL_EXPORTER_OTLP_CERTIFICATE must name a file in PEM"));
        let client = client.ok()?;
        let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().with_http_client(client.clone()).build();
        // The error quotes the endpoint, which may hold a password.
        let Ok(otlp) = exporter else {
            warn!(
                "no traces: check that OTEL_EXPORTER_OTLP_ENDPOINT is a URL, and the other OTEL_EXPORTER_OTLP_ variables"
            );
            return None;
        };
        let exported = Arc::new(AtomicU64::new(0));
        let exporter = Exporter { otlp, client, exported: Arc::clone(&exported) };
        let provider = SdkTracerProvider::builder().with_resource(resource()).with_batch_exporter(exporter).build();
        let tracer = ManuallyDrop::new(provider.tracer(env!("CARGO_PKG_NAME")));
        let (provider, group) = (ManuallyDrop::new(provider), group.map(str::to_owned));
        info!("tracing started: records whose trace is sampled have spans, which go to OTEL_EXPORTER_OTLP_ENDPOINT");
        Some(Self(Arc::new(Inner { provider, tracer, group, ended: AtomicU64::new(0), exported })))
    }

    /// Begins the spans of a batch: work on it begins now.
    pub fn begin<'r>(&self, of: &TopicPartition, records: impl Iterator<Item = RecordView<'r>>) -> Spans {
        let spans = records.enumerate().filter_map(|(index, record)| {
            let sender = trace_parent(record.headers).filter(|sender| sender.is_sampled())?;
            let trace_id = TraceId::from_hex(sender.trace_id).ok()?;
            let span_id = SpanId::from_hex(sender.parent_id).ok()?;
            let parent = SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, true, TraceState::NONE);
            Some(Open { index, offset: record.offset.0, parent, error: None })
        });
        let open: Vec<_> = spans.collect();
        let batch = (!open.is_empty()).then(|| (of.clone(), SystemTime::now()));
        Spans { batch, open }
    }

    /// Ends the spans of a batch, whose records count from now on.
    pub fn end(&self, spans: &Spans) {
        let Some((TopicPartition { topic, partition }, begun)) = &spans.batch else { return };
        let (Inner { tracer, group, ended, .. }, now) = (&*self.0, SystemTime::now());
        let name = format!("process {topic}");
        let mut shared = vec![
            KeyValue::new("messaging.system", "kafka"),
            KeyValue::new("messaging.operation.name", "process"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.destination.name", Arc::clone(topic)),
            KeyValue::new("messaging.destination.partition.id", partition.to_string()),
        ];
        shared.extend(group.clone().map(|group| KeyValue::new("messaging.consumer.group.name", group)));
        for Open { offset, parent, error, .. } in &spans.open {
            let mut attributes = shared.clone();
            attributes.push(KeyValue::new("messaging.kafka.offset", *offset));
            attributes.extend(error.map(|reason| KeyValue::new("error.type", reason)));
            let span = tracer.span_builder(name.clone()).with_kind(SpanKind::Consumer);
            let span = span.with_start_time(*begun).with_attributes(attributes);
            let mut span = tracer.build_with_context(span, &Context::new().with_remote_span_context(parent.clone()));
            if let Some(reason) = error {
                span.set_status(Status::error(*reason));
            }
            // OTEL_TRACES_SAMPLER may ask for fewer.
            ended.fetch_add(u64::from(span.is_recording()), Relaxed);
            span.end_with_timestamp(now);
        }
    }

    /// Sends what is queued, as far as the collector takes it within two seconds, and says how much was
    /// lost. There are no spans after this.
    pub async fn finish(&self) {
        let it = Arc::clone(&self.0);
        // What fails is counted: an attempt that is out of time goes on until the process ends.
        let _ = tokio::task::spawn_blocking(move || it.provider.shutdown_with_timeout(FINISH_GRACE)).await;
        let Inner { ended, exported, .. } = &*self.0;
        let lost = ended.load(Relaxed).saturating_sub(exported.load(Relaxed));
        if lost > 0 {
            warn!(
                spans = lost,
                "spans are lost: the collector did not take them, or there were too many for the queue"
            );
        }
    }
}

/// Who speaks: as the environment says, or else this program by its name.
fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let said = Resource::builder().build();
    let is_named =
        said.get(&Key::new("service.name")).is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    // What is given here goes before the environment.
    let is_versioned = said.get(&Key::new("service.version")).is_some();
    let mut builder = Resource::builder();
    if !is_named {
        builder = builder.with_service_name(env!("CARGO_PKG_NAME"));
    }
    if !is_versioned {
        builder = builder.with_attribute(version);
    }
    builder.build()
}

/// Counts what the collector has, and says what it has not.
#[derive(Debug)]
struct Exporter {
    otlp: opentelemetry_otlp::SpanExporter,
    client: Client,
    exported: Arc<AtomicU64>,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = count(batch.len());
        let outcome = self.otlp.export(batch).await;
        match &outcome {
            Ok(()) => {
                self.exported.fetch_add(spans, Relaxed);
            }
            Err(error) => {
                let error = self.client.take_trouble().unwrap_or_else(|| error.to_string());
                warn!(spans, error, "spans are lost: the collector of traces does not take them");
            }
        }
        outcome
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.otlp.set_resource(resource);
    }
}
