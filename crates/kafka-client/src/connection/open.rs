//! A new connection: TCP, TLS, which requests the broker takes, and who we are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32};

use futures::FutureExt;
use kafka_protocol::protocol::StrBytes;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Connection;
use super::pending::Pending;
use super::reader::read_answers;
use super::session::Session;
use crate::admission::Admission;
use crate::frames::Frames;
use crate::transport::{self, Connected};
use crate::versions::Offered;
use crate::{Error, Options, api, sasl};

impl Connection {
    /// Connects to `address` (`host:port`), in TLS where that is configured, learns which requests
    /// the broker takes, and says who we are.
    ///
    /// # Errors
    /// [`Cause::Connect`](crate::Cause::Connect) where there is no connection within the deadline of `options`, and
    /// [`Cause::Timeout`](crate::Cause::Timeout) where there is one, but nobody who answers;
    /// [`Cause::Tls`](crate::Cause::Tls) and [`Cause::Sasl`](crate::Cause::Sasl) where one side refuses the other.
    pub async fn open(address: &str, options: &Options) -> Result<Self, Error> {
        Self::open_admitting(address, options, None).await
    }

    /// As [`Connection::open`], for fetches whose answers wait for memory.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub(crate) async fn open_admitting(
        address: &str,
        options: &Options,
        admission: Option<&Arc<Admission>>,
    ) -> Result<Self, Error> {
        let failed = |cause| Error { doing: "connect to", on: address.to_owned(), cause };
        let Options { transport, security, connect_timeout, .. } = options;
        let connected = transport::connect(&**transport, address, security, *connect_timeout).await;
        let Connected { stream, peer } = connected.map_err(failed)?;
        let (read, write) = stream.halves();
        let pending = Arc::new(Pending::new());
        let frames = Frames::new(read, options.max_frame_bytes, admission.cloned());
        let reader = tokio::spawn(read_answers(frames, Arc::clone(&pending), Arc::clone(&options.security)).boxed());
        let mut connection = Self {
            address: address.to_owned(),
            peer,
            client_id: StrBytes::from_string(options.client_id.clone()),
            writer: Mutex::new(write),
            pending,
            next_id: AtomicI32::new(0),
            apis: api::ALL,
            offered: Offered::default(),
            request_timeout: options.request_timeout,
            max_idle: options.connections_max_idle,
            throttled_until: std::sync::Mutex::default(),
            meter: Arc::clone(&options.meter),
            told_of_trailing: AtomicBool::new(false),
            session: None,
            admission: admission.cloned(),
            reader,
        };
        // A broker that hangs takes connections all the same: its kernel does. That is a connection which can't be set up.
        let patience = options.connect_timeout.min(options.request_timeout);
        let offered = api::api_versions::negotiate(&connection, patience, options.software).await;
        connection.offered = offered.inspect_err(|_| transport.avoid(peer))?;
        if let Some(sasl) = &options.security.sasl {
            let begun = Instant::now();
            let lifetime = sasl::authenticate(&connection, sasl).await?;
            connection.session = lifetime.map(|lifetime| Session::new(begun, lifetime));
        }
        Ok(connection)
    }
}
