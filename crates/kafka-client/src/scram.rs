//! SCRAM, the client's side (RFC 5802, RFC 7677): proves the password without sending it, and has
//! the broker prove that it knows it too.
//!
//! ```text
//! n,,n=user,r=nonce                         ──►
//!                                           ◄── r=nonce+theirs,s=salt,i=iterations
//! c=biws,r=nonce+theirs,p=proof             ──►
//!                                           ◄── v=signature
//! ```
//! Pure: bytes in, bytes out. User and password go as they are written, without SASLprep: Kafka's
//! own clients and brokers do not prepare them either.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac, pbkdf2};

use crate::Secret;
use crate::plain::printable;

/// RFC 7677's least: fewer make the proof cheap to guess from.
const LEAST_ITERATIONS: u32 = 4096;
/// More would only keep this process busy. Kafka itself stops at 16384.
const MOST_ITERATIONS: u32 = 1_000_000;

/// No channel is bound: `n,,` in base64.
const NO_BINDING: &str = "biws";

/// The hash that a mechanism is named after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    /// RFC 5802's own, for its test vector: not offered.
    #[cfg(test)]
    Sha1,
    /// SCRAM-SHA-256.
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

impl Hash {
    fn hmac(self) -> hmac::Algorithm {
        match self {
            #[cfg(test)]
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            #[cfg(test)]
            Self::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        self.hmac().digest_algorithm()
    }
}

/// An authentication that has begun.
#[derive(Debug)]
pub(crate) struct Scram {
    hash: Hash,
    nonce: String,
    first_bare: String,
}

impl Scram {
    /// Begins, with a nonce of its own.
    ///
    /// # Errors
    /// Where the system has no randomness.
    pub(crate) fn begin(hash: Hash, username: &str) -> Result<Self, String> {
        let mut random = [0; 24];
        SystemRandom::new().fill(&mut random).map_err(|_| "the system gives no randomness".to_owned())?;
        Ok(Self::with_nonce(hash, username, BASE64.encode(random)))
    }

    fn with_nonce(hash: Hash, username: &str, nonce: String) -> Self {
        let username = username.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={username},r={nonce}");
        Self { hash, nonce, first_bare }
    }

    /// The first message.
    pub(crate) fn first(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    /// The answer to the broker's first message. Takes as long as the broker's iterations do.
    ///
    /// # Errors
    /// What is wrong with the broker's message.
    pub(crate) fn answer(&self, server_first: &[u8], password: &Secret) -> Result<Answer, String> {
        let server_first = std::str::from_utf8(server_first).map_err(|_| "its first message is not UTF-8")?;
        let mut attributes = server_first.split(',');
        let mut next = |name: &str| {
            let value = attributes.next().and_then(|attribute| attribute.strip_prefix(name));
            value.ok_or_else(|| format!("its first message has no {name} where it belongs"))
        };
        let (nonce, salt, iterations) = (next("r=")?, next("s=")?, next("i=")?);
        if nonce.strip_prefix(self.nonce.as_str()).is_none_or(str::is_empty) {
            return Err("its nonce does not continue ours".to_owned());
        }
        let salt = BASE64.decode(salt).map_err(|_| "its salt is not base64")?;
        let iterations = iterations.parse().map_err(|_| "its number of iterations is none")?;
        if !(LEAST_ITERATIONS..=MOST_ITERATIONS).contains(&iterations) {
            let range = format!("{LEAST_ITERATIONS} to {MOST_ITERATIONS} are allowed");
            return Err(format!("it asks for {iterations} iterations, {range}"));
        }
        let iterations = NonZeroU32::new(iterations).ok_or("it asks for no iterations")?;

        let mut salted = vec![0; self.hash.digest().output_len()];
        pbkdf2::derive(self.hash.pbkdf2(), iterations, &salt, password.expose().as_bytes(), &mut salted);
        let salted = hmac::Key::new(self.hash.hmac(), &salted);
        let client_key = hmac::sign(&salted, b"Client Key");
        let stored_key = digest::digest(self.hash.digest(), client_key.as_ref());
        let without_proof = format!("c={NO_BINDING},r={nonce}");
        let auth_message = format!("{},{server_first},{without_proof}", self.first_bare);
        let signature = hmac::sign(&hmac::Key::new(self.hash.hmac(), stored_key.as_ref()), auth_message.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let server_key = hmac::sign(&salted, b"Server Key");
        Ok(Answer {
            last: format!("{without_proof},p={}", BASE64.encode(proof)),
            server_key: hmac::Key::new(self.hash.hmac(), server_key.as_ref()),
            auth_message,
        })
    }
}

/// The second message, and what the broker must answer it by.
pub(crate) struct Answer {
    last: String,
    server_key: hmac::Key,
    auth_message: String,
}

impl Answer {
    /// The message.
    pub(crate) fn last(&self) -> &str {
        &self.last
    }

    /// Whether the broker knows the password too: one that doesn't is not the one that was meant.
    ///
    /// # Errors
    /// What is wrong with the broker's message.
    pub(crate) fn verify(&self, server_final: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(server_final).map_err(|_| "its last message is not UTF-8")?;
        let first = text.split(',').next().unwrap_or_default();
        if let Some(error) = first.strip_prefix("e=") {
            return Err(format!("it refuses: {}", printable(error)));
        }
        let signature = first.strip_prefix("v=").ok_or("its last message has no v= where it belongs")?;
        let signature = BASE64.decode(signature).map_err(|_| "its signature is not base64")?;
        hmac::verify(&self.server_key, self.auth_message.as_bytes(), &signature)
            .map_err(|_| "its signature is wrong: it does not know the password, and may be an impostor".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pencil() -> Secret {
        Secret::new("pencil")
    }

    fn proves(hash: Hash, nonce: &str, server_first: &str, last: &str, server_final: &str) {
        let scram = Scram::with_nonce(hash, "user", nonce.to_owned());
        assert_eq!(scram.first(), format!("n,,n=user,r={nonce}"));
        let answer = scram.answer(server_first.as_bytes(), &pencil()).unwrap();
        assert_eq!(answer.last(), last);
        assert_eq!(answer.verify(server_final.as_bytes()), Ok(()));
    }

    #[test]
    fn proves_as_in_rfc_5802() {
        proves(
            Hash::Sha1,
            "fyko+d2lbbFgONRv9qkxdawL",
            "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        );
    }

    #[test]
    fn proves_as_in_rfc_7677() {
        proves(Hash::Sha256, NONCE, SERVER_FIRST, LAST, SERVER_FINAL);
    }

    /// No RFC has a vector for SHA-512; this one is from Python's hashlib and hmac.
    #[test]
    fn proves_by_sha_512() {
        proves(Hash::Sha512, NONCE, SERVER_FIRST, LAST_512, SERVER_FINAL_512);
    }

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
    const LAST_512: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                            p=gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==";
    const SERVER_FINAL_512: &str =
        "v=ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==";

    #[test]
    fn a_broker_that_does_not_know_the_password_is_found_out() {
        let answer = Scram::with_nonce(Hash::Sha256, "user", NONCE.to_owned());
        let answer = answer.answer(SERVER_FIRST.as_bytes(), &Secret::new("other")).unwrap();
        assert_ne!(answer.last(), LAST);
        assert!(answer.verify(SERVER_FINAL.as_bytes()).unwrap_err().starts_with("its signature is wrong"));
        for (said, wrong) in [
            ("", "its last message has no v= where it belongs"),
            ("e=invalid-proof", "it refuses: invalid-proof"),
            ("v=!", "its signature is not base64"),
            ("v=", "its signature is wrong: it does not know the password, and may be an impostor"),
        ] {
            assert_eq!(answer.verify(said.as_bytes()), Err(wrong.to_owned()), "{said}");
        }
    }

    #[test]
    fn what_the_broker_asks_for_is_checked() {
        let scram = Scram::with_nonce(Hash::Sha256, "user", "abc".to_owned());
        let refused = |said: &str| scram.answer(said.as_bytes(), &pencil()).err().unwrap_or_default();
        for (said, wrong) in [
            ("", "its first message has no r= where it belongs"),
            ("m=x,r=abcd,s=AAAA,i=4096", "its first message has no r= where it belongs"),
            ("r=abcd,i=4096", "its first message has no s= where it belongs"),
            ("r=abc,s=AAAA,i=4096", "its nonce does not continue ours"),
            ("r=xabcd,s=AAAA,i=4096", "its nonce does not continue ours"),
            ("r=abcd,s=?,i=4096", "its salt is not base64"),
            ("r=abcd,s=AAAA,i=-1", "its number of iterations is none"),
            ("r=abcd,s=AAAA,i=4095", "it asks for 4095 iterations, 4096 to 1000000 are allowed"),
            ("r=abcd,s=AAAA,i=4294967295", "it asks for 4294967295 iterations, 4096 to 1000000 are allowed"),
        ] {
            assert_eq!(refused(said), wrong, "{said}");
        }
        assert_eq!(refused("r=abcd,s=AAAA,i=4096,x=an extension"), "");
    }

    #[test]
    fn names_are_escaped_and_nonces_differ() {
        let [a, b] = [(); 2].map(|()| Scram::begin(Hash::Sha512, "a=b,c").unwrap().first());
        assert!(a.starts_with("n,,n=a=3Db=2Cc,r="), "{a}");
        assert_ne!(a, b);
    }
}
