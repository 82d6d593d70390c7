//! The page, drawn from a model and nothing else.
//!
//! ```text
//! title
//! instances         always
//! partitions        what the others leave, three lines at least
//! counts            where six lines are left
//! errors            where there are any, and lines are left
//! keys
//! ```

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::model::{Chosen, Model};
use super::table::{Cell, Side, Table, Tone, cut, padded, width};
use super::view::{List, Numbers, View, count};

/// The fewest columns of a list of counts.
const LEAST_LIST: u16 = 18;

/// The fewest lines of partitions, title and all.
const LEAST_PARTITIONS: u16 = 4;

const HELP: &[&str] = &[
    "q, Esc, Ctrl-C     quit",
    "Tab, Shift-Tab     the next instance, the one before",
    "Right, Left        the next order of partitions",
    "Down, Up           scroll the partitions; PgDn, PgUp",
    "p                  stop the picture, or let it go on",
    "?                  this help",
    "",
    "IN/S, OUT/S, DEAD/S: records a second, read, written",
    "and dead-lettered. P50, P95, P99: how long records took",
    "in the last 15 s; of all instances the slowest.",
];

/// The colours of the page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Theme {
    /// Whether there are colours. What they say is said in words as well.
    pub colours: bool,
}

impl Theme {
    fn style(self, tone: Tone) -> Style {
        match tone {
            _ if !self.colours => Style::new(),
            Tone::Plain => Style::new(),
            Tone::Good => Style::new().fg(Color::Green),
            Tone::Warning => Style::new().fg(Color::Yellow),
            Tone::Bad => Style::new().fg(Color::Red),
        }
    }
}

/// Draws the page. A screen that is too small for all of it has the first lines.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, theme: Theme) {
    let view = View::of(model, Numbers::Short);
    let area = frame.area();
    let heights = heights(&view, area.height);
    let areas = Layout::vertical(heights.map(Constraint::Length)).areas::<6>(area);
    let [title, instances, partitions, counts, errors, keys] = areas;
    frame.render_widget(Paragraph::new(title_line(model, title.width)), title);
    let at = view.instances.rows.iter().position(|row| row.chosen).unwrap_or(0);
    render(frame, &view.instances, instances, at.saturating_sub(usize::from(instances.height) / 2), theme);
    if let Some(below) = headed(frame, &partitions_title(model, &view, partitions), partitions) {
        let fits = usize::from(below.height.saturating_sub(1));
        let last = view.partitions.rows.len().saturating_sub(fits);
        render(frame, &view.partitions, below, model.scroll.min(last), theme);
    }
    lists(frame, &view.lists, counts);
    if let Some(below) = headed(frame, " errors ", errors) {
        // The columns explain themselves.
        let lines = view.errors.lines(below.width.into()).into_iter().skip(1);
        frame.render_widget(Paragraph::new(lines.map(|line| styled(line, theme)).collect::<Vec<_>>()), below);
    }
    frame.render_widget(Paragraph::new(keys_line(keys.width)).style(dim()), keys);
    if model.help {
        help(frame, area);
    }
}

/// How many lines each part has, in order.
fn heights(view: &View, all: u16) -> [u16; 6] {
    let lines = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
    let title = all.min(1);
    let keys = u16::from(all > 4);
    let mut left = all - title - keys;
    let mut take = |wanted: u16| {
        let taken = wanted.min(left);
        left -= taken;
        taken
    };
    let instances = take(lines(view.instances.rows.len()).saturating_add(1).min((all * 2 / 5).max(2)));
    let partitions = take(LEAST_PARTITIONS.min(all));
    let listed = lines(view.lists.iter().map(|list| list.rows.len()).max().unwrap_or(0)).saturating_add(1);
    let mut counts = take(6);
    if counts < 4 {
        counts = 0;
    }
    let wanted = lines(view.errors.rows.len());
    let mut errors = take(if wanted > 0 { wanted.min(3) + 1 } else { 0 });
    if errors < 2 {
        errors = 0;
    }
    let mut rest = all - title - keys - instances - partitions - counts - errors;
    let mut grow = |has: u16, wanted: u16| {
        let more = wanted.saturating_sub(has).min(rest);
        rest -= more;
        has + more
    };
    let partitions = grow(partitions, lines(view.partitions.rows.len()).saturating_add(2));
    let errors = if errors > 0 { grow(errors, wanted.saturating_add(1).min(12)) } else { errors };
    let counts = if counts > 0 { grow(counts, listed) } else { counts };
    [title, instances, partitions + rest, counts, errors, keys]
}

fn title_line(model: &Model, room: u16) -> Line<'static> {
    let picture = model.picture();
    let count = picture.instances.len();
    let of = if count == 1 { String::new() } else { format!("  {count} instances") };
    let at = chrono::DateTime::<chrono::Utc>::from(picture.at).format("%H:%M:%SZ");
    let right = if model.is_stopped() { format!("stopped at {at}") } else { at.to_string() };
    let left = cut(&format!("login-pipeline top{of}"), usize::from(room).saturating_sub(right.len() + 1), Side::Left);
    let space = usize::from(room).saturating_sub(width(&left) + right.len());
    let stopped = if model.is_stopped() { Modifier::REVERSED } else { Modifier::empty() };
    Line::from(vec![
        Span::styled(left, Modifier::BOLD),
        Span::raw(" ".repeat(space)),
        Span::styled(right, Style::new().add_modifier(stopped)),
    ])
}

fn partitions_title(model: &Model, view: &View, area: Rect) -> String {
    let rows = view.partitions.rows.len();
    let whose = match model.chosen() {
        Chosen::One(at) if model.picture().instances.len() > 1 => {
            let name = model.picture().instances.get(at).map(|instance| instance.name.as_str());
            format!(" of {}", cut(name.unwrap_or_default(), usize::from(area.width) / 3, Side::LeftByEnd))
        }
        _ => String::new(),
    };
    let more = if view.more_partitions > 0 { format!(", {} more", view.more_partitions) } else { String::new() };
    let plural = if rows == 1 { "" } else { "s" };
    format!(" {rows} partition{plural}{whose}{more}, by {} ", model.sort().as_str())
}

/// A rule with a title over an area; what is below it, if anything is.
fn headed(frame: &mut Frame<'_>, title: &str, area: Rect) -> Option<Rect> {
    if area.height == 0 || area.width == 0 {
        return None;
    }
    let [rule, below] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    let room = usize::from(rule.width);
    let title = cut(&format!("──{title}"), room, Side::Left);
    let line = format!("{title}{}", "─".repeat(room.saturating_sub(width(&title))));
    frame.render_widget(Paragraph::new(line).style(dim()), rule);
    Some(below)
}

/// A table, without its first rows.
fn render(frame: &mut Frame<'_>, table: &Table, area: Rect, skipped: usize, theme: Theme) {
    let mut lines = table.lines(area.width.into()).into_iter();
    let titles: String = lines.next().unwrap_or_default().into_iter().map(|cell| cell.text).collect();
    let fits = usize::from(area.height.saturating_sub(1));
    let skipped = skipped.min(table.rows.len().saturating_sub(fits));
    let mut shown = vec![Line::styled(titles, dim())];
    for (line, row) in lines.zip(&table.rows).skip(skipped).take(fits) {
        let line = styled(line, theme);
        shown.push(if row.chosen && table.rows.len() > 1 { line.patch_style(Modifier::REVERSED) } else { line });
    }
    frame.render_widget(Paragraph::new(shown), area);
}

fn styled(line: Vec<Cell>, theme: Theme) -> Line<'static> {
    line.into_iter().map(|cell| Span::styled(cell.text, theme.style(cell.tone))).collect()
}

/// Lists beside each other, as many as there is room for.
fn lists(frame: &mut Frame<'_>, lists: &[List], area: Rect) {
    if area.height == 0 {
        return;
    }
    let fits = (area.width / LEAST_LIST).max(1);
    let shown = &lists[..lists.len().min(fits.into())];
    let equal = vec![Constraint::Fill(1); shown.len()];
    for (list, area) in shown.iter().zip(Layout::horizontal(equal).spacing(2).split(area).iter()) {
        if let Some(below) = headed(frame, &format!(" {} ", list.title), *area) {
            let rows = list.rows.iter().take(below.height.into());
            let lines: Vec<_> = rows.map(|row| list_line(list, row, below.width.into())).collect();
            frame.render_widget(Paragraph::new(lines), below);
        }
    }
}

/// A name, and its share or how often it was counted; both where there is room.
fn list_line(list: &List, (name, counted): &(String, u64), room: usize) -> Line<'static> {
    let permille = u128::from(*counted) * 1000 / u128::from(list.total.max(1));
    let counted = count(*counted, Numbers::Short);
    let right = match room {
        26.. => format!("{counted:>6} {:>3}.{}%", permille / 10, permille % 10),
        _ if list.counts => counted,
        _ if permille < 10 => "<1%".to_owned(),
        _ => format!("{}%", permille / 10),
    };
    let left = room.saturating_sub(right.len() + 1);
    let name = padded(&cut(name, left, Side::Left), left, Side::Left);
    Line::from(vec![Span::raw(name), Span::raw(" "), Span::raw(right)])
}

fn keys_line(room: u16) -> &'static str {
    match room {
        0..44 => "q quit  ? help  p stop",
        44..72 => "q quit  Tab instance  p stop  ? help",
        _ => "q quit  Tab instance  Left/Right order  Up/Down scroll  p stop  ? help",
    }
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let widest = HELP.iter().map(|line| line.len()).max().unwrap_or(0);
    let sides = |length: usize| u16::try_from(length + 2).unwrap_or(u16::MAX);
    let popup = area.centered(
        Constraint::Length(sides(widest).min(area.width)),
        Constraint::Length(sides(HELP.len()).min(area.height)),
    );
    frame.render_widget(Clear, popup);
    let lines: Vec<_> = HELP.iter().map(|line| Line::raw(*line)).collect();
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" keys ")), popup);
}

fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}
