//! rskafka's client with the TLS and SASL that the wire has.
//!
//! ```text
//! Options ──► Connection of our own, closed again ──► ClientBuilder with the same TLS and SASL
//!               says what to mend, and how long sessions last
//! ```
//! rskafka's errors are texts within texts, it does not tell when the broker will end a session,
//! and its SCRAM takes any number of iterations. So a connection of our own goes first, and rskafka
//! only where that one was let in.

use std::sync::Arc;

use futures::FutureExt;
use rskafka::client::{ClientBuilder, Credentials, OauthBearerCredentials, OauthCallback, SaslConfig};
use rustls::ClientConfig;
use tokio::time::Instant;

use super::wire::{Connection, Options, Security};
use super::{Cause, Error};
use crate::config::{Sasl, SaslMechanism};

/// What a client of rskafka's was secured by.
#[derive(Debug, Clone)]
pub struct Secured {
    tls: Option<Arc<ClientConfig>>,
    spent_at: Option<Instant>,
}

impl Secured {
    /// Secures the client that `builder` will build.
    ///
    /// # Errors
    /// Where no broker lets us in, or a file can't be read.
    pub async fn build(builder: ClientBuilder, options: &Options) -> Result<(ClientBuilder, Self), Error> {
        let security = &options.security;
        let Security { tls, sasl, .. } = &**security;
        let failed = |cause| Error { doing: "connect to", on: options.bootstrap.join(","), cause };
        let spent_at = if security.is_plaintext() { None } else { probe(options).await?.used_at() };
        let tls = tls.as_ref().map(|tls| tls.current()).transpose().map_err(failed)?;
        let mut builder = builder;
        if let Some(tls) = &tls {
            builder = builder.tls_config(Arc::clone(tls));
        }
        if let Some(sasl) = sasl {
            builder = builder.sasl_config(sasl_config(sasl, security).map_err(|why| failed(Cause::Sasl(why)))?);
        }
        Ok((builder, Self { tls, spent_at }))
    }

    /// Whether the broker is about to end the session.
    pub fn is_spent(&self) -> bool {
        self.spent_at.is_some_and(|at| at <= Instant::now())
    }

    /// Whether new connections would be secured in another way: a session is about to end, or files
    /// have changed.
    pub fn is_outdated(&self, security: &Security) -> bool {
        let now = security.tls.as_ref().map(|tls| tls.current());
        let same = match (&self.tls, now) {
            (Some(then), Some(Ok(now))) => Arc::ptr_eq(then, &now),
            (_, now) => now.is_none(),
        };
        self.is_spent() || !same
    }
}

/// A connection to the first broker that lets us in.
async fn probe(options: &Options) -> Result<Connection, Error> {
    let mut last = None;
    for address in &options.bootstrap {
        match Connection::open(address, options).await {
            Ok(connection) => return Ok(connection),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| {
        let cause = Cause::Connect("no broker is configured".to_owned());
        Error { doing: "connect to", on: "the cluster".to_owned(), cause }
    }))
}

fn sasl_config(sasl: &Sasl, security: &Arc<Security>) -> Result<SaslConfig, String> {
    let credentials = || {
        let username = sasl.username.clone().unwrap_or_default();
        Ok::<_, String>(Credentials::new(username, sasl.password()?.expose().to_owned()))
    };
    Ok(match sasl.mechanism.ok_or("kafka.sasl.mechanism is not set")? {
        SaslMechanism::Plain => SaslConfig::Plain(credentials()?),
        SaslMechanism::ScramSha256 => SaslConfig::ScramSha256(credentials()?),
        SaslMechanism::ScramSha512 => SaslConfig::ScramSha512(credentials()?),
        SaslMechanism::OauthBearer => {
            let security = Arc::clone(security);
            let callback: OauthCallback = Arc::new(move || {
                let security = Arc::clone(&security);
                async move {
                    match security.token().await {
                        Ok(token) => Ok(token.expose().to_owned()),
                        // By its type, the error is known again.
                        Err(Cause::Token(error)) => Err(error.into()),
                        Err(cause) => Err(cause.into()),
                    }
                }
                .boxed()
            });
            let bearer_kvs = sasl.extensions.pairs().to_vec();
            SaslConfig::Oauthbearer(OauthBearerCredentials { callback, authz_id: None, bearer_kvs })
        }
    })
}
