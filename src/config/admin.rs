//! `admin.*`: the port that operators watch, and who may change something through it.

use std::net::SocketAddr;

use kafka_client::pem;

use super::secret_file::secret_in;
use super::{Admin, AdminTls, Secret};

/// The shortest token: what is shorter can be guessed.
pub(super) const LEAST_TOKEN_BYTES: usize = 16;

impl AdminTls {
    /// Whether the port speaks HTTPS.
    pub fn is_on(&self) -> bool {
        self.cert_file.is_some()
    }
}

impl Admin {
    /// A port that speaks plain HTTP to whoever reaches it, and lets nobody change anything.
    pub fn at(listen: SocketAddr) -> Self {
        Self { listen, token_file: None, allow_plaintext: false, tls: AdminTls::default() }
    }

    /// The token; `None` where there is none. Its file is read each time.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn token(&self) -> Result<Option<Secret>, String> {
        let Some(path) = self.token_file.as_deref() else { return Ok(None) };
        let token = secret_in(path, "token")?;
        match token.expose().len() {
            LEAST_TOKEN_BYTES.. => Ok(Some(token)),
            _ => Err(pem::wrong(
                path,
                "holds a token of fewer than 16 bytes, which can be guessed: `openssl rand -hex 32` makes one",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_16_bytes_at_least_and_is_read_anew() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut admin = Admin::at(([127, 0, 0, 1], 0).into());
        assert_eq!(admin.token(), Ok(None));
        admin.token_file = Some(file.path().to_owned());
        std::fs::write(file.path(), "canary-9 bytes!\n").unwrap();
        let why = admin.token().unwrap_err();
        assert!(why.contains("fewer than 16 bytes") && !why.contains("canary"), "{why}");
        std::fs::write(file.path(), "canary-10 bytes!\n").unwrap();
        assert_eq!(admin.token().unwrap().unwrap().expose(), "canary-10 bytes!");
    }
}
