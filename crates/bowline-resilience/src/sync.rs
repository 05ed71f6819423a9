//! What threads share: the standard library's, or shuttle's, which tries out their schedules.
//!
//! `RUSTFLAGS="--cfg bowline_shuttle" cargo test -p bowline-resilience --lib schedules` runs the tests under it.

#[cfg(not(bowline_shuttle))]
pub(crate) use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};

#[cfg(bowline_shuttle)]
pub(crate) use shuttle::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};

/// Locks what is whole between any two of its methods, also where a thread that held it panicked.
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The number of this thread, for what each thread has a part of.
#[cfg(not(bowline_shuttle))]
#[inline]
pub(crate) fn stripe() -> usize {
    bowline_runtime::task::thread_number()
}

#[cfg(bowline_shuttle)]
pub(crate) fn stripe() -> usize {
    usize::from(shuttle::thread::current().id())
}

/// How many parts are worth having: one for each core, and at most so many.
pub(crate) fn stripes_max(most: usize) -> usize {
    if cfg!(bowline_shuttle) {
        return 2;
    }
    bowline_runtime::task::cores().min(most)
}
