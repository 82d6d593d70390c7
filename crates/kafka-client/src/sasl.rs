//! SASL on a new connection: `SaslHandshake` names the mechanism, `SaslAuthenticate` carries its
//! messages (KIP-43, KIP-152).

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;

use crate::api::{sasl_authenticate, sasl_handshake};
use crate::plain::printable;
use crate::scram::{Hash, Scram};
use crate::security::{Sasl, SaslMechanism};
use crate::{Cause, Connection, Error, SaslError, Secret};

const DOING: &str = "authenticate with";

/// The shortest SASL session that is obeyed. Kafka ends a session at the request that comes after it, so that one
/// of a few milliseconds lets nothing through: obeyed, each request would open a connection and authenticate anew,
/// which the broker and the token endpoint would feel; not obeyed, the connections break, are told of and paused for.
const SHORTEST_SESSION: Duration = Duration::from_secs(1);

/// For how long a broker takes our word, as far as that is obeyed; for ever where `None`.
fn lifetime(session_ms: i64) -> Option<Duration> {
    let session = u64::try_from(session_ms).ok().filter(|session| *session > 0).map(Duration::from_millis)?;
    Some(session.max(SHORTEST_SESSION))
}

/// Says who we are, and for how long the broker takes our word; for ever where `None`.
///
/// # Errors
/// [`Cause::Sasl`] where the broker or the mechanism refuses, or a file can't be read; [`Cause::Token`] where
/// there is no token.
pub(super) async fn authenticate(connection: &Connection, sasl: &Sasl) -> Result<Option<Duration>, Error> {
    let Sasl { mechanism, credentials } = sasl;
    let (mechanism, check) = (*mechanism, credentials.origin());
    let failed = |cause| connection.error(DOING, cause);
    handshake(connection, mechanism).await?;
    let username = credentials.username();
    let hash = match mechanism {
        SaslMechanism::Plain => {
            let password = credentials.password().map_err(failed)?;
            let message = format!("\0{username}\0{}", password.expose());
            return Ok(Exchange { connection, secret: &password, check }.send(message).await?.lifetime);
        }
        SaslMechanism::OauthBearer => {
            let token = credentials.token().await.map_err(failed)?;
            let answer = bearer(&Exchange { connection, secret: &token, check }, credentials.extensions()).await;
            if matches!(&answer, Err(Error { cause: Cause::Sasl(_), .. })) {
                credentials.refused(&token);
            }
            return answer;
        }
        SaslMechanism::ScramSha256 => Hash::Sha256,
        SaslMechanism::ScramSha512 => Hash::Sha512,
    };
    let password = credentials.password().map_err(failed)?;
    let exchange = Exchange { connection, secret: &password, check };
    let unusable = |why| failed(Cause::Sasl(SaslError::Credentials(why)));
    let scram = Scram::begin(hash, username).map_err(unusable)?;
    let server_first = exchange.send(scram.first()).await?.bytes;
    // Thousands of hashes: other tasks of this thread need not wait for them.
    let key = password.clone();
    let answer = tokio::task::spawn_blocking(move || scram.answer(&server_first, &key)).await;
    let answer = answer.unwrap_or_else(|error| Err(error.to_string()));
    let broker_is_wrong = |why| failed(Cause::Sasl(SaslError::Broker { mechanism: mechanism.name(), why }));
    let answer = answer.map_err(broker_is_wrong)?;
    let server_final = exchange.send(answer.last().to_owned()).await?;
    answer.verify(&server_final.bytes).map_err(broker_is_wrong)?;
    Ok(server_final.lifetime)
}

async fn handshake(connection: &Connection, mechanism: SaslMechanism) -> Result<(), Error> {
    let response = sasl_handshake::handshake(connection, DOING, mechanism.name()).await?;
    let refused = |why| Err(connection.error(DOING, Cause::Sasl(why)));
    match ResponseError::try_from_code(response.error_code) {
        None => Ok(()),
        Some(ResponseError::UnsupportedSaslMechanism) => {
            let offered: Vec<_> = response.mechanisms.iter().map(|offered| printable(offered.as_str())).collect();
            refused(SaslError::NotOffered { mechanism: mechanism.name(), offered: offered.join(", ") })
        }
        Some(ResponseError::IllegalSaslState) => refused(SaslError::NotWanted),
        Some(code) => Err(connection.error(DOING, Cause::Code(code))),
    }
}

/// RFC 7628. A broker that refuses the token says why first, and fails once that is answered.
async fn bearer(exchange: &Exchange<'_>, extensions: &[(String, String)]) -> Result<Option<Duration>, Error> {
    let answer = exchange.send(first_of_bearer(exchange.secret, extensions)).await?;
    if answer.bytes.is_empty() {
        return Ok(answer.lifetime);
    }
    let why = exchange.told(&String::from_utf8_lossy(&answer.bytes));
    match exchange.send("\x01".to_owned()).await {
        Err(Error { cause: Cause::Sasl(_), .. }) | Ok(_) => Err(exchange.refused(&why)),
        Err(error) => Err(error),
    }
}

/// The token, and behind it the extensions (KIP-342).
fn first_of_bearer(token: &Secret, extensions: &[(String, String)]) -> String {
    let mut message = format!("n,,\x01auth=Bearer {}", token.expose());
    for (name, value) in extensions {
        message.extend(["\x01", name, "=", value]);
    }
    message + "\x01\x01"
}

struct Exchange<'a> {
    connection: &'a Connection,
    secret: &'a Secret,
    /// Where to look after a refusal.
    check: &'a str,
}

struct Answer {
    bytes: Bytes,
    lifetime: Option<Duration>,
}

impl Exchange<'_> {
    async fn send(&self, message: String) -> Result<Answer, Error> {
        let response = sasl_authenticate::authenticate(self.connection, DOING, message).await?;
        match ResponseError::try_from_code(response.error_code) {
            None => Ok(Answer { bytes: response.auth_bytes, lifetime: lifetime(response.session_lifetime_ms) }),
            Some(ResponseError::SaslAuthenticationFailed) => {
                Err(self.refused(&self.told(response.error_message.as_deref().unwrap_or_default())))
            }
            Some(code) => Err(self.connection.error(DOING, Cause::Code(code))),
        }
    }

    fn refused(&self, told: &str) -> Error {
        self.connection
            .error(DOING, Cause::Sasl(SaslError::Refused { origin: self.check.to_owned(), told: told.to_owned() }))
    }

    /// What the broker says, which might be our own words.
    fn told(&self, text: &str) -> String {
        let text = printable(&self.secret.hidden_in(text));
        if text.is_empty() { text } else { format!(" (the broker says: {text})") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_stand_behind_the_token() {
        let token = Secret::new("a.b.c");
        assert_eq!(first_of_bearer(&token, &[]), "n,,\x01auth=Bearer a.b.c\x01\x01");
        let extensions = [("logicalCluster", "lkc-1"), ("pool", "p 2")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(
            first_of_bearer(&token, &extensions),
            "n,,\x01auth=Bearer a.b.c\x01logicalCluster=lkc-1\x01pool=p 2\x01\x01"
        );
    }

    #[test]
    fn a_session_of_a_millisecond_is_not_obeyed() {
        assert_eq!(lifetime(1), Some(SHORTEST_SESSION));
        assert_eq!(lifetime(3_600_000), Some(Duration::from_secs(3_600)));
        assert_eq!([lifetime(0), lifetime(-1)], [None, None]);
    }
}
