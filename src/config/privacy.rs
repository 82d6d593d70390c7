//! `privacy.*`: what is written of the fields that say who a person is.

use kafka_client::pem;

use super::secret_file::secret_in;
use super::{IdPrivacy, IpPrivacy, Privacy, Secret};

/// The shortest key, in bytes: a shorter one can be guessed, and with it every address.
const SHORTEST_KEY: usize = 16;

impl Privacy {
    /// Whether all is written as it came.
    pub fn keeps_all(&self) -> bool {
        self.ip == IpPrivacy::Keep && [self.user_id, self.device_id] == [IdPrivacy::Keep; 2]
    }

    /// Whether anything is written as its HMAC.
    pub fn needs_key(&self) -> bool {
        self.ip == IpPrivacy::HmacSha256 || [self.user_id, self.device_id].contains(&IdPrivacy::HmacSha256)
    }

    /// The key, where one is needed. It is read when the program starts and never again: another key
    /// is another pseudonym for everybody, which must not come between two records.
    ///
    /// # Errors
    /// What is wrong with the file, or that there is none.
    pub fn key(&self) -> Result<Option<Secret>, String> {
        if !self.needs_key() {
            return Ok(None);
        }
        let path = self.key_file.as_deref().ok_or("privacy.key_file is not set")?;
        let key = secret_in(path, "key")?;
        if key.expose().len() < SHORTEST_KEY {
            return Err(pem::wrong(path, &format!("holds a key of fewer than {SHORTEST_KEY} bytes")));
        }
        Ok(Some(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_line_that_nobody_guesses() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut privacy = Privacy {
            ip: IpPrivacy::Truncate,
            user_id: IdPrivacy::Keep,
            device_id: IdPrivacy::Remove,
            key_file: Some(file.path().to_owned()),
        };
        assert_eq!(privacy.key(), Ok(None));
        privacy.user_id = IdPrivacy::HmacSha256;
        assert!(privacy.key().unwrap_err().ends_with("holds no key"));
        std::fs::write(file.path(), "canary-789abcde\n").unwrap();
        let why = privacy.key().unwrap_err();
        assert!(why.ends_with("holds a key of fewer than 16 bytes") && !why.contains("canary"), "{why}");
        std::fs::write(file.path(), "canary-789abcdef\n").unwrap();
        assert_eq!(privacy.key().unwrap().unwrap().expose(), "canary-789abcdef");
        privacy.key_file = None;
        assert!(privacy.key().is_err());
    }
}
