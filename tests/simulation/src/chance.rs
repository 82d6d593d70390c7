//! Chance from a seed, for all on a thread that asks for chance.
//!
//! What draws for itself (`fastrand`) is seeded. What asks the system, asks here: the order of a hash table, and by that
//! the branch that tokio's `select!` looks at first. The standard library leaves `getrandom` to whoever defines it. tokio also
//! counts the runtimes of a process, so that a run repeats in a process of its own.

use std::cell::RefCell;
use std::ffi::{c_uint, c_void};
use std::slice;
use std::thread;

use fastrand::Rng;
use rustix::rand::{GetRandomFlags, getrandom as ask_system};

thread_local! {
    static CHANCE: RefCell<Option<Rng>> = const { RefCell::new(None) };
}

/// Runs `run` on a thread of its own, on which all chance comes from the seed.
///
/// # Panics
/// Where `run` does, or there is no thread to be had.
pub fn seeded<T: Send + 'static>(seed: u64, run: impl FnOnce() -> T + Send + 'static) -> T {
    let running = thread::Builder::new().name(format!("seed {seed}")).spawn(move || {
        CHANCE.with(|chance| *chance.borrow_mut() = Some(Rng::with_seed(seed)));
        fastrand::seed(seed);
        run()
    });
    match running.expect("a thread").join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Fills a buffer with chance: of the thread's seed, or else of the system.
///
/// # Safety
/// As of the C library's function that it stands for: `buffer` has room for `length` bytes.
#[allow(unsafe_code, reason = "the standard library asks for chance by the C library's name for it")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
    if length == 0 {
        return 0;
    }
    // SAFETY: the caller has room for so many bytes there; they are written before they are read.
    let buffer = unsafe {
        buffer.cast::<u8>().write_bytes(0, length);
        slice::from_raw_parts_mut(buffer.cast::<u8>(), length)
    };
    // A thread that ends has no seed any more.
    let seeded = CHANCE.try_with(|chance| match &mut *chance.borrow_mut() {
        Some(chance) => {
            chance.fill(buffer);
            true
        }
        None => false,
    });
    if seeded == Ok(true) {
        return isize::try_from(length).unwrap_or(isize::MAX);
    }
    match ask_system(buffer, GetRandomFlags::from_bits_retain(flags)) {
        Ok(filled) => isize::try_from(filled).unwrap_or(isize::MAX),
        Err(_) => -1,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn drawn() -> (Vec<u32>, u64) {
        let table: HashMap<u32, ()> = (0..100).map(|key| (key, ())).collect();
        (table.into_keys().collect(), fastrand::u64(..))
    }

    #[test]
    fn a_seed_draws_the_order_of_hash_tables() {
        let (first, again, other) = (seeded(1, drawn), seeded(1, drawn), seeded(2, drawn));
        assert_eq!(first, again);
        assert_ne!(first.0, other.0);
        assert_ne!(first.1, other.1);
    }
}
