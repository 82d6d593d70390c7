//! Groups log lines: what many partitions report at once takes two lines.
//!
//! ```text
//! read user-login/0: no leader; trying again          the first says it at once
//! read user-login/1: ...  2: ...  59: ...             the others are gathered for a second
//! read …: no leader; trying again (also user-login/1, user-login/2, user-login/3 and 56 more)
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio::runtime::Handle;
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::class::ErrorClass;
use crate::observe::{ANY, first_of};
use crate::topic::TopicPartition;

/// The time that lines of the same text are gathered.
const GATHER: Duration = Duration::from_secs(1);

/// The lines of the last moment, and the partitions that each is about. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct LogGrouping {
    /// The partitions of each line, in their order.
    gathering: Arc<Mutex<HashMap<LogLine, Vec<TopicPartition>>>>,
}

/// A log line without its partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LogLine {
    /// The operation's name.
    pub operation: &'static str,
    /// The error's class; empty where the operation succeeds again.
    pub class: &'static str,
    /// The message.
    pub text: String,
}

impl LogGrouping {
    /// Tells whether a partition is to log this line by itself: it is the first, and the others are gathered from now on.
    pub(super) fn is_first(&self, of: &TopicPartition, mut line: LogLine) -> bool {
        // Where nothing runs, nobody could tell of the others later.
        let Ok(runtime) = Handle::try_current() else { return true };
        line.text = line.text.replace(&of.to_string(), ANY);
        let mut gathering = self.gathering.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(all) = gathering.get_mut(&line) {
            // What one says again is news: it has worked meanwhile.
            let again = all.contains(of);
            if !again {
                all.push(of.clone());
            }
            return again;
        }
        gathering.insert(line.clone(), vec![of.clone()]);
        let log_grouping = self.clone();
        runtime.spawn(
            async move {
                sleep(GATHER).await;
                log_grouping.tell(&line);
            }
            .boxed(),
        );
        true
    }

    fn tell(&self, line: &LogLine) {
        let gathered = self.gathering.lock().unwrap_or_else(PoisonError::into_inner).remove(line);
        let mut others: Vec<_> = gathered.into_iter().flatten().skip(1).collect();
        if others.is_empty() {
            return;
        }
        others.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        let (count, operation, text) = (others.len(), line.operation, &line.text);
        let named = first_of(&others);
        match line.class {
            "" => info!(operation, partitions = count, "{text} (also {named})"),
            class if class == ErrorClass::Fatal.as_str() => {
                error!(operation, class, partitions = count, "{text} (also {named})");
            }
            class => warn!(operation, class, partitions = count, "{text} (also {named})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::logs::testing;

    #[tokio::test(start_paused = true)]
    async fn many_that_say_the_same_are_told_on_two_lines() {
        let (lines, _guard) = testing::captured();
        let log_grouping = LogGrouping::default();
        let says = |partition: i32, why: &str| {
            let of = TopicPartition::new("user-login", partition);
            let text = format!("read {of}: {why}; trying again");
            log_grouping.is_first(&of, LogLine { operation: "fetch", class: "transient", text })
        };
        let lead: Vec<_> = (0..60).filter(|partition| says(*partition, "no leader")).collect();
        assert_eq!(lead, [0]);
        assert!(says(3, "no route") && says(0, "no leader"), "what one says again is news");
        sleep(GATHER * 2).await;
        let said: Vec<_> = lines.json().iter().map(|line| line["message"].as_str().unwrap().to_owned()).collect();
        let expected = "read …: no leader; trying again (also user-login/1, user-login/2, user-login/3 and 56 more)";
        assert_eq!(said, [expected]);
        assert!(says(1, "no leader"), "it is over");
    }
}
