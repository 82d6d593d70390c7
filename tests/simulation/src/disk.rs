//! An instance's disk: the files that its offsets are in, and what goes wrong with them.
//!
//! They are real ones. A file that is in the way of the one that is written beside a checkpoint makes the system itself
//! refuse: `/dev/full` has no room, and a folder can't be written to.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use fastrand::Rng;
use login_pipeline::offsets::FileStore;

use crate::ledger::SOURCE;
use crate::scenario::PARTITIONS;

/// Where files take the least time.
const MEMORY: &str = "/dev/shm";

/// A folder of a run's own, which is gone with it.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// An empty one.
    ///
    /// # Panics
    /// Where there is none to be had.
    pub(crate) fn new(seed: u64) -> Self {
        let memory = Path::new(MEMORY);
        let above = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let path = above.join(format!("login-pipeline-simulation-{}-{seed}", process::id()));
        let _ = fs::remove_dir_all(&path); // of a process that had the same number
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    /// What is in it by this name.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // what is left of it, the system's own broom takes
    }
}

/// What goes wrong with a disk.
#[derive(Debug, Clone, Copy)]
pub enum DiskTrouble {
    /// It has no room for so long.
    Full(Duration),
    /// It can't be written to for so long.
    ReadOnly(Duration),
    /// It takes so much longer, for so long.
    Slow(Duration, Duration),
    /// A checkpoint is damaged, and is what it was after so long. Its process dies meanwhile, and reads it.
    Damaged {
        /// Whose.
        partition: i32,
        /// How much of it is left, in percent.
        percent: usize,
        /// For how long.
        lasts: Duration,
    },
}

/// The disk of one instance.
#[derive(Debug)]
pub(crate) struct Disk {
    offsets: PathBuf,
    /// How long it takes for what it is asked.
    pub(crate) takes: Duration,
    /// What stood in the files that are damaged.
    damaged: BTreeMap<i32, Vec<u8>>,
}

impl Disk {
    /// Offsets are in this folder.
    pub(crate) fn new(offsets: PathBuf) -> Self {
        Self { offsets, takes: Duration::ZERO, damaged: BTreeMap::new() }
    }

    /// The checkpoints, but for damaged ones.
    ///
    /// # Errors
    /// Where one is no checkpoint though nobody has damaged it.
    pub(crate) fn stored(&self) -> Result<BTreeMap<i32, i64>, String> {
        let listed = FileStore::peek(&self.offsets).list(SOURCE).map_err(|error| error.to_string())?;
        let sound = listed.into_iter().filter(|(partition, _)| !self.damaged.contains_key(partition));
        let read = |(partition, found): (i32, Result<login_pipeline::offsets::Checkpoint, _>)| {
            found.map(|found| (partition, found.next_offset.0)).map_err(|error| format!("a checkpoint: {error}"))
        };
        sound.map(read).collect()
    }

    /// Has nothing be written from now on.
    pub(crate) fn block(&self, is_full: bool) {
        for partition in 0..PARTITIONS {
            let beside = self.beside(partition);
            self.clear(&beside);
            let made = if is_full { symlink("/dev/full", &beside) } else { fs::create_dir(&beside) };
            made.expect("a file of the simulation's own");
        }
    }

    /// Has all be written again.
    pub(crate) fn unblock(&self) {
        for partition in 0..PARTITIONS {
            let beside = self.beside(partition);
            if fs::symlink_metadata(&beside).is_ok_and(|found| !found.is_file()) {
                self.clear(&beside);
            }
        }
    }

    /// Leaves behind what a process leaves that dies while it writes: any part of the file that was to be.
    pub(crate) fn tear(&self, random: &mut Rng) {
        for partition in 0..PARTITIONS {
            let beside = self.beside(partition);
            if random.bool() || fs::symlink_metadata(&beside).is_ok() {
                continue;
            }
            if let Ok(mut half) = fs::read(self.file(partition)) {
                half.truncate(random.usize(..=half.len()));
                fs::write(&beside, half).expect("a file of the simulation's own");
            }
        }
    }

    /// Leaves a part of a checkpoint. Returns whether there is one.
    pub(crate) fn damage(&mut self, partition: i32, percent: usize) -> bool {
        let file = self.file(partition);
        let Ok(whole) = fs::read(&file) else { return false };
        if self.damaged.contains_key(&partition) {
            return false;
        }
        fs::write(&file, &whole[..whole.len() * percent / 100]).expect("a file of the simulation's own");
        self.damaged.insert(partition, whole);
        true
    }

    /// Puts back what stood there, unless another was written meanwhile.
    pub(crate) fn repair(&mut self, partition: i32) {
        let Some(whole) = self.damaged.remove(&partition) else { return };
        let is_damaged = FileStore::peek(&self.offsets).read(SOURCE, partition).is_err();
        if is_damaged {
            fs::write(self.file(partition), whole).expect("a file of the simulation's own");
        }
    }

    fn file(&self, partition: i32) -> PathBuf {
        self.offsets.join(SOURCE).join(partition.to_string())
    }

    /// The file that is written before it takes a checkpoint's place.
    fn beside(&self, partition: i32) -> PathBuf {
        let beside = self.file(partition).with_extension("new");
        fs::create_dir_all(beside.parent().expect("a topic's folder")).expect("a topic's folder");
        beside
    }

    fn clear(&self, path: &Path) {
        let is_folder = fs::symlink_metadata(path).map(|found| found.is_dir());
        let cleared = match is_folder {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Ok(true) => fs::remove_dir(path),
            _ => fs::remove_file(path),
        };
        cleared.expect("a file of the simulation's own");
    }
}
