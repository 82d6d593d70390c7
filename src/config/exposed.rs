//! Secrets in files that others may read.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Config;

/// Reading by the file's group, and by whoever is neither its owner nor of that.
const BY_GROUP: u32 = 0o040;
const BY_OTHERS: u32 = 0o004;

impl Config {
    /// A warning for each file in use that holds a secret and that others than this process's user may read.
    pub fn exposed_files(&self) -> Vec<String> {
        let sasl = Some(&self.kafka.security.sasl).filter(|_| self.kafka.security.protocol.has_sasl());
        let tls = Some(&self.kafka.security.tls).filter(|_| self.kafka.security.protocol.has_tls());
        let files = [
            ("kafka.tls.key_file", tls.and_then(|tls| tls.key_file.as_deref())),
            ("kafka.sasl.password_file", sasl.and_then(|sasl| sasl.password_file.as_deref())),
            ("kafka.sasl.token_file", sasl.and_then(|sasl| sasl.token_file.as_deref())),
            ("kafka.sasl.client_secret_file", sasl.and_then(|sasl| sasl.token_endpoint.client_secret_file.as_deref())),
            ("privacy.key_file", self.privacy.key_file.as_deref()),
            ("admin.token_file", self.admin.token_file.as_deref()),
            ("admin.tls.key_file", self.admin.tls.key_file.as_deref()),
        ];
        files.into_iter().filter_map(|(key, path)| exposed(key, path?)).collect()
    }

    /// Whether a password or a client's secret is written into the configuration itself.
    pub fn has_secrets_of_its_own(&self) -> bool {
        let sasl = &self.kafka.security.sasl;
        sasl.password.is_some() || sasl.token_endpoint.client_secret.is_some()
    }
}

/// A warning of a file with secrets, which `key` names, where others may read it.
pub fn exposed(key: &str, path: &Path) -> Option<String> {
    // One that can't be looked at can't be read either, which is told elsewhere.
    let found = fs::metadata(path).ok()?;
    let who = who_may_read(found.mode(), found.uid(), rustix::process::geteuid().as_raw())?;
    let (mode, path) = (found.mode() & 0o7777, path.display());
    Some(format!("{key}: {path} holds a secret, and {who} may read it (mode {mode:04o}): chmod 600 {path}"))
}

/// Where the file is not this user's own, it is its group that lets this process read it, as with Kubernetes' fsGroup.
fn who_may_read(mode: u32, owner: u32, user: u32) -> Option<&'static str> {
    match (mode & BY_OTHERS != 0, mode & BY_GROUP != 0 && owner == user) {
        (true, _) => Some("anybody on this machine"),
        (false, true) => Some("its group"),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_for_its_owner() {
        for (mode, owner, who) in [
            (0o600, 7, None),
            (0o400, 0, None),
            (0o640, 7, Some("its group")),
            (0o440, 0, None),
            (0o644, 7, Some("anybody on this machine")),
            (0o604, 0, Some("anybody on this machine")),
        ] {
            assert_eq!(who_may_read(mode, owner, 7), who, "{mode:o} of {owner}");
        }
    }

    #[test]
    fn each_file_in_use_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "canary").unwrap();
        let mut config = Config::default();
        config.admin.token_file = Some(path.clone());
        config.kafka.security.sasl.password_file = Some(path.clone());
        let chmod = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        chmod(0o600);
        assert_eq!(config.exposed_files(), [""; 0]);
        chmod(0o640);
        let named = path.display();
        let expected = format!(
            "admin.token_file: {named} holds a secret, and its group may read it (mode 0640): chmod 600 {named}"
        );
        assert_eq!(config.exposed_files(), [expected], "without SASL the password is not in use");
        config.kafka.security.protocol = super::super::SecurityProtocol::SaslSsl;
        chmod(0o644);
        let told = config.exposed_files();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("kafka.sasl.password_file: ") && told[0].contains("anybody"), "{told:?}");
    }
}
