//! The transaction before, which is still being ended when the next begins.

use std::time::Duration;

use kafka_protocol::ResponseError;
use tokio::time::Instant;

use super::Error;

/// How soon it is asked again whether it has ended: a matter of milliseconds. A broker that takes
/// batches into a transaction by itself waits for that a while before it says so ...
const POLL: Duration = Duration::from_millis(10);
/// ... and no failure for so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Waits for the end of one transaction.
#[derive(Debug, Default)]
pub struct Ending {
    since: Option<Instant>,
}

impl Ending {
    /// The pause before the same is asked again, where an error says no more than that the
    /// transaction before is still being ended; `None` where it is a failure to be told of.
    pub fn pause(&mut self, error: &Error) -> Option<Duration> {
        if !error.is(ResponseError::ConcurrentTransactions) {
            return None;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        (since.elapsed() < PATIENCE).then_some(POLL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn is_a_failure_only_where_it_lasts_or_is_another() {
        let error = |code| Error::code("produce to", "t/0", code);
        let mut ending = Ending::default();
        assert_eq!(ending.pause(&error(ResponseError::NotEnoughReplicas)), None);
        tokio::time::advance(PATIENCE).await;
        let concurrent = error(ResponseError::ConcurrentTransactions);
        assert_eq!(ending.pause(&concurrent), Some(POLL), "counted from the first of these");
        tokio::time::advance(PATIENCE - POLL).await;
        assert_eq!(ending.pause(&concurrent), Some(POLL));
        tokio::time::advance(POLL).await;
        assert_eq!(ending.pause(&concurrent), None);
        assert_eq!(Ending::default().pause(&concurrent), Some(POLL));
    }
}
