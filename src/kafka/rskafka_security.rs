//! rskafka's client with the TLS and SASL that the wire has.
//!
//! ```text
//! Options ──► Connection of our own, closed again ──► ClientBuilder with the same TLS and SASL
//!               says what to fix, and how long sessions last
//! ```
//! rskafka's errors are texts within texts, it does not tell when the broker will end a session, and its
//! SCRAM takes any number of iterations. It tries brokers one after another, and the addresses of a name
//! too, for minutes where one takes connections and never answers, or none. So a connection of our own goes
//! first, and rskafka only there where that one was let in.

use std::sync::Arc;

use futures::FutureExt;
use kafka_client::{Connection, Options, Sasl, SaslMechanism, Security};
use rskafka::BackoffConfig;
use rskafka::client::{ClientBuilder, Credentials, OauthBearerCredentials, OauthCallback, SaslConfig};
use rustls::ClientConfig;
use tokio::time::Instant;

use super::{Cause, Error};

/// The TLS and SASL that a client of rskafka's was connected with.
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
        let failed = |cause| Error::new("connect to", options.bootstrap.join(","), cause);
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
            builder = builder.sasl_config(sasl_config(sasl).map_err(failed)?);
        }
        Ok((builder, Self { tls, spent_at }))
    }

    /// Tells whether the broker is about to end the session.
    pub fn is_spent(&self) -> bool {
        self.spent_at.is_some_and(|at| at <= Instant::now())
    }

    /// Tells whether new connections would be secured in another way: a session is about to end, or files
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
    Ok(options.ask_any(options.bootstrap.clone(), open).await?)
}

fn sasl_config(Sasl { mechanism, credentials: own }: &Sasl) -> Result<SaslConfig, Cause> {
    let credentials =
        || Ok::<_, Cause>(Credentials::new(own.username().to_owned(), own.password()?.expose().to_owned()));
    Ok(match mechanism {
        SaslMechanism::Plain => SaslConfig::Plain(credentials()?),
        SaslMechanism::ScramSha256 => SaslConfig::ScramSha256(credentials()?),
        SaslMechanism::ScramSha512 => SaslConfig::ScramSha512(credentials()?),
        SaslMechanism::OauthBearer => {
            let credentials = Arc::clone(own);
            let callback: OauthCallback = Arc::new(move || {
                let credentials = Arc::clone(&credentials);
                async move {
                    match credentials.token().await {
                        Ok(token) => Ok(token.expose().to_owned()),
                        // By its type, the error is known again.
                        Err(Cause::Token(error)) => Err(error.into()),
                        Err(cause) => Err(cause.into()),
                    }
                }
                .boxed()
            });
            let bearer_kvs = own.extensions().to_vec();
            SaslConfig::Oauthbearer(OauthBearerCredentials { callback, authz_id: None, bearer_kvs })
        }
    })
}
