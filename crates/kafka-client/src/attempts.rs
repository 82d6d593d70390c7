//! Several attempts at the same, of which the first success counts.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::sleep;

/// The first success of several attempts. The next one begins as soon as the one before it fails, or has lasted for
/// `pause`; those that are not needed any more are dropped.
///
/// # Errors
/// The error of the last that failed, where all have; `None` where there are none.
pub(crate) async fn first<T, E, F>(attempts: impl IntoIterator<Item = F>, pause: Duration) -> Result<T, Option<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut attempts = attempts.into_iter().fuse();
    let mut running = FuturesUnordered::new();
    running.extend(attempts.next());
    let mut last = None;
    loop {
        tokio::select! {
            biased;
            ended = running.next() => match ended {
                Some(Ok(found)) => return Ok(found),
                Some(Err(error)) => last = Some(error),
                None => return Err(last),
            },
            () = sleep(pause) => {}
        }
        running.extend(attempts.next());
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures::FutureExt;
    use futures::future::BoxFuture;
    use tokio::time::Instant;

    use super::*;

    const STAGGER: Duration = Duration::from_millis(250);

    #[tokio::test(start_paused = true)]
    async fn the_next_attempt_waits_for_a_failure_or_the_pause() {
        let begun = Instant::now();
        let hangs = || pending::<Result<u128, &str>>().boxed();
        let tells = || async move { Ok(begun.elapsed().as_millis()) }.boxed();
        let fails = || ready(Err("no")).boxed();
        let of = |attempts: Vec<BoxFuture<'static, Result<u128, &'static str>>>| first(attempts, STAGGER);
        assert_eq!(of(vec![tells(), hangs()]).await, Ok(0));
        assert_eq!(of(vec![fails(), fails(), tells()]).await, Ok(0), "nothing is waited for after a failure");
        assert_eq!(of(vec![hangs(), fails(), hangs(), tells()]).await, Ok(500));
        assert_eq!(of(vec![fails(), fails()]).await, Err(Some("no")));
        assert_eq!(of(Vec::new()).await, Err(None));
    }
}
