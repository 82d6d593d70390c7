//! Bearer tokens for SASL from an OAuth or OIDC token endpoint, shared by all connections.
//!
//! ```text
//! rskafka ──┐                          ┌── a token that lives: given at once
//!           ├─► Tokens::current ──►────┤
//! wire ─────┘                          └── none: asked for, one at a time
//!                                                       │
//! keep_fresh (a task) ── at 75 to 80 % of its life ─────┴──► Endpoint ──► answer
//! ```
//! While the endpoint fails, the token before serves until its life is as good as over. A failure is
//! remembered for a pause that grows, and told to all who ask meanwhile: partitions that all want to connect
//! do not ask it once each.

mod answer;
mod endpoint;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use futures::FutureExt;
use kafka_client::NoToken;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};

use self::answer::{Granted, Refused};
use self::endpoint::Endpoint;
use crate::config::{Retry, Secret, TokenEndpoint};
use crate::observe::Metrics;
use crate::retry::{ErrorClass, Pauses, Policy};

/// The share of a token's life, in percent, after which the next is asked for: before a SASL session of the
/// same length is replaced, and not by all processes at a time ...
const USED: std::ops::RangeInclusive<u32> = 75..=80;
/// ... and after which it is not used any more.
const OVER: u32 = 95;

/// Tokens are asked for this often at most, however short they live.
const SHORTEST: Duration = Duration::from_secs(1);

/// The least age of a token for a broker's refusal to be the reason for another.
const SETTLED: Duration = Duration::from_secs(10);

/// The pauses after failures are those of Kafka's `sasl.login.retry.backoff.ms` and `.max.ms`.
const RETRY: Retry = Retry { initial: Duration::from_millis(100), max: Duration::from_secs(10) };

/// The time between two log lines about a failure that lasts.
const REMINDER: Duration = Duration::from_secs(60);

/// Why there is no token.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the token endpoint {url}: {why}")]
pub struct TokenError {
    url: String,
    why: String,
    class: ErrorClass,
}

impl From<TokenError> for NoToken {
    fn from(error: TokenError) -> Self {
        Self { why: error.to_string(), class: error.class }
    }
}

impl TokenError {
    /// The meaning for trying again.
    pub fn class(&self) -> ErrorClass {
        self.class
    }
}

/// The tokens of one endpoint.
#[derive(Debug)]
pub struct Tokens {
    shared: Arc<Shared>,
    /// Asks for the next token in time, once there has been a first.
    refresher: OnceLock<AbortOnDropHandle<()>>,
}

impl Tokens {
    /// Asks for nothing yet; `None` where no endpoint is configured. A connection to it must be there within
    /// the first of the times, and its answer within the second.
    pub fn new(config: &TokenEndpoint, connect_timeout: Duration, request_timeout: Duration) -> Option<Self> {
        let endpoint = Endpoint::new(config, connect_timeout, request_timeout)?;
        let asking = tokio::sync::Mutex::new(Policy::new(&RETRY).pauses());
        let shared = Shared { endpoint, asking, state: Mutex::default(), metrics: OnceLock::new() };
        Some(Self { shared: Arc::new(shared), refresher: OnceLock::new() })
    }

    /// Counts failures from now on.
    pub fn count_in(&self, metrics: &Metrics) {
        self.shared.metrics.get_or_init(|| metrics.clone());
    }

    /// A token that lives.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn current(&self) -> Result<Secret, TokenError> {
        if let Some(token) = self.shared.lock().usable(Instant::now()) {
            return Ok(token);
        }
        let token = self.shared.renewed().await?;
        self.refresher.get_or_init(|| {
            let keeping = keep_fresh(Arc::downgrade(&self.shared));
            AbortOnDropHandle::new(tokio::spawn(keeping.boxed()))
        });
        Ok(token)
    }

    /// A broker did not take this token: the next who asks gets another, unless it is new.
    pub fn refused(&self, token: &Secret) {
        let now = Instant::now();
        self.shared.lock().held.take_if(|held| held.token == *token && now >= held.since + SETTLED);
    }
}

/// Asks for the next token in time, for as long as anybody holds the tokens.
async fn keep_fresh(shared: Weak<Shared>) {
    while let Some(next) = shared.upgrade().map(|shared| shared.lock().next(Instant::now())) {
        sleep_until(next).await;
        let Some(shared) = shared.upgrade() else { return };
        if let Err(error) = shared.renewed().await {
            debug!("no new token: {error}");
        }
    }
}

#[derive(Debug)]
struct Shared {
    endpoint: Endpoint,
    /// Held by who asks the endpoint.
    asking: tokio::sync::Mutex<Pauses>,
    state: Mutex<State>,
    metrics: OnceLock<Metrics>,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    failure: Option<Failure>,
    /// The time of the last log line about a failure, of those since the last token.
    said: Option<Instant>,
}

#[derive(Debug)]
struct Held {
    token: Secret,
    since: Instant,
    used_at: Instant,
    over_at: Instant,
}

#[derive(Debug)]
struct Failure {
    error: TokenError,
    until: Instant,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The token, a new one where it is time for that; the one before where there is no new one.
    async fn renewed(&self) -> Result<Secret, TokenError> {
        let mut pauses = self.asking.lock().await;
        // Somebody else may have asked while this one waited for its turn.
        if let Some(settled) = self.lock().settled(Instant::now()) {
            return settled;
        }
        let begun = Instant::now();
        match self.endpoint.ask().await {
            Ok(granted) => {
                pauses.reset();
                Ok(self.lock().keep(granted, begun))
            }
            Err(refused) => {
                let class = refused.class;
                if let Some(metrics) = self.metrics.get() {
                    metrics.retry("token", class.as_str());
                }
                let pause = pauses.after(class).max(refused.pause.unwrap_or_default());
                self.lock().fail(self.error(refused), Instant::now(), pause)
            }
        }
    }

    fn error(&self, refused: Refused) -> TokenError {
        TokenError { url: self.endpoint.shown().to_owned(), why: refused.why, class: refused.class }
    }
}

impl State {
    fn usable(&self, now: Instant) -> Option<Secret> {
        self.held.as_ref().filter(|held| now < held.over_at).map(|held| held.token.clone())
    }

    /// Answers without asking the endpoint, where that can be.
    fn settled(&self, now: Instant) -> Option<Result<Secret, TokenError>> {
        if let Some(held) = self.held.as_ref().filter(|held| now < held.used_at) {
            return Some(Ok(held.token.clone()));
        }
        let failure = self.failure.as_ref().filter(|failure| now < failure.until)?;
        Some(self.usable(now).ok_or_else(|| failure.error.clone()))
    }

    /// The time at which the endpoint is to be asked next.
    fn next(&self, now: Instant) -> Instant {
        match (&self.failure, &self.held) {
            (Some(failure), _) => failure.until,
            (None, Some(held)) => held.used_at,
            // Whoever was refused asks by itself.
            (None, None) => now + SETTLED,
        }
    }

    fn keep(&mut self, granted: Granted, begun: Instant) -> Secret {
        let Granted { token, life } = granted;
        let used_at = begun + (life * fastrand::u32(USED) / 100).max(SHORTEST);
        let (valid_for, refresh_in) = (shown(life), shown(used_at - begun));
        let held = Held { token: token.clone(), since: begun, used_at, over_at: begun + granted.life * OVER / 100 };
        if self.held.replace(held).is_none() || self.said.take().is_some() {
            info!(%valid_for, %refresh_in, "the token endpoint gave a token");
        } else {
            debug!(%valid_for, %refresh_in, "the token endpoint gave a token");
        }
        self.failure = None;
        token
    }

    fn fail(&mut self, error: TokenError, now: Instant, pause: Duration) -> Result<Secret, TokenError> {
        self.failure = Some(Failure { error: error.clone(), until: now + pause });
        let Some(token) = self.usable(now) else { return Err(error) };
        // Who has no token says so by itself.
        if self.said.is_none_or(|said| now - said >= REMINDER) {
            self.said = Some(now);
            let left = self.held.as_ref().map_or(Duration::ZERO, |held| held.over_at - now);
            warn!(class = error.class.as_str(), "{error}; the token before serves for {} yet", shown(left));
        }
        Ok(token)
    }
}

fn shown(time: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(time.as_secs()))
}
