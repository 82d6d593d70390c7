//! What is to happen to the instances: by the clock, and by lines that somebody types.

use std::io::{self, IsTerminal};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::cli::Upsets;

/// The help that is printed at the start.
pub(super) const HELP: &str = "type add, kill N or stop N";

/// A change to the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// One more instance.
    Add,
    /// This one dies, without a word.
    Kill(u32),
    /// This one is drained.
    Stop(u32),
}

impl Command {
    /// A line that was typed.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let command = match (words.next()?, words.next().map(str::parse)) {
            ("add", None) => Self::Add,
            ("kill", Some(Ok(number))) => Self::Kill(number),
            ("stop", Some(Ok(number))) => Self::Stop(number),
            _ => return None,
        };
        words.next().is_none().then_some(command)
    }
}

/// Commands by the clock: one comes, one is killed, one comes, one ends in order, and again.
#[derive(Debug)]
pub(super) struct Clock {
    ticks: Option<Interval>,
    turn: usize,
}

impl Clock {
    /// Begins to count.
    pub(super) fn new(upsets: Upsets) -> Self {
        let ticks = |every: Duration| {
            let mut ticks = interval_at(Instant::now() + every, every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        let ticks = match upsets {
            Upsets::Never => None,
            Upsets::Every(every) => Some(ticks(every)),
        };
        Self { ticks, turn: 0 }
    }

    /// The next command, when it is time; `numbers` are those of the instances there are, and the one
    /// that is there longest goes.
    pub(super) async fn next(&mut self, numbers: &[u32]) -> Command {
        match &mut self.ticks {
            Some(ticks) => {
                ticks.tick().await;
            }
            None => std::future::pending().await,
        }
        self.command(numbers)
    }

    fn command(&mut self, numbers: &[u32]) -> Command {
        let turn = self.turn % 4;
        self.turn += 1;
        match (turn, numbers) {
            (1, [oldest, _, ..]) => Command::Kill(*oldest),
            (3, [oldest, _, ..]) => Command::Stop(*oldest),
            _ => Command::Add,
        }
    }
}

/// Lines that are typed, where there is somebody who types. The thread that waits for them ends with
/// the process.
///
/// # Errors
/// There is no thread for it.
pub(super) fn typed() -> io::Result<mpsc::UnboundedReceiver<String>> {
    let (sender, lines) = mpsc::unbounded_channel();
    if io::stdin().is_terminal() {
        let read = move || {
            for line in io::stdin().lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("typed".to_owned()).spawn(read)?;
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_command_or_none() {
        assert_eq!(Command::parse(" add\n"), Some(Command::Add));
        assert_eq!(Command::parse("kill 3"), Some(Command::Kill(3)));
        assert_eq!(Command::parse("stop  12 "), Some(Command::Stop(12)));
        for line in ["", "add 1", "kill", "kill x", "stop -1", "stop 1 2", "help"] {
            assert_eq!(Command::parse(line), None, "{line}");
        }
    }

    #[test]
    fn by_the_clock_as_many_come_as_go_and_the_last_one_stays() {
        let mut clock = Clock::new(Upsets::Never);
        let commands: Vec<_> = (0..4).map(|_| clock.command(&[2, 3, 4])).collect();
        assert_eq!(commands, [Command::Add, Command::Kill(2), Command::Add, Command::Stop(2)]);
        assert!((0..8).all(|_| clock.command(&[7]) == Command::Add));
    }
}
