//! Whether what the admin port sends is HTTP.

/// Whether this is a row of answers. The last may be cut off in its body, where the client closed first.
pub fn well_formed(mut rest: &[u8], may_lack_a_body: bool) -> Result<(), String> {
    while !rest.is_empty() {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Response::new(&mut headers);
        let parsed = head.parse(rest).map_err(|error| format!("{error}: {}", String::from_utf8_lossy(rest)))?;
        let httparse::Status::Complete(length) = parsed else {
            return Err(format!("half a head: {}", String::from_utf8_lossy(rest)));
        };
        let code = head.code.unwrap_or_default();
        if ![200, 400, 401, 403, 404, 405, 409, 414, 421, 431, 503, 505].contains(&code) {
            return Err(format!("answered by {code}"));
        }
        let header = |name: &str| head.headers.iter().find(|it| it.name.eq_ignore_ascii_case(name)).map(|it| it.value);
        let has = header("content-length").map(|length| String::from_utf8_lossy(length).parse::<usize>());
        let body = &rest[length..];
        rest = match has {
            _ if may_lack_a_body && body.starts_with(b"HTTP/1.") => body,
            Some(Ok(length)) => body.get(length..).unwrap_or_default(),
            Some(Err(error)) => return Err(format!("content-length: {error}")),
            // A stream, and nothing comes behind it; in chunks, or up to the end in HTTP/1.0.
            None if body.is_empty() || body.starts_with(b"retry: ") => &[],
            None => {
                let size = body.split(|byte| *byte == b'\r').next().unwrap_or_default();
                usize::from_str_radix(&String::from_utf8_lossy(size), 16)
                    .map_err(|error| format!("a chunk: {error}"))?;
                &[]
            }
        };
    }
    Ok(())
}
