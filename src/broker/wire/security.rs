//! How connections are secured, as configured: shared by all that connect.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::tls::{BROKER, Tls};
use crate::broker::{Cause, Tokens};
use crate::config::{self, Secret};

/// TLS and SASL, each where it is wanted.
#[derive(Debug)]
pub struct Security {
    /// TLS.
    pub tls: Option<Tls>,
    /// SASL.
    pub sasl: Option<config::Sasl>,
    /// OAUTHBEARER's tokens, where they come from an endpoint.
    pub tokens: Option<Tokens>,
    let_in: AtomicBool,
}

impl Security {
    /// As configured. No file is read yet, and no endpoint asked, which the times are for: that of a connection
    /// and that of a request.
    pub fn new(config: &config::Security, connect_timeout: Duration, request_timeout: Duration) -> Self {
        let sasl = config.protocol.has_sasl().then(|| config.sasl.clone());
        let endpoint = sasl.as_ref().map(|sasl| &sasl.token_endpoint);
        Self {
            tls: config.protocol.has_tls().then(|| Tls::new(BROKER, config.tls.clone())),
            tokens: endpoint.and_then(|endpoint| Tokens::new(endpoint, connect_timeout, request_timeout)),
            sasl,
            let_in: AtomicBool::new(false),
        }
    }

    /// OAUTHBEARER's token: from the endpoint, or else from the file, read anew.
    ///
    /// # Errors
    /// [`Cause::Token`] where the endpoint gives none, [`Cause::Sasl`] where the file has none.
    pub async fn token(&self) -> Result<Secret, Cause> {
        match (&self.tokens, &self.sasl) {
            (Some(tokens), _) => tokens.current().await.map_err(Cause::Token),
            (None, Some(sasl)) => sasl.token().map_err(Cause::Sasl),
            (None, None) => Err(Cause::Sasl("kafka.sasl is not set".to_owned())),
        }
    }

    /// A broker let us in by this.
    pub fn note_let_in(&self) {
        self.let_in.store(true, Ordering::Relaxed);
    }

    /// Whether any broker ever has: then a connection that is lost is the network's fault, or the broker's,
    /// and the configuration is no longer to be doubted.
    pub fn was_let_in(&self) -> bool {
        self.let_in.load(Ordering::Relaxed)
    }
}
