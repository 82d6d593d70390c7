//! How connections are secured, as configured: shared by all that connect.

use super::tls::Tls;
use crate::config;

/// TLS and SASL, each where it is wanted.
#[derive(Debug)]
pub struct Security {
    /// TLS.
    pub tls: Option<Tls>,
    /// SASL.
    pub sasl: Option<config::Sasl>,
}

impl Security {
    /// As configured. No file is read yet.
    pub fn new(config: &config::Security) -> Self {
        Self {
            tls: config.protocol.has_tls().then(|| Tls::new(config.tls.clone())),
            sasl: config.protocol.has_sasl().then(|| config.sasl.clone()),
        }
    }

    /// Whether there is neither.
    pub fn is_plaintext(&self) -> bool {
        self.tls.is_none() && self.sasl.is_none()
    }
}
