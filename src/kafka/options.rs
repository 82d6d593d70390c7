//! The client's options, as configured.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use kafka_client::{Cause, Credentials, Isolation, Options, SaslError, SaslMechanism, Secret, Security, Tls, TlsFiles};
use kafka_client::{NoMeter, Sasl, Tcp, TransactionVersion};

use super::Tokens;
use crate::config::{self, ReaderKind, TransactionVersions};

/// The name and version of this program that brokers are told.
pub(crate) const SOFTWARE: [&str; 2] = [env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")];

/// Advice after a refusal of a user and a password ...
pub(super) const PASSWORD: &str = "kafka.sasl.username and kafka.sasl.password or password_file";
/// ... of a token out of a file ...
pub(super) const TOKEN_FILE: &str = "the token in kafka.sasl.token_file: it may have expired";
/// ... and of one of an endpoint's.
pub(super) const TOKENS: &str = "kafka.sasl.scope, kafka.sasl.audience and kafka.sasl.extensions, and whether the broker \
                                 takes tokens of kafka.sasl.token_endpoint_url: their issuer, their audience, its clock";

/// The options that `kafka.*` says, and the tokens, where those come from an endpoint. Counts nothing yet.
pub fn options(kafka: &config::Kafka) -> (Options, Option<Arc<Tokens>>) {
    let (security, tokens) = security(&kafka.security, kafka.connect_timeout, kafka.request_timeout);
    let options = Options {
        bootstrap: kafka.brokers.clone(),
        client_id: kafka.client_id.clone(),
        software: SOFTWARE,
        connect_timeout: kafka.connect_timeout,
        request_timeout: kafka.request_timeout,
        connections_max_idle: kafka.connections_max_idle,
        max_frame_bytes: kafka.max_frame_bytes.as_usize(),
        security: Arc::new(security),
        transport: Arc::new(Tcp),
        meter: Arc::new(NoMeter),
        lately: Arc::default(),
    };
    (options, tokens)
}

/// TLS and SASL as configured. No file is read yet, and no endpoint asked, which the times are for: that of a connection
/// and that of a request.
pub fn security(
    config: &config::Security,
    connect_timeout: Duration,
    request_timeout: Duration,
) -> (Security, Option<Arc<Tokens>>) {
    let tls = config.protocol.has_tls().then(|| Tls::new("kafka.tls", files(&config.tls)));
    let sasl = config.sasl.mechanism.filter(|_| config.protocol.has_sasl());
    let Some(mechanism) = sasl else { return (Security::new(tls, None), None) };
    let endpoint = &config.sasl.token_endpoint;
    let tokens = Tokens::new(endpoint, connect_timeout, request_timeout).map(Arc::new);
    let credentials = Configured { sasl: config.sasl.clone(), tokens: tokens.clone() };
    let sasl = Sasl { mechanism, credentials: Arc::new(credentials) };
    (Security::new(tls, Some(sasl)), tokens)
}

fn files(tls: &config::Tls) -> TlsFiles {
    TlsFiles { ca_file: tls.ca_file.clone(), cert_file: tls.cert_file.clone(), key_file: tls.key_file.clone() }
}

/// `kafka.sasl.*`
#[derive(Debug)]
struct Configured {
    sasl: config::Sasl,
    tokens: Option<Arc<Tokens>>,
}

impl Credentials for Configured {
    fn username(&self) -> &str {
        self.sasl.username.as_deref().unwrap_or_default()
    }

    fn password(&self) -> Result<Secret, Cause> {
        self.sasl.password().map_err(|why| Cause::Sasl(SaslError::Credentials(why)))
    }

    /// From the endpoint, or else from the file, read anew.
    fn token(&self) -> BoxFuture<'_, Result<Secret, Cause>> {
        async {
            match &self.tokens {
                Some(tokens) => tokens.current().await.map_err(|error| Cause::Token(error.into())),
                None => self.sasl.token().map_err(|why| Cause::Sasl(SaslError::Credentials(why))),
            }
        }
        .boxed()
    }

    fn extensions(&self) -> &[(String, String)] {
        self.sasl.extensions.pairs()
    }

    fn refused(&self, token: &Secret) {
        if let Some(tokens) = &self.tokens {
            tokens.refused(token);
        }
    }

    fn origin(&self) -> &str {
        match (self.sasl.mechanism, &self.tokens) {
            (Some(SaslMechanism::OauthBearer), Some(_)) => TOKENS,
            (Some(SaslMechanism::OauthBearer), None) => TOKEN_FILE,
            _ => PASSWORD,
        }
    }
}

/// Without the tokens: nobody counts their failures.
impl From<&config::Kafka> for Options {
    fn from(kafka: &config::Kafka) -> Self {
        options(kafka).0
    }
}

/// Up to where the source's reader reads. rskafka knows one way only.
impl From<&config::Source> for Isolation {
    fn from(source: &config::Source) -> Self {
        match (source.reader, source.isolation) {
            (ReaderKind::Wire, config::Isolation::ReadUncommitted) => Self::Uncommitted,
            (ReaderKind::Wire, config::Isolation::ReadCommitted) | (ReaderKind::Auto | ReaderKind::Rskafka, _) => {
                Self::Committed
            }
        }
    }
}

/// The latest that may be taken.
impl From<TransactionVersions> for TransactionVersion {
    fn from(configured: TransactionVersions) -> Self {
        match configured {
            TransactionVersions::V1 => Self::V1,
            TransactionVersions::Auto => Self::V2,
        }
    }
}
