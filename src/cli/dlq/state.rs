//! Whether dead letters are open, replayed or given up: by what the groups of replays and retries have noted.

use std::collections::BTreeMap;

use serde::Serialize;

use super::args::{Filter, MAX_REPLAYS};
use super::progress::{Progress, group_of_filter};
use super::reader::Log;
use super::scope::Scope;
use super::skip::Skip;
use super::standing::Standing;
use super::{Context, Failure};
use crate::dead_letter::ErrorHeaders;
use crate::record::Offset;

/// The state of one dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// A replay or a retry takes it next.
    Open,
    /// It was replayed, or retried.
    Replayed,
    /// A replay passed it, and wrote nothing to the source: it was cut or damaged, came from elsewhere, or was replayed
    /// often enough to be quarantined.
    GivenUp,
}

/// The number of dead letters in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct StateCounts {
    /// Open.
    pub open: u64,
    /// Replayed or retried.
    pub replayed: u64,
    /// Given up.
    pub given_up: u64,
}

impl StateCounts {
    /// Counts one.
    pub(super) fn count(&mut self, state: State) {
        match state {
            State::Open => self.open += 1,
            State::Replayed => self.replayed += 1,
            State::GivenUp => self.given_up += 1,
        }
    }
}

/// The progress that the groups have noted.
pub(super) struct States {
    /// The groups: what one of them is done with is done.
    pub groups: Vec<String>,
    standings: BTreeMap<i32, Vec<Standing>>,
    source: String,
}

impl States {
    /// By the group that is named; else by that of everything, and that of what this filter takes.
    ///
    /// # Errors
    /// Where the brokers don't tell, or a group is further than the topic, or stands for other letters.
    pub(super) async fn ask(
        context: &Context,
        log: &Log,
        filter: &Filter,
        group: Option<&str>,
    ) -> Result<Self, Failure> {
        let application = &context.config.kafka.client_id;
        let mut groups = match group {
            Some(group) => vec![group.to_owned()],
            None => vec![group_of_filter(&Filter::default(), application), group_of_filter(filter, application)],
        };
        groups.dedup();
        let scope = group.map(|_| Scope::asked(filter));
        let mut standings: BTreeMap<i32, Vec<Standing>> = BTreeMap::new();
        for group in &groups {
            let progress = Progress::of(group.clone(), scope.clone(), context);
            for (partition, stretch) in &log.stretches {
                let standing = progress.standing(context.topic(), log.topic_id, *partition, *stretch).await?;
                standings.entry(*partition).or_default().push(standing);
            }
        }
        Ok(Self { groups, standings, source: context.config.source.topic.clone() })
    }

    /// The state of the dead letter at this place.
    pub(super) fn of(&self, partition: i32, offset: Offset, error_headers: &ErrorHeaders<'_>) -> State {
        let mut standings = self.standings.get(&partition).into_iter().flatten();
        if !standings.any(|standing| standing.is_done(offset)) {
            return State::Open;
        }
        let comes_back = Skip::of(error_headers).is_none()
            && error_headers.topic == Some(&*self.source)
            && error_headers.replays < MAX_REPLAYS.get();
        if comes_back { State::Replayed } else { State::GivenUp }
    }
}
