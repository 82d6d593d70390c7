//! The log: lines on standard error, for people or for machines.
//!
//! In JSON each line is one object: `timestamp`, `level`, `target`, `message`, an event's own
//! fields beside them, and `span` where there is one. docs/guides/runbook.md has a table of all fields.

pub mod dedup;
mod error;
pub mod level;
pub(in crate::observe) mod writer;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kafka_client::plain::{Keep, visible};
use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use self::dedup::Dedup;
pub use self::error::LogError;
use self::level::Swap;
use self::writer::{Handle, Queue};
use crate::audit;
use crate::config::LogFormat;

/// How long the end of the process waits for the last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How long a panic waits for its line.
const LAST_LINE_OF_PANIC: Duration = Duration::from_millis(100);

/// The lines on their way to standard error, where a log is set up.
static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();

/// Whether whoever runs this has nothing against colours on a terminal: no `NO_COLOR`, or an empty one.
pub fn colours_are_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Sends all events that `directives` let through to standard error, and panics with them. Colours
/// are for terminals, unless `NO_COLOR` is set. Nobody who logs waits: what standard error does not take
/// is dropped, and counted.
///
/// # Errors
/// [`LogError`] where the directives are wrong, this is not the first call, or there is no thread.
pub fn init(format: LogFormat, directives: &str) -> Result<(), LogError> {
    let filter = filter(directives)?;
    let colours = io::stderr().is_terminal() && colours_are_wanted();
    let dedup = Dedup::default();
    let queue = Queue::of_process();
    let handle = Handle { queue: Arc::clone(&queue), keep: if colours { Keep::Colours } else { Keep::Nothing } };
    let (subscriber, swap) = subscriber(format, filter, move || handle.clone(), colours, dedup.clone());
    subscriber.try_init().map_err(LogError::Again)?;
    queue.start().map_err(LogError::Thread)?;
    let _ = QUEUE.set(queue); // only the first log is set up, and so only its queue comes here
    level::keep(swap, directives);
    dedup.keep();
    panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// The filter that `directives` ask for. rskafka logs an error each time something fails that we
/// try again and report ourselves, so it is silent unless the directives name it; the audit is heard unless they do.
///
/// # Errors
/// [`LogError::Directives`], so that a configuration can be refused before anything is set up.
pub fn filter(directives: &str) -> Result<Targets, LogError> {
    let quiet = (!names(directives, "rskafka")).then_some("rskafka=off");
    let audit = (!names(directives, audit::TARGET)).then_some("audit=info");
    let given = directives.split(',').map(str::trim).filter(|directive| !directive.is_empty());
    let all: Vec<_> = given.chain(quiet).chain(audit).collect();
    let refused = |source| LogError::Directives { directives: directives.to_owned(), source };
    all.join(",").parse().map_err(refused)
}

/// Whether directives say something of this target.
pub fn names(directives: &str, target: &str) -> bool {
    directives.split(',').any(|directive| {
        let rest = directive.trim().strip_prefix(target);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['=', ':']))
    })
}

/// What writes the lines, and how to give it another filter.
fn subscriber<W>(
    format: LogFormat,
    filter: Targets,
    writer: W,
    colours: bool,
    dedup: Dedup,
) -> (Box<dyn Subscriber + Send + Sync>, Swap)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // All levels, since the filter alone is to choose.
    let builder = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_writer(writer);
    match format {
        LogFormat::Text => filtered(builder.with_ansi(colours).finish(), filter, dedup),
        LogFormat::Json => {
            let json = builder.json().flatten_event(true).with_current_span(true).with_span_list(false);
            filtered(json.finish(), filter, dedup)
        }
    }
}

fn filtered(
    lines: impl Subscriber + Send + Sync,
    filter: Targets,
    dedup: Dedup,
) -> (Box<dyn Subscriber + Send + Sync>, Swap) {
    let (layer, handle) = reload::Layer::new(filter);
    let swap: Swap = Box::new(move |directives| Ok(handle.reload(self::filter(directives)?)?));
    (Box::new(lines.with(dedup).with(layer)), swap)
}

/// Says a line to whoever runs this on standard error, behind what was logged. Where nobody takes it
/// there is nobody to tell, which is no reason to fail.
pub fn tell(line: fmt::Arguments<'_>) {
    let line = format!("{line}\n");
    // Lines of ours may be several, as of what is wrong with a configuration.
    let line = visible(line.as_bytes(), Keep::Lines);
    match QUEUE.get() {
        Some(queue) => queue.push(&line),
        None => drop(io::stderr().write_all(&line)),
    }
}

/// Waits until what was logged is written, a second at most. For the end of the process.
pub fn flush() {
    if let Some(queue) = QUEUE.get() {
        queue.flush(LAST_LINES);
    }
}

/// From now on, and until a log is set up, a panic says on standard error where it happened and
/// never why: its message may quote a record, or a secret. No backtrace, which would bring no more.
pub fn hide_panics() {
    panic::set_hook(Box::new(|info| {
        let at = info.location().map(|at| format!(" at {}:{}:{}", at.file(), at.line(), at.column()));
        // Where nobody reads it there is nobody to tell.
        let _ = writeln!(io::stderr(), "login-pipeline: panicked{}", at.unwrap_or_default());
    }));
}

/// Logs where a panic happened and never what it says: its message may quote a record. A panic may end the
/// process at once, so that the line is waited for, unless nobody takes any.
fn log_panic(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    match info.location() {
        Some(at) => tracing::error!(file = at.file(), line = at.line(), column = at.column(), thread, "panicked"),
        None => tracing::error!(thread, "panicked"),
    }
    if let Some(queue) = QUEUE.get() {
        queue.flush(LAST_LINE_OF_PANIC);
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing::subscriber::DefaultGuard;

    use super::writer::line_of;
    use super::{Dedup, Keep, LogFormat, filter, subscriber};

    /// What was logged.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }

        pub(crate) fn json(&self) -> Vec<serde_json::Value> {
            self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }
    }

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(&line_of(bytes, Keep::Nothing));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Collects what this thread logs, in JSON, until the guard is dropped.
    pub(crate) fn captured() -> (Lines, DefaultGuard) {
        captured_as(LogFormat::Json, "info")
    }

    pub(crate) fn captured_as(format: LogFormat, directives: &str) -> (Lines, DefaultGuard) {
        captured_with(format, directives, Dedup::default())
    }

    pub(crate) fn captured_with(format: LogFormat, directives: &str, dedup: Dedup) -> (Lines, DefaultGuard) {
        let lines = Lines::default();
        let writer = lines.clone();
        let (subscriber, _) = subscriber(format, filter(directives).unwrap(), move || writer.clone(), false, dedup);
        (lines, tracing::subscriber::set_default(subscriber))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::captured_as;
    use super::*;
    use kafka_client::plain::is_plain;

    #[test]
    fn json_has_one_flat_object_a_line() {
        let (lines, _guard) = captured_as(LogFormat::Json, "info");
        tracing::info!(topic = "user-login", partition = 3, "two\nlines");
        tracing::debug!("filtered");
        let lines = lines.json();
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["message"], "two\nlines");
        assert_eq!(lines[0]["partition"], 3);
        assert_eq!(lines[0]["level"], "INFO");
        assert!(lines[0]["target"].is_string() && lines[0]["timestamp"].is_string());
    }

    #[test]
    fn rskafka_is_silent_unless_named() {
        for (directives, heard) in [
            ("info", 0),
            ("trace,rskafka_like=debug", 0),
            ("", 0),
            ("info,rskafka=warn", 1),
            ("info,rskafka::client=warn", 1),
            ("rskafka", 1),
        ] {
            let (lines, _guard) = captured_as(LogFormat::Json, directives);
            tracing::error!(target: "rskafka::client", "a request failed");
            assert_eq!(lines.json().len(), heard, "{directives}");
        }
    }

    #[test]
    fn the_audit_is_heard_unless_named() {
        for (directives, heard) in [("info", 1), ("error", 1), ("off", 1), ("", 1), ("info,audit=off", 0)] {
            let (lines, _guard) = captured_as(LogFormat::Json, directives);
            audit::note("resume", &"10.0.0.7:4242", "all partitions", "resumed: [0]");
            let lines = lines.json();
            assert_eq!(lines.len(), heard, "{directives}");
            for line in lines {
                assert_eq!((line["target"].as_str(), line["action"].as_str()), (Some("audit"), Some("resume")));
                assert_eq!(
                    (line["by"].as_str(), line["result"].as_str()),
                    (Some("10.0.0.7:4242"), Some("resumed: [0]"))
                );
            }
        }
    }

    #[test]
    fn the_level_changes_while_it_runs() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let lines = testing::Lines::default();
            let writer = lines.clone();
            let filter = filter("info").unwrap();
            let (subscriber, swap) = subscriber(format, filter, move || writer.clone(), false, Dedup::default());
            let _guard = tracing::subscriber::set_default(subscriber);
            let say = || {
                tracing::debug!("fine");
                lines.text().matches("fine").count()
            };
            assert_eq!(say(), 0);
            swap("debug").unwrap();
            assert_eq!(say(), 1);
            assert!(matches!(swap("loud=very"), Err(LogError::Directives { .. })));
            assert_eq!(say(), 2, "wrong directives change nothing");
            swap("info").unwrap();
            assert_eq!(say(), 2);
        }
    }

    #[test]
    fn wrong_directives_are_refused_with_what_is_allowed() {
        let error = filter("info,login_pipeline=loud").unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("log.level is \"info,login_pipeline=loud\": "), "{text}");
        assert!(text.contains("error, warn, info"), "{text}");
    }

    #[test]
    fn text_without_a_terminal_has_no_colours() {
        let (lines, _guard) = captured_as(LogFormat::Text, "info");
        tracing::warn!(value = "\u{1b}[31mred", "hello");
        let text = lines.text();
        assert!(text.contains(" WARN ") && text.contains("hello"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn what_others_wrote_is_one_line_that_steers_nothing() {
        let hostile = "a\u{1b}[2J\r\n2026-01-01 ERROR forged\0\u{9b}31m\u{202e}\u{2028}";
        for format in [LogFormat::Text, LogFormat::Json] {
            let (lines, _guard) = captured_as(format, "info");
            let error = io::Error::other(hostile);
            tracing::warn!(%hostile, also = hostile, error = &error as &dyn std::error::Error, "a broker said {hostile}");
            let text = lines.text();
            assert!(text.ends_with('\n') && text.lines().count() == 1, "{text:?}");
            assert!(text.trim_end_matches('\n').chars().all(is_plain), "{text:?}");
            if format == LogFormat::Json {
                assert_eq!(lines.json()[0]["hostile"], hostile, "JSON has it as it was");
            }
        }
    }

    #[test]
    fn a_panic_is_logged_without_its_message() {
        let (lines, _guard) = captured_as(LogFormat::Json, "info");
        let before = panic::take_hook();
        panic::set_hook(Box::new(log_panic));
        let caught = panic::catch_unwind(|| panic!("user_id 424cdd21"));
        panic::set_hook(before);

        assert!(caught.is_err());
        assert!(!lines.text().contains("424cdd21"));
        let line = &lines.json()[0];
        assert_eq!((line["message"].as_str(), line["level"].as_str()), (Some("panicked"), Some("ERROR")));
        assert_eq!(line["file"], file!());
    }
}
