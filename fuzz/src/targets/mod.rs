//! The targets, a file each.

use std::fmt;

/// Hands the names of all targets, each a module here, to a macro.
#[macro_export]
macro_rules! each_target {
    ($to:ident) => {
        $to! {
            admin,
            batches,
            checkpoints,
            configuration,
            dead_letters,
            exports,
            geoip,
            group_bytes,
            group_members,
            json,
            login_event,
            offsets_topic,
            responses,
            token_answers,
        }
    };
}

macro_rules! targets {
    ($($target:ident,)*) => {
        $(pub mod $target;)*

        /// All targets.
        pub const TARGETS: &[Target] = &[$($target::TARGET),*];
    };
}
each_target!(targets);

/// A reader of bytes that anybody may have written.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, which is its module's and its corpus's.
    pub name: &'static str,
    /// What is read, in a few words.
    pub about: &'static str,
    /// Reads an input, and panics where something does not hold.
    pub run: fn(&[u8]),
    /// Inputs that are made by code, by the names of their files in the corpus.
    pub seeds: fn() -> Vec<(String, Vec<u8>)>,
    /// Words that mean something to the reader.
    pub words: &'static [&'static str],
    /// The most bytes of an input.
    pub longest: usize,
    /// The most bytes of memory that it may take at a time, its oracles included.
    pub memory: usize,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const MIB: usize = 1 << 20;
