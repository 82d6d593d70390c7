//! Where `--to` points: a place in a log, or a number.

use std::fmt;
use std::str::FromStr;

use chrono::DateTime;
use kafka_client::At;

use crate::record::Offset;

/// The place to go on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// At this offset.
    Offset(Offset),
    /// Where the brokers say that this is.
    At(At),
}

/// As it is given, times in seconds since 1970.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offset(offset) => write!(f, "{offset}"),
            Self::At(At::Earliest) => f.write_str("earliest"),
            Self::At(At::Latest) => f.write_str("latest"),
            Self::At(At::Timestamp(millis)) => write!(f, "@{}", millis / 1000),
        }
    }
}

/// Text that points nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "none of: earliest, latest, an offset from 0 on, a time such as 2026-01-02T03:04:05Z, or @ and seconds since 1970"
)]
pub struct ParseTargetError;

impl FromStr for Target {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, ParseTargetError> {
        let target = match text {
            "earliest" => Some(Self::At(At::Earliest)),
            "latest" => Some(Self::At(At::Latest)),
            _ => match text.strip_prefix('@') {
                Some(seconds) => number(seconds).and_then(|seconds| seconds.checked_mul(1000)).map(Self::timestamp),
                None => number(text).map(|offset| Self::Offset(Offset(offset))).or_else(|| {
                    let time = DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis();
                    (time >= 0).then(|| Self::timestamp(time))
                }),
            },
        };
        target.ok_or(ParseTargetError)
    }
}

impl Target {
    fn timestamp(millis: i64) -> Self {
        Self::At(At::Timestamp(millis))
    }
}

/// Digits only: no sign.
fn number(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_an_offset_or_a_time() {
        let time = |millis| Ok(Target::At(At::Timestamp(millis)));
        for (text, target) in [
            ("earliest", Ok(Target::At(At::Earliest))),
            ("latest", Ok(Target::At(At::Latest))),
            ("0", Ok(Target::Offset(Offset(0)))),
            ("9223372036854775807", Ok(Target::Offset(Offset(i64::MAX)))),
            ("@1767323045", time(1_767_323_045_000)),
            ("2026-01-02T03:04:05Z", time(1_767_323_045_000)),
            ("2026-01-02T03:04:05.678Z", time(1_767_323_045_678)),
            ("2026-01-02T05:04:05+02:00", time(1_767_323_045_000)),
        ] {
            assert_eq!(text.parse(), target, "{text}");
        }
        for wrong in [
            "",
            "-1",
            "+1",
            "1.5",
            "end",
            "@",
            "@-1",
            "@1e9",
            "@99999999999999999999",
            "2026-01-02",
            "1969-12-31T00:00:00Z",
        ] {
            assert_eq!(wrong.parse::<Target>(), Err(ParseTargetError), "{wrong}");
        }
    }
}
