//! The whole pipeline in this process against the sandbox broker, with faults injected.
//!
//! ```text
//! World ── appends, and remembers what it appended ──► sandbox ◄── faults
//!   │                                                    ▲
//!   │                     App::open(config).run(stop) ───┘
//!   └── audit: every record is where it must be, once, in order, and looks as it must
//! ```

mod audit;
mod chaos;
mod crowded;
mod exactly_once;
mod flow;
mod frozen;
mod group;
mod limits;
mod log;
mod network;
mod permits;
mod record;
mod redo;
mod refused;
mod shown;
mod stopping;
mod support;
mod topics;
mod transactions;
mod truncation;
mod watching;

// What a reader must not believe, or not pass over.
mod reader_traps;
