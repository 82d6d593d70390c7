//! Several pipelines of one consumer group in this process, which come and go while events flow.
//!
//! ```text
//!   clock ──┐                    ┌─ instance 1 (its own threads, its own admin port)
//!           ├─ Command ─► Fleet ───┼─ instance 2
//!   stdin ──┘             │      └─ …
//!                         └─► "partitions  1: 0-1  2: 2-3  …", whenever it changes
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::audit::Audit;
use super::commands::{self, Clock, Command};
use super::instance::{Instance, InstanceError};
use crate::app::AppError;
use crate::cli::{Out, Upsets};
use crate::config::{AssignmentMode, Config, OffsetStoreKind, ProcessorKind};
use crate::observe::{Snapshot, Tally, stats};
use crate::stages::{Login, Processor};

/// More would have nothing to do, and threads all the same.
const MOST: usize = 16;
/// How often it is looked at who has what.
const LOOK: Duration = Duration::from_millis(100);
/// A member that was killed is noticed after this, or what is configured if that is less.
const SESSION: Duration = Duration::from_secs(3);
const HEARTBEAT: Duration = Duration::from_millis(300);
const REBALANCE: Duration = Duration::from_secs(10);

/// The plan of a demo: what is to run.
pub(super) struct Plan {
    /// How many instances at first.
    pub instances: u32,
    /// What happens to them by the clock.
    pub upsets: Upsets,
    /// The configuration of each.
    pub config: Config,
    /// Whether the first takes another port where that of `admin.listen` is not free.
    pub any_port: bool,
    /// How often counts are told; never where it is zero.
    pub told_every: Duration,
}

/// The counts of all instances, those that are gone included.
pub(super) struct Done {
    /// What they have counted.
    pub counted: Snapshot,
    /// How many were killed.
    pub kills: u32,
}

/// Runs pipelines until `stop`, and whatever happens to them on the way.
///
/// # Errors
/// The first instances can't start, or the last ones did not end well.
pub(super) async fn run(
    plan: Plan,
    audit: &Audit,
    stop: CancellationToken,
) -> Result<Done, Box<dyn std::error::Error>> {
    let Plan { instances, upsets, mut config, any_port, told_every } = plan;
    config.assignment.mode = AssignmentMode::Group;
    config.offsets.store = OffsetStoreKind::Group;
    config.stats.interval = Duration::ZERO; // told here, of all together
    let group = &mut config.group;
    group.session_timeout = group.session_timeout.min(SESSION);
    group.heartbeat_interval = group.heartbeat_interval.min(HEARTBEAT);
    group.rebalance_timeout = group.rebalance_timeout.min(REBALANCE);
    let dimensions = match config.pipeline.processor {
        ProcessorKind::Login => Login::DIMENSIONS,
    };

    let counted = Tally::new(dimensions);
    let mut fleet = Fleet { config, any_port, last: 0, running: BTreeMap::new(), counted, kills: 0 };
    for _ in 0..instances {
        fleet.add().await?;
    }
    let mut typed = commands::typed()?;
    say!("Ctrl-C drains and ends; on a terminal {}\n", commands::HELP);

    let mut clock = Clock::new(upsets);
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ending = FuturesUnordered::new();
    let mut shown = String::new();
    let mut told = (Instant::now(), fleet.snapshot());
    loop {
        let numbers: Vec<u32> = fleet.running.keys().copied().collect();
        let command = tokio::select! {
            () = stop.cancelled() => break,
            command = clock.next(&numbers) => command,
            Some(line) = typed.recv() => match Command::parse(&line) {
                Some(command) => command,
                None => {
                    say!("{}", commands::HELP);
                    continue;
                }
            },
            Some((number, ended)) = ending.next() => {
                fleet.note_ended(number, ended);
                continue;
            }
            _ = looks.tick() => {
                let line = fleet.line();
                if line != shown {
                    say!("{line}");
                    shown = line;
                }
                ending.extend(fleet.take_ended().map(end));
                if Out::is_closed() {
                    break;
                }
                let elapsed = told.0.elapsed();
                if !told_every.is_zero() && elapsed >= told_every {
                    let now = fleet.snapshot();
                    say!("{}  waiting {}", stats::row(&now, &told.1, elapsed), audit.waiting());
                    told = (Instant::now(), now);
                }
                continue;
            }
        };
        match command {
            // One that can't be added is said, and no reason to end the others.
            Command::Add if let Err(error) = fleet.add().await => say!("{error}"),
            Command::Add => {}
            Command::Kill(number) => fleet.kill(number),
            Command::Stop(number) => ending.extend(fleet.take(number).map(end)),
        }
    }
    ending.extend(std::mem::take(&mut fleet.running).into_values().map(end));
    let mut failed = None;
    while let Some((number, ended)) = ending.next().await {
        failed = fleet.note_ended(number, ended).or(failed);
    }
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(Done { counted: fleet.counted.snapshot(), kills: fleet.kills }),
    }
}

async fn end(instance: Instance) -> (u32, Result<Tally, InstanceError>) {
    (instance.number(), instance.end().await)
}

struct Fleet {
    config: Config,
    any_port: bool,
    /// The last number that was given.
    last: u32,
    running: BTreeMap<u32, Instance>,
    /// By those that are gone.
    counted: Tally,
    /// How many were killed.
    kills: u32,
}

impl Fleet {
    /// Starts one more; the first has the admin port that is configured, the others any.
    async fn add(&mut self) -> Result<(), InstanceError> {
        if self.running.len() >= MOST {
            say!("there are {MOST} instances already");
            return Ok(());
        }
        self.last += 1;
        let number = self.last;
        let mut config = self.config.clone();
        config.kafka.client_id = format!("{}-{number}", config.kafka.client_id);
        if let Some(instance_id) = &mut config.group.instance_id {
            let _ = write!(instance_id, "-{number}"); // a String takes everything
        }
        if number > 1 {
            config.admin.listen = SocketAddr::new(config.admin.listen.ip(), 0);
        }
        let instance = match Instance::start(number, config.clone()).await {
            Err(InstanceError::App { source: AppError::Bind(taken), .. }) if self.any_port && number == 1 => {
                say!("{taken}: the page has another port");
                config.admin.listen.set_port(0);
                Instance::start(number, config).await?
            }
            started => started?,
        };
        say!("instance {number} starts: its page is http://{}/", instance.admin());
        self.running.insert(number, instance);
        Ok(())
    }

    fn kill(&mut self, number: u32) {
        let Some(instance) = self.take(number) else { return };
        self.counted.merge(&instance.kill());
        self.kills += 1;
        say!("instance {number} is killed");
    }

    /// One that is to end.
    fn take(&mut self, number: u32) -> Option<Instance> {
        let found = self.running.remove(&number);
        match &found {
            Some(_) => {}
            None => say!("there is no instance {number}"),
        }
        found
    }

    /// What all have counted, those that are gone included.
    fn snapshot(&self) -> Snapshot {
        let mut all = self.counted.clone();
        self.running.values().for_each(|instance| all.merge(&instance.counted()));
        all.snapshot()
    }

    /// Those that have ended by themselves.
    fn take_ended(&mut self) -> impl Iterator<Item = Instance> {
        let ended = self.running.extract_if(.., |_, instance| instance.has_ended());
        ended.map(|(_, instance)| instance).collect::<Vec<_>>().into_iter()
    }

    fn note_ended(&mut self, number: u32, ended: Result<Tally, InstanceError>) -> Option<InstanceError> {
        match ended {
            Ok(counted) => {
                self.counted.merge(&counted);
                say!("instance {number} has ended in order");
                None
            }
            Err(error) => {
                say!("{error}");
                Some(error)
            }
        }
    }

    /// Who has which partitions.
    fn line(&self) -> String {
        let mut line = "partitions".to_owned();
        for (number, instance) in &self.running {
            let _ = write!(line, "  {number}: {}", ranges(&instance.partitions())); // as above
        }
        line
    }
}

/// `0-2,5`; `-` where there are none.
fn ranges(partitions: &[i32]) -> String {
    let text = partitions.chunk_by(|a, b| a.checked_add(1) == Some(*b)).map(|run| match run {
        [first, .., last] => format!("{first}-{last}"),
        alone => alone.iter().map(ToString::to_string).collect(),
    });
    let text = text.collect::<Vec<_>>().join(",");
    if text.is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn neighbours_are_told_together() {
        assert_eq!(ranges(&[]), "-");
        assert_eq!(ranges(&[3]), "3");
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
    }
}
