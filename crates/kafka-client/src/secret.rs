//! Text that nobody sees: passwords and tokens.
//!
//! What is dropped is overwritten. Copies that others make are not: the loader of the configuration of what is written in
//! it, a connection's buffers, the kernel.

use std::fmt;

use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

/// What stands for a secret wherever it would be shown.
pub const REDACTED: &str = "[redacted]";

/// A password or a token. However it is printed, `[redacted]` comes out.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps `text` from sight.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself: for the broker, and for nobody else.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// `text`, such as a broker's answer, without this secret.
    pub fn hidden_in(&self, text: &str) -> String {
        if self.0.is_empty() { text.to_owned() } else { text.replace(self.expose(), REDACTED) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_prints_a_secret() {
        let secret = Secret::new("canary-7");
        let held = Some(vec![secret.clone()]);
        for shown in [
            format!("{secret}"),
            format!("{secret:>40}"),
            format!("{secret:?}"),
            format!("{held:#?}"),
            serde_json::to_string(&held).unwrap(),
            serde_json::to_value(&secret).unwrap().to_string(),
            secret.hidden_in("no such user: canary-7"),
        ] {
            assert!(!shown.contains("canary") && shown.contains(REDACTED), "{shown}");
        }
        assert_eq!(secret.expose(), "canary-7");
        fn overwritten_on_drop(_: &impl zeroize::ZeroizeOnDrop) {}
        overwritten_on_drop(&secret.0);
        assert_eq!(Secret::new("").hidden_in("as it is"), "as it is");
    }
}
