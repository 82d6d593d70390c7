//! What the programs say: kept where that is asked for, and looked at for what it admits.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Write};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};

use kafka_client::testing::clocks;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// How a program says that it gave up what it had begun: another, or itself, does it again.
const AGAIN: &str = "will be read again";

thread_local! {
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// How many panics there were on this thread.
pub(crate) fn panics() -> usize {
    static COUNTING: Once = Once::new();
    COUNTING.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.with(|panics| panics.set(panics.get() + 1));
            before(info);
        }));
    });
    PANICS.with(Cell::get)
}

/// Listens to what is said on a thread. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watch(Arc<Said>);

#[derive(Debug, Default)]
struct Said {
    is_logged: bool,
    admits_repeats: AtomicBool,
    log: Mutex<Vec<u8>>,
}

impl Watch {
    pub(crate) fn new(is_logged: bool) -> Self {
        Self(Arc::new(Said { is_logged, ..Said::default() }))
    }

    /// Listens until the guard is dropped.
    pub(crate) fn listen(&self) -> DefaultGuard {
        let registry = tracing_subscriber::registry().with(self.clone());
        if !self.0.is_logged {
            return tracing::subscriber::set_default(registry.with(LevelFilter::WARN));
        }
        let lines = tracing_subscriber::fmt::layer().with_writer(self.clone()).with_timer(Common).with_ansi(false);
        let level = std::env::var("SIMULATE_LOG").ok().and_then(|level| level.parse().ok());
        tracing::subscriber::set_default(registry.with(lines).with(level.unwrap_or(LevelFilter::INFO)))
    }

    /// Whether a program has said that it will do something again.
    pub(crate) fn admits_repeats(&self) -> bool {
        self.0.admits_repeats.load(Ordering::Relaxed)
    }

    /// What was said.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&self.0.log.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl<S: Subscriber> Layer<S> for Watch {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() <= Level::WARN {
            let mut message = Message(false);
            event.record(&mut message);
            if message.0 {
                self.0.admits_repeats.store(true, Ordering::Relaxed);
            }
        }
    }
}

/// Whether a line's message admits that something is done again.
struct Message(bool);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}").contains(AGAIN);
        }
    }
}

impl<'w> MakeWriter<'w> for Watch {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

impl Write for Watch {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The time that all machines have in common.
struct Common;

impl FormatTime for Common {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let common = clocks().map_or(0.0, |clocks| clocks.common.as_secs_f64());
        write!(writer, "{common:>8.3}")
    }
}
