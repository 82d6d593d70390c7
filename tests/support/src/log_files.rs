//! A broker's log files: batches found in them, and bits flipped, while the broker is down.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A batch in a segment's file.
#[derive(Debug, Clone)]
pub struct StoredBatch {
    file: PathBuf,
    at: usize,
    /// The offsets that it takes.
    pub offsets: Range<i64>,
}

/// The batches of each segment of a partition, the oldest segment first.
pub fn segments(data: &Path, topic: &str, partition: i32) -> Vec<Vec<StoredBatch>> {
    let folder = data.join(format!("{topic}-{partition}"));
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "log"));
    files.sort();
    files.iter().map(|file| batches(file)).collect()
}

impl StoredBatch {
    /// Flips these bits of its byte number `byte`.
    pub fn flip(&self, byte: usize, mask: u8) {
        let mut raw = fs::read(&self.file).unwrap();
        raw[self.at + byte] ^= mask;
        fs::write(&self.file, raw).unwrap();
    }
}

fn batches(file: &Path) -> Vec<StoredBatch> {
    let raw = fs::read(file).unwrap();
    let (mut at, mut found) = (0, Vec::new());
    while let Some(header) = raw.get(at..at + 61) {
        let base = i64::from_be_bytes(header[..8].try_into().unwrap());
        let length = i32::from_be_bytes(header[8..12].try_into().unwrap());
        let last = i32::from_be_bytes(header[23..27].try_into().unwrap());
        let offsets = base..base + i64::from(last) + 1;
        found.push(StoredBatch { file: file.to_owned(), at, offsets });
        at += 12 + usize::try_from(length).unwrap();
    }
    found
}
