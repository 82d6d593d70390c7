//! The transactions of one transactional id, as their coordinator keeps them. Pure: no clock, no log; requests go
//! in by `handle_*`, time by `tick`, and the markers that are due come out by `markers`.
//!
//! ```text
//!          handle_add            handle_end, handle_init, tick            marked, by all
//!   Empty ────────────► Ongoing ───────────────────────────────► Prepare ───────────────► Complete
//!     ▲                    ▲                                  Commit, Abort             Commit, Abort
//!     │                    └──────────────────────── handle_add ───────────────────────────┤
//!     └───────────────────────────────────────────── handle_init ──────────────────────────┘
//! ```
//!
//! As Kafka's `TransactionCoordinator` and `TransactionMetadata` have it: who begins while a transaction is open
//! ends it first and is to ask again (KIP-98); a producer that names itself goes on in the next epoch (KIP-360);
//! in version 2 each end of a transaction begins an epoch (KIP-890).

use std::collections::BTreeSet;
use std::time::Duration;

use kafka_records::batch::ProducerId;
use tokio::time::Instant;

use crate::error_codes;

/// No producer writes in an epoch behind this one, so that it can always be fenced.
const LAST_EPOCH: i16 = i16::MAX - 1;
/// The epoch of who has none.
const NO_EPOCH: i16 = -1;

/// Where a transactional id's transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// None has begun since the id was given.
    Empty,
    /// Something was added to it.
    Ongoing,
    /// It is decided, and not everybody has heard of it.
    PrepareCommit,
    /// As for `PrepareCommit`.
    PrepareAbort,
    /// Everybody has heard of it.
    CompleteCommit,
    /// As for `CompleteCommit`.
    CompleteAbort,
}

impl State {
    /// Its name in Kafka.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
        }
    }

    fn is_being_ended(self) -> bool {
        matches!(self, Self::PrepareCommit | Self::PrepareAbort)
    }
}

/// Which transactions: by what a client's request says, or by what the cluster has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionVersion {
    /// KIP-98: what is written is added before.
    V1,
    /// KIP-890: leaders add what is written, and each transaction has an epoch of its own.
    V2,
}

/// What is part of a transaction, and hears of its end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Participant {
    /// Records in a partition.
    Partition(String, i32),
    /// A group's offsets.
    Offsets(String),
}

/// The end of a transaction, as its participants hear of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    /// As whom it is written.
    pub producer: ProducerId,
    /// Whether what was written counts.
    pub commit: bool,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Transaction {
    last_possible_epoch: i16,
    state: State,
    producer: ProducerId,
    /// The id before this one.
    previous_id: i64,
    /// The epoch before this one, where whoever was in it may ask again.
    last_epoch: i16,
    /// The id that comes behind the markers, where this one's epochs are used up.
    next_id: Option<i64>,
    /// Of whoever ended the last transaction.
    version: TransactionVersion,
    timeout: Duration,
    participants: BTreeSet<Participant>,
    begun: Option<Instant>,
}

impl Transaction {
    /// Of a producer id that nobody has used.
    pub fn new(id: i64) -> Self {
        Self::with_last_epoch(id, LAST_EPOCH)
    }

    /// As `new`, of ids that have fewer epochs than Kafka's, so that a test comes to their last one.
    pub fn with_last_epoch(id: i64, last_possible_epoch: i16) -> Self {
        Self {
            last_possible_epoch,
            state: State::Empty,
            producer: ProducerId { id, epoch: NO_EPOCH },
            previous_id: -1,
            last_epoch: NO_EPOCH,
            next_id: None,
            version: TransactionVersion::V1,
            timeout: Duration::ZERO,
            participants: BTreeSet::new(),
            begun: None,
        }
    }

    /// Where the transaction is.
    pub fn state(&self) -> State {
        self.state
    }

    /// As whom it is written; once it is decided in version 2, in the epoch of the next one.
    pub fn producer(&self) -> ProducerId {
        self.producer
    }

    /// What is part of it; once it is decided, those that have not heard of that.
    pub fn participants(&self) -> &BTreeSet<Participant> {
        &self.participants
    }

    /// `InitProducerId`: as whom the next transactions are written. `expected` is who asks, where it says so;
    /// `cluster` which transactions the cluster has.
    ///
    /// # Errors
    /// `CONCURRENT_TRANSACTIONS` where one is still to be ended, `PRODUCER_FENCED` where `expected` is nobody any more.
    pub fn handle_init(
        &mut self,
        expected: Option<ProducerId>,
        timeout: Duration,
        cluster: TransactionVersion,
        new_id: impl FnOnce() -> i64,
    ) -> Result<ProducerId, i16> {
        if expected.is_some_and(|expected| !self.may_be(expected)) {
            return Err(error_codes::PRODUCER_FENCED);
        }
        match self.state {
            State::PrepareCommit | State::PrepareAbort => return Err(error_codes::CONCURRENT_TRANSACTIONS),
            State::Ongoing => {
                self.fence(cluster);
                return Err(error_codes::CONCURRENT_TRANSACTIONS);
            }
            State::Empty | State::CompleteCommit | State::CompleteAbort => {}
        }
        let before = self.producer;
        let is_exhausted = before.epoch >= self.last_possible_epoch;
        if is_exhausted && expected.is_none_or(|expected| expected.epoch == before.epoch) {
            self.last_epoch = expected.map_or(NO_EPOCH, |_| before.epoch);
            self.producer = ProducerId { id: new_id(), epoch: 0 };
        } else {
            self.next_epoch(expected.map(|expected| expected.epoch))?;
        }
        self.previous_id = before.id;
        self.timeout = timeout;
        self.state = State::Empty;
        self.participants.clear();
        self.begun = None;
        Ok(self.producer)
    }

    /// Whether whoever asks as this producer may still be who writes: the epoch is looked at later.
    fn may_be(&self, expected: ProducerId) -> bool {
        self.producer.epoch == NO_EPOCH
            || expected.id == self.producer.id
            || (expected.id == self.previous_id && expected.epoch >= self.last_possible_epoch)
    }

    /// Goes on in the next epoch; who asks for it twice stays where it is.
    fn next_epoch(&mut self, expected: Option<i16>) -> Result<(), i16> {
        let epoch = self.producer.epoch;
        self.last_epoch = match expected {
            None => NO_EPOCH,
            Some(expected) if epoch == NO_EPOCH || expected == epoch => epoch,
            Some(expected) if expected == self.last_epoch => return Ok(()),
            Some(_) => return Err(error_codes::PRODUCER_FENCED),
        };
        self.producer.epoch = epoch.saturating_add(1);
        Ok(())
    }

    /// Makes participants part of the transaction, which begins with that where it has not.
    ///
    /// # Errors
    /// The code to answer with.
    pub fn handle_add(
        &mut self,
        producer: ProducerId,
        added: impl IntoIterator<Item = Participant>,
        now: Instant,
    ) -> Result<(), i16> {
        self.check(producer)?;
        if self.state != State::Ongoing {
            self.state = State::Ongoing;
            self.begun = Some(now);
        }
        self.participants.extend(added);
        Ok(())
    }

    /// Whether a participant is part of the transaction, as its leader asks.
    ///
    /// # Errors
    /// The code to answer with, `TRANSACTION_ABORTABLE` where it is none.
    pub fn handle_verify(&self, producer: ProducerId, participant: &Participant) -> Result<(), i16> {
        self.check(producer)?;
        if self.participants.contains(participant) { Ok(()) } else { Err(error_codes::TRANSACTION_ABORTABLE) }
    }

    /// What a participant is sent within the transaction, as its leader asks: in version 1 it must be part of it, in
    /// version 2 it becomes part of it.
    ///
    /// # Errors
    /// The code to answer with, one that producers of all versions understand.
    pub fn handle_admit(
        &mut self,
        producer: ProducerId,
        participant: Participant,
        version: TransactionVersion,
        now: Instant,
    ) -> Result<(), i16> {
        let admitted = match version {
            TransactionVersion::V1 => self.handle_verify(producer, &participant),
            TransactionVersion::V2 => self.handle_add(producer, [participant], now),
        };
        admitted.map_err(|code| match code {
            error_codes::PRODUCER_FENCED => error_codes::INVALID_PRODUCER_EPOCH,
            error_codes::TRANSACTION_ABORTABLE => error_codes::INVALID_TXN_STATE,
            code => code,
        })
    }

    fn check(&self, producer: ProducerId) -> Result<(), i16> {
        if producer.id != self.producer.id {
            return Err(error_codes::INVALID_PRODUCER_ID_MAPPING);
        }
        if producer.epoch != self.producer.epoch {
            return Err(error_codes::PRODUCER_FENCED);
        }
        if self.state.is_being_ended() { Err(error_codes::CONCURRENT_TRANSACTIONS) } else { Ok(()) }
    }

    /// `EndTxn`: decides, and says as whom the next transaction is written.
    ///
    /// # Errors
    /// The code to answer with; `CONCURRENT_TRANSACTIONS` where this is decided, and not everybody has heard.
    pub fn handle_end(
        &mut self,
        producer: ProducerId,
        commit: bool,
        version: TransactionVersion,
        new_id: impl FnOnce() -> i64,
    ) -> Result<ProducerId, i16> {
        let is_again = match version {
            TransactionVersion::V1 => {
                self.check_end_1(producer)?;
                // Nothing tells the end of this transaction from that of the next, which is empty.
                true
            }
            TransactionVersion::V2 => self.check_end_2(producer)?,
        };
        // In version 2 a transaction of nothing can be given up: only the epoch is another then.
        let is_of_nothing = version == TransactionVersion::V2 && !commit && !is_again;
        match (self.state, commit) {
            (State::Ongoing, _) => self.prepare(commit, version, new_id),
            (State::CompleteCommit, true) | (State::CompleteAbort, false) if is_again => {}
            (State::PrepareCommit, true) | (State::PrepareAbort, false) => {
                return Err(error_codes::CONCURRENT_TRANSACTIONS);
            }
            (State::Empty | State::CompleteCommit | State::CompleteAbort, false) if is_of_nothing => {
                self.prepare(commit, version, new_id);
            }
            _ => return Err(error_codes::INVALID_TXN_STATE),
        }
        // Told before the markers are written: where the epochs are used up, the next id comes with them.
        Ok(self.next_id.map_or(self.producer, |id| ProducerId { id, epoch: 0 }))
    }

    fn check_end_1(&self, producer: ProducerId) -> Result<(), i16> {
        if producer.id != self.producer.id {
            Err(error_codes::INVALID_PRODUCER_ID_MAPPING)
        } else if producer.epoch != self.producer.epoch {
            Err(error_codes::PRODUCER_FENCED)
        } else {
            Ok(())
        }
    }

    /// Whether this end was asked for before: it is known by the epoch before the one that it began.
    fn check_end_2(&self, producer: ProducerId) -> Result<bool, i16> {
        let is_version_2 = self.version == TransactionVersion::V2;
        let has_next_epoch = is_version_2
            && self.last_epoch == producer.epoch
            && self.producer.epoch == producer.epoch.saturating_add(1);
        let has_next_id = is_version_2
            && self.previous_id == producer.id
            && self.producer.id != producer.id
            && producer.epoch == self.last_possible_epoch
            && self.producer.epoch == 0;
        let is_current = producer.epoch == self.producer.epoch;
        let is_valid = match self.state {
            State::Empty | State::Ongoing => is_current,
            State::PrepareCommit | State::PrepareAbort if is_version_2 => has_next_epoch,
            State::PrepareCommit | State::PrepareAbort => is_current,
            State::CompleteCommit | State::CompleteAbort => has_next_epoch || has_next_id || is_current,
        };
        if producer.id != self.producer.id && !has_next_id {
            return Err(error_codes::INVALID_PRODUCER_ID_MAPPING);
        }
        if !is_valid {
            return Err(error_codes::PRODUCER_FENCED);
        }
        Ok(has_next_epoch || has_next_id)
    }

    /// Fences who writes, and gives up what it has written.
    fn fence(&mut self, cluster: TransactionVersion) {
        // In version 2 that is an end like any other: who is fenced may ask for the next epoch in place of its own.
        self.last_epoch = match cluster {
            TransactionVersion::V1 => NO_EPOCH,
            TransactionVersion::V2 => self.producer.epoch,
        };
        self.producer.epoch = self.producer.epoch.saturating_add(1);
        self.decide(false, cluster);
        self.complete_if_all_heard();
    }

    fn prepare(&mut self, commit: bool, version: TransactionVersion, new_id: impl FnOnce() -> i64) {
        if version == TransactionVersion::V2 {
            self.next_id = (self.producer.epoch >= self.last_possible_epoch).then(new_id);
            self.last_epoch = self.producer.epoch;
            self.producer.epoch = self.producer.epoch.saturating_add(1);
        }
        self.decide(commit, version);
    }

    fn decide(&mut self, commit: bool, version: TransactionVersion) {
        self.state = if commit { State::PrepareCommit } else { State::PrepareAbort };
        self.version = version;
        self.begun = None;
    }

    /// What is to be told to the participants that are left.
    pub fn markers(&self) -> Option<(Marker, Vec<Participant>)> {
        let marker = Marker { producer: self.producer, commit: self.state == State::PrepareCommit };
        self.state.is_being_ended().then(|| (marker, self.participants.iter().cloned().collect()))
    }

    /// A participant has heard of the end.
    pub fn marked(&mut self, participant: &Participant) {
        self.participants.remove(participant);
    }

    /// The transaction is over where all have heard of its end.
    pub fn complete_if_all_heard(&mut self) {
        if !self.state.is_being_ended() || !self.participants.is_empty() {
            return;
        }
        self.state = if self.state == State::PrepareCommit { State::CompleteCommit } else { State::CompleteAbort };
        if let Some(id) = self.next_id.take() {
            self.previous_id = self.producer.id;
            self.producer = ProducerId { id, epoch: 0 };
        }
    }

    /// When the transaction has been open for too long.
    pub fn deadline(&self) -> Option<Instant> {
        self.begun.map(|begun| begun + self.timeout)
    }

    /// Lets time pass until `now`: gives up what has been open for too long.
    pub fn tick(&mut self, now: Instant, cluster: TransactionVersion) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.fence(cluster);
        }
    }
}
