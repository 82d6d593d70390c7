//! The security of connections, shared by all that connect.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::BoxFuture;

use crate::tls::Tls;
use crate::{Cause, Secret};

/// The security of connections: TLS and SASL, each where it is wanted.
#[derive(Debug, Default)]
pub struct Security {
    /// TLS.
    pub tls: Option<Tls>,
    /// SASL.
    pub sasl: Option<Sasl>,
    let_in: AtomicBool,
}

/// A SASL mechanism, and the credentials for it.
#[derive(Debug, Clone)]
pub struct Sasl {
    /// The mechanism.
    pub mechanism: SaslMechanism,
    /// The credentials.
    pub credentials: Arc<dyn Credentials>,
}

/// SASL's mechanisms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    /// The password as it is (RFC 4616).
    Plain,
    /// Proof of the password, by SHA-256 (RFC 5802, RFC 7677).
    ScramSha256,
    /// Proof of the password, by SHA-512.
    ScramSha512,
    /// A bearer token (RFC 7628).
    OauthBearer,
}

impl SaslMechanism {
    /// Its registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::OauthBearer => "OAUTHBEARER",
        }
    }

    /// Returns whether it sends what must stay secret as it is.
    pub fn sends_secret(self) -> bool {
        matches!(self, Self::Plain | Self::OauthBearer)
    }
}

/// The credentials of this client. Asked for each new connection, so that what changes needs no restart.
pub trait Credentials: fmt::Debug + Send + Sync {
    /// The user of PLAIN and SCRAM.
    fn username(&self) -> &str;

    /// Its password.
    ///
    /// # Errors
    /// [`Cause::Sasl`] where there is none.
    fn password(&self) -> Result<Secret, Cause>;

    /// The token of OAUTHBEARER.
    ///
    /// # Errors
    /// [`Cause::Token`] or [`Cause::Sasl`] where there is none.
    fn token(&self) -> BoxFuture<'_, Result<Secret, Cause>>;

    /// Extensions that brokers are told beside the token, as names and values (KIP-342).
    fn extensions(&self) -> &[(String, String)] {
        &[]
    }

    /// Hears that a broker refused this token.
    fn refused(&self, _token: &Secret) {}

    /// The place that they come from: what to check after a refusal, for people.
    fn origin(&self) -> &str;
}

impl Security {
    /// Secures connections by these. No file is read yet, and nobody is asked for a token.
    pub fn new(tls: Option<Tls>, sasl: Option<Sasl>) -> Self {
        Self { tls, sasl, let_in: AtomicBool::new(false) }
    }

    /// Notes that a broker has let us in.
    pub fn let_in(&self) {
        self.let_in.store(true, Ordering::Relaxed);
    }

    /// Returns whether a broker has let us in: what a connection breaks by is then the network's fault, or the broker's, and
    /// the configuration is no longer to be doubted.
    pub fn was_let_in(&self) -> bool {
        self.let_in.load(Ordering::Relaxed)
    }
}
