//! Keys of bearer tokens that contradict each other, and files that do not hold what they must.

use kafka_client::pem;

use super::Sasl;
use super::rule_kinds::Rules;

pub(super) const MECHANISM: &str = "kafka.sasl.mechanism";
pub(super) const ALLOW_PLAINTEXT: &str = "kafka.sasl.allow_plaintext";
const TOKEN_FILE: &str = "kafka.sasl.token_file";
const URL: &str = "kafka.sasl.token_endpoint_url";
const CA_FILE: &str = "kafka.sasl.token_endpoint_ca_file";
const CLIENT_ID: &str = "kafka.sasl.client_id";
const CLIENT_SECRET: &str = "kafka.sasl.client_secret";
const CLIENT_SECRET_FILE: &str = "kafka.sasl.client_secret_file";
const SCOPE: &str = "kafka.sasl.scope";

const AUDIENCE: &str = "kafka.sasl.audience";
const EXTENSIONS: &str = "kafka.sasl.extensions";

/// Keys that are of no use without an endpoint.
const OF_ENDPOINT: [&str; 6] = [CA_FILE, CLIENT_ID, CLIENT_SECRET, CLIENT_SECRET_FILE, SCOPE, AUDIENCE];

/// All keys of bearer tokens.
pub(super) const KEYS: [&str; 9] =
    [TOKEN_FILE, URL, CA_FILE, CLIENT_ID, CLIENT_SECRET, CLIENT_SECRET_FILE, SCOPE, AUDIENCE, EXTENSIONS];

/// Checks where OAUTHBEARER has its token from: a file, or an endpoint, by a client that it knows.
pub(super) fn check(rules: &mut Rules, sasl: &Sasl) {
    let twice = "tokens come from a file or from an endpoint, and both are set";
    rules.either([TOKEN_FILE, URL], MECHANISM, "OAUTHBEARER needs a token", twice);
    if !rules.values.is_given(URL) {
        rules.unused(&OF_ENDPOINT, MECHANISM, "only a token endpoint uses this", URL);
        return;
    }
    rules.needed(CLIENT_ID, URL, "a token endpoint gives tokens to a client that it knows");
    let none = "a token endpoint wants the client's secret";
    rules.either([CLIENT_SECRET, CLIENT_SECRET_FILE], URL, none, "the client's secret is set twice");
    let Some(url) = sasl.token_endpoint.url.as_ref().filter(|url| !url.has_tls()) else { return };
    rules.unused(&[CA_FILE], URL, "http has no certificates", "an https:// URL");
    if !url.is_loopback() && !sasl.allow_plaintext {
        let wrong = "an http:// token endpoint lets the network read the client's secret and the token";
        rules.push(ALLOW_PLAINTEXT, &[URL], wrong, "an https:// URL, or true if you mean it");
    }
}

/// Notes files that do not hold what they must.
pub(super) fn files(rules: &mut Rules, sasl: &Sasl) {
    let endpoint = &sasl.token_endpoint;
    rules.file(&[TOKEN_FILE], sasl.token_file.as_ref().map(|_| sasl.token().map(drop)));
    let secret = endpoint.client_secret_file.as_ref().filter(|_| endpoint.client_secret.is_none());
    rules.file(&[CLIENT_SECRET_FILE], secret.map(|_| endpoint.secret().map(drop)));
    let ca = endpoint.ca_file.as_deref();
    rules.file(&[CA_FILE], ca.map(|path| pem::roots(path, &pem::read(path)?).map(drop)));
}
