//! The words that stand for the variants of the configuration's enums, each written once.

use super::{
    AssignorKind, Compression, CreateTopics, GroupProtocol, Guarantee, IdPrivacy, IpPrivacy, Isolation, LogFormat,
    OffsetStoreKind, OnLimit, OutOfRange,
};
use super::{
    Oversize, Partitioner, ProcessorKind, ReaderKind, SaslMechanism, SecurityProtocol, StartAt, TransactionVersions,
};

/// A type that the configuration names by one of a few words.
pub(super) trait Word: Copy + 'static {
    /// All of them, in the order they are offered in.
    const WORDS: &'static [&'static str];
    /// What the first word stands for.
    const FIRST: Self;

    /// What `word` stands for.
    fn of_word(word: &str) -> Option<Self>;
}

/// `assignment.mode` has no enum of its own: its variants carry what the mode needs.
pub(super) const ASSIGNMENT_MODES: &[&str] = &["static", "ordinal", "group"];

macro_rules! words {
    ($($type:ident { $first:ident = $first_word:literal $(, $variant:ident = $word:literal)* })+) => {$(
        impl Word for $type {
            const WORDS: &'static [&'static str] = &[$first_word $(, $word)*];
            const FIRST: Self = Self::$first;

            fn of_word(word: &str) -> Option<Self> {
                match word {
                    $first_word => Some(Self::$first),
                    $($word => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    )+};
}

words! {
    SecurityProtocol { Plaintext = "plaintext", Ssl = "ssl", SaslPlaintext = "sasl_plaintext", SaslSsl = "sasl_ssl" }
    SaslMechanism {
        Plain = "PLAIN", ScramSha256 = "SCRAM-SHA-256", ScramSha512 = "SCRAM-SHA-512", OauthBearer = "OAUTHBEARER"
    }
    ReaderKind { Auto = "auto", Rskafka = "rskafka", Wire = "wire" }
    Isolation { ReadUncommitted = "read_uncommitted", ReadCommitted = "read_committed" }
    StartAt { Earliest = "earliest", Latest = "latest" }
    OutOfRange { Earliest = "earliest", Latest = "latest", Fail = "fail" }
    Partitioner { Source = "source", Key = "key" }
    Compression { None = "none", Gzip = "gzip", Snappy = "snappy", Lz4 = "lz4", Zstd = "zstd" }
    OnLimit { Pause = "pause", Stop = "stop" }
    IpPrivacy { Keep = "keep", HmacSha256 = "hmac_sha256", Truncate = "truncate", Remove = "remove" }
    IdPrivacy { Keep = "keep", HmacSha256 = "hmac_sha256", Remove = "remove" }
    Oversize { Truncate = "truncate", Block = "block" }
    OffsetStoreKind { File = "file", Group = "group", Topic = "topic" }
    GroupProtocol { Auto = "auto", Consumer = "consumer", Classic = "classic" }
    AssignorKind { CooperativeSticky = "cooperative-sticky", Range = "range", RoundRobin = "roundrobin" }
    Guarantee { AtLeastOnce = "at_least_once", ExactlyOnce = "exactly_once" }
    ProcessorKind { Login = "login" }
    LogFormat { Text = "text", Json = "json" }
    TransactionVersions { V1 = "1", Auto = "auto" }
    CreateTopics { Never = "never", Missing = "missing" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prints_as_read<T: Word + serde::Serialize>() {
        for word in T::WORDS {
            let value = T::of_word(word).unwrap();
            assert_eq!(serde_json::to_value(value).unwrap(), *word);
        }
    }

    #[test]
    fn every_word_is_what_its_variant_prints() {
        prints_as_read::<SecurityProtocol>();
        prints_as_read::<SaslMechanism>();
        prints_as_read::<ReaderKind>();
        prints_as_read::<Isolation>();
        prints_as_read::<StartAt>();
        prints_as_read::<OutOfRange>();
        prints_as_read::<Partitioner>();
        prints_as_read::<Compression>();
        prints_as_read::<OnLimit>();
        prints_as_read::<TransactionVersions>();
        prints_as_read::<IpPrivacy>();
        prints_as_read::<IdPrivacy>();
        prints_as_read::<Oversize>();
        prints_as_read::<OffsetStoreKind>();
        prints_as_read::<GroupProtocol>();
        prints_as_read::<AssignorKind>();
        prints_as_read::<Guarantee>();
        prints_as_read::<ProcessorKind>();
        prints_as_read::<LogFormat>();
        prints_as_read::<CreateTopics>();
    }
}
