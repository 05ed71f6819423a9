//! Tasks: the only door to spawning.

use std::future::Future;

pub use tokio::task::{AbortHandle, JoinError, JoinHandle, JoinSet, LocalSet, yield_now};

/// Runs a future beside the caller.
#[expect(clippy::disallowed_methods, reason = "this module is the door to spawning")]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future)
}

/// Runs a future on this core's thread; it need not be `Send`.
///
/// # Panics
/// Outside [`core_runtime`] and a [`LocalSet`].
#[expect(clippy::disallowed_methods, reason = "this module is the door to spawning")]
pub fn spawn_local<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    tokio::task::spawn_local(future)
}

/// Runs what blocks (files, hashing) on a thread of its own.
#[expect(clippy::disallowed_methods, reason = "this module is the door to spawning")]
pub fn spawn_blocking<F, T>(work: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    tokio::task::spawn_blocking(work)
}

/// The runtime of one core: everything on the calling thread, tasks need not be `Send`.
pub fn core_runtime() -> std::io::Result<tokio::runtime::LocalRuntime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build_local(tokio::runtime::LocalOptions::default())
}

/// The runtime of what is not the data plane: a few threads that share their work.
pub fn shared_runtime(threads: usize) -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads.max(1)).enable_all().build()
}

/// A task that is aborted when this is dropped.
#[derive(Debug)]
pub struct Guarded<T>(JoinHandle<T>);

impl<T> Guarded<T> {
    /// Ties the task's life to the value returned.
    pub fn new(handle: JoinHandle<T>) -> Self {
        Self(handle)
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
