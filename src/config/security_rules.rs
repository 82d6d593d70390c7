//! Keys of TLS and SASL that contradict each other, and files that do not hold what they must.

use std::net::Ipv6Addr;
use std::path::Path;

use kafka_client::pem;

use super::problem::Problems;
use super::rule_kinds::Rules;
use super::token_rules::{self, ALLOW_PLAINTEXT, MECHANISM};
use super::values::Values;
use super::{Admin, AdminTls, Config, Kafka, SaslMechanism, Security};

const PROTOCOL: &str = "kafka.security_protocol";
const CA_FILE: &str = "kafka.tls.ca_file";
const CERT_FILE: &str = "kafka.tls.cert_file";
const KEY_FILE: &str = "kafka.tls.key_file";
const USERNAME: &str = "kafka.sasl.username";
const PASSWORD: &str = "kafka.sasl.password";
const PASSWORD_FILE: &str = "kafka.sasl.password_file";
const ADMIN_LISTEN: &str = "admin.listen";
const ADMIN_TOKEN_FILE: &str = "admin.token_file";
const ADMIN_ALLOW_PLAINTEXT: &str = "admin.allow_plaintext";
const ADMIN_CERT_FILE: &str = "admin.tls.cert_file";
const ADMIN_KEY_FILE: &str = "admin.tls.key_file";
const ADMIN_CLIENT_CA_FILE: &str = "admin.tls.client_ca_file";

const TLS: [&str; 3] = [CA_FILE, CERT_FILE, KEY_FILE];
const SASL: [&str; 4] = [MECHANISM, USERNAME, PASSWORD, PASSWORD_FILE];

/// Notes all that is wrong with how connections are to be secured.
pub(super) fn check(config: &Config, values: &Values, problems: &mut Problems) {
    let mut rules = Rules { values, problems };
    rules.admin(&config.admin);
    let kafka = &config.kafka;
    if !values.is_sound(PROTOCOL) {
        return; // what the other keys mean is not known
    }
    let Security { protocol, tls, sasl } = &kafka.security;
    if protocol.has_tls() {
        rules.tls(kafka);
    } else {
        rules.unused(&TLS, PROTOCOL, "only ssl and sasl_ssl use this", "kafka.security_protocol = ssl or sasl_ssl");
    }
    if !protocol.has_sasl() {
        let (wrong, allowed) =
            ("only sasl_ssl and sasl_plaintext use this", "kafka.security_protocol = sasl_ssl or sasl_plaintext");
        rules.unused(&SASL, PROTOCOL, wrong, allowed);
        rules.unused(&token_rules::KEYS, PROTOCOL, wrong, allowed);
        if sasl.allow_plaintext {
            rules.unused(&[ALLOW_PLAINTEXT], PROTOCOL, wrong, allowed);
        }
    } else if let Some(mechanism) = sasl.mechanism {
        rules.sasl(mechanism, &kafka.security);
    } else {
        rules.missing(MECHANISM, &[PROTOCOL], "SASL needs a mechanism");
    }
    if protocol.has_tls() {
        rules.file(&[CA_FILE], tls.ca_file.as_deref().map(roots));
        let pair = tls.cert_file.as_deref().zip(tls.key_file.as_deref());
        rules.file(&[CERT_FILE, KEY_FILE], pair.map(identity));
    }
    if protocol.has_sasl() {
        rules.file(&[PASSWORD_FILE], sasl.password_file.as_ref().map(|_| sasl.password().map(drop)));
        token_rules::files(&mut rules, sasl);
    }
}

/// Whether these files hold a certificate and its key.
fn identity((cert, key): (&Path, &Path)) -> Result<(), String> {
    let (chain, private) = (pem::read(cert)?, pem::read(key)?);
    pem::identity((cert, &chain), (key, &private)).map(drop)
}

/// Whether this file holds certificates that may sign others.
fn roots(path: &Path) -> Result<(), String> {
    pem::roots(path, &pem::read(path)?).map(drop)
}

impl Rules<'_> {
    fn admin(&mut self, admin: &Admin) {
        self.pair([ADMIN_CERT_FILE, ADMIN_KEY_FILE], "a certificate and its private key go together");
        let AdminTls { cert_file, key_file, client_ca_file } = &admin.tls;
        if !self.values.is_given(ADMIN_CERT_FILE) {
            self.unused(
                &[ADMIN_CLIENT_CA_FILE],
                ADMIN_LISTEN,
                "only TLS asks clients for certificates",
                ADMIN_CERT_FILE,
            );
        }
        let is_readable = !admin.tls.is_on() && !admin.listen.ip().to_canonical().is_loopback();
        if is_readable && admin.token_file.is_some() && !admin.allow_plaintext {
            let wrong = "the admin token would cross the network readable";
            let allowed = "admin.tls.cert_file and key_file, an admin.listen on loopback, or true if you mean it";
            self.push(ADMIN_ALLOW_PLAINTEXT, &[ADMIN_TOKEN_FILE, ADMIN_LISTEN], wrong, allowed);
        }
        self.file(&[ADMIN_TOKEN_FILE], admin.token_file.as_ref().map(|_| admin.token().map(drop)));
        self.file(&[ADMIN_CERT_FILE, ADMIN_KEY_FILE], cert_file.as_deref().zip(key_file.as_deref()).map(identity));
        self.file(&[ADMIN_CLIENT_CA_FILE], client_ca_file.as_deref().map(roots));
    }

    fn tls(&mut self, kafka: &Kafka) {
        self.pair([CERT_FILE, KEY_FILE], "a client certificate and its private key go together");
        // rskafka takes the host to end at the first colon.
        let is_ipv6 = |broker: &String| {
            let host = broker.strip_prefix('[').and_then(|rest| rest.split_once(']'));
            host.is_some_and(|(host, _)| host.parse::<Ipv6Addr>().is_ok())
        };
        if kafka.brokers.iter().any(is_ipv6) {
            let allowed = "host names and IPv4 addresses, with ssl and sasl_ssl";
            self.push("kafka.brokers", &[PROTOCOL], "a numeric IPv6 address can't be used with TLS", allowed);
        }
    }

    fn sasl(&mut self, mechanism: SaslMechanism, security: &Security) {
        let name = mechanism.name();
        if mechanism == SaslMechanism::OauthBearer {
            let wrong = "OAUTHBEARER does not use this";
            self.unused(&[USERNAME, PASSWORD, PASSWORD_FILE], MECHANISM, wrong, "another kafka.sasl.mechanism");
            token_rules::check(self, &security.sasl);
        } else {
            let wrong = "only OAUTHBEARER uses this";
            self.unused(&token_rules::KEYS, MECHANISM, wrong, "kafka.sasl.mechanism = OAUTHBEARER");
            self.needed(USERNAME, MECHANISM, &format!("{name} needs a user"));
            let none = format!("{name} needs a password");
            self.either([PASSWORD, PASSWORD_FILE], MECHANISM, &none, "the password is set twice");
        }
        let readable = !security.protocol.has_tls() && mechanism.sends_secret();
        if readable && !security.sasl.allow_plaintext {
            let wrong = format!("{name} over sasl_plaintext lets the network read the password or token");
            let allowed = "kafka.security_protocol = sasl_ssl, a SCRAM mechanism, or true if you mean it";
            self.push(ALLOW_PLAINTEXT, &[MECHANISM, PROTOCOL], &wrong, allowed);
        }
    }
}
