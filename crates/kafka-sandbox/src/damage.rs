//! Damage to a stored batch: what a flipped bit on a disk does, and what a checksum does not find. Pure.

use super::batch;

/// What becomes of a stored batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// These bits of the byte that far into the batch are flipped. From byte 16 on a checksum finds it.
    Flip {
        /// From the batch's first byte.
        at: usize,
        /// Which bits.
        mask: u8,
    },
    /// The same, and its checksum is made right: a record, or its batch, is another.
    FlipSealed {
        /// From the batch's first byte.
        at: usize,
        /// Which bits.
        mask: u8,
    },
    /// One bit of its base offset is flipped, counted from the lowest. No checksum covers it.
    BaseOffsetBit(u32),
    /// It says that it begins there. No checksum covers it.
    BaseOffset(i64),
    /// It says that it was written in that leader epoch. No checksum covers it.
    LeaderEpoch(i32),
    /// Its length field says so. No checksum covers it.
    Length(i32),
    /// It says that it takes so many offsets and one, and its checksum is right.
    LastOffsetDelta(i32),
    /// It says that it has so many records, and its checksum is right.
    RecordCount(i32),
    /// That record of it, counted from 0, can't be decoded; its neighbours can, and the checksum is
    /// right. Not in a compressed batch.
    Record(usize),
}

impl Damage {
    /// Damages a batch; `None` where it has no such place.
    pub(super) fn apply(&self, bytes: &mut [u8]) -> Option<()> {
        match *self {
            Self::Flip { at, mask } => *bytes.get_mut(at)? ^= mask,
            Self::FlipSealed { at, mask } => {
                *bytes.get_mut(at)? ^= mask;
                batch::seal(bytes);
            }
            Self::BaseOffsetBit(bit) => {
                let base = batch::framed(bytes)?.0 ^ 1_i64.checked_shl(bit)?;
                put(bytes, batch::BASE_OFFSET, &base.to_be_bytes())?;
            }
            Self::BaseOffset(base) => put(bytes, batch::BASE_OFFSET, &base.to_be_bytes())?,
            Self::LeaderEpoch(epoch) => put(bytes, batch::LEADER_EPOCH, &epoch.to_be_bytes())?,
            Self::Length(length) => put(bytes, batch::LENGTH, &length.to_be_bytes())?,
            Self::LastOffsetDelta(delta) => {
                put(bytes, batch::LAST_OFFSET_DELTA, &delta.to_be_bytes())?;
                batch::seal(bytes);
            }
            Self::RecordCount(count) => {
                put(bytes, batch::RECORD_COUNT, &count.to_be_bytes())?;
                batch::seal(bytes);
            }
            Self::Record(index) => {
                let place = batch::record_at(bytes, index)?;
                // Its timestamp is a number of more bits than there are.
                bytes.get_mut(place)?.fill(0xff);
                batch::seal(bytes);
            }
        }
        Some(())
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) -> Option<()> {
    bytes.get_mut(at..at + value.len())?.copy_from_slice(value);
    Some(())
}
