//! What a fetch brought, handed out a window at a time, as long as it is what it should be.
//!
//! ```text
//! position ─► [batch][batch][hole][batch][ba│   each follows the one before, its checksum is right, and it
//!                                           cut  ends within the log: else the answer is odd from there on
//! ```
//! What is odd is not judged here: it ends what is handed out, and whoever reads looks at it more closely
//! by asking again.

use kafka_records::record::{Offset, Position};
use kafka_records::records::{Bounds, Frames, OpenBatch, Progress, RawBatch, Records, SoundBatch, Window};
use kafka_records::step::Step;
use kafka_records::unpack::UnpackError;

use super::aborted::Aborted;
use super::api::fetch::Fetched;

/// Records of one partition, decoded from a fetch response, and where to read on.
#[derive(Debug)]
pub struct FetchedRecords {
    /// The records and what is none, in order.
    pub records: Records,
    /// The step to where reading goes on.
    pub next: Step,
    /// Control batches stepped over.
    pub controls: usize,
    /// Whether some of it was compressed.
    pub compressed: bool,
}

/// What is left of an answer.
#[derive(Debug)]
pub struct Answer {
    frames: Frames,
    open: Option<OpenBatch>,
    /// A batch that was begun, and that holds nothing until it is gone on with.
    closed: Option<SoundBatch>,
    /// Up to there it has been handed out.
    at: Position,
    /// Whether a batch ended there, so that none can begin before.
    is_boundary: bool,
    /// Whether nothing has been taken from it yet.
    is_new: bool,
    /// Whether holes are what is expected.
    is_compacted: bool,
    end: Offset,
    high_watermark: Offset,
    leader_epoch: Option<i32>,
    aborted: Option<Aborted>,
    bytes: usize,
}

/// Why a read ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    /// There is more.
    More,
    /// All of the answer is handed out.
    Nothing,
    /// The next record needs so many bytes.
    Needs(usize),
    /// What comes next is not what should follow, and nothing came before it: why.
    Odd(String),
}

/// Why the next batch is not opened.
enum Refusal {
    Odd(String),
    Unpack(UnpackError),
}

impl FetchedRecords {
    /// No records, at a position.
    pub fn empty_at(position: Position) -> Self {
        Self { records: Records::default(), next: Step::stay(position), controls: 0, compressed: false }
    }
}

impl Answer {
    /// What was fetched from `at` on, which is where a batch ended before or not. Without
    /// `transactions` the records of those that were given up are among the others.
    pub fn new(fetched: Fetched, at: Position, is_boundary: bool, leaves_out_aborted: bool) -> Self {
        Self {
            bytes: fetched.batches.len(),
            aborted: leaves_out_aborted.then(|| Aborted::new(&fetched.aborted)),
            frames: Frames::new(fetched.batches),
            open: None,
            closed: None,
            at,
            is_boundary,
            is_new: true,
            is_compacted: false,
            end: fetched.end,
            high_watermark: fetched.high_watermark,
            leader_epoch: fetched.leader_epoch,
        }
    }

    /// Goes on from `frames`, as what stands before them has been looked at: the first batch is to be
    /// taken as it is.
    pub fn beginning_at(self, frames: Frames) -> Self {
        Self { frames, is_new: false, is_boundary: false, ..self }
    }

    /// Takes it for that of a compacted log, which has holes anywhere.
    pub fn of_compacted(self) -> Self {
        Self { is_compacted: true, ..self }
    }

    /// The position up to which it has been handed out.
    pub fn at(&self) -> Position {
        self.at
    }

    /// Returns whether a batch ended at that position.
    pub fn is_at_boundary(&self) -> bool {
        self.is_boundary && self.open.is_none() && self.closed.is_none()
    }

    /// The offset behind the last record that all in-sync replicas have.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The size of what came, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The bytes that the codec of a batch holds from one call to the next.
    pub fn codec_needs(&self) -> usize {
        self.open.as_ref().map_or(0, OpenBatch::needs)
    }

    /// Frees what a codec holds: the batch is unpacked from its beginning when it is gone on with, and what has been
    /// handed out of it is passed over.
    pub fn close(&mut self) {
        self.closed = self.closed.take().or_else(|| self.open.take().map(OpenBatch::closed));
    }

    /// The bounds that a batch of it that is framed is held against.
    pub fn bounds(&self) -> Bounds {
        let from = if self.is_boundary { self.at.offset } else { Offset(0) };
        Bounds { offsets: from..self.end, least_epoch: self.at.leader_epoch, greatest_epoch: self.leader_epoch }
    }

    /// The next records, as many as there is room for.
    ///
    /// # Errors
    /// [`UnpackError::NoMemory`], after which it can be called again.
    pub fn read(&mut self, window: &mut Window) -> Result<(FetchedRecords, Left), UnpackError> {
        let begun = self.at;
        let mut fetched = FetchedRecords::empty_at(self.at);
        let left = loop {
            let left = match &mut self.open {
                Some(open) => match Self::read_open(open, window, &mut fetched)? {
                    None => {
                        self.open = None;
                        (self.at, self.is_boundary) = (fetched.next.to(), true);
                        None
                    }
                    left => left,
                },
                None => match self.open_next(&mut fetched) {
                    Ok(left) => left,
                    Err(Refusal::Odd(_)) if fetched.next.to() != begun => Some(Left::Nothing),
                    Err(Refusal::Odd(why)) => Some(Left::Odd(why)),
                    Err(Refusal::Unpack(_)) if !fetched.records.is_empty() => Some(Left::More),
                    Err(Refusal::Unpack(error)) => return Err(error),
                },
            };
            let left = left.or_else(|| window.is_full().then_some(Left::More));
            if let Some(left) = left {
                break left;
            }
        };
        self.at = fetched.next.to();
        Ok((fetched, left))
    }

    /// `None` where the batch is done.
    fn read_open(
        open: &mut OpenBatch,
        window: &mut Window,
        fetched: &mut FetchedRecords,
    ) -> Result<Option<Left>, UnpackError> {
        let before = fetched.records.len();
        let read = open.read(window, &mut fetched.records);
        if fetched.records.len() > before
            && let Some(last) = fetched.records.get(fetched.records.len() - 1)
        {
            fetched.next = Step::behind(last.record.offset, open.batch().leader_epoch());
        }
        match read {
            Ok(Progress::Done) => {
                fetched.next = open.batch().end();
                Ok(None)
            }
            Ok(Progress::Full) => Ok(Some(Left::More)),
            Ok(Progress::Needs(_)) | Err(_) if !fetched.records.is_empty() => Ok(Some(Left::More)),
            Ok(Progress::Needs(bytes)) => Ok(Some(Left::Needs(bytes))),
            Err(error) => Err(error),
        }
    }

    /// Opens the batch that was closed, or the next one.
    fn open_next(&mut self, fetched: &mut FetchedRecords) -> Result<Option<Left>, Refusal> {
        let Some(batch) = self.closed.take() else { return self.take_next(fetched) };
        fetched.compressed |= batch.is_compressed();
        match OpenBatch::new(batch.clone(), self.at.offset) {
            Ok(open) => self.open = Some(open),
            Err(error) => {
                self.closed = Some(batch);
                return Err(Refusal::Unpack(error));
            }
        }
        Ok(None)
    }

    /// Opens the next batch, or steps over it. `Some` where there is none.
    ///
    /// # Errors
    /// Why what comes next is odd, or can't be opened now: then it is still to come.
    fn take_next(&mut self, fetched: &mut FetchedRecords) -> Result<Option<Left>, Refusal> {
        let is_first = std::mem::take(&mut self.is_new);
        let before = self.frames.clone();
        let Some(raw) = self.frames.next() else {
            return match self.frames.rest().len() {
                bytes @ 1.. if is_first => {
                    Err(Refusal::Odd(format!("the first batch is cut short or misframed: {bytes} bytes")))
                }
                _ => Ok(Some(Left::Nothing)),
            };
        };
        let batch = self.following(raw, is_first).map_err(Refusal::Odd)?;
        let leaves_out = match &mut self.aborted {
            Some(aborted) => aborted.leaves_out(&batch).map_err(Refusal::Odd)?,
            None => false,
        };
        fetched.controls += usize::from(batch.is_control());
        fetched.compressed |= batch.is_compressed();
        if leaves_out || batch.is_control() {
            fetched.next = batch.end();
            (self.at, self.is_boundary) = (fetched.next.to(), true);
            return Ok(None);
        }
        match OpenBatch::new(batch, self.at.offset) {
            Ok(open) => self.open = Some(open),
            Err(error) => {
                (self.frames, self.is_new) = (before, is_first);
                return Err(Refusal::Unpack(error));
            }
        }
        Ok(None)
    }

    /// A batch, where it follows what has been handed out.
    fn following(&self, raw: RawBatch, is_first: bool) -> Result<SoundBatch, String> {
        let (at, base) = (self.at.offset, raw.claimed_base);
        if base > at && !self.is_compacted {
            if is_first {
                return Err(format!("it begins at {base}, {at} was asked for"));
            }
            // Behind a hole only what comes next tells that it is where it says.
            let fits = match self.frames.next_claim() {
                Some(next) => raw.claimed_end().is_some_and(|end| end <= next),
                None => raw.claimed_end() == Some(self.end),
            };
            if !fits {
                return Err(format!("it begins at {base}, behind a hole, and reaches into what follows it"));
            }
        }
        if base < at && is_first && !self.is_boundary {
            return Err(format!("it begins at {base}, before {at}, where reading begins"));
        }
        let batch = raw.sound(&self.bounds())?;
        if batch.next_offset() <= at {
            return Err(format!("it ends at {}, {at} was asked for", batch.next_offset()));
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests;
