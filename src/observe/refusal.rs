//! What the admin port refuses requests for.

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A change was asked for without the token, or with another.
    Token,
    /// A port on loopback was asked by another name.
    Host,
    /// The client and the port did not agree on TLS, or on the client's certificate.
    Tls,
}

impl Refusal {
    /// As a label has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Host => "host",
            Self::Tls => "tls",
        }
    }
}
