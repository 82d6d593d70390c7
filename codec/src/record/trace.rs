//! The trace that a record belongs to, by W3C Trace Context.

use super::Headers;

/// The header's name.
const NAME: &str = "traceparent";

/// The id of the trace that a record's `traceparent` header names: 32 lower-case hexadecimal digits.
/// `None` where there is no such header, or it is not exactly what the specification allows, so that
/// nothing else that a sender wrote there is ever passed on.
pub fn trace_id(headers: Headers<'_>) -> Option<&str> {
    let (_, value) = headers.iter().find(|(name, _)| *name == NAME)?;
    let text = std::str::from_utf8(value?).ok()?;
    let mut parts = text.split('-');
    let mut part = |length: usize| {
        let part = parts.next().filter(|part| part.len() == length)?;
        part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).then_some(part)
    };
    let (version, trace, span, _flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    // Later versions may go on behind a further dash.
    let is_whole = version != "00" || parts.next().is_none();
    let is_set = |id: &str| id.bytes().any(|byte| byte != b'0');
    (version != "ff" && is_whole && is_set(trace) && is_set(span)).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::super::Header;
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn of(value: Option<&[u8]>) -> Option<String> {
        let header = |name: &str, value: Option<&[u8]>| Header {
            name: name.to_owned(),
            value: value.map(bytes::Bytes::copy_from_slice),
        };
        let headers = [header("tracestate", Some(b"x")), header(NAME, value)];
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
}
