//! Reads responses off a connection, and hands each to whoever asked.

use std::sync::Arc;

use super::pending::{Pending, Standing};
use crate::frames::{FrameError, Frames};
use crate::security::Security;
use crate::{Cause, TlsError};

/// Reads until the connection breaks, which all who wait hear of.
pub(super) async fn read_answers(mut frames: Frames, pending: Arc<Pending>, security: Arc<Security>) {
    let is_proven = security.was_let_in();
    for answers in 0_u64.. {
        match frames.next().await {
            Ok(frame) => {
                if answers == 1 {
                    security.let_in(); // the first was of versions, and is anybody's
                }
                let Some(id) = frame.first_chunk().map(|id| i32::from_be_bytes(*id)) else {
                    return pending
                        .fail(|| Cause::Disconnected("the broker answered nothing in particular".to_owned()));
                };
                pending.answer(id, frame);
            }
            Err(FrameError::Io(error)) => {
                let standing = Standing::of(answers, is_proven);
                return pending.fail(|| pending.broken(&error, standing));
            }
            Err(FrameError::TooLarge { actual }) if answers == 0 && is_tls(actual) => {
                return pending.fail(|| Cause::Tls(TlsError::Wanted));
            }
            Err(FrameError::TooLarge { actual }) => {
                return pending.fail(|| Cause::FrameTooLarge { limit: frames.max_bytes(), actual });
            }
        }
    }
}

/// Whether the length of a frame is the head of a TLS alert, by which a broker says that it
/// expected TLS: 21, the version's 3 and 0 to 4, and the high byte of a short length.
fn is_tls(length: usize) -> bool {
    matches!(u32::try_from(length).map(u32::to_be_bytes), Ok([21, 3, 0..=4, 0]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_head_of_an_alert_is_taken_for_one() {
        assert!(is_tls(0x1503_0300) && is_tls(0x1503_0100));
        assert!(!is_tls(0x1603_0300) && !is_tls(0x1503_0303) && !is_tls(0x1500_0000) && !is_tls(400));
    }
}
