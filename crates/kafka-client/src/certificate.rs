//! What is wrong with a certificate, in words that tell what to mend.
//!
//! rustls has names for what is often wrong and wraps all else that its verifier finds, which then prints as
//! `Other(OtherError(CaUsedAsEndEntity))`, and tells nobody what to do.

use rustls::CertificateError;

/// What it is with a certificate, to be read behind "a certificate that" or "the broker's certificate".
pub fn fault(error: &CertificateError) -> String {
    let words = match error {
        CertificateError::BadEncoding => "can't be decoded: it is no X.509 certificate, or is damaged",
        CertificateError::BadSignature => {
            "bears a signature that its CA's key did not make: it was changed, or another CA of the same name signed it"
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => ALGORITHM,
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not for this use (extendedKeyUsage): a server's needs serverAuth, a client's clientAuth"
        }
        CertificateError::Revoked => "was revoked by its CA: renew it",
        CertificateError::UnhandledCriticalExtension => CRITICAL,
        CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
            Some(error) => return of_verifier(error),
            None => return format!("can't be used ({})", other.0),
        },
        error => return format!("can't be used ({error:?})"),
    };
    words.to_owned()
}

const ALGORITHM: &str = "is signed by an algorithm that is not taken here: use RSA of 2048 bits or more with SHA-256 or \
                         better, ECDSA on P-256 or P-384, or Ed25519";
const CRITICAL: &str = "has a critical extension that is not known here: issue it without";

/// What rustls has no name of its own for.
fn of_verifier(error: &webpki::Error) -> String {
    use webpki::Error;
    let words = match error {
        Error::CaUsedAsEndEntity => {
            "is a CA's own (basicConstraints CA:TRUE), which signs other certificates and can't be used as one of a \
             server or client: issue one with CA:FALSE"
        }
        Error::EndEntityUsedAsCa => {
            "is signed by a certificate that is no CA's (basicConstraints CA:FALSE): have a CA sign it"
        }
        Error::UnsupportedCertVersion => {
            "is not an X.509 version 3 certificate (openssl makes version 1 where it is given no extensions): issue it as \
             version 3, as with openssl x509 -req -extfile"
        }
        Error::NameConstraintViolation => "has a name that its CA may not sign for (nameConstraints)",
        Error::PathLenConstraintViolated => "has more CAs between it and its root than one of them allows (pathlen)",
        Error::MaximumPathDepthExceeded => "has too many CAs between it and its root",
        Error::UnsupportedCriticalExtension => CRITICAL,
        Error::SignatureAlgorithmMismatch => "names two different algorithms of its signature: issue it anew",
        Error::ExtensionValueInvalid | Error::MalformedExtensions | Error::EmptyEkuExtension => {
            "has an extension that can't be decoded: issue it anew"
        }
        Error::InvalidSerialNumber => "has a serial number that none may have: issue it anew",
        Error::MalformedDnsIdentifier | Error::UnsupportedNameType => {
            "has a name that is none (subjectAltName): issue it anew"
        }
        error => return format!("can't be used ({error:?})"),
    };
    words.to_owned()
}

/// An X.509 certificate of version 1, as `openssl x509 -req` makes where it is given no extensions.
#[cfg(any(test, feature = "testing"))]
pub const VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBGzCBwwIURVRiMqidz8P7zAp2khAGnBfPyX4wCgYIKoZIzj0EAwIwDzENMAsG
A1UEAwwEYS1jYTAgFw0yNjExMzAwMzA5MzVaGA8yMTI2MTEwNjAzMDkzNVowETEP
MA0GA1UEAwwGY2xpZW50MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE5mYkOxFc
/B1mwMIIS4dD8mCAXjT1fZnbOqHnUFF2Zpp8BjeN1NITEwwpOUTvoAvXXskbdyFZ
HZsy+tXDa8x96jAKBggqhkjOPQQDAgNHADBEAiBIYT+hdEuRARr4BdMWxgEUuZHh
Vb4/8Wl7tSljchDzewIgVYJ6WIsRCUXqfmBWPUKAEQ60mCHYmYUYvzYbnZ/xegU=
-----END CERTIFICATE-----
";

#[cfg(test)]
mod tests {
    use rustls::OtherError;

    use super::*;

    fn other(error: webpki::Error) -> CertificateError {
        CertificateError::Other(OtherError(std::sync::Arc::new(error)))
    }

    #[test]
    fn nothing_that_a_verifier_finds_is_shown_as_a_wrapped_name() {
        for (error, words) in [
            (other(webpki::Error::CaUsedAsEndEntity), "is a CA's own (basicConstraints CA:TRUE)"),
            (other(webpki::Error::UnsupportedCertVersion), "is not an X.509 version 3 certificate"),
            (other(webpki::Error::EndEntityUsedAsCa), "have a CA sign it"),
            (other(webpki::Error::NameConstraintViolation), "nameConstraints"),
            (other(webpki::Error::UnsupportedNameType), "subjectAltName"),
            (other(webpki::Error::CertDistrusted), "can't be used (CertDistrusted)"),
            (CertificateError::InvalidPurpose, "extendedKeyUsage"),
            (CertificateError::BadSignature, "another CA of the same name"),
            (CertificateError::BadEncoding, "no X.509 certificate"),
            (CertificateError::Revoked, "renew it"),
            (CertificateError::ApplicationVerificationFailure, "can't be used (ApplicationVerificationFailure)"),
        ] {
            let told = fault(&error);
            assert!(told.contains(words) && !told.contains("Other("), "{told}");
        }
    }
}
