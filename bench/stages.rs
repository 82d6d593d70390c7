//! What the stages cost by themselves, in nanoseconds a record, by what is asked for: no broker, no
//! network, one thread. Generated events, the same for all.
//!
//! ```text
//! cargo run --release --package bench --bin stages -- [DATABASE.mmdb]
//! ```
//!
//! The rows take turns, and the best of their rounds counts: what else the machine does only adds.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use login_pipeline::config::{Config, IdPrivacy, IpPrivacy, Secret, StaticValue};
use login_pipeline::dead_letter::{Envelope, Fit};
use login_pipeline::generator::{EventGenerator, GeneratorConfig};
use login_pipeline::geoip::{Countries, CountryFile};
use login_pipeline::observe::{Metrics, Tally};
use login_pipeline::output::{Expected, OutputBatch};
use login_pipeline::record::{Headers, Offset, RecordView};
use login_pipeline::source::Entry;
use login_pipeline::stages::{
    Batch, Counts, EnrichedLogin, Login, Now, Processor, ProcessorStages, Routes, Stages, edits,
};

const RECORDS: usize = 10_000;
const ROUNDS: usize = 60;

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let database = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("tests/data/countries.mmdb"), PathBuf::from);
    let countries = Countries::new(Metrics::new("bench").geoip());
    countries.refresh(&mut CountryFile::new(&database));

    let ask = |change: &dyn Fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        let key = Secret::new("a key of more than sixteen bytes");
        let edits = edits(&config.enrich, &config.privacy, Some(&key));
        match edits {
            Some(edits) => stages(EnrichedLogin::new(edits, countries.clone())),
            None => stages(Login),
        }
    };
    let mut rows = Vec::new();
    for (name, change) in ROWS {
        rows.push((*name, ask(change)?, Duration::MAX));
    }

    let mut generator = EventGenerator::new(GeneratorConfig { seed: 1, keyed: true, ..GeneratorConfig::default() })?;
    let records: Vec<_> = (0..RECORDS).map(|_| generator.next_record()).collect();
    let entries: Vec<_> = records
        .iter()
        .map(|record| {
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            let record = RecordView { offset: Offset(7), timestamp_ms: 5, key, value, headers: Headers::NONE };
            Entry { record, flaw: None }
        })
        .collect();
    for _ in 0..ROUNDS {
        for (_, stages, best) in &mut rows {
            *best = round(&mut **stages, &entries).min(*best);
        }
    }
    let each = |took: Duration| took.as_nanos() / u128::try_from(RECORDS).unwrap_or(1);
    let usual = rows.first().map_or(0, |(.., best)| each(*best));
    for (name, _, best) in rows {
        println!("{name:28} {:4} ns a record, {:+4}", each(best), i128::try_from(each(best) - usual.min(each(best)))?);
    }
    Ok(())
}

type Change = fn(&mut Config);

fn geoip(config: &mut Config) {
    config.enrich.geoip.file = Some(PathBuf::from("countries.mmdb"));
}

fn one_static(config: &mut Config) {
    config.enrich.statics = BTreeMap::from([("region".to_owned(), StaticValue::Text("eu-central-1".to_owned()))]);
}

fn all(config: &mut Config) {
    geoip(config);
    one_static(config);
    config.privacy.user_id = IdPrivacy::HmacSha256;
    config.privacy.device_id = IdPrivacy::HmacSha256;
    config.privacy.ip = IpPrivacy::Truncate;
}

const ROWS: &[(&str, Change)] = &[
    ("nothing", |_| ()),
    ("enrich.static, one field", one_static),
    ("enrich.geoip", geoip),
    ("privacy.ip truncate", |config| config.privacy.ip = IpPrivacy::Truncate),
    ("privacy.user_id hmac_sha256", |config| config.privacy.user_id = IdPrivacy::HmacSha256),
    ("privacy.user_id remove", |config| config.privacy.user_id = IdPrivacy::Remove),
    ("all of it, two hashed", all),
];

fn stages<P: Processor>(processor: P) -> Result<Box<dyn Stages>, Box<dyn Error + Send + Sync>> {
    let routes = Arc::new(Routes::new(&Config::default())?);
    let envelope = Envelope::new("__dlq.errors.", "bench", "user-login", 0);
    Ok(Box::new(ProcessorStages::new(processor, routes, envelope, 0)))
}

fn round(stages: &mut dyn Stages, entries: &[Entry<'_>]) -> Duration {
    let now = Now::from_unix_ms(1_794_479_552_500);
    let (mut counts, mut tally) = (Counts::default(), Tally::new(Login::DIMENSIONS));
    let mut took = Duration::ZERO;
    for part in entries.chunks(1_000) {
        let mut out = OutputBatch::new(1 << 20, Expected::default());
        let mut batch = Batch {
            now: &now,
            dead_ms: now.unix_ms,
            partitions: &[1, 1],
            out: &mut out,
            counts: &mut counts,
            tally: &mut tally,
        };
        let begun = Instant::now();
        for (index, entry) in part.iter().enumerate() {
            stages.process(entry, index, Fit::default(), &mut batch);
        }
        took += begun.elapsed();
    }
    took
}
