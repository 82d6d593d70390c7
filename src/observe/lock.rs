//! Locks.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Nothing here is left half-changed by a panic, so what is behind a lock stays true after one.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
