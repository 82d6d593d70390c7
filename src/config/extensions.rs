//! `kafka.sasl.extensions`: what goes to the broker beside a bearer token.

use serde::{Serialize, Serializer};

/// SASL extensions of OAUTHBEARER (KIP-342, RFC 7628), each a name and a value, in the order they are sent in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extensions(Vec<(String, String)>);

/// The key of the token itself, which no extension may have.
const AUTH: &str = "auth";

impl Extensions {
    /// Each text is `name=value`, by the rules of Kafka's own client.
    pub(super) fn parse(texts: &[&str]) -> Result<Self, String> {
        let mut extensions: Vec<(String, String)> = Vec::with_capacity(texts.len());
        for text in texts {
            let (name, value) = text.split_once('=').ok_or("an extension without =")?;
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
                return Err("an extension's name has letters only".to_owned());
            }
            if name == AUTH {
                return Err("auth is the token's own name".to_owned());
            }
            if value.is_empty() || !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
                return Err(format!("the value of {name} is not printable ASCII, or empty"));
            }
            if extensions.iter().any(|(known, _)| known == name) {
                return Err(format!("{name} twice"));
            }
            extensions.push((name.to_owned(), value.to_owned()));
        }
        Ok(Self(extensions))
    }

    /// Each name and its value.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }
}

/// A list, or nothing where it is empty.
impl Serialize for Extensions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_empty() {
            return serializer.serialize_none();
        }
        serializer.collect_seq(self.0.iter().map(|(name, value)| format!("{name}={value}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_named_by_letters_and_hold_what_can_be_printed() {
        let read = Extensions::parse(&["logicalCluster=lkc-1", "identityPoolId=a=b, c"]).unwrap();
        let pairs: Vec<_> = read.pairs().iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("logicalCluster", "lkc-1"), ("identityPoolId", "a=b, c")]);
        for (text, wrong) in [
            ("logicalCluster", "an extension without ="),
            ("=x", "an extension's name has letters only"),
            ("logical_cluster=x", "an extension's name has letters only"),
            ("a b=x", "an extension's name has letters only"),
            ("auth=Bearer x", "auth is the token's own name"),
            ("a=", "the value of a is not printable ASCII, or empty"),
            ("a=x\u{1}auth=Bearer y", "the value of a is not printable ASCII, or empty"),
            ("a=\u{fc}", "the value of a is not printable ASCII, or empty"),
        ] {
            assert_eq!(Extensions::parse(&[text]).unwrap_err(), wrong, "{text}");
        }
        assert_eq!(Extensions::parse(&["a=1", "a=2"]).unwrap_err(), "a twice");
        assert_eq!(serde_json::to_value(Extensions::default()).unwrap(), serde_json::Value::Null);
    }
}
