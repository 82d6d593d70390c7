//! Bars of blocks, as wide as the terminal has room for.

use std::io::{self, Write};

/// The widest chart; that of a terminal which does not tell its width.
const WIDEST: usize = 100;

/// One line: a label, a count, a bar.
pub(super) struct Row {
    /// What is counted.
    pub label: String,
    /// How often it occurs.
    pub count: u64,
}

/// Writes a chart of these rows under a title, `columns` wide.
///
/// # Errors
/// Where `out` takes nothing.
pub(super) fn chart(out: &mut dyn Write, title: &str, rows: &[Row], columns: usize) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let label = rows.iter().map(|row| row.label.chars().count()).chain([title.len()]).max().unwrap_or(0);
    let most = rows.iter().map(|row| row.count).max().unwrap_or(0);
    let count = most.to_string().len().max("RECORDS".len());
    let room = columns.saturating_sub(label + count + 4);
    writeln!(out, "{title:<label$}  {:>count$}", "RECORDS")?;
    for row in rows {
        let line = format!("{:<label$}  {:>count$}  {}", row.label, row.count, bar(row.count, most, room));
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out)
}

/// A bar in eighths of a block; never nothing where something was counted.
fn bar(count: u64, most: u64, room: usize) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = u128::from(count) * u128::try_from(room * 8).unwrap_or(0) / u128::from(most.max(1));
    let eighths = usize::try_from(eighths).unwrap_or(0).max(usize::from(count > 0 && room > 0));
    format!("{}{}", "█".repeat(eighths / 8), PARTS[eighths % 8])
}

/// The width of charts.
pub(super) fn columns() -> usize {
    terminal_columns().unwrap_or(WIDEST).min(WIDEST)
}

/// The width of the terminal: as `COLUMNS` says, or as the terminal at standard output does.
pub(super) fn terminal_columns() -> Option<usize> {
    let told = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let told = told.or_else(|| rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| size.ws_col.into()));
    told.filter(|columns| *columns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_in_proportion_and_fit() {
        assert_eq!(bar(8, 8, 2), "██");
        assert_eq!(bar(4, 8, 2), "█");
        assert_eq!(bar(3, 8, 2), "▊");
        assert_eq!(bar(1, 1_000_000, 2), "▏");
        assert_eq!((bar(0, 8, 2), bar(8, 8, 0), bar(0, 0, 3)), (String::new(), String::new(), String::new()));
        let row = |label: &str, count| Row { label: label.to_owned(), count };
        let mut out = Vec::new();
        chart(&mut out, "REASON", &[row("missing_field", u64::MAX), row("x", 1)], 50).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 50), "{text}");
        assert!(text.contains('█') && text.contains('▏'), "{text}");
    }
}
