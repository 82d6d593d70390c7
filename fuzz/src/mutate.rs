//! The stable engine's mutations: small changes that tend to matter to readers of lengths, numbers and words, and splices
//! of two inputs. The same seed makes the same inputs.

use fastrand::Rng;

/// The most changes that are made at a time.
const MOST_CHANGES: usize = 6;

/// Numbers at which readers err, in the bytes that stand for them.
const EDGES: [i64; 12] = [0, 1, 2, -1, -2, 127, 128, 255, 32_767, 65_535, 0x7fff_ffff, i64::MAX];

/// An input made of one of `corpus`, which is not empty, of at most `longest` bytes.
pub fn mutated(random: &mut Rng, corpus: &[Vec<u8>], words: &[&str], longest: usize) -> Vec<u8> {
    let mut bytes = corpus[random.usize(..corpus.len())].clone();
    for _ in 0..=random.usize(..MOST_CHANGES) {
        change(random, &mut bytes, corpus, words);
    }
    bytes.truncate(longest);
    bytes
}

fn change(random: &mut Rng, bytes: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str]) {
    match random.u8(..12) {
        0 => {
            if let Some(byte) = any_of(random, bytes) {
                *byte ^= 1 << random.u8(..8);
            }
        }
        1 => {
            if let Some(byte) = any_of(random, bytes) {
                *byte = random.u8(..);
            }
        }
        2 => {
            if let Some(byte) = any_of(random, bytes) {
                *byte = byte.wrapping_add(random.u8(1..=8)).wrapping_sub(4);
            }
        }
        3 => edge(random, bytes),
        4 => {
            let (at, end) = range(random, bytes.len());
            bytes.drain(at..end);
        }
        5 => {
            let (at, end) = range(random, bytes.len());
            let again = bytes[at..end].to_vec();
            insert(random, bytes, &again);
        }
        6 => {
            let new: Vec<u8> = (0..random.usize(1..=8)).map(|_| random.u8(..)).collect();
            insert(random, bytes, &new);
        }
        7 => digits(random, bytes),
        8 if !words.is_empty() => {
            let word = words[random.usize(..words.len())].as_bytes();
            match random.bool() {
                true => insert(random, bytes, word),
                false => overwrite(random, bytes, word),
            }
        }
        9 => {
            // The beginning of this one, and the end of another.
            let other = &corpus[random.usize(..corpus.len())];
            bytes.truncate(random.usize(..=bytes.len()));
            bytes.extend_from_slice(&other[random.usize(..=other.len())..]);
        }
        10 => {
            let other = &corpus[random.usize(..corpus.len())];
            let (at, end) = range(random, other.len());
            match random.bool() {
                true => insert(random, bytes, &other[at..end]),
                false => overwrite(random, bytes, &other[at..end]),
            }
        }
        _ => bytes.truncate(random.usize(..=bytes.len())),
    }
}

fn any_of<'b>(random: &mut Rng, bytes: &'b mut [u8]) -> Option<&'b mut u8> {
    let at = random.usize(..bytes.len().max(1));
    bytes.get_mut(at)
}

/// A short stretch mostly, a long one at times.
fn range(random: &mut Rng, length: usize) -> (usize, usize) {
    let at = random.usize(..=length);
    let most = if random.u8(..4) > 0 { (length - at).min(16) } else { length - at };
    (at, at + random.usize(..=most))
}

fn insert(random: &mut Rng, bytes: &mut Vec<u8>, new: &[u8]) {
    let at = random.usize(..=bytes.len());
    bytes.splice(at..at, new.iter().copied());
}

fn overwrite(random: &mut Rng, bytes: &mut [u8], new: &[u8]) {
    let at = random.usize(..=bytes.len());
    let length = new.len().min(bytes.len() - at);
    bytes[at..at + length].copy_from_slice(&new[..length]);
}

/// A number at which readers err, in 1 to 8 bytes, of either end first.
fn edge(random: &mut Rng, bytes: &mut [u8]) {
    let width = 1 << random.usize(..4);
    let number = EDGES[random.usize(..EDGES.len())];
    match random.bool() {
        true => overwrite(random, bytes, &number.to_be_bytes()[8 - width..]),
        false => overwrite(random, bytes, &number.to_le_bytes()[..width]),
    }
}

/// Another number in place of one that is written in digits.
fn digits(random: &mut Rng, bytes: &mut Vec<u8>) {
    let from = random.usize(..=bytes.len());
    let Some(at) = bytes[from..].iter().position(u8::is_ascii_digit).map(|at| from + at) else { return };
    let length = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = match random.bool() {
        true => EDGES[random.usize(..EDGES.len())].to_string(),
        false => {
            let bits = random.u32(1..64);
            random.u64(..1 << bits).to_string()
        }
    };
    bytes.splice(at..at + length, number.into_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_inputs_again_and_another_makes_others() {
        let corpus = [b"{\"offset\":17}".to_vec(), b"\0\0\0\x05".to_vec(), Vec::new()];
        let inputs = |seed: u64| {
            let mut random = Rng::with_seed(seed);
            (0..2_000).map(|_| mutated(&mut random, &corpus, &["null"], 64)).collect::<Vec<_>>()
        };
        let found = inputs(1);
        assert_eq!(found, inputs(1));
        assert_ne!(found, inputs(2));
        assert!(found.iter().all(|input| input.len() <= 64));
        let distinct: std::collections::BTreeSet<_> = found.iter().collect();
        assert!(distinct.len() > 1_000, "{}", distinct.len());
        assert!(found.iter().any(|input| input.windows(4).any(|four| four == b"null")));
    }
}
