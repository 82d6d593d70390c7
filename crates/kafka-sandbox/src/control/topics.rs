//! Topics and logs without a socket: how a test sets the stage and reads the outcome.

use std::ops::Range;

use bytes::Bytes;

use crate::batch::NewBatch;
use crate::batch_header::BatchHeader;
use crate::damage::Damage;
use crate::partition::Partition;
use crate::record::{NewRecord, StoredRecord};
use crate::topic_config::TopicConfig;
use crate::{Sandbox, SandboxError};

impl Sandbox {
    /// Makes a topic with Kafka's defaults, led by the nodes in turn.
    ///
    /// # Errors
    /// It exists, its name is illegal or its number of partitions impossible.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<(), SandboxError> {
        let config = self.shared.lock().default_topic(partitions);
        self.create_topic_with(name, config)
    }

    /// Makes a topic.
    ///
    /// # Errors
    /// As [`create_topic`](Self::create_topic).
    pub fn create_topic_with(&self, name: &str, config: TopicConfig) -> Result<(), SandboxError> {
        self.shared.lock().create_topic(name, config)?;
        self.shared.ring();
        Ok(())
    }

    /// Adds partitions until there are `total`.
    ///
    /// # Errors
    /// There is no such topic, or it has more.
    pub fn add_partitions(&self, name: &str, total: i32) -> Result<(), SandboxError> {
        self.shared.lock().grow_topic(name, total)?;
        self.shared.ring();
        Ok(())
    }

    /// Deletes a topic and its records; one made anew under its name begins at offset 0.
    ///
    /// # Errors
    /// There is no such topic.
    pub fn delete_topic(&self, name: &str) -> Result<(), SandboxError> {
        let removed = self.shared.lock().delete_topic(name);
        self.shared.ring();
        Ok(removed?)
    }

    /// The names of all topics, in order.
    pub fn topics(&self) -> Vec<String> {
        self.shared.lock().topics.keys().cloned().collect()
    }

    /// How many partitions a topic has; 0 where there is no such topic.
    pub fn partitions(&self, topic: &str) -> i32 {
        let cluster = self.shared.lock();
        let found = cluster.topics.get(topic);
        found.map_or(0, |topic| topic.config.partitions)
    }

    /// Appends one batch of records with the current time; returns the first one's offset.
    ///
    /// # Errors
    /// There is no such partition.
    pub fn produce<K: Into<Bytes>, V: Into<Bytes>>(
        &self,
        topic: &str,
        partition: i32,
        records: impl IntoIterator<Item = (K, V)>,
    ) -> Result<i64, SandboxError> {
        let now = self.shared.lock().clock.unix_ms();
        let records = records.into_iter().map(|(key, value)| NewRecord::new(key, value).timestamp(now)).collect();
        self.append_batch(topic, partition, &NewBatch::new(records))
    }

    /// Appends a batch, whatever is in it, of any size; returns its base offset.
    ///
    /// # Errors
    /// There is no such partition.
    pub fn append_batch(&self, topic: &str, partition: i32, batch: &NewBatch) -> Result<i64, SandboxError> {
        self.append_encoded(topic, partition, &batch.to_bytes())
    }

    /// Appends the bytes of one whole batch as Produce would, but of any size and unchecked; returns
    /// its base offset.
    ///
    /// # Errors
    /// There is no such partition, or they don't begin with a batch's header.
    pub fn append_encoded(&self, topic: &str, partition: i32, bytes: &[u8]) -> Result<i64, SandboxError> {
        let header = BatchHeader::read(bytes).map_err(|source| SandboxError::Unreadable { offset: -1, source })?;
        self.with(topic, partition, |p| Ok(p.append(&header, bytes)))
    }

    /// Appends the marker that ends a producer's open transaction; returns its offset.
    ///
    /// # Errors
    /// There is no such partition.
    pub fn append_control_batch(
        &self,
        topic: &str,
        partition: i32,
        producer_id: i64,
        commit: bool,
    ) -> Result<i64, SandboxError> {
        let marker = NewBatch::control(producer_id, commit, self.shared.lock().clock.unix_ms());
        self.append_batch(topic, partition, &marker)
    }

    /// Appends any bytes, untouched, as the batch with those offsets.
    ///
    /// # Errors
    /// There is no such partition, or the offsets are none or lie before its end.
    pub fn append_raw(
        &self,
        topic: &str,
        partition: i32,
        offsets: Range<i64>,
        bytes: impl Into<Bytes>,
    ) -> Result<(), SandboxError> {
        let start = offsets.start;
        self.with(topic, partition, |p| {
            let appended = p.log.append_raw(offsets, &bytes.into());
            appended.map_err(|_| SandboxError::OffsetOutOfRange(start))
        })
    }

    /// Lets offsets pass that no record has, as compaction leaves them: the next batch begins that
    /// much later.
    ///
    /// # Errors
    /// There is no such partition.
    pub fn append_hole(&self, topic: &str, partition: i32, offsets: u32) -> Result<(), SandboxError> {
        self.with(topic, partition, |p| {
            p.log.append_hole(offsets);
            Ok(())
        })
    }

    /// Takes the stored batch that holds an offset away, as compaction does; what it had is a hole.
    ///
    /// # Errors
    /// There is no such partition, or no batch with that offset.
    pub fn compact(&self, topic: &str, partition: i32, offset: i64) -> Result<(), SandboxError> {
        self.with(topic, partition, |p| p.log.compact(offset).map_err(|_| SandboxError::OffsetOutOfRange(offset)))
    }

    /// Ends the active segment of a partition: the next batch begins another.
    ///
    /// # Errors
    /// There is no such partition.
    pub fn roll_segment(&self, topic: &str, partition: i32) -> Result<(), SandboxError> {
        self.with(topic, partition, |p| {
            p.log.roll();
            Ok(())
        })
    }

    /// The offsets that the segments of a partition begin at, the active one's last.
    ///
    /// # Errors
    /// There is no such partition.
    pub fn segments(&self, topic: &str, partition: i32) -> Result<Vec<i64>, SandboxError> {
        Ok(self.shared.lock().partition(topic, partition)?.log.segments())
    }

    /// Damages the stored batch that holds an offset, for good. It is found by where it was appended,
    /// whatever it says of itself by now.
    ///
    /// # Errors
    /// There is no such partition, no batch with that offset, or nothing in it to be damaged so.
    pub fn damage(&self, topic: &str, partition: i32, offset: i64, damage: &Damage) -> Result<(), SandboxError> {
        self.with(topic, partition, |p| {
            let damaged = p.log.damage(offset, damage);
            damaged.map_err(|_| SandboxError::OffsetOutOfRange(offset))
        })
    }

    /// The bytes of the stored batch that holds an offset, as they are now.
    ///
    /// # Errors
    /// There is no such partition, or no batch with that offset.
    pub fn stored_batch(&self, topic: &str, partition: i32, offset: i64) -> Result<Bytes, SandboxError> {
        let mut cluster = self.shared.lock();
        let stored = cluster.partition(topic, partition)?.log.stored(offset);
        stored.map_err(|_| SandboxError::OffsetOutOfRange(offset))
    }

    /// Flips the last byte of the stored batch that holds an offset, for good.
    ///
    /// # Errors
    /// There is no such partition, or no batch with that offset.
    pub fn corrupt_stored(&self, topic: &str, partition: i32, offset: i64) -> Result<(), SandboxError> {
        self.with(topic, partition, |p| {
            let corrupted = p.log.stored(offset).and_then(|stored| {
                let last = Damage::Flip { at: stored.len().saturating_sub(1), mask: 0xff };
                p.log.damage(offset, &last)
            });
            corrupted.map_err(|_| SandboxError::OffsetOutOfRange(offset))
        })
    }

    /// Gives up all records before an offset, as retention does; returns the new log start offset.
    ///
    /// # Errors
    /// There is no such partition, or it ends before that offset.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) -> Result<i64, SandboxError> {
        self.with(topic, partition, |p| {
            let deleted = p.log.delete_before(before);
            deleted.map_err(|_| SandboxError::OffsetOutOfRange(before))
        })
    }

    /// Pins the last stable offset; `None` lets it follow the open transactions again.
    ///
    /// # Errors
    /// There is no such partition.
    pub fn set_last_stable_offset(&self, topic: &str, partition: i32, offset: Option<i64>) -> Result<(), SandboxError> {
        self.with(topic, partition, |p| {
            p.log.pin_last_stable(offset);
            Ok(())
        })
    }

    /// Pins the high watermark, as of a leader that has just been elected and does not know yet how far
    /// its followers are; `None` lets it follow the end again. Nothing behind it is read or listed.
    ///
    /// # Errors
    /// There is no such partition.
    pub fn set_high_watermark(&self, topic: &str, partition: i32, offset: Option<i64>) -> Result<(), SandboxError> {
        self.with(topic, partition, |p| {
            p.log.pin_high_watermark(offset);
            Ok(())
        })
    }

    /// All records of a partition, those of open and aborted transactions included, markers not.
    ///
    /// # Errors
    /// There is no such partition, or a batch of it cannot be decoded.
    pub fn read(&self, topic: &str, partition: i32) -> Result<Vec<StoredRecord>, SandboxError> {
        stored(self.shared.lock().partition(topic, partition)?)
    }

    /// What a `read_committed` consumer should see of a partition.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_committed(&self, topic: &str, partition: i32) -> Result<Vec<StoredRecord>, SandboxError> {
        let mut cluster = self.shared.lock();
        let partition = cluster.partition(topic, partition)?;
        let log = &partition.log;
        let visible = |record: &StoredRecord| {
            let mut aborted = log.aborted_since(record.offset);
            record.offset < log.last_stable()
                && !aborted.any(|a| a.producer_id == record.producer_id && a.first_offset <= record.offset)
        };
        Ok(stored(partition)?.into_iter().filter(visible).collect())
    }

    /// The offset that the next record will get.
    ///
    /// # Errors
    /// There is no such partition.
    pub fn end_offset(&self, topic: &str, partition: i32) -> Result<i64, SandboxError> {
        Ok(self.shared.lock().partition(topic, partition)?.log.end())
    }

    /// The offset before which all records are gone.
    ///
    /// # Errors
    /// There is no such partition.
    pub fn log_start_offset(&self, topic: &str, partition: i32) -> Result<i64, SandboxError> {
        Ok(self.shared.lock().partition(topic, partition)?.log.start())
    }

    /// Waits until a partition's end is at or past `offset`; returns the end.
    ///
    /// # Errors
    /// There is no such partition, or it is deleted meanwhile.
    pub async fn until_end_offset(&self, topic: &str, partition: i32, offset: i64) -> Result<i64, SandboxError> {
        let mut changes = self.shared.changes();
        loop {
            changes.borrow_and_update();
            let end = self.end_offset(topic, partition)?;
            // The sender lives as long as the sandbox, so that changed() fails never.
            if end >= offset || changes.changed().await.is_err() {
                return Ok(end);
            }
        }
    }

    fn with<T>(
        &self,
        topic: &str,
        partition: i32,
        act: impl FnOnce(&mut Partition) -> Result<T, SandboxError>,
    ) -> Result<T, SandboxError> {
        let done = act(self.shared.lock().partition(topic, partition)?)?;
        self.shared.ring();
        Ok(done)
    }
}

fn stored(partition: &Partition) -> Result<Vec<StoredRecord>, SandboxError> {
    let unreadable = |(offset, source)| SandboxError::Unreadable { offset, source };
    partition.log.records().map_err(unreadable)
}
