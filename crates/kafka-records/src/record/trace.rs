//! The trace that a record belongs to, by W3C Trace Context.

use super::Headers;

/// The header's name.
const NAME: &[u8] = b"traceparent";

/// What a `traceparent` header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent<'a> {
    /// The trace: 32 lower-case hexadecimal digits, not all of them 0.
    pub trace_id: &'a str,
    /// The sender's span within it: 16 of them, not all 0.
    pub parent_id: &'a str,
    /// Two hexadecimal digits.
    flags: &'a str,
}

impl TraceParent<'_> {
    /// Returns whether the sender records this trace: the lowest of the flags.
    pub fn is_sampled(&self) -> bool {
        u8::from_str_radix(self.flags, 16).is_ok_and(|flags| flags & 1 == 1)
    }
}

/// What a record's `traceparent` header says. `None` where there is no such header, or it is not exactly
/// what the specification allows, so that nothing else that a sender wrote there is ever passed on.
pub fn trace_parent(headers: Headers<'_>) -> Option<TraceParent<'_>> {
    let (_, value) = headers.iter().find(|(name, _)| *name == NAME)?;
    let text = std::str::from_utf8(value?).ok()?;
    let mut parts = text.split('-');
    let mut part = |length: usize| {
        let part = parts.next().filter(|part| part.len() == length)?;
        part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).then_some(part)
    };
    let (version, trace_id, parent_id, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    // Later versions may go on behind a further dash.
    let is_whole = version != "00" || parts.next().is_none();
    let is_set = |id: &str| id.bytes().any(|byte| byte != b'0');
    let is_valid = version != "ff" && is_whole && is_set(trace_id) && is_set(parent_id);
    is_valid.then_some(TraceParent { trace_id, parent_id, flags })
}

/// The id of the trace that a record's `traceparent` header names, as in [`trace_parent`].
pub fn trace_id(headers: Headers<'_>) -> Option<&str> {
    trace_parent(headers).map(|parent| parent.trace_id)
}

#[cfg(test)]
mod tests {
    use super::super::Header;
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn of(value: Option<&[u8]>) -> Option<String> {
        let header = |name: &[u8], value: Option<&[u8]>| Header {
            name: bytes::Bytes::copy_from_slice(name),
            value: value.map(bytes::Bytes::copy_from_slice),
        };
        let headers = [header(b"tracestate", Some(b"x")), header(NAME, value)];
        trace_id(Headers::List(&headers)).map(str::to_owned)
    }

    #[test]
    fn only_what_the_specification_allows_is_a_trace() {
        assert_eq!(trace_id(Headers::NONE), None);
        let good = format!("00-{TRACE}-00f067aa0ba902b7-01");
        assert_eq!(of(Some(good.as_bytes())).as_deref(), Some(TRACE));
        assert_eq!(of(Some(format!("cc-{TRACE}-00f067aa0ba902b7-01-more").as_bytes())).as_deref(), Some(TRACE));
        assert_eq!(of(Some(format!("cc-{TRACE}-00f067aa0ba902b7-01").as_bytes())).as_deref(), Some(TRACE));
        assert_eq!(of(None), None);
        for wrong in [
            "",
            "user_id=424cdd21",
            &good.to_uppercase(),
            &good[..54],
            &format!("{good}-"),
            &format!("{good}\n"),
            &format!(" {good}"),
            &format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            &format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            &format!("00-{TRACE}-{}-01", "0".repeat(16)),
            &format!("00-{}g-00f067aa0ba902b7-01", &TRACE[..31]),
            &format!("00{TRACE}-00f067aa0ba902b7-01"),
        ] {
            assert_eq!(of(Some(wrong.as_bytes())), None, "{wrong}");
        }
        assert_eq!(of(Some(b"00-\xff\xfe")), None);
    }

    #[test]
    fn flags_tell_whether_a_trace_is_sampled() {
        for (flags, sampled) in [("00", false), ("01", true), ("02", false), ("03", true), ("ff", true), ("fe", false)]
        {
            let text = format!("00-{TRACE}-00f067aa0ba902b7-{flags}");
            let headers = [Header { name: NAME.into(), value: Some(text.into_bytes().into()) }];
            let parent = trace_parent(Headers::List(&headers)).unwrap();
            assert_eq!((parent.trace_id, parent.parent_id), (TRACE, "00f067aa0ba902b7"));
            assert_eq!(parent.is_sampled(), sampled, "{flags}");
        }
    }
}
