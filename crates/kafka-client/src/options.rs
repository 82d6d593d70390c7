//! The options of connections, and who is asked what any broker can answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::attempts::first;
use crate::lately::Lately;
use crate::{Cause, Error, Meter, NoMeter, Security, Transport};

/// How long a broker may take at most with what any of them can answer, before the next one is asked as well.
const PATIENCE: Duration = Duration::from_millis(500);

/// The options by which connections are made.
#[derive(Debug, Clone)]
pub struct Options {
    /// The brokers to begin with, each `host:port`.
    pub bootstrap: Vec<String>,
    /// The client id, which brokers log and count quotas by.
    pub client_id: String,
    /// The name and version of the program, which brokers count clients by (KIP-511).
    pub software: [&'static str; 2],
    /// Deadline of a connection's set-up.
    pub connect_timeout: Duration,
    /// Deadline of a request.
    pub request_timeout: Duration,
    /// The longest time that a connection may be idle and still be used.
    pub connections_max_idle: Duration,
    /// The largest answer taken.
    pub max_frame_bytes: usize,
    /// TLS and SASL.
    pub security: Arc<Security>,
    /// The network that connections are opened over.
    pub transport: Arc<dyn Transport>,
    /// Counts what is to be counted of connections.
    pub meter: Arc<dyn Meter>,
    /// The brokers, by address, that lately did not answer.
    pub lately: Arc<Lately<String>>,
}

#[cfg(feature = "net")]
impl Default for Options {
    /// Over TCP, with Kafka's own defaults where it has them, and nowhere to begin.
    fn default() -> Self {
        Self::over(Arc::new(crate::Tcp))
    }
}

impl Options {
    /// Over this network, with Kafka's own defaults where it has them, and nowhere to begin.
    pub fn over(transport: Arc<dyn Transport>) -> Self {
        Self {
            bootstrap: Vec::new(),
            client_id: "kafka-client".to_owned(),
            software: ["kafka-client", env!("CARGO_PKG_VERSION")],
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            connections_max_idle: Duration::from_secs(9 * 60),
            max_frame_bytes: 100 << 20,
            security: Arc::default(),
            transport,
            meter: Arc::new(NoMeter),
            lately: Arc::default(),
        }
    }

    /// The first answer to what any of these brokers can answer: the next one is asked as soon as one fails, or leaves
    /// the answer open for a while. Those that lately left one open come last, so that a broker which hangs costs
    /// a moment once, and not its deadline each time.
    ///
    /// # Errors
    /// Where none answers within the deadlines of a connection and a request.
    pub async fn ask_any<R, F>(&self, addresses: Vec<String>, ask: impl Fn(String) -> F) -> Result<R, Error>
    where
        F: Future<Output = Result<R, Error>>,
    {
        let (lately, ask) = (&self.lately, &ask);
        let addresses = lately.sorted(addresses, Clone::clone);
        let attempts = addresses.into_iter().map(|address| async move {
            let attempt = lately.begin(address.clone());
            let answer = ask(address).await?;
            attempt.answered();
            Ok(answer)
        });
        let failed = |cause| Error { doing: "ask", on: "the cluster's brokers".to_owned(), cause };
        let deadline = self.connect_timeout + self.request_timeout;
        match timeout(deadline, first(attempts, PATIENCE.min(self.request_timeout / 4))).await {
            Ok(answer) => answer
                .map_err(|last| last.unwrap_or_else(|| failed(Cause::Connect("no broker is configured".to_owned())))),
            Err(_) => Err(failed(Cause::Timeout(deadline))),
        }
    }
}
