//! One pipeline of several: on a runtime of its own, which is how it can be killed.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;

use futures::FutureExt;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::span::EnteredSpan;

use crate::app::{App, AppError, Summary};
use crate::config::Config;
use crate::observe::{Observe, Tally};

/// Why an instance is not there.
#[derive(Debug, thiserror::Error)]
pub(super) enum InstanceError {
    /// The system gives no threads.
    #[error("instance {number} gets no threads: {source}")]
    Threads {
        /// Which one.
        number: u32,
        /// Why not.
        source: io::Error,
    },
    /// The pipeline can't start, or did not end well.
    #[error("instance {number}: {source}")]
    App {
        /// Which one.
        number: u32,
        /// Why not.
        source: AppError,
    },
    /// A mistake of this program.
    #[error("instance {number} broke down")]
    BrokeDown {
        /// Which one.
        number: u32,
    },
}

/// A pipeline that runs. Dropped, it ends as a process does under SIGKILL: nothing is drained, no
/// offset stored, nobody told.
pub(super) struct Instance {
    number: u32,
    admin: SocketAddr,
    observe: Observe,
    stop: CancellationToken,
    run: JoinHandle<Result<Summary, AppError>>,
    threads: Threads,
}

/// A runtime that nobody waits for when it is dropped, with all its tasks as they are.
struct Threads(Option<Runtime>);

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

thread_local! {
    /// What a thread of an instance's runtime logs is that instance's: its tasks are spawned in many
    /// places, and threads are shared with nobody.
    static SPEAKER: RefCell<Option<EnteredSpan>> = const { RefCell::new(None) };
}

impl Instance {
    /// Starts a pipeline.
    ///
    /// # Errors
    /// There are no threads, or the admin port is not to be had.
    pub(super) async fn start(number: u32, config: Config) -> Result<Self, InstanceError> {
        let threads = config.pipeline.worker_threads.unwrap_or(1).max(1);
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.into())
            .thread_name(format!("instance-{number}"))
            .on_thread_start(move || {
                // As severe as can be, so that no filter takes it off what it does let through.
                let speaker = tracing::error_span!("pipeline", instance = number).entered();
                SPEAKER.with_borrow_mut(|kept| *kept = Some(speaker));
            })
            .on_thread_stop(|| drop(SPEAKER.take()))
            .enable_all()
            .build()
            .map_err(|source| InstanceError::Threads { number, source })?;
        let opened = runtime.spawn(
            async move {
                let app = App::open(config).await?;
                let (admin, observe, stop) = (app.admin_address(), app.observe().clone(), CancellationToken::new());
                Ok((admin, observe, stop.clone(), tokio::spawn(app.run(stop).boxed())))
            }
            .boxed(),
        );
        let threads = Threads(Some(runtime));
        let opened = opened.await.map_err(|_| InstanceError::BrokeDown { number })?;
        let (admin, observe, stop, run) = opened.map_err(|source| InstanceError::App { number, source })?;
        Ok(Self { number, admin, observe, stop, run, threads })
    }

    /// Ends it at once, and tells what it had counted.
    pub(super) fn kill(self) -> Tally {
        drop(self.threads);
        self.observe.tallies.sum()
    }

    /// Its counts so far.
    pub(super) fn counted(&self) -> Tally {
        self.observe.tallies.sum()
    }

    /// Its number, which no other has or has had.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// The address of its `/status` and `/metrics`.
    pub(super) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The partitions that it has.
    pub(super) fn partitions(&self) -> Vec<i32> {
        self.observe.partitions.group_partitions()
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.run.is_finished()
    }

    /// Drains it, unless it has ended, and tells what it has counted.
    ///
    /// # Errors
    /// It did not end well.
    pub(super) async fn end(mut self) -> Result<Tally, InstanceError> {
        let number = self.number;
        self.stop.cancel();
        match (&mut self.run).await {
            Ok(Ok(_)) => Ok(self.observe.tallies.sum()),
            Ok(Err(source)) => Err(InstanceError::App { number, source }),
            Err(_) => Err(InstanceError::BrokeDown { number }),
        }
    }
}
