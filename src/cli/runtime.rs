//! The runtime and the signals that stop it.

use std::future::Future;
use std::io;

use futures::FutureExt;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::observe::{logs::dedup, raise_most_files};

/// The end of a run.
#[derive(Debug)]
pub enum Ended<T> {
    /// By itself, or in order after the first signal.
    InOrder(T),
    /// At once, because a second signal came.
    Forced,
}

/// Runs `work` on `threads` threads, one a core where `None`. SIGTERM and SIGINT call its token,
/// and a second of either ends it at once: what is stored stays whole. What the log leaves out of
/// errors that repeat is told meanwhile, and at the end.
///
/// # Errors
/// Where the system gives no threads or no signals.
pub fn run<T, F: Future<Output = T>>(
    threads: Option<u16>,
    work: impl FnOnce(CancellationToken) -> F,
) -> io::Result<Ended<T>> {
    raise_most_files();
    let mut builder = Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads.max(1).into());
    }
    let runtime = builder.enable_all().build()?;
    runtime.spawn(dedup::keep_telling().boxed());
    let ended = runtime.block_on(async {
        let mut signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = CancellationToken::new();
        let mut work = std::pin::pin!(work(stop.clone()));
        tokio::select! {
            ended = &mut work => return Ok(Ended::InOrder(ended)),
            () = either(&mut signals) => stop.cancel(),
        }
        tokio::select! {
            ended = &mut work => Ok(Ended::InOrder(ended)),
            () = either(&mut signals) => Ok(Ended::Forced),
        }
    });
    runtime.shutdown_background();
    dedup::tell_all();
    ended
}

async fn either((terminate, interrupt): &mut (Signal, Signal)) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
