//! Fuzzing: hostile bytes against everything here that reads some.
//!
//! ```text
//! corpus/<target>/* ─┐
//!                    ├─► campaign (any Rust): the corpus, then mutations of it ─┐
//!        mutate ─────┘                                                          ├─► targets::… fn(&[u8])
//! libFuzzer, where cargo-fuzz is installed: fuzz_targets/*.rs ──────────────────┘    panics at what must not be
//! ```
//! A target is a function of bytes. What is common to all is held here: no panic, no hang, bounded memory. What a target
//! reads for, and against which oracle, stands at its head. docs/dev/fuzzing.md says how to run them.

pub mod campaign;
pub mod input;
pub mod mutate;
pub mod targets;

use peak_alloc::PeakAlloc;

pub use targets::{TARGETS, Target};

/// Counts what is allocated.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Runs a target on one input.
///
/// # Panics
/// Where something that the target holds does not hold, or it takes more memory than it may.
pub fn run(target: &Target, input: &[u8]) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    (target.run)(input);
    let took = MEMORY.peak_usage().saturating_sub(before);
    let most = target.memory;
    assert!(
        took <= most,
        "{} took {took} bytes of memory for an input of {}, and may take {most}",
        target.name,
        input.len()
    );
}
