//! rskafka's client with the TLS and SASL that the wire has.
//!
//! ```text
//! Options ──► Connection of our own, closed again ──► ClientBuilder with the same TLS and SASL
//!               says what to mend, and how long sessions last
//! ```
//! rskafka's errors are texts within texts, it does not tell when the broker will end a session, and its
//! SCRAM takes any number of iterations. It tries brokers one after another, and the addresses of a name
//! too, for minutes where one takes connections and never answers, or none. So a connection of our own goes
//! first, and rskafka only there where that one was let in.

use std::sync::Arc;

use futures::FutureExt;
use rskafka::BackoffConfig;
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
    /// Begins a client that tries again as `backoff` says, at a broker that has just answered.
    ///
    /// # Errors
    /// Where no broker lets us in, or a file can't be read.
    pub async fn builder(options: &Options, backoff: BackoffConfig) -> Result<(ClientBuilder, Self), Error> {
        let security = &options.security;
        let Security { tls, sasl, .. } = &**security;
        let failed = |cause| Error { doing: "connect to", on: options.bootstrap.join(","), cause };
        let proven = probe(options).await?;
        let spent_at = proven.used_at();
        let tls = tls.as_ref().map(|tls| tls.current()).transpose().map_err(failed)?;
        // A certificate is the name's, so that with TLS the name stays, whichever of its addresses answered.
        let broker = if tls.is_some() { proven.address().to_owned() } else { proven.peer().to_string() };
        let mut builder = ClientBuilder::new(vec![broker])
            .client_id(options.client_id.as_str())
            .max_message_size(options.max_frame_bytes)
            .backoff_config(backoff);
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
    let open = |address: String| async move { Connection::open(&address, options).await };
    options.ask_any(options.bootstrap.clone(), open).await
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
