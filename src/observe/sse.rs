//! What the page shows, as it is now and as a stream of server-sent events.
//!
//! ```text
//! every 15 s ──► History ──┐                 ┌──► the page, written here
//! while someone watches,   ├──► State ───────┤
//! every 2 s ───────────────┘                 └──► a frame ──► watch channel ──► each watcher
//! ```
//! A frame is made once for all watchers and holds everything, so that a slow one skips what it
//! had no time for: nothing is queued for anybody. Nobody watching costs a sample each 15 s.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use futures::stream::unfold;
use hyper::body::Frame;
use kafka_client::plain::{Keep, visible};
use serde_json::Value;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::failures::failures;
use super::history::History;
use super::lock::lock;
use super::page::state::State;
use super::status::PartitionState;
use super::verdict::{Seen, Verdict};
use super::{Observe, page};

/// How often watchers hear.
const LIVE: Duration = Duration::from_secs(2);

/// A frame that is no older than this is good enough for one who begins to watch, and a page for one who opens it.
const FRESH: Duration = Duration::from_secs(1);

/// The most that may watch at once.
pub(super) const WATCHERS: usize = 16;

/// The most partitions on the page: those in trouble, then those with the most lag. `/status` has all.
const PARTITIONS: usize = 200;

/// Feeds the page.
#[derive(Debug)]
pub(super) struct EventFeed {
    observe: Observe,
    history: Mutex<History>,
    /// The last frame, and when it was made.
    latest: Mutex<Option<(Instant, Bytes)>>,
    /// The last page, and when it was begun.
    page: Mutex<Option<(Instant, Bytes)>>,
    frames: watch::Sender<Bytes>,
    watched: Notify,
    slots: Arc<Semaphore>,
}

impl EventFeed {
    pub(super) fn new(observe: Observe) -> Arc<Self> {
        Arc::new(Self {
            observe,
            history: Mutex::default(),
            latest: Mutex::default(),
            page: Mutex::default(),
            frames: watch::Sender::new(Bytes::new()),
            watched: Notify::new(),
            slots: Arc::new(Semaphore::new(WATCHERS)),
        })
    }

    /// Samples, and feeds whoever watches, until `shutdown`.
    pub(super) async fn run(&self, shutdown: CancellationToken) {
        let mut shutdown = pin!(shutdown.cancelled());
        let mut sample_at = Instant::now();
        let mut frame_at = sample_at;
        loop {
            let is_watched = self.frames.receiver_count() > 0;
            let next = if is_watched { sample_at.min(frame_at) } else { sample_at };
            tokio::select! {
                () = shutdown.as_mut() => return,
                () = self.watched.notified() => {
                    // Who begins to watch has a frame already.
                    if frame_at <= Instant::now() {
                        frame_at = Instant::now() + LIVE;
                    }
                    continue;
                }
                () = sleep_until(next) => {}
            }
            let now = Instant::now();
            if now >= sample_at {
                let Observe { metrics, tallies, partitions, .. } = &self.observe;
                let (counted, partitions) = (tallies.snapshot(), partitions.partitions());
                let mut history = lock(&self.history);
                let sample = history.sample(metrics, &counted, &partitions);
                history.keep(sample);
                sample_at = now + history.next_in();
            }
            if is_watched && now >= frame_at {
                self.frames.send_replace(self.frame());
                frame_at = now + LIVE;
            }
        }
    }

    /// The state of the page now.
    pub(super) fn state(&self) -> State {
        let mut status = self.observe.status();
        let (charts, lag, lag_ms) = {
            let mut history = lock(&self.history);
            let now = history.sample(&self.observe.metrics, &status.tally, &status.partitions);
            (history.charts(&now), now.lag, now.lag_ms)
        };
        let failures = failures(&status.partitions);
        let mut states = BTreeMap::new();
        status.partitions.iter().for_each(|it| *states.entry(it.state.as_str()).or_default() += 1);
        let reasons = self.observe.health.is_ready().err().unwrap_or_default();
        let reasons: Vec<_> = reasons.iter().map(ToString::to_string).collect();
        let paused = self.observe.paused.limits();
        let seen = Seen { status: &status, reasons: &reasons, paused: &paused, charts: &charts, lag, lag_ms };
        let verdict = Verdict::of(&seen);
        let more_partitions = status.partitions.len().saturating_sub(PARTITIONS);
        if more_partitions > 0 {
            let runs = |state| state == PartitionState::Running;
            status.partitions.sort_by_key(|it| (runs(it.state), Reverse(it.lag), it.partition));
            status.partitions.truncate(PARTITIONS);
            status.partitions.sort_by_key(|it| it.partition);
        }
        let group = status.group.as_ref();
        let owner = group.and_then(|group| group.instance_id.clone().or_else(|| group.member_id.clone()));
        let mut members = self.observe.members.want();
        members.retain(|member| Some(&member.member_id) != group.and_then(|group| group.member_id.as_ref()));
        State {
            verdict,
            given: self.observe.partitions.is_given().cloned(),
            ready: reasons.is_empty(),
            reasons,
            status,
            owner: owner.unwrap_or_else(|| "this instance".into()),
            more_partitions,
            lag,
            lag_ms,
            states,
            failures,
            examples: self.observe.examples.newest(),
            members,
            marks: self.observe.partitions.timeline().marks(),
            charts,
        }
    }

    /// The whole page. Whoever comes while it is made, or soon after, gets the same: a crowd costs no more than one a
    /// second.
    pub(super) fn page(&self) -> Bytes {
        let mut page = lock(&self.page);
        if let Some((_, page)) = page.as_ref().filter(|(begun, _)| begun.elapsed() < FRESH) {
            return page.clone();
        }
        let begun = Instant::now();
        let made = Bytes::from(page::render(&self.state()));
        *page = Some((begun, made.clone()));
        made
    }

    /// A stream of frames until `shutdown`, or `ends`; `None` where enough watch already.
    pub(super) fn watch(
        self: &Arc<Self>,
        ends: Instant,
        shutdown: &CancellationToken,
    ) -> Option<impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + use<>> {
        let slot = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        let frames = self.frames.subscribe();
        self.watched.notify_one();
        let watcher =
            Watcher { first: Some(self.fresh_frame()), frames, ends, shutdown: shutdown.clone(), _slot: slot };
        Some(unfold(watcher, |mut watcher| async {
            let frame = watcher.next().await?;
            Some((Ok(Frame::data(frame)), watcher))
        }))
    }

    /// The last frame if it is fresh: opening streams in a hurry costs no more than one a second.
    fn fresh_frame(&self) -> Bytes {
        let latest = lock(&self.latest).clone();
        latest.filter(|(made, _)| made.elapsed() < FRESH).map_or_else(|| self.frame(), |(_, frame)| frame)
    }

    /// An event of everything there is to see. JSON has no line end in it, so it is one `data` line.
    fn frame(&self) -> Bytes {
        let mut state = self.state();
        state.status.configuration = Value::Null;
        let frame = match serde_json::to_string(&state) {
            Ok(json) => visible(format!("retry: 1000\ndata: {json}\n\n").as_bytes(), Keep::Lines).into_owned().into(),
            Err(error) => {
                tracing::error!(%error, "the page's state can't be written as JSON");
                Bytes::from_static(b": see the log\n\n")
            }
        };
        *lock(&self.latest) = Some((Instant::now(), frame.clone()));
        frame
    }
}

/// One open stream.
struct Watcher {
    first: Option<Bytes>,
    frames: watch::Receiver<Bytes>,
    ends: Instant,
    shutdown: CancellationToken,
    _slot: OwnedSemaphorePermit,
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => None,
            () = sleep_until(self.ends) => None,
            changed = self.frames.changed() => changed.ok().map(|()| self.frames.borrow_and_update().clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_crowd_gets_one_page_a_second() {
        let observe = Observe::new("1.2.3", &[], Duration::from_secs(10), Value::Null);
        let live = EventFeed::new(observe.clone());
        let first = live.page();
        let _partition = observe.partitions.partition("user-login", 3);
        for _ in 0..100 {
            assert_eq!(live.page().as_ptr(), first.as_ptr(), "not made again");
        }
        advance(FRESH).await;
        let later = String::from_utf8(live.page().to_vec()).unwrap();
        assert!(later.contains("user-login/3"), "{later}");
    }
}
