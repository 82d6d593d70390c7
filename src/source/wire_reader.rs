//! Reading by our own client: the log in place, a window at a time, damage and all.
//!
//! ```text
//! fetch ─► Answer ── window ─► SourceBatch        as long as each batch follows the one before
//!             └──── odd ─► survey ─► what is damaged, and where the next sound batch begins
//! ```

mod survey;

use std::sync::Arc;

use kafka_client::admission::{KEPT, Reserve, Taken};
use kafka_client::{Answer, Ask, At, Cluster, Fetched, Isolation, LeaderConnection, Left};
use kafka_protocol::ResponseError;
use kafka_records::records::Window;

use super::batch::SourceBatch;
use crate::config;
use crate::kafka::{Cause, Error};
use crate::record::{Offset, Position};
use crate::topic::TopicId;

/// A batch of records of so many bytes each takes twice its size with what becomes of them, dead letters
/// included, whose headers are longer than that. Of smaller ones fewer are taken at a time.
const USUAL_RECORD_BYTES: usize = 128;
/// Records that are always taken at a time, however little room there is.
const LEAST_RECORDS: usize = 64;

/// The bytes that are handed out at a time of an answer that is larger than was asked for.
const LARGE_WINDOW: usize = 128 * 1024;

/// A codec that holds no more than this is not counted.
const SMALL_CODEC: usize = 128 * 1024;

/// The empty answers in a row, of a log that goes on, after which it is looked at more closely.
const EMPTY_ANSWERS: u32 = 3;

/// Reads one partition by the wire.
#[derive(Debug)]
pub(super) struct WireReader {
    topic: String,
    topic_id: Option<TopicId>,
    partition: i32,
    cluster: Arc<Cluster>,
    leader: LeaderConnection,
    reserve: Reserve,
    isolation: Isolation,
    leaves_out_aborted: bool,
    max_wait_ms: i32,
    max_frame_bytes: usize,
    max_record_bytes: usize,
    answer: Option<Answer>,
    /// Where a batch is known to have ended: the next one can't begin before.
    boundary: Option<Offset>,
    /// A position within a batch of which a survey has found that it is where it says.
    surveyed: Option<Offset>,
    /// Set while the answer is what a survey found sound, and nothing of it has been handed out.
    is_resumed: bool,
    /// Memory for the codec of a batch that takes several windows.
    codec: Option<Taken>,
    /// Memory for the next record, and how much.
    granted: Option<(usize, Taken)>,
    empty_answers: u32,
}

impl WireReader {
    pub(super) fn new(
        topic_id: Option<TopicId>,
        partition: i32,
        cluster: Arc<Cluster>,
        reserve: Reserve,
        config: &super::ReaderConfig<'_>,
    ) -> Self {
        let super::ReaderConfig { kafka, source, max_record_bytes, .. } = config;
        Self {
            topic: source.topic.clone(),
            topic_id,
            partition,
            leader: LeaderConnection::new(Arc::clone(&cluster), reserve.clone()),
            cluster,
            reserve,
            isolation: Isolation::from(*source),
            // Beside rskafka it reads what that would read.
            leaves_out_aborted: source.isolation == config::Isolation::ReadCommitted,
            max_wait_ms: i32::try_from(source.max_wait.as_millis()).unwrap_or(i32::MAX),
            max_frame_bytes: kafka.max_frame_bytes.as_usize(),
            max_record_bytes: *max_record_bytes,
            answer: None,
            boundary: None,
            surveyed: None,
            is_resumed: false,
            codec: None,
            granted: None,
            empty_answers: 0,
        }
    }

    /// The records from `position` on, about `room` bytes of them.
    pub(super) async fn fetch(
        &mut self,
        position: Position,
        room: usize,
        max_wait_ms: i32,
    ) -> Result<SourceBatch, Error> {
        if !self.has_more(position) {
            self.forget_answer();
        }
        loop {
            if self.answer.is_none() {
                let fetched = self.look(position, room, max_wait_ms).await?;
                if fetched.batches.is_empty() {
                    return self.nothing(position, room, &fetched).await;
                }
                self.begin(position, fetched);
            }
            self.empty_answers = 0;
            if let Some(batch) = self.read_on(position, room).await? {
                return Ok(batch);
            }
        }
    }

    /// Tells whether there is more of an answer that has been fetched already.
    pub(super) fn has_more(&self, position: Position) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.at().offset == position.offset)
    }

    /// Makes sure that the leader's log is the one that was read up to `position`, if that has an
    /// epoch: for who reads in another way.
    pub(super) async fn validate(&mut self, position: Position) -> Result<(), Error> {
        match position.leader_epoch {
            Some(_) => Ok(self.leader.open(&self.topic, self.partition, position).await?),
            None => Ok(()),
        }
    }

    /// Asks for the offset of a place in the log.
    pub(super) async fn offset(&self, at: At) -> Result<Offset, Error> {
        let found = self.cluster.offset_as(self.isolation, &self.topic, self.partition, at).await?;
        found.ok_or_else(|| Error::code("look up offsets of", self.on(), ResponseError::OffsetNotAvailable))
    }

    /// Checks that the topic is still the one that the position is of. Fetches go by its name: one that
    /// was deleted and recreated would be read on in the middle. Until the assignment has noticed
    /// that too, nothing is read.
    pub(super) async fn check_topic(&self) -> Result<(), Error> {
        let Some(expected) = self.topic_id else { return Ok(()) };
        let found = self.cluster.topics(&[&self.topic]).await?.remove(&self.topic).transpose()?;
        match found.and_then(|found| found.id) {
            Some(id) if id != expected => Err(Error::code("read", self.on(), ResponseError::InconsistentTopicId)),
            _ => Ok(()),
        }
    }

    /// The partition, for errors.
    pub(super) fn on(&self) -> String {
        format!("{}/{}", self.topic, self.partition)
    }

    /// The time that a broker may hold a fetch.
    pub(super) fn max_wait_ms(&self) -> i32 {
        self.max_wait_ms
    }

    fn begin(&mut self, position: Position, fetched: Fetched) {
        let is_boundary = self.boundary == Some(position.offset);
        self.answer = Some(Answer::new(fetched, position, is_boundary, self.leaves_out_aborted));
    }

    fn forget_answer(&mut self) {
        (self.answer, self.codec, self.granted) = (None, None, None);
    }

    /// The next window of the answer; `None` where it has no more.
    async fn read_on(&mut self, position: Position, room: usize) -> Result<Option<SourceBatch>, Error> {
        while let Some(answer) = &mut self.answer {
            // A codec is counted from its second window on: most batches fit into one, and are done before anybody waits.
            match answer.codec_needs() {
                needs @ SMALL_CODEC.. if self.codec.is_none() => {
                    let mut taken = self.reserve.codec_now(needs);
                    if taken.is_none() {
                        // Who waits holds no window of megabytes meanwhile.
                        answer.close();
                        taken = self.reserve.codec(needs).await;
                    }
                    self.codec = Some(taken.ok_or_else(|| no_memory(&self.topic, self.partition, position, KEPT))?);
                }
                0 => self.codec = None,
                _ => {}
            }
            // Who has the memory for a large answer hands it out in larger windows.
            let bytes = room.max(answer.bytes().min(LARGE_WINDOW));
            let granted = self.granted.as_ref().map_or(0, |(bytes, _)| *bytes);
            let records = (bytes / USUAL_RECORD_BYTES).max(LEAST_RECORDS);
            let mut window = Window { bytes, records, max_record_bytes: self.max_record_bytes, granted };
            let read = answer.read(&mut window);
            let high_watermark = answer.high_watermark();
            self.boundary = answer.is_at_boundary().then_some(answer.at().offset);
            let (fetched, left) = read.map_err(|error| no_memory(&self.topic, self.partition, position, error))?;
            match left {
                Left::Odd(why) if std::mem::take(&mut self.is_resumed) => {
                    self.forget_answer();
                    return Err(self.undecodable(position.offset, &why));
                }
                Left::Odd(why) => {
                    self.forget_answer();
                    return self.survey(position, room, &why).await;
                }
                Left::Needs(bytes) => {
                    let taken = self.reserve.record(bytes).await;
                    self.granted =
                        Some((bytes, taken.ok_or_else(|| no_memory(&self.topic, self.partition, position, KEPT))?));
                    continue;
                }
                Left::Nothing => (self.answer, self.codec) = (None, None),
                Left::More => {}
            }
            if fetched.records.is_empty() && fetched.next.to().offset <= position.offset {
                // Something is passed over: a record that is too large, or what was read before.
                tokio::task::yield_now().await;
                continue;
            }
            self.is_resumed = false;
            let held = self.granted.take().map(|(_, taken)| taken);
            return Ok(Some(SourceBatch::of_wire(position.offset, high_watermark, fetched).holding(held)));
        }
        Ok(None)
    }

    /// Judges an answer without batches: that there is nothing yet, or that something is wrong with
    /// what is there.
    async fn nothing(&mut self, position: Position, room: usize, fetched: &Fetched) -> Result<SourceBatch, Error> {
        if position.offset >= fetched.end {
            self.empty_answers = 0;
            return Ok(SourceBatch::nothing(position, fetched.high_watermark));
        }
        self.empty_answers += 1;
        if self.empty_answers < EMPTY_ANSWERS {
            return Ok(SourceBatch::nothing(position, fetched.high_watermark));
        }
        let why = format!("nothing comes from it, but the log goes on to {}", fetched.end);
        match self.survey(position, room, &why).await? {
            Some(batch) => Ok(batch),
            None => Err(self.undecodable(position.offset, &why)),
        }
    }

    /// Fetches from a position, and hands nothing out.
    async fn look(&mut self, position: Position, max_bytes: usize, max_wait_ms: i32) -> Result<Fetched, Error> {
        if !self.leader.is_open() {
            self.check_topic().await?;
            self.leader.open(&self.topic, self.partition, position).await?;
        }
        let ask = Ask {
            topic: &self.topic,
            partition: self.partition,
            isolation: self.isolation,
            offset: position.offset,
            max_bytes: i32::try_from(max_bytes).unwrap_or(i32::MAX),
            max_wait_ms,
        };
        Ok(self.leader.fetch(&ask).await?)
    }

    fn undecodable(&self, position: Offset, why: &str) -> Error {
        let on = format!("{} at offset {position}", self.on());
        Error::new("decode", on, Cause::Undecodable(why.to_owned()))
    }
}

fn no_memory(topic: &str, partition: i32, position: Position, why: impl ToString) -> Error {
    let on = format!("{topic}/{partition} at offset {}", position.offset);
    Error::new("decode", on, Cause::NoMemory(why.to_string()))
}
