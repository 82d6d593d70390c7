//! The brokers as the configuration names them, beneath reading and writing: the client's options, TLS and SASL for
//! rskafka's client too, tokens, topics, and what to do about an error.

mod admin;
mod error;
mod options;
mod rskafka_security;
mod tls_hints;
mod token;

pub use admin::Admin;
pub use error::{Cause, Error, Why};
pub(crate) use options::SOFTWARE;
pub use options::{options, security};
pub use rskafka_security::Secured;
pub(crate) use tls_hints::ADMIN_PORT;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use token::fuzzing;
pub use token::{TokenError, Tokens};
