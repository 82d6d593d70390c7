//! An instance of the pipeline, on a machine of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io, mem};

use fastrand::Rng;
use kafka_client::testing::Network;
use login_pipeline::app::{App, AppError, Summary};
use login_pipeline::config::{Config, Sources};
use login_pipeline::observe::Observe;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::disk::{Disk, Folder};
use crate::host::Host;
use crate::release::{self, Countries};
use crate::scenario::Setting;

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
    /// What changes of its configuration, where anything does.
    given: Option<Given>,
}

/// What changes of a configuration: a release of it, and a database beside it.
#[derive(Debug)]
struct Given {
    release: u8,
    /// The file with the release.
    file: PathBuf,
    /// The file with the countries, and what is in it.
    countries: Option<(PathBuf, Countries)>,
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
    /// One that is started at that time, with its files, where it has any, in this folder.
    pub(crate) fn new(number: usize, setting: &Setting, brokers: &str, folder: &Folder, at: Duration) -> Self {
        let name = format!("instance-{number}");
        let mut keys = setting.keys.clone();
        keys.push(("kafka.brokers", brokers.to_owned()));
        keys.push(("kafka.client_id", name.clone()));
        if setting.has("assignment.mode", "ordinal") {
            keys.push(("assignment.ordinal", number.to_string()));
        }
        let disk = setting.is_files().then(|| folder.join(&format!("{name}-offsets")));
        keys.extend(disk.iter().map(|offsets| ("offsets.path", offsets.display().to_string())));
        let countries = setting.has_countries.then(|| folder.join(&format!("{name}.mmdb")));
        keys.extend(countries.iter().map(|file| ("enrich.geoip.file", file.display().to_string())));
        let given = setting.has_releases.then(|| Given {
            release: 0,
            file: folder.join(&format!("{name}.toml")),
            countries: countries.map(|file| (file, Countries::First)),
        });
        let mut instance = Self { name, keys, state: State::Down(at), ahead_ms: 0, disk: disk.map(Disk::new), given };
        instance.put_countries(Countries::First);
        instance
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
        let file = self.given.as_ref().map(Given::put).transpose().map_err(|error| error.to_string())?;
        let sources = Sources { file, flags, ..Sources::default() };
        let config = Config::load(sources).map_err(|problems| problems.to_string())?;
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

    /// Has it be started with another release of its configuration from now on.
    pub(crate) fn release(&mut self, release: u8) {
        if let Some(given) = &mut self.given {
            given.release = release;
        }
    }

    /// Replaces its file with countries, where it has one.
    pub(crate) fn put_countries(&mut self, countries: Countries) {
        if let Some((file, had)) = self.given.as_mut().and_then(|given| given.countries.as_mut()) {
            countries.put(file);
            *had = countries;
        }
    }

    /// What is in its file with countries.
    pub(crate) fn countries(&self) -> Option<Countries> {
        self.given.as_ref()?.countries.as_ref().map(|(_, countries)| *countries)
    }

    /// Its release, where there are any.
    pub(crate) fn is_release(&self) -> Option<u8> {
        self.given.as_ref().map(|given| given.release)
    }

    /// Whether it is started at that time.
    pub(crate) fn starts(&self, at: Duration) -> bool {
        matches!(self.state, State::Down(until) if until <= at)
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

impl Given {
    /// Writes the release, and gives its file.
    fn put(&self) -> io::Result<PathBuf> {
        fs::write(&self.file, release::file(self.release, self.countries.is_some()))?;
        Ok(self.file.clone())
    }
}
