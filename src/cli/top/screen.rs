//! The terminal: what is drawn on it, the keys that come from it, and its state before and after.

use std::io;
use std::time::{Duration, Instant, SystemTime};

use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use futures::StreamExt;
use tokio::sync::mpsc::Receiver;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::answer::Answer;
use super::draw::{Theme, draw};
use super::model::{Model, Wish};
use super::sanitize::Sanitized;

/// How often the clock is drawn where nothing else happens.
const TICK: Duration = Duration::from_secs(1);

/// The answer of the instance with this number.
pub(super) type Heard = (usize, Result<Answer, Sanitized>);

/// Puts the terminal back as it was, whatever ends the page; a panic does so before it speaks.
struct Restored;

impl Drop for Restored {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Shows the page until the reader leaves it or `stop` is cancelled.
///
/// # Errors
/// Where the terminal can't be drawn on, or its keys can't be read.
pub(super) async fn show(
    mut model: Model,
    mut heard: Receiver<Heard>,
    theme: Theme,
    stop: &CancellationToken,
) -> io::Result<()> {
    let _restored = Restored;
    let mut terminal = ratatui::try_init()?;
    let mut events = EventStream::new();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        terminal.draw(|frame| draw(frame, &model, theme))?;
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            answer = heard.recv() => match answer {
                Some((instance, answer)) => model.heard(instance, answer, Instant::now()),
                None => return Ok(()),
            },
            event = events.next() => match event {
                Some(Ok(Event::Key(key))) => match asked(key) {
                    Some(Asked::Quit) => return Ok(()),
                    Some(Asked::Wish(wish)) => model.obey(wish),
                    None => {}
                },
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
            _ = ticks.tick() => model.tick(SystemTime::now()),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Quit,
    Wish(Wish),
}

/// What a key asks for. In raw mode Ctrl-C is a key.
fn asked(key: KeyEvent) -> Option<Asked> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return matches!(key.code, KeyCode::Char('c' | 'd')).then_some(Asked::Quit);
    }
    let wish = match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return Some(Asked::Quit),
        KeyCode::Tab => Wish::Choose(1),
        KeyCode::BackTab => Wish::Choose(-1),
        KeyCode::Right => Wish::Sort(1),
        KeyCode::Left => Wish::Sort(-1),
        KeyCode::Down => Wish::Scroll(1),
        KeyCode::Up => Wish::Scroll(-1),
        KeyCode::PageDown => Wish::Scroll(10),
        KeyCode::PageUp => Wish::Scroll(-10),
        KeyCode::Char('p') => Wish::Pause,
        KeyCode::Char('?' | 'h') => Wish::Help,
        _ => return None,
    };
    Some(Asked::Wish(wish))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_ask_for_what_the_help_says() {
        let key = |code, modifiers| asked(KeyEvent::new(code, modifiers));
        let plain = |code| key(code, KeyModifiers::NONE);
        assert_eq!(plain(KeyCode::Char('q')), Some(Asked::Quit));
        assert_eq!(plain(KeyCode::Esc), Some(Asked::Quit));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Asked::Quit));
        assert_eq!(plain(KeyCode::Char('c')), None);
        assert_eq!(key(KeyCode::BackTab, KeyModifiers::SHIFT), Some(Asked::Wish(Wish::Choose(-1))));
        assert_eq!(plain(KeyCode::Right), Some(Asked::Wish(Wish::Sort(1))));
        assert_eq!(plain(KeyCode::Char('?')), Some(Asked::Wish(Wish::Help)));
    }
}
