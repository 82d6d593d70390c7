//! Secrets that stand in files: passwords, tokens and keys.

use std::path::Path;

use kafka_client::pem;

use super::Secret;

/// The text of a file, without the line end that editors leave.
pub(super) fn secret_in(path: &Path, what: &str) -> Result<Secret, String> {
    let text = pem::read(path)?;
    let text = str::from_utf8(&text).map_err(|_| pem::wrong(path, "is not UTF-8"))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    match text {
        "" => Err(pem::wrong(path, &format!("holds no {what}"))),
        _ if text.chars().any(char::is_control) => Err(pem::wrong(path, "holds a control character, or several lines")),
        _ => Ok(Secret::new(text)),
    }
}
