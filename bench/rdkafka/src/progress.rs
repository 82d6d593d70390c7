//! What is acknowledged, and so how far each partition may be committed.

use std::num::TryFromIntError;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use rdkafka::ClientContext;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;

/// Where a record goes: good ones to the one, bad ones to the other. Each of both is in order.
#[derive(Clone, Copy)]
pub enum Lane {
    Output = 0,
    Dead = 1,
}

/// What delivery reports say. They come on the thread that polls the producer.
pub struct Acknowledged {
    /// By partition and lane: the last source offset.
    last: Vec<[AtomicI64; 2]>,
    records: AtomicU64,
    failed: AtomicBool,
}

impl Acknowledged {
    /// Nothing yet of partitions that begin at these offsets.
    pub fn from(starts: &[i64]) -> Self {
        let last = starts.iter().map(|start| [AtomicI64::new(start - 1), AtomicI64::new(start - 1)]).collect();
        Self { last, records: AtomicU64::new(0), failed: AtomicBool::new(false) }
    }

    pub fn last(&self, partition: usize, lane: Lane) -> i64 {
        self.last[partition][lane as usize].load(Ordering::Relaxed)
    }

    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

/// A record's source partition, offset and lane, in what librdkafka carries for us. 16, 47 and 1 bit.
pub fn ticket(partition: usize, offset: i64, lane: Lane) -> Result<usize, TryFromIntError> {
    Ok(partition << 48 | usize::try_from(offset)? << 1 | lane as usize)
}

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: usize) {
        let offset = i64::try_from(ticket >> 1 & ((1 << 47) - 1));
        let (Ok(_), Ok(offset)) = (result, offset) else {
            self.failed.store(true, Ordering::Relaxed);
            return;
        };
        self.last[ticket >> 48][ticket & 1].store(offset, Ordering::Relaxed);
        self.records.fetch_add(1, Ordering::Relaxed);
    }
}
