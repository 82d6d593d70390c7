//! How connections are secured, as configured: shared by all that connect.

use std::sync::atomic::{AtomicBool, Ordering};

use super::tls::Tls;
use crate::config;

/// TLS and SASL, each where it is wanted.
#[derive(Debug)]
pub struct Security {
    /// TLS.
    pub tls: Option<Tls>,
    /// SASL.
    pub sasl: Option<config::Sasl>,
    let_in: AtomicBool,
}

impl Security {
    /// As configured. No file is read yet.
    pub fn new(config: &config::Security) -> Self {
        Self {
            tls: config.protocol.has_tls().then(|| Tls::new(config.tls.clone())),
            sasl: config.protocol.has_sasl().then(|| config.sasl.clone()),
            let_in: AtomicBool::new(false),
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

    /// Whether there is neither.
    pub fn is_plaintext(&self) -> bool {
        self.tls.is_none() && self.sasl.is_none()
    }
}
