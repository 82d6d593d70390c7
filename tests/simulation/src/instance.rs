//! An instance of the pipeline, on a machine of its own.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use kafka_client::testing::Network;
use login_pipeline::app::{App, AppError, Summary};
use login_pipeline::config::{Config, Sources};
use login_pipeline::observe::Observe;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::disk::{Disk, Folder};
use crate::host::Host;

/// The time that a stop may take: `shutdown.timeout`, and what comes after it.
pub(crate) const STOPPING: Duration = Duration::from_secs(45);

/// An instance, which is up or not.
pub(crate) struct Instance {
    name: String,
    keys: Vec<(&'static str, String)>,
    state: State,
    /// How far its clock of the day is ahead.
    ahead_ms: i64,
    /// Where its offsets are, where those are in files.
    disk: Option<Disk>,
}

enum State {
    Up(Box<Running>),
    /// It is started at that time.
    Down(Duration),
}

struct Running {
    host: Host,
    observe: Observe,
    stop: CancellationToken,
    run: JoinHandle<Result<Summary, AppError>>,
    pause: Option<Pause>,
    /// Set once it is asked to stop; it is down for so long after that.
    stopping: Option<Duration>,
    /// Then it must have ended.
    stop_by: Option<Duration>,
}

/// Why it does not run, and until when.
#[derive(Debug, Clone, Copy)]
struct Pause {
    until: Duration,
    is_sleep: bool,
}

impl Instance {
    /// One that is started at that time, with its offsets in this folder where they are in files.
    pub(crate) fn new(number: usize, keys: &[(&'static str, String)], offsets: Option<&Folder>, at: Duration) -> Self {
        let name = format!("instance-{number}");
        let mut keys = keys.to_vec();
        keys.push(("kafka.client_id", name.clone()));
        if keys.iter().any(|(key, mode)| *key == "assignment.mode" && mode == "ordinal") {
            keys.push(("assignment.ordinal", number.to_string()));
        }
        let offsets = offsets.map(|folder| folder.join(&name));
        keys.extend(offsets.iter().map(|folder| ("offsets.path", folder.display().to_string())));
        Self { name, keys, state: State::Down(at), ahead_ms: 0, disk: offsets.map(Disk::new) }
    }

    /// Its name in the network.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether there is a process.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// Whether it is neither down, nor stopping, nor standing still.
    pub(crate) fn is_well(&self) -> bool {
        matches!(&self.state, State::Up(running) if running.pause.is_none() && running.stopping.is_none())
    }

    /// Why it is not ready, where it is up and is not.
    pub(crate) fn unready(&self) -> Option<String> {
        let State::Up(running) = &self.state else { return Some("down".to_owned()) };
        let reasons = running.host.run(async { running.observe.health.is_ready() }).err()?;
        Some(reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    /// Lets it run from one time to another.
    ///
    /// # Errors
    /// Where it ended otherwise than it was asked to.
    pub(crate) fn step(&mut self, network: &Network, from: Duration, to: Duration) -> Result<(), String> {
        if let State::Down(until) = self.state
            && until <= from
        {
            self.start(network, from)?;
        }
        let State::Up(running) = &mut self.state else { return Ok(()) };
        if let Some(Pause { until, is_sleep }) = running.pause {
            if until > from {
                return Ok(());
            }
            (running.pause, running.stop_by) = (None, None);
            if is_sleep {
                running.host.sleep_until(from);
            } else {
                running.host.stop_until(from);
            }
        }
        running.host.run_until(to);
        if !running.run.is_finished() {
            let stop_by = running.stopping.map(|_| *running.stop_by.get_or_insert(from + STOPPING));
            return match stop_by {
                Some(by) if to >= by => Err(format!("{} does not stop", self.name)),
                _ => Ok(()),
            };
        }
        let ended = running.host.run(&mut running.run);
        let (stopping, name) = (running.stopping, &self.name);
        let told = match (ended, stopping) {
            (Ok(Ok(_)), Some(_)) => Ok(()),
            // It says that it could not store all: what is not stored is read again.
            (Ok(Err(AppError::Offsets(_) | AppError::Unfinished(_))), Some(_)) => Ok(()),
            (Ok(Ok(_)), None) => Err(format!("{name} ended though nobody asked it to")),
            (Ok(Err(error)), _) => Err(format!("{name} ended: {error}")),
            (Err(error), _) => Err(format!("{name} ended: {error}")),
        };
        self.state = State::Down(to + stopping.unwrap_or_default());
        told
    }

    fn start(&mut self, network: &Network, at: Duration) -> Result<(), String> {
        let flags = self.keys.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let config = Config::load(Sources { flags, ..Sources::default() }).map_err(|problems| problems.to_string())?;
        let host = Host::start(at);
        host.shift_day(self.ahead_ms);
        host.slow_disk(self.disk.as_ref().map_or(Duration::ZERO, |disk| disk.takes));
        let (transport, stop) = (Arc::new(network.host(&self.name)), CancellationToken::new());
        let until = stop.clone();
        let started = host.run(async {
            let app = App::over(transport, config).map_err(|error| error.to_string())?;
            Ok::<_, String>((app.observe().clone(), tokio::spawn(app.run(until))))
        });
        let (observe, run) = started?;
        self.state =
            State::Up(Box::new(Running { host, observe, stop, run, pause: None, stopping: None, stop_by: None }));
        Ok(())
    }

    /// Ends it where it stands, and whatever it was writing. It is started again at that time. Returns whether it was up.
    pub(crate) fn kill(&mut self, until: Duration, random: &mut Rng) -> bool {
        let was_up = matches!(mem::replace(&mut self.state, State::Down(until)), State::Up(_));
        if let Some(disk) = self.disk.as_ref().filter(|_| was_up) {
            disk.tear(random);
        }
        was_up
    }

    /// Does something to its disk, where it has one.
    pub(crate) fn disk<T>(&mut self, work: impl FnOnce(&mut Disk) -> T) -> Option<T> {
        self.disk.as_mut().map(work)
    }

    /// The offsets that it has in files.
    ///
    /// # Errors
    /// Where one is damaged by nobody.
    pub(crate) fn stored(&self) -> Result<BTreeMap<i32, i64>, String> {
        self.disk.as_ref().map_or(Ok(BTreeMap::new()), Disk::stored)
    }

    /// Has its disk take so long for what it is asked.
    pub(crate) fn slow_disk(&mut self, takes: Duration) {
        if let Some(disk) = &mut self.disk {
            disk.takes = takes;
        }
        if let State::Up(running) = &self.state {
            running.host.slow_disk(takes);
        }
    }

    /// Asks it to stop. It is started again that long after it has ended.
    pub(crate) fn stop(&mut self, down: Duration) {
        if let State::Up(running) = &mut self.state {
            running.stop.cancel();
            running.stopping.get_or_insert(down);
        }
    }

    /// Has it stand still, or sleep, until then.
    pub(crate) fn pause(&mut self, until: Duration, is_sleep: bool) {
        if let State::Up(running) = &mut self.state {
            running.pause.get_or_insert(Pause { until, is_sleep });
        }
    }

    /// Moves its clock of the day.
    pub(crate) fn shift_day(&mut self, by_ms: i64) {
        self.ahead_ms = self.ahead_ms.saturating_add(by_ms);
        if let State::Up(running) = &self.state {
            running.host.shift_day(by_ms);
        }
    }
}
