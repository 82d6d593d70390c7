//! Whether the process lives, and whether it does its work.
//!
//! ```text
//! worker ──► ComponentHandle ──┐                 ┌──► /livez
//! store  ──► ComponentHandle ──┼──► Health ──────┤
//! app    ──► started, draining ┘                 └──► /readyz
//! ```
//! A component that is in trouble turns the process unready after a grace, so that a blip does not
//! flap; trouble that lasts until someone fixes it does so at once.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_client::plain::Plain;
use serde::Serialize;
use tokio::time::Instant;

use super::lock::lock;
use super::plain::{ANY, first_of, without_numbers};

/// Health of the whole process. Clones are the same.
#[derive(Debug, Clone)]
pub struct Health {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    grace: Duration,
    phase: Mutex<Phase>,
    components: Mutex<Vec<Arc<Component>>>,
}

/// The phases of the process's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It has not begun its work yet.
    Starting,
    /// It works.
    Running,
    /// It finishes what it has begun, and stops.
    Draining,
}

/// The weight of trouble for readiness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It may pass by itself; it counts after the grace.
    Passing,
    /// It lasts until someone fixes it; it counts at once.
    Fatal,
}

impl Health {
    /// A process that is starting. Trouble of its components counts after `grace`.
    pub fn new(grace: Duration) -> Self {
        let phase = Mutex::new(Phase::Starting);
        Self { inner: Arc::new(Inner { grace, phase, components: Mutex::default() }) }
    }

    /// Startup is finished. Changes nothing in a process that is draining already.
    pub fn started(&self) {
        let mut phase = lock(&self.inner.phase);
        if *phase == Phase::Starting {
            *phase = Phase::Running;
        }
    }

    /// The process is about to stop: it stays unready from now on.
    pub fn draining(&self) {
        *lock(&self.inner.phase) = Phase::Draining;
    }

    /// The phase of its life that the process is in.
    pub fn phase(&self) -> Phase {
        *lock(&self.inner.phase)
    }

    /// A part of the process that reports for itself, such as `partition user-login/3`. It is
    /// starting until it says otherwise, and forgotten when the handle is dropped.
    pub fn component(&self, name: impl Into<Arc<str>>) -> ComponentHandle {
        let condition = Condition { state: State::Starting, since: Instant::now(), reason: "created".into() };
        let component = Arc::new(Component { name: name.into(), condition: Mutex::new(condition) });
        lock(&self.inner.components).push(Arc::clone(&component));
        ComponentHandle { component, health: self.clone() }
    }

    /// Whether the process does its work.
    ///
    /// # Errors
    /// Why it does not: at least one reason.
    pub fn is_ready(&self) -> Result<(), Vec<Reason>> {
        let phase = match self.phase() {
            Phase::Starting => Some(Reason::of_process("starting", "startup is not finished")),
            Phase::Draining => Some(Reason::of_process("draining", "the process is about to stop")),
            Phase::Running => None,
        };
        let reasons = phase.into_iter().chain(self.reasons(|state, age| match state {
            State::Ok => false,
            State::Starting | State::Degraded(Severity::Passing) => age > self.inner.grace,
            State::Degraded(Severity::Fatal) | State::Dead => true,
        }));
        none_of(grouped(reasons.collect()))
    }

    /// Whether the process is worth keeping: false only where a component has declared itself dead.
    ///
    /// # Errors
    /// Which components are dead: at least one.
    pub fn is_live(&self) -> Result<(), Vec<Reason>> {
        none_of(grouped(self.reasons(|state, _| state == State::Dead)))
    }

    /// What is wrong with the components that `counts` picks by state and age.
    fn reasons(&self, counts: impl Fn(State, Duration) -> bool) -> Vec<Reason> {
        let now = Instant::now();
        let components = lock(&self.inner.components);
        let reasons = components.iter().filter_map(|component| {
            let condition = lock(&component.condition);
            let age = now.saturating_duration_since(condition.since);
            counts(condition.state, age).then(|| Reason {
                component: Arc::clone(&component.name),
                state: condition.state.as_str(),
                reason: condition.reason.clone(),
                age,
                others: Vec::new(),
            })
        });
        reasons.collect()
    }
}

fn none_of(reasons: Vec<Reason>) -> Result<(), Vec<Reason>> {
    if reasons.is_empty() { Ok(()) } else { Err(reasons) }
}

/// One reason for all components that say the same, but for the partition and the numbers that each speaks of; with
/// the numbers of the last.
fn grouped(reasons: Vec<Reason>) -> Vec<Reason> {
    let mut groups: Vec<Reason> = Vec::with_capacity(reasons.len());
    let mut known: HashMap<(&'static str, String, String), usize> = HashMap::new();
    for reason in reasons {
        let (what, place) = split(&reason.component);
        let cause = place.map_or_else(|| reason.reason.clone(), |place| reason.reason.replace(place, ANY));
        let key = (reason.state, what.to_owned(), without_numbers(&cause));
        match known.get(&key).and_then(|at| groups.get_mut(*at)).filter(|_| place.is_some()) {
            Some(group) => {
                group.others.push(reason.component);
                group.age = group.age.max(reason.age);
                group.reason = cause;
            }
            None => {
                known.insert(key, groups.len());
                groups.push(reason);
            }
        }
    }
    for group in groups.iter_mut().filter(|group| !group.others.is_empty()) {
        group.others.push(Arc::clone(&group.component));
        let by_place = |component: &Arc<str>| {
            let place = split(component).1.and_then(|place| place.rsplit_once('/'));
            place.map(|(topic, number)| (topic.to_owned(), number.parse::<u32>().unwrap_or(u32::MAX)))
        };
        group.others.sort_by_cached_key(by_place);
        group.component = group.others.remove(0);
    }
    groups
}

/// What a component does, and the partition that it does it to, if its name ends in one.
fn split(component: &str) -> (&str, Option<&str>) {
    let is_place = |word: &str| word.rsplit_once('/').is_some_and(|(_, number)| number.parse::<u32>().is_ok());
    match component.rsplit_once(' ') {
        Some((what, place)) if is_place(place) => (what, Some(place)),
        _ => (component, None),
    }
}

/// Why the process is not ready, or not live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Which part; `process` is the whole.
    pub component: Arc<str>,
    /// More parts that say the same, each of its own partition.
    pub others: Vec<Arc<str>>,
    /// The state it is in.
    pub state: &'static str,
    /// What it says about that.
    pub reason: String,
    /// How long it has not been well.
    pub age: Duration,
}

impl Reason {
    fn of_process(state: &'static str, reason: &str) -> Self {
        Self { component: "process".into(), others: Vec::new(), state, reason: reason.into(), age: Duration::ZERO }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { component, others, state, reason, age } = self;
        if !others.is_empty() {
            write!(f, "{} partitions: ", others.len() + 1)?;
        }
        let places = others.iter().map(|other| split(other).1.unwrap_or(other));
        let named: Vec<&str> = std::iter::once(&**component).chain(places).collect();
        write!(f, "{}: {state}", first_of(&named))?;
        if age.as_secs() > 0 {
            write!(f, " for {}s", age.as_secs())?;
        }
        write!(f, ": {}", Plain(reason))
    }
}

/// The handle that a component reports through. Dropping it forgets the component, unless it is dead.
#[derive(Debug)]
pub struct ComponentHandle {
    component: Arc<Component>,
    health: Health,
}

impl ComponentHandle {
    /// All is well. Costs an uncontended lock where it was well before.
    pub fn ok(&self) {
        self.set(State::Ok, "");
    }

    /// It is about to begin its work.
    pub fn starting(&self, reason: &str) {
        self.set(State::Starting, reason);
    }

    /// It can't do its work for now. The time it has not been well runs on from the first trouble,
    /// whatever reasons follow. A reason carries no record data.
    pub fn degraded(&self, reason: &str, severity: impl Into<Severity>) {
        self.set(State::Degraded(severity.into()), reason);
    }

    /// It will never work again in this process: whoever restarts processes should. Final, and not
    /// forgotten with the handle.
    pub fn dead(&self, reason: &str) {
        self.set(State::Dead, reason);
    }

    fn set(&self, state: State, reason: &str) {
        let mut condition = lock(&self.component.condition);
        if condition.state == State::Dead || (condition.state == state && condition.reason == reason) {
            return;
        }
        // Ok and not ok each have a beginning of their own; changes within are one stretch.
        if (condition.state == State::Ok) != (state == State::Ok) {
            condition.since = Instant::now();
        }
        condition.state = state;
        condition.reason.clear();
        condition.reason.push_str(reason);
    }
}

impl Drop for ComponentHandle {
    fn drop(&mut self) {
        if lock(&self.component.condition).state != State::Dead {
            lock(&self.health.inner.components).retain(|component| !Arc::ptr_eq(component, &self.component));
        }
    }
}

#[derive(Debug)]
struct Component {
    name: Arc<str>,
    condition: Mutex<Condition>,
}

#[derive(Debug)]
struct Condition {
    state: State,
    /// Since when it has been ok, or not been.
    since: Instant,
    reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    Starting,
    Degraded(Severity),
    Dead,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Starting => "starting",
            Self::Degraded(_) => "degraded",
            Self::Dead => "dead",
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    fn running() -> Health {
        let health = Health::new(GRACE);
        health.started();
        health
    }

    fn lines(answer: Result<(), Vec<Reason>>) -> Vec<String> {
        answer.err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_process_is_ready_between_startup_and_draining() {
        let health = Health::new(GRACE);
        assert_eq!(lines(health.is_ready()), ["process: starting: startup is not finished"]);
        health.started();
        assert_eq!(health.is_ready(), Ok(()));
        health.draining();
        health.started();
        assert_eq!(lines(health.is_ready()), ["process: draining: the process is about to stop"]);
        assert_eq!(health.is_live(), Ok(()));
        assert_eq!(health.phase(), Phase::Draining);
    }

    #[tokio::test(start_paused = true)]
    async fn a_blip_does_not_flap() {
        let health = running();
        let component = health.component("partition user-login/3");
        component.ok();
        component.degraded("broker 1 does not answer", Severity::Passing);
        advance(GRACE).await;
        assert_eq!(health.is_ready(), Ok(()));
        component.ok();
        component.degraded("broker 1 does not answer", Severity::Passing);
        advance(GRACE).await;
        assert_eq!(health.is_ready(), Ok(()), "the first stretch is over");
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_that_stays_counts_from_its_beginning() {
        let health = running();
        let component = health.component("partition user-login/3");
        component.ok();
        component.degraded("broker 1 does not answer", Severity::Passing);
        advance(Duration::from_secs(7)).await;
        component.degraded("broker 1 does not answer", Severity::Passing);
        component.degraded("broker 2 does not answer", Severity::Passing);
        advance(Duration::from_secs(5)).await;
        let expected = ["partition user-login/3: degraded for 12s: broker 2 does not answer"];
        assert_eq!(lines(health.is_ready()), expected);
        component.ok();
        assert_eq!(health.is_ready(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_component_may_not_start_for_ever() {
        let health = running();
        let component = health.component("partition user-login/3");
        assert_eq!(health.is_ready(), Ok(()));
        advance(Duration::from_secs(11)).await;
        component.starting("the topic is missing");
        assert_eq!(lines(health.is_ready()), ["partition user-login/3: starting for 11s: the topic is missing"]);
    }

    #[test]
    fn fatal_trouble_counts_at_once() {
        let health = running();
        let component = health.component("output");
        component.degraded("not allowed to write", Severity::Fatal);
        assert_eq!(lines(health.is_ready()), ["output: degraded: not allowed to write"]);
        assert_eq!(health.is_live(), Ok(()));
    }

    #[test]
    fn a_dropped_component_is_forgotten_and_a_dead_one_is_not() {
        let health = running();
        let component = health.component("first");
        component.degraded("broken", Severity::Fatal);
        drop(component);
        assert_eq!(health.is_ready(), Ok(()));

        let component = health.component("second");
        component.dead("the offset store is gone");
        component.ok();
        drop(component);
        assert_eq!(lines(health.is_live()), ["second: dead: the offset store is gone"]);
        assert!(health.is_ready().is_err());
    }

    #[test]
    fn one_cause_is_one_line() {
        let health = running();
        let components: Vec<_> = (0..60).rev().map(|p| health.component(format!("read user-login/{p}"))).collect();
        for (partition, component) in components.iter().rev().enumerate() {
            let why = format!("fetch from user-login/{partition}: broker 1 said \"no\"");
            component.degraded(&why, Severity::Fatal);
        }
        let mut expected = vec![
            "60 partitions: read user-login/0, user-login/1, user-login/2 and 57 more: degraded: fetch from …: broker 1 \
             said \"no\"",
        ];
        assert_eq!(lines(health.is_ready()), expected);
        components[59 - 7].degraded("another cause", Severity::Fatal);
        expected[0] = "59 partitions: read user-login/0, user-login/1, user-login/2 and 56 more: degraded: fetch from …: \
                       broker 1 said \"no\"";
        expected.push("read user-login/7: degraded: another cause");
        assert_eq!(lines(health.is_ready()), expected);
    }

    #[test]
    fn a_reason_stays_on_its_line() {
        let health = running();
        let component = health.component("first");
        component.degraded("two\nlines", Severity::Fatal);
        assert_eq!(lines(health.is_ready()), ["first: degraded: two\\nlines"]);
    }
}
