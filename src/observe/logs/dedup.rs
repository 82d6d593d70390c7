//! Errors that repeat: a few a minute are logged for each place in the code and partition, the rest
//! is counted, and the count is logged.
//!
//! ```text
//! event ──► a warning, an error, or about repeated attempts? ──no──► line
//!               │ yes
//!               └─► Windows, by call site and what it is about ──┬─ one of the first ──► line
//!                                                                └─ counted ──► told: "17 more …"
//! ```
//! Lines of other levels, and so the counts while it runs and at the end, pass untouched.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, callsite::Identifier};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// The number of lines of a kind that pass within [`WINDOW`].
pub const FIRST: u64 = 5;

/// For how long lines of a kind are counted together.
pub const WINDOW: Duration = Duration::from_secs(60);

/// The most kinds that are told apart; beyond them a call site is one kind.
const MOST: usize = 2048;

/// Fields that say what a line is about. Lines of one call site that differ in them are of different
/// kinds.
const ABOUT: &[&str] = &["topic", "partition", "group", "operation", "class", "broker", "transactional_id"];

/// The field that lines about repeated attempts have, whatever their level.
const ATTEMPTS: &str = "attempts";

/// The process has one log.
static PROCESS: OnceLock<Dedup> = OnceLock::new();

/// Counts lines by kind. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Dedup(Arc<Mutex<HashMap<Kind, Window>>>);

type Kind = (Identifier, u64);

#[derive(Debug)]
struct Window {
    began: Instant,
    lines: u64,
    site: &'static Metadata<'static>,
    about: About,
}

/// How many lines of a kind were left out.
#[derive(Debug)]
struct LeftOut {
    count: u64,
    site: &'static Metadata<'static>,
    about: About,
}

/// What a line is about, as far as it is told again.
#[derive(Debug, Default)]
struct About {
    topic: Option<String>,
    partition: Option<i64>,
    operation: Option<String>,
    hasher: DefaultHasher,
}

impl Dedup {
    /// Makes this the one that [`keep_telling`] and [`tell_all`] speak of.
    pub(super) fn keep(&self) {
        let _ = PROCESS.set(self.clone()); // only the first log is set up, and so only its repeats come here
    }

    /// Whether this line is one of the first of its kind.
    fn passes(&self, event: &Event<'_>, now: Instant) -> bool {
        let mut about = About::default();
        event.record(&mut about);
        let site = event.metadata();
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kind = (site.callsite(), about.hasher.finish());
        if windows.len() >= MOST && !windows.contains_key(&kind) {
            (kind.1, about) = (0, About::default());
        }
        let window = windows.entry(kind).or_insert_with(|| Window { began: now, lines: 0, site, about });
        window.lines += 1;
        window.lines <= FIRST
    }

    /// Ends windows that are old enough, or all of them; says what was left out of each.
    fn ended(&self, now: Instant, all: bool) -> Vec<LeftOut> {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = |window: &Window| all || now.saturating_duration_since(window.began) >= WINDOW;
        let ended = windows.extract_if(|_, window| ends(window)).map(|(_, window)| window);
        let left_out = ended.filter(|window| window.lines > FIRST);
        left_out.map(|Window { lines, site, about, .. }| LeftOut { count: lines - FIRST, site, about }).collect()
    }

    /// Logs what was left out: of windows that are over, or of all.
    fn tell(&self, now: Instant, all: bool) {
        // The lock is free again, since a line is logged for each.
        for LeftOut { count, site, about } in self.ended(now, all) {
            let (operation, topic) = (about.operation.as_deref(), about.topic.as_deref());
            let (partition, site) = (about.partition, format!("{}:{}", site.target(), site.line().unwrap_or(0)));
            tracing::warn!(
                operation,
                topic,
                partition,
                left_out = count,
                site,
                "{count} more lines like those before were left out"
            );
        }
    }
}

/// Logs what was left out of windows that are over, as long as the runtime lives.
pub async fn keep_telling() {
    let Some(dedup) = PROCESS.get() else { return };
    let mut ticks = tokio::time::interval(WINDOW / 6);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        dedup.tell(Instant::now(), false);
    }
}

/// Logs everything that was left out and is not told yet: for the end of the process.
pub fn tell_all() {
    if let Some(dedup) = PROCESS.get() {
        dedup.tell(Instant::now(), true);
    }
}

/// Lets the first lines of a kind pass.
impl<S: Subscriber> Layer<S> for Dedup {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        !may_repeat(event.metadata()) || self.passes(event, Instant::now())
    }
}

fn may_repeat(site: &Metadata<'_>) -> bool {
    let fields = site.fields();
    // What tells of lines that were left out is not left out itself.
    (*site.level() <= Level::WARN || fields.field(ATTEMPTS).is_some()) && fields.field("left_out").is_none()
}

impl About {
    fn note(&mut self, field: &Field, value: impl Hash) -> bool {
        let counts = ABOUT.contains(&field.name());
        if counts {
            (field.name(), value).hash(&mut self.hasher);
        }
        counts
    }
}

impl Visit for About {
    fn record_i64(&mut self, field: &Field, value: i64) {
        if self.note(field, value) && field.name() == "partition" {
            self.partition = Some(value);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if self.note(field, value) {
            match field.name() {
                "topic" => self.topic = Some(value.to_owned()),
                "operation" => self.operation = Some(value.to_owned()),
                _ => {}
            }
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if ABOUT.contains(&field.name()) {
            self.note(field, format!("{value:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::captured_with;
    use super::*;
    use crate::config::LogFormat;

    fn trouble(partition: i32) {
        tracing::warn!(topic = "user-login", partition, attempts = 1, error = "gone", "read user-login/{partition}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_lines_pass_and_the_rest_is_counted() {
        let dedup = Dedup::default();
        let (lines, _guard) = captured_with(LogFormat::Json, "info", dedup.clone());
        for _ in 0..1_000 {
            trouble(3);
            tracing::info!(topic = "user-login", "statistics");
        }
        trouble(4);
        dedup.tell(Instant::now(), false);
        let of = |partition: i32| lines.json().iter().filter(|line| line["partition"] == partition).count();
        assert_eq!((of(3), of(4), lines.json().len()), (5, 1, 1_006), "nothing is told before its minute is over");

        tokio::time::advance(WINDOW).await;
        dedup.tell(Instant::now(), false);
        let told = lines.json();
        let last = told.last().unwrap();
        assert_eq!((last["left_out"].as_u64(), last["partition"].as_i64()), (Some(995), Some(3)));
        assert_eq!((last["level"].as_str(), last["topic"].as_str()), (Some("WARN"), Some("user-login")));
        assert!(last["site"].as_str().unwrap().starts_with("login_pipeline::observe::logs::dedup::tests:"), "{last}");
        assert_eq!(told.len(), 1_007, "partition 4 has nothing to tell");

        trouble(3);
        assert_eq!(of(3), 7, "a minute later the first pass again");
        for _ in 0..5 {
            trouble(3);
        }
        dedup.tell(Instant::now(), true);
        assert_eq!(lines.json().last().unwrap()["left_out"], 1, "the end waits for no minute");
        dedup.tell(Instant::now(), true);
        assert_eq!(of(3), 12, "nothing is told twice");
    }

    #[tokio::test(start_paused = true)]
    async fn what_works_again_is_limited_as_its_failures_are() {
        let (lines, _guard) = captured_with(LogFormat::Text, "info", Dedup::default());
        for _ in 0..100 {
            tracing::info!(operation = "fetch", attempts = 1, after = "0s", "works again");
        }
        assert_eq!(lines.text().lines().count(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_kinds_there_are_memory_is_bounded() {
        let dedup = Dedup::default();
        let (lines, _guard) = captured_with(LogFormat::Json, "info", dedup.clone());
        for partition in 0..10_000 {
            trouble(partition);
        }
        assert_eq!(dedup.0.lock().unwrap().len(), MOST + 1);
        assert_eq!(lines.json().len(), MOST + 5);
        dedup.tell(Instant::now(), true);
        let last = lines.json().pop().unwrap();
        assert_eq!((last["left_out"].as_u64(), last.get("partition")), (Some(10_000 - 2_048 - 5), None));
    }
}
