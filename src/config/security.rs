//! `kafka.security_protocol`, `kafka.tls.*` and `kafka.sasl.*`: who the brokers are to us, and we
//! to them.

use kafka_client::pem;

use super::secret_file::secret_in;
use super::{Sasl, Secret, SecurityProtocol, TokenEndpoint};

impl SecurityProtocol {
    /// Whether connections are encrypted.
    pub fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    /// Whether this client says who it is by SASL.
    pub fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

impl Sasl {
    /// The password. Where it is in a file, that is read each time: it may have changed.
    ///
    /// # Errors
    /// What is wrong with the file, or that there is none.
    pub fn password(&self) -> Result<Secret, String> {
        match (&self.password, &self.password_file) {
            (Some(password), _) => Ok(password.clone()),
            (None, Some(path)) => secret_in(path, "password"),
            (None, None) => Err("neither kafka.sasl.password nor kafka.sasl.password_file is set".to_owned()),
        }
    }

    /// The bearer token. Its file is read each time.
    ///
    /// # Errors
    /// What is wrong with the file, or that there is none.
    pub fn token(&self) -> Result<Secret, String> {
        let path = self.token_file.as_deref().ok_or("kafka.sasl.token_file is not set")?;
        let token = secret_in(path, "token")?;
        if is_bearer_token(token.expose()) { Ok(token) } else { Err(pem::wrong(path, "is not a bearer token")) }
    }
}

impl TokenEndpoint {
    /// The client's secret. Where it is in a file, that is read each time: it may have changed.
    ///
    /// # Errors
    /// What is wrong with the file, or that there is none.
    pub fn secret(&self) -> Result<Secret, String> {
        match (&self.client_secret, &self.client_secret_file) {
            (Some(secret), _) => Ok(secret.clone()),
            (None, Some(path)) => secret_in(path, "secret"),
            (None, None) => Err("neither kafka.sasl.client_secret nor kafka.sasl.client_secret_file is set".to_owned()),
        }
    }
}

/// Whether `text` can stand behind `Bearer` (RFC 6750).
pub(crate) fn is_bearer_token(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    !text.is_empty() && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_password_file_holds_one_line() {
        let read = |text: &[u8]| {
            let file = written(text);
            let sasl = Sasl { password_file: Some(file.path().to_owned()), ..Sasl::default() };
            sasl.password()
                .map(|password| password.expose().to_owned())
                .map_err(|why| why.split_once(": ").map(|(_, why)| why.to_owned()).unwrap_or(why))
        };
        assert_eq!(read(b" pass word\r\n").as_deref(), Ok(" pass word"));
        assert_eq!(read(b"p\xc3\xa4ss").as_deref(), Ok("päss"));
        for (text, why) in [
            (&b"\n"[..], "holds no password"),
            (b"", "holds no password"),
            (b"a\nb\n", "holds a control character, or several lines"),
            (b"\xff", "is not UTF-8"),
        ] {
            assert_eq!(read(text), Err(why.to_owned()));
        }
    }

    #[test]
    fn a_token_file_is_read_anew_and_holds_a_bearer_token() {
        let file = written(b"a.b-c~d_e+f/g==\n");
        let sasl = Sasl { token_file: Some(file.path().to_owned()), ..Sasl::default() };
        assert_eq!(sasl.token().unwrap().expose(), "a.b-c~d_e+f/g==");
        std::fs::write(file.path(), "canary token").unwrap();
        let why = sasl.token().unwrap_err();
        assert!(why.ends_with("is not a bearer token") && !why.contains("canary"), "{why}");
        std::fs::remove_file(file.path()).unwrap();
        assert!(sasl.token().unwrap_err().contains("can't be read: "));
    }
}
