//! Tables that fit the room there is: what is only nice to know goes, then texts are cut, then more goes.

use ratatui::text::Span;

/// What stands between two columns.
const GAP: usize = 2;

/// Columns of a greater order go before any other is cut.
const NEEDED: u8 = 6;

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    /// Its columns, in order.
    pub columns: &'static [Column],
    /// Its rows, each with a cell for each column.
    pub rows: Vec<Row>,
}

/// A column.
#[derive(Debug)]
pub(super) struct Column {
    /// What stands above it.
    pub title: &'static str,
    /// How it gives way.
    pub side: Side,
    /// Those with the greatest number go first.
    pub order: u8,
    /// How narrow it may become. Numbers are never cut.
    pub least: usize,
}

/// On which side of a cell its text stands, and what of it is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Text: its end is cut.
    Left,
    /// Names that differ at their ends: the beginning is cut.
    LeftByEnd,
    /// Numbers.
    Right,
}

/// A row.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// What is in it.
    pub cells: Vec<Cell>,
    /// Stands in place of all cells but the first two.
    pub note: Option<String>,
    /// Whether the reader has chosen it.
    pub chosen: bool,
}

/// A cell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cell {
    /// What is in it.
    pub text: String,
    /// What that means.
    pub tone: Tone,
}

/// The meaning of a text for the reader, shown by a colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Tone {
    /// Nothing.
    #[default]
    Plain,
    /// All is well.
    Good,
    /// To be looked at.
    Warning,
    /// To be fixed.
    Bad,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, tone: Tone::Plain }
    }
}

impl Table {
    /// The table's lines in so much room, the titles first: pieces of text and what they mean.
    pub(super) fn lines(&self, room: usize) -> Vec<Vec<Cell>> {
        let columns = self.fitted(room);
        let title = |column: &Column| Cell::from(column.title.to_owned());
        let titles = Row { cells: self.columns.iter().map(title).collect(), ..Row::default() };
        std::iter::once(&titles).chain(&self.rows).map(|row| line(self.columns, row, &columns, room)).collect()
    }

    /// Which columns have room, and how wide they are.
    fn fitted(&self, room: usize) -> Vec<(usize, usize)> {
        let natural = |(at, column): (usize, &Column)| {
            // What a note covers need not be as wide as it is.
            let cells = self.rows.iter().filter(|row| at < 2 || row.note.is_none()).filter_map(|row| row.cells.get(at));
            (at, cells.map(|cell| width(&cell.text)).chain([column.title.len()]).max().unwrap_or(0))
        };
        let mut columns: Vec<_> = self.columns.iter().enumerate().map(natural).collect();
        loop {
            let mut over = (columns.iter().map(|(_, width)| width + GAP).sum::<usize>()).saturating_sub(room + GAP);
            let spare = |(at, width): &(usize, usize)| match self.columns[*at].side {
                Side::Right => 0,
                _ => width.saturating_sub(self.columns[*at].least),
            };
            let goes = columns.iter().map(|(at, _)| *at).max_by_key(|at| self.columns[*at].order);
            let can_be_cut = over <= columns.iter().map(spare).sum();
            match goes {
                Some(goes) if over > 0 && columns.len() > 1 && (self.columns[goes].order > NEEDED || !can_be_cut) => {
                    columns.retain(|(at, _)| *at != goes);
                }
                _ => {
                    for column in columns.iter_mut().rev() {
                        let less = over.min(spare(column));
                        (column.1, over) = (column.1 - less, over - less);
                    }
                    return columns;
                }
            }
        }
    }
}

fn line(all: &[Column], row: &Row, columns: &[(usize, usize)], room: usize) -> Vec<Cell> {
    let (mut line, mut used) = (Vec::new(), 0);
    for (at, width) in columns {
        if *at >= 2 && row.note.is_some() {
            break;
        }
        let cell = row.cells.get(*at).cloned().unwrap_or_default();
        let gap = if used > 0 { GAP } else { 0 };
        let text = padded(&cut(&cell.text, *width, all[*at].side), *width, all[*at].side);
        line.push(Cell { text: format!("{:gap$}{text}", ""), tone: cell.tone });
        used += gap + width;
    }
    let left = room.saturating_sub(used + GAP);
    if let Some(note) = row.note.as_ref().filter(|_| left > 0) {
        let note = cut(note, left, Side::Left);
        line.push(Cell { text: format!("{:GAP$}{note}", ""), tone: Tone::Bad });
    }
    line
}

/// The number of a terminal's columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// As much of a text as has room, and an ellipsis where that is not all of it.
pub(super) fn cut(text: &str, room: usize, side: Side) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let room = room.saturating_sub(1);
    let mut used = 0;
    let mut fits = |c: &char| {
        used += width(c.encode_utf8(&mut [0; 4]));
        used <= room
    };
    match side {
        Side::LeftByEnd => {
            let end: Vec<_> = text.chars().rev().take_while(&mut fits).collect();
            std::iter::once('…').chain(end.into_iter().rev()).collect()
        }
        Side::Left | Side::Right => text.chars().take_while(&mut fits).chain(std::iter::once('…')).collect(),
    }
}

/// A text that is as wide as its column.
pub(super) fn padded(text: &str, room: usize, side: Side) -> String {
    let space = room.saturating_sub(width(text));
    match side {
        Side::Right => format!("{:space$}{text}", ""),
        Side::Left | Side::LeftByEnd => format!("{text}{:space$}", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[
        Column { title: "NAME", side: Side::LeftByEnd, order: 0, least: 5 },
        Column { title: "STATE", side: Side::Left, order: 1, least: 5 },
        Column { title: "LAG", side: Side::Right, order: 2, least: 3 },
    ];

    fn lines(room: usize) -> Vec<String> {
        let row = |texts: [&str; 3]| Row { cells: texts.map(|text| text.to_owned().into()).into(), ..Row::default() };
        let silent = Row { note: Some("connection refused".to_owned()), ..row(["node-2:9464", "no answer", ""]) };
        let table = Table { columns: COLUMNS, rows: vec![row(["node-1:9464", "ready", "12"]), silent] };
        let join = |line: Vec<Cell>| line.into_iter().map(|cell| cell.text).collect();
        table.lines(room).into_iter().map(join).collect()
    }

    #[test]
    fn columns_shrink_and_then_go() {
        assert_eq!(
            lines(60),
            [
                "NAME         STATE      LAG",
                "node-1:9464  ready       12",
                "node-2:9464  no answer  connection refused"
            ]
        );
        assert_eq!(
            lines(22),
            ["NAME        STATE  LAG", "…de-1:9464  ready   12", "…de-2:9464  no a…  co…"].map(str::to_owned)
        );
        assert_eq!(lines(14)[1..], ["…1:9464  ready", "…2:9464  no a…"].map(str::to_owned), "{:?}", lines(14));
        for room in 0..60 {
            let widest = lines(room).iter().map(|line| width(line)).max().unwrap();
            assert!(widest <= room.max(5), "{room}: {widest}");
        }
    }

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!((width("日本"), cut("日本語", 5, Side::Left).as_str()), (4, "日本…"));
        assert_eq!(cut("日本語", 4, Side::LeftByEnd), "…語");
        assert_eq!((cut("abc", 0, Side::Left), cut("abc", 1, Side::Left)), ("…".to_owned(), "…".to_owned()));
    }
}
