//! The model as plain text, once: for scripts, pipes and `watch`.

use std::io::{self, Write};

use serde::Serialize;

use super::answer::Answer;
use super::model::{Model, Rates};
use super::sanitize::Sanitized;
use super::table::{Side, Table, padded, width};
use super::view::{List, Numbers, View};
use crate::dead_letter::write_line;

/// Writes everything that is known, whole numbers and uncut names. Sections stand apart by an
/// empty line.
///
/// # Errors
/// Where `out` takes nothing.
pub(super) fn write(out: &mut dyn Write, model: &Model) -> io::Result<()> {
    let view = View::of(model, Numbers::Exact);
    table(out, &view.instances)?;
    if !view.partitions.rows.is_empty() {
        writeln!(out)?;
        table(out, &view.partitions)?;
    }
    if view.more_partitions > 0 {
        writeln!(out, "and {} more", view.more_partitions)?;
    }
    for list in view.lists.iter().filter(|list| !list.rows.is_empty()) {
        writeln!(out)?;
        self::list(out, list)?;
    }
    if !view.errors.rows.is_empty() {
        writeln!(out)?;
        table(out, &view.errors)?;
    }
    out.flush()
}

/// An instance, what it said, and why it said nothing.
#[derive(Serialize)]
struct Line<'a> {
    instance: &'a Sanitized,
    silence: Option<&'a Sanitized>,
    rates: Option<Rates>,
    #[serde(flatten)]
    answer: Option<&'a Answer>,
}

/// Writes a JSON object a line for each instance: what it answered, but for its charts.
///
/// # Errors
/// Where `out` takes nothing.
pub(super) fn write_json(out: &mut dyn Write, model: &Model) -> io::Result<()> {
    for instance in &model.picture().instances {
        let (silence, answer) = (instance.silence.as_ref(), instance.answer.as_ref());
        write_line(out, &Line { instance: &instance.name, silence, rates: instance.rates, answer })?;
    }
    out.flush()
}

fn table(out: &mut dyn Write, table: &Table) -> io::Result<()> {
    for line in table.lines(usize::MAX / 2) {
        let line: String = line.into_iter().map(|cell| cell.text).collect();
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn list(out: &mut dyn Write, list: &List) -> io::Result<()> {
    let title = list.title.to_uppercase();
    let listed = list.rows.iter().fold(0, |sum: u64, (_, count)| sum.saturating_add(*count));
    let other = Some(("(other)", list.total.saturating_sub(listed))).filter(|(_, count)| *count > 0);
    let rows = || list.rows.iter().map(|(name, count)| (name.as_str(), *count)).chain(other);
    let names = rows().map(|(name, _)| width(name)).chain([title.len()]).max().unwrap_or(0);
    let counts = rows().map(|(_, count)| count.to_string().len()).chain(["COUNT".len()]).max().unwrap_or(0);
    writeln!(out, "{}  {:>counts$}", padded(&title, names, Side::Left), "COUNT")?;
    for (name, count) in rows() {
        writeln!(out, "{}  {count:>counts$}", padded(name, names, Side::Left))?;
    }
    Ok(())
}
