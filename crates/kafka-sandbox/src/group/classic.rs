//! The coordinator of one group, by the classic protocol. Pure: no clock, no socket; requests go in
//! by `handle_*`, time by `tick`, and answers come out by `poll_reply`, each when it is due.
//!
//! ```text
//!            a member joins                all have joined, or time is up
//!   Empty ─────────────────► Preparing ─────────────────────────────────► Completing
//!     ▲                      Rebalance ◄───┬───────────────────────────── Rebalance
//!     │ nobody is left           │  ▲      │ members come, go, change         │ the leader has
//!     └──────────────────────────┘  │      └──────────────────────────────    │ handed out the parts
//!                                   └───────────────────────────────── Stable ◄┘
//! ```
//!
//! As Kafka's `GroupMetadataManager` has it: a group that was empty waits a little for more members
//! before its first generation (`group.initial.rebalance.delay.ms`); a static member that is back
//! takes its old place without a rebalance (KIP-345); what a successor of the coordinator knows is
//! the last generation whose parts were handed out. In one thing it is kinder than Kafka: the new id of
//! a static member that is back is written down at once. Kafka writes it with the next parts only, and a
//! successor then has the old id back and fences the one member that there is by itself, which no client
//! can tell from another's joining.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::member::{Claim, Join, Member, NotJoined, Refused, Reply, Sync, Ticket};
use super::membership::Membership;
use crate::error_codes;

/// Kafka's default of `group.max.session.timeout.ms`. Its lower limit of six seconds is not kept:
/// tests have no six seconds.
const MAX_SESSION_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// A group's state, by Kafka's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClassicGroupState {
    /// Nobody is in it.
    #[default]
    Empty,
    /// Members are awaited that are to join again.
    PreparingRebalance,
    /// The leader is awaited, which hands out the parts.
    CompletingRebalance,
    /// Everybody has a part, or can have it.
    Stable,
}

impl ClassicGroupState {
    /// The name in Kafka.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// One group.
#[derive(Debug)]
pub struct ClassicGroup {
    initial_delay: Duration,
    state: ClassicGroupState,
    membership: Membership,
    /// The membership as a successor would read it.
    stored: Membership,
    /// Ids that were given and not joined with yet, and when they are forgotten.
    pending: BTreeMap<String, Instant>,
    gathering: Gathering,
    /// The time at which members that have not asked for their part are expelled.
    sync_by: Option<Instant>,
    replies: VecDeque<(Ticket, Reply)>,
}

/// The wait for members, in `PreparingRebalance`.
#[derive(Debug, Clone, Copy)]
struct Gathering {
    until: Instant,
    /// For a group that was empty: by how much longer it may wait for more.
    extensible: Option<Duration>,
    /// Someone has come since `until` was set.
    newcomer: bool,
}

impl ClassicGroup {
    /// An empty group; see the module for the delay.
    pub fn new(initial_delay: Duration, now: Instant) -> Self {
        Self {
            initial_delay,
            state: ClassicGroupState::Empty,
            membership: Membership::default(),
            stored: Membership::default(),
            pending: BTreeMap::new(),
            gathering: Gathering { until: now, extensible: None, newcomer: false },
            sync_by: None,
            replies: VecDeque::new(),
        }
    }

    /// The state by Kafka's rules.
    pub fn state(&self) -> ClassicGroupState {
        self.state
    }

    /// The members, and their generation.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The next answer that is due.
    pub fn poll_reply(&mut self) -> Option<(Ticket, Reply)> {
        self.replies.pop_front()
    }

    /// `JoinGroup`. Answered once.
    pub fn handle_join(&mut self, ticket: Ticket, join: Join, now: Instant) {
        let member_id = join.member_id.clone();
        let refused = match self.join(ticket, join, now) {
            Ok(()) => return,
            Err(Refused::Code(code)) => NotJoined { code, member_id },
            Err(Refused::IdRequired(member_id)) => NotJoined { code: error_codes::MEMBER_ID_REQUIRED, member_id },
        };
        self.reply(ticket, Reply::Joined(Err(refused)));
    }

    /// `SyncGroup`. Answered once.
    pub fn handle_sync(&mut self, ticket: Ticket, sync: Sync, now: Instant) {
        if let Err(code) = self.sync(ticket, sync, now) {
            self.reply(ticket, Reply::Synced(Err(code)));
        }
    }

    /// `Heartbeat`.
    ///
    /// # Errors
    /// The code to answer with.
    pub fn handle_heartbeat(&mut self, claim: &Claim, now: Instant) -> Result<(), i16> {
        self.check(claim)?;
        self.hear(&claim.member_id, now);
        match self.state {
            ClassicGroupState::Empty => Err(error_codes::UNKNOWN_MEMBER_ID),
            ClassicGroupState::PreparingRebalance => Err(error_codes::REBALANCE_IN_PROGRESS),
            ClassicGroupState::CompletingRebalance | ClassicGroupState::Stable => Ok(()),
        }
    }

    /// One member of a `LeaveGroup`: by its id, or by its id across restarts alone.
    ///
    /// # Errors
    /// The code to answer with.
    pub fn handle_leave(&mut self, member_id: &str, instance_id: Option<&str>, now: Instant) -> Result<(), i16> {
        if instance_id.is_none() && self.pending.remove(member_id).is_some() {
            self.complete_if_all_joined(now);
            return Ok(());
        }
        let by_instance = instance_id.filter(|_| member_id.is_empty()).and_then(|id| self.membership.with_instance(id));
        let member_id = match by_instance {
            Some(found) => found.to_owned(),
            None => {
                self.membership.check(member_id, instance_id)?;
                member_id.to_owned()
            }
        };
        self.remove(&member_id);
        self.rebalance_or_complete(now);
        Ok(())
    }

    /// Checks whether an offset is taken of whoever commits it. A commit counts as a heartbeat.
    ///
    /// # Errors
    /// The code to answer with.
    pub fn handle_commit(&mut self, claim: &Claim, now: Instant) -> Result<(), i16> {
        let claims = claim.generation >= 0 || !claim.member_id.is_empty() || claim.instance_id.is_some();
        if self.state == ClassicGroupState::Empty && claim.generation < 0 {
            return Ok(());
        }
        if !claims {
            return Err(error_codes::UNKNOWN_MEMBER_ID); // offsets of a group that somebody is in
        }
        self.check(claim)?;
        if self.state == ClassicGroupState::CompletingRebalance {
            return Err(error_codes::REBALANCE_IN_PROGRESS);
        }
        self.hear(&claim.member_id, now);
        Ok(())
    }

    /// Checks whether an offset is taken of a member that commits it within a transaction.
    ///
    /// # Errors
    /// The code to answer with.
    pub fn handle_transactional_commit(&self, claim: &Claim) -> Result<(), i16> {
        if self.state == ClassicGroupState::Empty && claim.generation < 0 { Ok(()) } else { self.check(claim) }
    }

    /// The next time that `tick` has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let sessions = self.membership.members.values().filter_map(Member::expires);
        let gathering = (self.state == ClassicGroupState::PreparingRebalance).then_some(self.gathering.until);
        let sync_by = self.sync_by.filter(|_| self.membership.members.values().any(|member| !member.synced));
        sessions.chain(self.pending.values().copied()).chain(gathering).chain(sync_by).min()
    }

    /// Lets time pass until `now`.
    pub fn tick(&mut self, now: Instant) {
        self.forget_pending(now);
        self.expel(now, |member| member.expires().is_some_and(|expires| expires <= now));
        if self.sync_by.is_some_and(|by| by <= now) {
            self.sync_by = None;
            self.expel(now, |member| !member.synced);
        }
        if self.state == ClassicGroupState::PreparingRebalance && self.gathering.until <= now {
            match self.gathering.extensible {
                Some(left) if self.gathering.newcomer && !left.is_zero() => {
                    let longer = left.min(self.initial_delay);
                    self.gathering =
                        Gathering { until: now + longer, extensible: Some(left - longer), newcomer: false };
                }
                _ => self.complete_join(now),
            }
        }
    }

    /// The coordinator moves, or its node comes back: what is held back is refused, what was not
    /// written down is forgotten, and all sessions begin anew.
    pub fn reload(&mut self, now: Instant) {
        let held = std::mem::replace(&mut self.membership, self.stored.clone());
        for (member_id, member) in held.members {
            self.refuse_held(&member_id, &member, error_codes::NOT_COORDINATOR);
        }
        for member in self.membership.members.values_mut() {
            member.heard(now);
        }
        self.pending.clear();
        self.sync_by = None;
        self.state =
            if self.membership.members.is_empty() { ClassicGroupState::Empty } else { ClassicGroupState::Stable };
    }

    fn join(&mut self, ticket: Ticket, join: Join, now: Instant) -> Result<(), Refused> {
        if join.session_timeout.is_zero() || join.session_timeout > MAX_SESSION_TIMEOUT {
            return Err(error_codes::INVALID_SESSION_TIMEOUT.into());
        }
        if !self.membership.agrees_with(&join) {
            return Err(error_codes::INCONSISTENT_GROUP_PROTOCOL.into());
        }
        if join.member_id.is_empty() { self.join_new(ticket, join, now) } else { self.join_known(ticket, join, now) }
    }

    fn join_new(&mut self, ticket: Ticket, join: Join, now: Instant) -> Result<(), Refused> {
        let before = join.instance_id.as_deref().and_then(|id| self.membership.with_instance(id)).map(str::to_owned);
        match before {
            Some(before) => self.replace(&before, ticket, &join, now),
            None if join.id_required && join.instance_id.is_none() => {
                let given = join.new_member_id;
                self.pending.insert(given.clone(), now + join.session_timeout);
                return Err(Refused::IdRequired(given));
            }
            None => self.add(join.new_member_id.clone(), ticket, join, now),
        }
        Ok(())
    }

    fn join_known(&mut self, ticket: Ticket, join: Join, now: Instant) -> Result<(), Refused> {
        let id = join.member_id.clone();
        if self.pending.remove(&id).is_some() {
            self.add(id, ticket, join, now);
            return Ok(());
        }
        self.membership.check(&id, join.instance_id.as_deref())?;
        let leads = self.membership.is_led_by(&id);
        let Some(member) = self.membership.members.get_mut(&id) else {
            return Err(error_codes::UNKNOWN_MEMBER_ID.into());
        };
        let unchanged = member.protocols == join.protocols;
        let answered = match self.state {
            ClassicGroupState::Empty => return Err(error_codes::UNKNOWN_MEMBER_ID.into()),
            ClassicGroupState::PreparingRebalance => false,
            // Its answer was lost on the way.
            ClassicGroupState::CompletingRebalance => unchanged,
            // A leader that joins again wants the parts to be handed out anew.
            ClassicGroupState::Stable => unchanged && !leads,
        };
        if answered {
            member.heard(now);
            let joined = self.membership.joined(&id);
            self.reply(ticket, Reply::Joined(Ok(joined)));
            return Ok(());
        }
        let superseded = member.join.replace(ticket);
        member.protocols = join.protocols;
        member.session_timeout = join.session_timeout;
        member.rebalance_timeout = join.rebalance_timeout;
        if let Some(superseded) = superseded {
            self.reply(superseded, Reply::Superseded);
        }
        self.rebalance_or_complete(now);
        Ok(())
    }

    fn add(&mut self, id: String, ticket: Ticket, join: Join, now: Instant) {
        if let Some(before) = join.instance_id.as_deref().and_then(|instance| self.stored.with_instance(instance)) {
            let before = before.to_owned();
            self.stored.rename(&before, &id);
        }
        if self.membership.members.is_empty() {
            self.membership.protocol_type = Some(join.protocol_type.clone());
        }
        self.membership.leader.get_or_insert_with(|| id.clone());
        self.membership.members.insert(id, Member::new(&join, ticket, now));
        self.gathering.newcomer = true;
        self.rebalance_or_complete(now);
    }

    /// A static member is back under a new id.
    fn replace(&mut self, before: &str, ticket: Ticket, join: &Join, now: Instant) {
        let id = join.new_member_id.clone();
        let led = self.membership.is_led_by(before);
        let Some(old) = self.membership.members.remove(before) else { return };
        self.refuse_held(before, &old, error_codes::FENCED_INSTANCE_ID);
        let member = Member { assignment: old.assignment, synced: old.synced, ..Member::new(join, ticket, now) };
        self.stored.rename(before, &id);
        self.membership.members.insert(id.clone(), member);
        if led {
            self.membership.leader = Some(id.clone());
        }
        match self.state {
            ClassicGroupState::Stable if self.membership.elect_protocol() == self.membership.protocol => {
                if let Some(member) = self.membership.members.get_mut(&id) {
                    member.join = None;
                }
                self.stored = self.membership.stored();
                let mut joined = self.membership.joined(&id);
                if join.may_skip {
                    joined.skip_assignment = led;
                } else {
                    // It must not think that it has to hand out parts.
                    joined.members.clear();
                    if led {
                        joined.leader = before.to_owned();
                    }
                }
                self.reply(ticket, Reply::Joined(Ok(joined)));
            }
            _ => self.rebalance_or_complete(now),
        }
    }

    fn sync(&mut self, ticket: Ticket, sync: Sync, now: Instant) -> Result<(), i16> {
        let Sync { member: claim, protocol_type, protocol, assignments } = sync;
        self.check(&claim)?;
        let differs = |said: &Option<String>, is: &Option<String>| said.is_some() && said != is;
        if differs(&protocol_type, &self.membership.protocol_type) || differs(&protocol, &self.membership.protocol) {
            return Err(error_codes::INCONSISTENT_GROUP_PROTOCOL);
        }
        let leads = self.membership.is_led_by(&claim.member_id);
        let Some(member) = self.membership.members.get_mut(&claim.member_id) else {
            return Err(error_codes::UNKNOWN_MEMBER_ID);
        };
        match self.state {
            ClassicGroupState::Empty => Err(error_codes::UNKNOWN_MEMBER_ID),
            ClassicGroupState::PreparingRebalance => Err(error_codes::REBALANCE_IN_PROGRESS),
            ClassicGroupState::CompletingRebalance => {
                member.synced = true;
                if let Some(superseded) = member.sync.replace(ticket) {
                    self.reply(superseded, Reply::Superseded);
                }
                if leads {
                    self.hand_out(assignments, now);
                }
                Ok(())
            }
            ClassicGroupState::Stable => {
                member.synced = true;
                member.heard(now);
                let synced = self.membership.synced(&claim.member_id);
                self.reply(ticket, Reply::Synced(Ok(synced)));
                Ok(())
            }
        }
    }

    /// Gives everybody its part; whoever is not named gets none.
    fn hand_out(&mut self, assignments: Vec<(String, Bytes)>, now: Instant) {
        for (id, assignment) in assignments {
            if let Some(member) = self.membership.members.get_mut(&id) {
                member.assignment = assignment;
            }
        }
        self.state = ClassicGroupState::Stable;
        self.stored = self.membership.stored();
        let waiting = self.membership.members.iter_mut().filter_map(|(id, member)| {
            let ticket = member.sync.take()?;
            member.heard(now);
            Some((ticket, id.clone()))
        });
        for (ticket, id) in waiting.collect::<Vec<_>>() {
            let synced = self.membership.synced(&id);
            self.reply(ticket, Reply::Synced(Ok(synced)));
        }
    }

    /// Members have changed: the group rebalances, or goes on with that.
    fn rebalance_or_complete(&mut self, now: Instant) {
        if self.state == ClassicGroupState::PreparingRebalance {
            self.complete_if_all_joined(now);
        } else {
            self.prepare_rebalance(now);
        }
    }

    fn prepare_rebalance(&mut self, now: Instant) {
        for member in self.membership.members.values_mut() {
            if let Some(ticket) = member.sync.take() {
                member.heard(now);
                self.replies.push_back((ticket, Reply::Synced(Err(error_codes::REBALANCE_IN_PROGRESS))));
            }
        }
        let timeout = self.membership.rebalance_timeout();
        let was_empty = self.state == ClassicGroupState::Empty;
        let wait = if was_empty { self.initial_delay.min(timeout) } else { timeout };
        let extensible = was_empty.then(|| timeout.saturating_sub(wait));
        self.gathering = Gathering { until: now + wait, extensible, newcomer: false };
        self.sync_by = None;
        self.state = ClassicGroupState::PreparingRebalance;
        self.complete_if_all_joined(now);
    }

    fn complete_if_all_joined(&mut self, now: Instant) {
        let all_joined =
            self.pending.is_empty() && self.membership.members.values().all(|member| member.join.is_some());
        // A group that was empty waits out its delay, unless everybody has gone again.
        let waits = self.gathering.extensible.is_some() && !self.membership.members.is_empty();
        if self.state == ClassicGroupState::PreparingRebalance && all_joined && !waits {
            self.complete_join(now);
        }
    }

    /// The next generation: those who have joined, and static members that may still.
    fn complete_join(&mut self, now: Instant) {
        let gone = self.membership.members.iter().filter(|(_, m)| m.join.is_none() && m.instance_id.is_none());
        for id in gone.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.remove(&id);
        }
        let has_joined = |id: &String| self.membership.members.get(id).is_some_and(|member| member.join.is_some());
        if !self.membership.leader.as_ref().is_some_and(has_joined) && !self.membership.members.is_empty() {
            let Some(elected) = self.membership.members.keys().find(|id| has_joined(id)).cloned() else {
                // Static members alone, none of them back yet: they have their sessions' time.
                self.gathering.until = now + self.membership.rebalance_timeout();
                return;
            };
            self.membership.leader = Some(elected);
        }
        self.membership.generation += 1;
        self.membership.protocol = self.membership.elect_protocol();
        if self.membership.members.is_empty() {
            self.state = ClassicGroupState::Empty;
            self.stored = self.membership.stored();
            return;
        }
        self.state = ClassicGroupState::CompletingRebalance;
        self.sync_by = Some(now + self.membership.rebalance_timeout());
        let joined = self.membership.members.iter_mut().filter_map(|(id, member)| {
            member.assignment = Bytes::new();
            member.synced = false;
            member.heard(now);
            Some((member.join.take()?, id.clone()))
        });
        for (ticket, id) in joined.collect::<Vec<_>>() {
            let joined = self.membership.joined(&id);
            self.reply(ticket, Reply::Joined(Ok(joined)));
        }
    }

    fn forget_pending(&mut self, now: Instant) {
        let before = self.pending.len();
        self.pending.retain(|_, expires| *expires > now);
        if self.pending.len() < before {
            self.complete_if_all_joined(now);
        }
    }

    fn expel(&mut self, now: Instant, which: impl Fn(&Member) -> bool) {
        let expelled = self.membership.members.iter().filter(|(_, member)| which(member)).map(|(id, _)| id.clone());
        let expelled: Vec<_> = expelled.collect();
        for id in &expelled {
            self.remove(id);
        }
        if !expelled.is_empty() {
            self.rebalance_or_complete(now);
        }
    }

    fn remove(&mut self, id: &str) {
        if let Some(member) = self.membership.remove(id) {
            self.refuse_held(id, &member, error_codes::UNKNOWN_MEMBER_ID);
        }
    }

    fn refuse_held(&mut self, id: &str, member: &Member, code: i16) {
        if let Some(ticket) = member.join {
            self.reply(ticket, Reply::Joined(Err(NotJoined { code, member_id: id.to_owned() })));
        }
        if let Some(ticket) = member.sync {
            self.reply(ticket, Reply::Synced(Err(code)));
        }
    }

    fn check(&self, claim: &Claim) -> Result<(), i16> {
        self.membership.check(&claim.member_id, claim.instance_id.as_deref())?;
        if claim.generation == self.membership.generation { Ok(()) } else { Err(error_codes::ILLEGAL_GENERATION) }
    }

    fn hear(&mut self, member_id: &str, now: Instant) {
        if let Some(member) = self.membership.members.get_mut(member_id) {
            member.heard(now);
        }
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.replies.push_back((ticket, reply));
    }
}
