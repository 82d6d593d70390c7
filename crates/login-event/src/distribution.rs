//! Counts of each value of a field, in bounded memory: the Space-Saving sketch of Metwally,
//! Agrawal and El Abbadi ("Efficient computation of frequent and top-k elements in data streams").
//!
//! ```
//! use login_event::distribution::Distribution;
//!
//! let mut locales = Distribution::default();
//! for locale in ["RU", "CA", "RU"] {
//!     locales.count(locale);
//! }
//! assert_eq!(locales.top(1), [("RU".into(), 2)]);
//! assert_eq!(locales.total(), 3);
//! ```

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// The most values that a [`Distribution`] tells apart at a time.
pub const CAPACITY: usize = 512;

/// The most bytes of a value that are kept; longer ones are cut at a character's boundary.
pub const MAX_VALUE_BYTES: usize = 64;

/// Entries of the direct-mapped cache before the hash map, a power of two: enough that some hundred
/// values seldom drive each other out.
const HINTS: usize = 2048;

/// Counts of the values of one field.
///
/// What comes from senders decides the values, so a hostile one can send a new value each time. It
/// then gets at most [`CAPACITY`] places, and each newcomer takes the place of the rarest value:
/// any value that makes up more than one in [`CAPACITY`] of all keeps its place. Reported counts
/// are lower bounds, and exact as long as no more than [`CAPACITY`] values have been seen.
#[derive(Debug, Clone)]
pub struct Distribution {
    capacity: usize,
    total: u64,
    values: Vec<Arc<str>>,
    /// Of each value, its count, and enough of it to know nearly all values by without a look
    /// elsewhere.
    slots: Vec<Slot>,
    /// By how much the counts may be too high: the count of the value whose place this one took.
    errors: Vec<u64>,
    places: HashMap<Arc<str>, usize>,
    /// Where a value with this hint was last found; checked before use. Fields such as a device
    /// type have a handful of values, which are found here without hashing.
    hints: Box<[u16]>,
    /// No value is rarer than this.
    floor: u64,
    /// Where the search for the next value to evict goes on.
    cursor: usize,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    print: Print,
    /// A number that the value's true count does not exceed.
    count: u64,
}

/// A value's length, beginning and end: all of a value of up to [`Print::WHOLE`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Print {
    head: u64,
    tail: u64,
    bytes: usize,
}

impl Print {
    const WHOLE: usize = 16;

    #[inline]
    fn of(bytes: &[u8]) -> Self {
        let (head, tail) = match (bytes.first_chunk(), bytes.last_chunk()) {
            (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
            _ => (Self::of_few(bytes), 0),
        };
        Self { head, tail, bytes: bytes.len() }
    }

    /// All of a value of less than eight bytes, without a loop: its ends, which may overlap.
    #[inline]
    fn of_few(bytes: &[u8]) -> u64 {
        if let (Some(head), Some(tail)) = (bytes.first_chunk(), bytes.last_chunk()) {
            return u64::from(u32::from_le_bytes(*head)) | u64::from(u32::from_le_bytes(*tail)) << 32;
        }
        match *bytes {
            [] => 0,
            [one] => one.into(),
            [first, second] => u64::from_le_bytes([first, second, 0, 0, 0, 0, 0, 0]),
            [first, second, third, ..] => u64::from_le_bytes([first, second, third, 0, 0, 0, 0, 0]),
        }
    }

    /// Where to look for the value first. Values that collide on purpose cost a look into the hash
    /// map, no more.
    #[inline]
    fn hint(self) -> usize {
        let mixed = (self.head ^ self.tail.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // The highest bits: all others have an influence on them.
        usize::try_from(mixed >> (u64::BITS - HINTS.ilog2())).unwrap_or(0)
    }
}

impl Default for Distribution {
    fn default() -> Self {
        Self::with_capacity(CAPACITY)
    }
}

impl Distribution {
    fn with_capacity(capacity: usize) -> Self {
        Self {
            capacity,
            total: 0,
            values: Vec::new(),
            slots: Vec::new(),
            errors: Vec::new(),
            places: HashMap::new(),
            hints: vec![0; HINTS].into(),
            floor: 0,
            cursor: 0,
        }
    }

    /// Counts one occurrence of a text. Allocates only where that is new.
    #[inline]
    pub fn count(&mut self, value: impl AsRef<[u8]>) {
        self.count_bytes(value.as_ref());
    }

    #[inline(never)] // in a caller that is made small it would be, too
    fn count_bytes(&mut self, value: &[u8]) {
        let print = Print::of(value);
        let hint = print.hint();
        let mut place = usize::from(self.hints[hint]);
        let known = self.slots.get(place).is_some_and(|slot| slot.print == print)
            && (print.bytes <= Print::WHOLE || self.values[place].as_bytes() == value);
        if !known {
            place = self.find(value);
            self.hints[hint] = u16::try_from(place).unwrap_or(0);
        }
        self.slots[place].count += 1;
        self.total += 1;
    }

    #[inline(never)]
    fn find(&mut self, value: &[u8]) -> usize {
        let value = String::from_utf8_lossy(value);
        let value = value.get(..value.floor_char_boundary(MAX_VALUE_BYTES)).unwrap_or_default();
        match self.places.get(value) {
            Some(place) => *place,
            None => self.make_place(value),
        }
    }

    /// How many values were counted, each as often as it occurred.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The values that occur most and how often they do at least, the most frequent first.
    pub fn top(&self, limit: usize) -> Vec<(Arc<str>, u64)> {
        let counted = self.entries().filter(|(_, count, _)| *count > 0);
        let mut top: Vec<_> = counted.map(|(value, count, error)| (Arc::clone(value), count - error)).collect();
        top.sort_unstable_by(|(a, at_a), (b, at_b)| at_b.cmp(at_a).then_with(|| a.cmp(b)));
        top.truncate(limit);
        top
    }

    /// Adds what another sketch counted; the bounds of both hold for the sum.
    pub fn merge(&mut self, other: &Self) {
        if self.unseen() == 0 && other.unseen() == 0 && self.has_place_for(other) {
            return self.add(other);
        }
        let (unseen_here, unseen_there) = (self.unseen(), other.unseen());
        let mut sums: HashMap<Arc<str>, (u64, u64)> = HashMap::with_capacity(self.values.len() + other.values.len());
        for (value, count, error) in self.entries() {
            sums.insert(Arc::clone(value), (count + unseen_there, error + unseen_there));
        }
        for (value, count, error) in other.entries() {
            match sums.entry(Arc::clone(value)) {
                Entry::Occupied(mut sum) => {
                    let (sum_count, sum_error) = sum.get_mut();
                    *sum_count = *sum_count - unseen_there + count;
                    *sum_error = *sum_error - unseen_there + error;
                }
                Entry::Vacant(sum) => {
                    sum.insert((count + unseen_here, error + unseen_here));
                }
            }
        }
        let mut sums: Vec<_> = sums.into_iter().collect();
        sums.sort_unstable_by(|(a, (count_a, _)), (b, (count_b, _))| count_b.cmp(count_a).then_with(|| a.cmp(b)));
        sums.truncate(self.capacity);

        let mut merged = Self::with_capacity(self.capacity);
        merged.total = self.total + other.total;
        for (place, (value, (count, error))) in sums.into_iter().enumerate() {
            merged.values.push(Arc::clone(&value));
            merged.slots.push(Slot { print: Print::of(value.as_bytes()), count });
            merged.errors.push(error);
            merged.places.insert(value, place);
        }
        *self = merged;
    }

    /// Forgets what was counted. The values keep their places until others need them, so that those
    /// which come again are found at once.
    pub fn clear(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.count = 0);
        self.errors.fill(0);
        (self.total, self.floor) = (0, 0);
    }

    /// Tells whether nobody would lose a place to another's values.
    fn has_place_for(&self, other: &Self) -> bool {
        let missing = other.entries().filter(|(value, count, _)| *count > 0 && !self.places.contains_key(*value));
        self.values.len() + missing.count() <= self.capacity
    }

    fn add(&mut self, other: &Self) {
        for (value, count, error) in other.entries().filter(|(_, count, _)| *count > 0) {
            let known = self.places.get(value).copied();
            let place = known.unwrap_or_else(|| self.make_place(value));
            self.slots[place].count += count;
            self.errors[place] += error;
        }
        self.total += other.total;
    }

    fn entries(&self) -> impl Iterator<Item = (&Arc<str>, u64, u64)> {
        let numbers = self.slots.iter().zip(&self.errors);
        self.values.iter().zip(numbers).map(|(value, (slot, error))| (value, slot.count, *error))
    }

    /// How often a value without a place may have occurred at most.
    fn unseen(&self) -> u64 {
        if self.values.len() < self.capacity { 0 } else { self.slots.iter().map(|slot| slot.count).min().unwrap_or(0) }
    }

    /// Gives a new value a place: a free one, or that of the rarest value.
    fn make_place(&mut self, value: &str) -> usize {
        let print = Print::of(value.as_bytes());
        let value: Arc<str> = value.into();
        let place = if self.values.len() < self.capacity {
            self.values.push(Arc::clone(&value));
            self.slots.push(Slot { print, count: 0 });
            self.errors.push(0);
            self.values.len() - 1
        } else {
            let rarest = self.rarest();
            self.places.remove(&self.values[rarest]);
            self.values[rarest] = Arc::clone(&value);
            self.slots[rarest].print = print;
            self.errors[rarest] = self.slots[rarest].count;
            rarest
        };
        self.places.insert(value, place);
        place
    }
}

impl Distribution {
    /// The place of a value that none is rarer than. Goes round and round: counts only grow, so
    /// that a round which finds none at the floor raises it, and a look costs little on average.
    fn rarest(&mut self) -> usize {
        let mut least = u64::MAX;
        for _ in 0..self.slots.len() {
            self.cursor = (self.cursor + 1) % self.slots.len();
            let count = self.slots[self.cursor].count;
            if count <= self.floor {
                return self.cursor;
            }
            least = least.min(count);
        }
        self.floor = least;
        self.slots.iter().position(|slot| slot.count == least).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counted<'a>(capacity: usize, values: impl IntoIterator<Item = &'a str>) -> Distribution {
        let mut distribution = Distribution::with_capacity(capacity);
        values.into_iter().for_each(|value| distribution.count(value));
        distribution
    }

    fn assert_bounds(distribution: &Distribution, stream: &[String]) -> Result<(), TestCaseError> {
        let mut exact: HashMap<&str, u64> = HashMap::new();
        stream.iter().for_each(|value| *exact.entry(value).or_default() += 1);

        prop_assert_eq!(distribution.total(), u64::try_from(stream.len()).unwrap());
        prop_assert!(distribution.values.len() <= distribution.capacity);
        prop_assert_eq!(distribution.places.len(), distribution.values.len());
        for (place, (value, count, error)) in distribution.entries().enumerate() {
            prop_assert_eq!(distribution.places.get(value), Some(&place));
            let exact = exact.get(&**value).copied().unwrap_or(0);
            prop_assert!(count - error <= exact && exact <= count, "{value}: {exact} in {}..={count}", count - error);
        }
        for (value, count) in exact {
            if !distribution.places.contains_key(value) {
                prop_assert!(count <= distribution.unseen(), "{value} occurs {count} times and has no place");
            }
        }
        Ok(())
    }

    /// Streams with a few frequent values among many rare ones.
    fn streams() -> impl Strategy<Value = Vec<String>> {
        let value = prop_oneof![3 => 0..4_u32, 2 => 0..40_u32, 1 => any::<u32>()];
        prop::collection::vec(value.prop_map(|n| n.to_string()), 0..400)
    }

    proptest! {
        #[test]
        fn counts_are_bounds_of_the_exact_ones(stream in streams(), capacity in 1..32_usize) {
            let distribution = counted(capacity, stream.iter().map(String::as_str));
            assert_bounds(&distribution, &stream)?;
            let sum: u64 = distribution.top(usize::MAX).iter().map(|(_, count)| count).sum();
            prop_assert!(sum <= distribution.total());
        }

        #[test]
        fn counts_are_exact_while_all_values_have_a_place(stream in streams()) {
            let distribution = counted(400, stream.iter().map(String::as_str));
            prop_assert!(distribution.errors.iter().all(|error| *error == 0));
            assert_bounds(&distribution, &stream)?;
        }

        #[test]
        fn bounds_hold_after_merging(parts in prop::collection::vec(streams(), 1..5), capacity in 1..32_usize) {
            let mut merged = Distribution::with_capacity(capacity);
            for part in &parts {
                merged.merge(&counted(capacity, part.iter().map(String::as_str)));
            }
            assert_bounds(&merged, &parts.concat())?;
        }

        #[test]
        fn what_is_cleared_counts_as_if_it_were_new(parts in prop::collection::vec(streams(), 1..5), capacity in 1..32_usize) {
            let mut merged = Distribution::with_capacity(capacity);
            let mut used = Distribution::with_capacity(capacity);
            for part in &parts {
                used.clear();
                part.iter().for_each(|value| used.count(value));
                assert_bounds(&used, part)?;
                prop_assert!(used.top(usize::MAX).iter().all(|(value, _)| part.iter().any(|counted| **counted == **value)));
                merged.merge(&used);
            }
            assert_bounds(&merged, &parts.concat())?;
        }
    }

    #[test]
    fn random_values_do_not_push_out_frequent_ones() {
        let mut distribution = Distribution::default();
        for n in 0..40_000_u32 {
            distribution.count(format!("hostile-{}", n.wrapping_mul(2_654_435_761)));
            if n % 10 == 0 {
                distribution.count("android");
            }
        }
        let (value, count) = distribution.top(1).remove(0);
        assert_eq!(&*value, "android");
        assert!((3_800..=4_000).contains(&count), "{count}");
        assert_eq!(distribution.values.len(), CAPACITY);
        assert_eq!(distribution.places.len(), CAPACITY);
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let mut distribution = Distribution::default();
        distribution.count("é".repeat(1000));
        distribution.count(format!("x{}", "é".repeat(1000)));
        distribution.count("");
        let top = distribution.top(3);
        let lengths: Vec<_> = top.iter().map(|(value, _)| value.len()).collect();
        assert_eq!(lengths, [0, 63, 64]);
    }

    #[test]
    fn colliding_hints_are_told_apart() {
        let values: Vec<_> = (0..200).map(|n| format!("{n:03}-the-same-tail")).collect();
        let distribution = counted(CAPACITY, values.iter().chain(&values).map(String::as_str));
        assert!(distribution.slots.iter().all(|slot| slot.count == 2));
    }
}
