//! A closer look at a place in the log where something does not follow what came before: what of it is
//! damaged, and where the next sound batch begins.
//!
//! ```text
//! asked for 10:  [10: damaged][20: …        the next one stands behind it
//!                [10: damaged]              nothing does: a fetch ends with its segment. Asked for 11, 12,
//!                                           14, 18, … until another answers, then halved: [20: …
//!                [20: …                     a hole, or something that the broker passes over: asked for 9,
//!                                           its answer shows what stands between
//! ```
//! No count of bytes decides: a fetch crosses no segment, no limit of the broker's, no part that
//! is stored elsewhere. What is damaged is read twice first, since it may have been damaged on the way.

use bytes::Bytes;
use kafka_client::admission::KEPT;
use kafka_client::{Answer, Fetched, FetchedRecords};
use kafka_protocol::ResponseError;
use kafka_records::records::{Bounds, Frames, RawBatch, SoundBatch};
use kafka_records::step::Step;

use super::{WireReader, no_memory};
use crate::kafka::Error;
use crate::record::{Offset, Position};
use crate::source::batch::SourceBatch;

/// The bytes that are asked for beyond a damaged batch, to see what stands behind it.
const BEHIND_DAMAGE: usize = 1 << 20;

/// The most bytes that are no batch in a dead letter.
const MOST_UNFRAMED: usize = 1 << 20;

/// The findings at a place in the log.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ahead {
    /// The bytes that can't be read, in order, and why.
    odd: Vec<(Bytes, String)>,
    /// The first sound batch that ends behind the position, and what is behind it.
    sound: Option<(Offset, Bytes)>,
}

impl WireReader {
    /// Looks closely at `position`. What it finds damaged is handed out; `None` where there is
    /// nothing wrong with what is to be read next, which is in the answer then.
    pub(super) async fn survey(
        &mut self,
        position: Position,
        room: usize,
        why: &str,
    ) -> Result<Option<SourceBatch>, Error> {
        let alone = self.reserve.survey().await;
        let _alone = alone.ok_or_else(|| no_memory(&self.topic, self.partition, position, KEPT))?;
        let first = self.look(position, room, 0).await?;
        // What is found is held while more is asked for: it would wait for itself.
        let _all = self.leader.admit_all();
        let odd = self.ahead(&first, position).await?.0.odd;
        drop(first);
        let again = self.look(position, room, 0).await?;
        let mut ahead = self.ahead(&again, position).await?;
        if ahead.0.odd != odd {
            return Err(
                self.undecodable(position.offset, "two reads of the same batch differ: the damage is on the way")
            );
        }
        let mut fetched = again;
        if ahead.1.is_none() && !ahead.0.odd.is_empty() {
            let damaged: usize = ahead.0.odd.iter().map(|(bytes, _)| bytes.len()).sum();
            let wider = (damaged + room.max(BEHIND_DAMAGE)).min(self.max_frame_bytes / 2);
            fetched = self.look(position, wider, 0).await?;
            ahead = self.ahead(&fetched, position).await?;
        }
        let (Ahead { mut odd, .. }, sound) = ahead;
        let next = match sound {
            Some((batch, frames)) if batch.base_offset() <= position.offset => {
                // What is odd before it lies before the position, wherever it says that it is.
                self.resume(position, fetched, frames);
                return Ok(None);
            }
            Some((batch, _)) => {
                if odd.is_empty() {
                    odd = self.surely_passed_over(position, room, Some(&batch)).await?;
                }
                batch.begin()
            }
            None => {
                if odd.is_empty() {
                    odd = self.surely_passed_over(position, room, None).await?;
                    if odd.is_empty() {
                        return Ok(None);
                    }
                }
                self.probe(position, fetched.end, &odd).await?
            }
        };
        let mut read = FetchedRecords::empty_at(position);
        let last = Offset(next.to().offset.0.saturating_sub(1));
        let mut least = position.offset;
        for (bytes, why) in odd {
            // Where it says that it is, as far as that can be.
            let claimed = Frames::new(bytes.clone()).next_claim().unwrap_or(least);
            let offset = if (least..=last).contains(&claimed) { claimed } else { least.min(last) };
            read.records.add_corrupt_batch(offset, bytes, why);
            least = offset.next();
        }
        read.next = next;
        tracing::debug!(
            topic = self.topic,
            partition = self.partition,
            offset = position.offset.0,
            next = next.to().offset.0,
            damaged = read.records.len(),
            why,
            "looked closely at the log"
        );
        self.boundary = Some(next.to().offset);
        Ok(Some(SourceBatch::of_wire(position.offset, fetched.high_watermark, read)))
    }

    /// Goes on with a batch that holds the position.
    fn resume(&mut self, position: Position, fetched: Fetched, frames: Frames) {
        (self.surveyed, self.is_resumed) = (Some(position.offset), true);
        let answer = Answer::new(fetched, position, false, self.leaves_out_aborted);
        self.answer = Some(answer.beginning_at(frames));
    }

    /// Finds what an answer has from the position on: what is odd, and the first sound batch, with the frames
    /// that begin with it.
    async fn ahead(
        &mut self,
        fetched: &Fetched,
        position: Position,
    ) -> Result<(Ahead, Option<(SoundBatch, Frames)>), Error> {
        let is_boundary = self.boundary == Some(position.offset);
        let bounds = Bounds {
            offsets: if is_boundary { position.offset } else { Offset(0) }..fetched.end,
            least_epoch: position.leader_epoch,
            greatest_epoch: fetched.leader_epoch,
        };
        let mut ahead = Ahead::default();
        let mut frames = Frames::new(fetched.batches.clone());
        loop {
            let from_here = frames.clone();
            let Some(raw) = frames.next() else { break };
            let bytes = raw.bytes.clone();
            match raw.sound(&bounds) {
                Ok(batch) if batch.next_offset() <= position.offset => {}
                Ok(batch) if batch.is_control() && self.leaves_out_aborted && batch.is_abort_marker().is_err() => {
                    ahead.odd.push((bytes, "it is a control batch that does not say of what".to_owned()));
                }
                Ok(batch) => match self.contradicted(&batch, &frames, position, fetched.end).await? {
                    None => {
                        ahead.sound = Some((batch.base_offset(), batch.bytes().clone()));
                        return Ok((ahead, Some((batch, from_here))));
                    }
                    Some(why) => ahead.odd.push((bytes, why)),
                },
                Err(why) => ahead.odd.push((bytes, why)),
            }
        }
        let rest = frames.rest();
        if ahead.odd.is_empty() && !rest.is_empty() {
            let why = format!("it is cut short or misframed: {} bytes", rest.len());
            ahead.odd.push((rest.slice(..rest.len().min(MOST_UNFRAMED)), why));
        }
        Ok((ahead, None))
    }

    /// Tells whether what stands beside a batch says that it can't be where it says. Only what begins at the
    /// position is sure to be there.
    async fn contradicted(
        &mut self,
        batch: &SoundBatch,
        behind: &Frames,
        position: Position,
        end: Offset,
    ) -> Result<Option<String>, Error> {
        let (base, next) = (batch.base_offset(), batch.next_offset());
        if base < position.offset && self.surveyed != Some(position.offset) && base > Offset(0) {
            let before = self.first_at(Offset(base.0 - 1), end).await?;
            let reaches = before.filter(|before| before.bytes() != batch.bytes() && before.next_offset() > base);
            if let Some(before) = reaches {
                return Ok(Some(format!(
                    "it claims to begin at {base}, but what comes before it ends at {}",
                    before.next_offset()
                )));
            }
        }
        if base > position.offset {
            let behind = match behind.next_claim() {
                Some(claimed) => Some(claimed),
                None if next >= end => None,
                None => {
                    let behind = self.first_at(next, end).await?;
                    behind.filter(|behind| behind.bytes() != batch.bytes()).map(|behind| behind.base_offset())
                }
            };
            if let Some(behind) = behind.filter(|behind| *behind < next) {
                return Ok(Some(format!("it claims to end at {next}, but what comes behind it begins at {behind}")));
            }
        }
        Ok(None)
    }

    /// The batch that a fetch from an offset begins with, if that is sound.
    async fn first_at(&mut self, offset: Offset, end: Offset) -> Result<Option<SoundBatch>, Error> {
        let Some(fetched) = self.peek(offset).await? else { return Ok(None) };
        let bounds = Bounds { offsets: Offset(0)..end, least_epoch: None, greatest_epoch: None };
        Ok(Frames::new(fetched.batches).next().and_then(|raw| raw.sound(&bounds).ok()))
    }

    /// One batch from an offset on; `None` where the log has no such offset.
    async fn peek(&mut self, offset: Offset) -> Result<Option<Fetched>, Error> {
        match self.look(offset.into(), 1, 0).await {
            Ok(fetched) => Ok(Some(fetched)),
            Err(error) if error.is(ResponseError::OffsetOutOfRange) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Like [`WireReader::passed_over`], but nothing where two looks differ.
    async fn surely_passed_over(
        &mut self,
        position: Position,
        room: usize,
        before: Option<&SoundBatch>,
    ) -> Result<Vec<(Bytes, String)>, Error> {
        let odd = self.passed_over(position, room, before).await?;
        if odd.is_empty() || odd == self.passed_over(position, room, before).await? {
            return Ok(odd);
        }
        Err(self.undecodable(position.offset, "two reads of the same batch differ: the damage is on the way"))
    }

    /// Finds what stands in the log before a batch and is passed over by the broker, as what comes before the
    /// position shows, where that lies in the same segment.
    async fn passed_over(
        &mut self,
        position: Position,
        room: usize,
        before: Option<&SoundBatch>,
    ) -> Result<Vec<(Bytes, String)>, Error> {
        let Some(previous) = position.offset.0.checked_sub(1).filter(|previous| *previous >= 0) else {
            return Ok(Vec::new());
        };
        let fetched = match self.look(Offset(previous).into(), room.max(BEHIND_DAMAGE), 0).await {
            Ok(fetched) => fetched,
            Err(error) if error.is(ResponseError::OffsetOutOfRange) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let bounds = Bounds { offsets: Offset(0)..fetched.end, least_epoch: None, greatest_epoch: None };
        let mut odd = Vec::new();
        let end = fetched.end;
        let mut frames = Frames::new(fetched.batches);
        let mut ends_at = None;
        let is_boundary = self.boundary == Some(position.offset);
        let is_known = |batch: &SoundBatch| is_boundary && batch.next_offset() <= position.offset;
        for raw in frames.by_ref() {
            let bytes = raw.bytes.clone();
            let is_first = ends_at.is_none() && odd.is_empty();
            let claims_what_was_read = raw.claimed_base < position.offset && raw.claimed_end() == Some(position.offset);
            match raw.sound(&bounds) {
                Ok(batch) if before.is_none_or(|before| before.bytes() == batch.bytes()) && !is_first => {
                    return Ok(odd);
                }
                Ok(batch) if ends_at.is_none() && is_known(&batch) => ends_at = Some(batch.next_offset()),
                Ok(batch) if ends_at.is_none() && batch.base_offset() > Offset(0) => {
                    // Read by another reader, which can't tell whether it was where it said.
                    let ahead_of_it = self.first_at(Offset(batch.base_offset().0 - 1), end).await?;
                    if let Some(found) = ahead_of_it
                        .filter(|found| found.bytes() != batch.bytes() && found.next_offset() > batch.base_offset())
                    {
                        let (from, reaches) = (batch.base_offset(), found.next_offset());
                        let why = format!("it was read from {from} on, but what comes before it ends at {reaches}");
                        odd.push((bytes, why));
                    }
                    ends_at = Some(batch.next_offset());
                }
                Ok(batch)
                    if batch.next_offset() <= position.offset
                        && ends_at.is_none_or(|ends_at| ends_at <= batch.base_offset()) =>
                {
                    ends_at = Some(batch.next_offset());
                }
                Ok(batch) => {
                    let (from, to) = (batch.base_offset(), batch.next_offset());
                    odd.push((
                        bytes,
                        format!("it claims {from} to {to}, and no fetch from {} brings it", position.offset),
                    ));
                }
                // It was sound when it was read, and is damaged since.
                Err(_) if is_first && claims_what_was_read => ends_at = Some(position.offset),
                Err(why) => odd.push((bytes, why)),
            }
        }
        let rest = frames.rest();
        // What is only cut short by the end of the answer is the batch that the hole ends with.
        let is_odd =
            frames.next_claim().is_some_and(|claimed| before.is_none_or(|before| claimed < before.base_offset()));
        if is_odd && odd.is_empty() {
            odd.push((rest.slice(..rest.len().min(MOST_UNFRAMED)), "it is cut short or misframed".to_owned()));
        }
        Ok(odd)
    }

    /// To what comes behind damage of which no fetch shows the end: offset after offset, further and
    /// further, until something else answers; then where that begins.
    async fn probe(&mut self, position: Position, end: Offset, odd: &[(Bytes, String)]) -> Result<Step, Error> {
        let (mut same, mut other) = (position.offset, None);
        let mut distance = 1_i64;
        while other.is_none() && same.next() < end {
            let offset = Offset(position.offset.0.saturating_add(distance)).min(Offset(end.0 - 1));
            match self.answers_other(offset, odd).await? {
                Some(found) => other = Some((offset, found)),
                None => same = offset,
            }
            distance = distance.saturating_mul(2);
        }
        let Some((mut offset, mut found)) = other else {
            let asked = [position.offset, same];
            let step = Step::shown(position.offset, end, &asked);
            return step.ok_or_else(|| self.undecodable(position.offset, "nothing shows where the log goes on"));
        };
        while same.next() < offset {
            let middle = Offset(same.0 + (offset.0 - same.0) / 2);
            match self.answers_other(middle, odd).await? {
                Some(nearer) => (offset, found) = (middle, nearer),
                None => same = middle,
            }
        }
        let bounds = Bounds { offsets: position.offset..end, least_epoch: None, greatest_epoch: None };
        match found.sound(&bounds) {
            Ok(batch) if batch.base_offset() > position.offset => Ok(batch.begin()),
            // Another that is damaged, or where it can't be: all before it was asked for in vain.
            _ => Step::shown(position.offset, offset, &[position.offset, same])
                .ok_or_else(|| self.undecodable(position.offset, "nothing shows where the log goes on")),
        }
    }

    /// The batch that a fetch from an offset begins with, unless that is of the damage.
    async fn answers_other(&mut self, offset: Offset, odd: &[(Bytes, String)]) -> Result<Option<RawBatch>, Error> {
        let Some(fetched) = self.peek(offset).await? else { return Ok(None) };
        let first = Frames::new(fetched.batches).next();
        Ok(first.filter(|first| odd.iter().all(|(bytes, _)| *bytes != first.bytes)))
    }
}
