//! Tasks: the only door to spawning.

use std::{
    cell::Cell,
    future::Future,
    num::NonZero,
    ops::{Deref, DerefMut},
    panic::Location,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use crate::watchdog::Watched;

pub use tokio::task::{AbortHandle, JoinError, JoinHandle, LocalSet, yield_now};

/// Tasks that end with their set; the [watchdog](crate::watchdog) knows each by where it is spawned. Beyond spawning it
/// is tokio's.
#[derive(Debug)]
pub struct JoinSet<T>(tokio::task::JoinSet<T>);

/// How many cores there are for this process, as it was when somebody first asked; at least 1.
pub fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, NonZero::get))
}

/// The number of this thread, in the order in which threads first asked, from 0.
#[inline]
pub fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    NUMBER.with(|number| {
        if number.get() == usize::MAX {
            number.set(NEXT.fetch_add(1, Relaxed));
        }
        number.get()
    })
}

/// Runs a future beside the caller; the [watchdog](crate::watchdog) knows it by where it is spawned.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "this module is the door to spawning")]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(Watched::at(Location::caller(), future))
}

/// Runs a future on this core's thread; it need not be `Send`.
///
/// # Panics
/// Outside [`core_runtime`] and a [`LocalSet`].
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "this module is the door to spawning")]
pub fn spawn_local<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    tokio::task::spawn_local(Watched::at(Location::caller(), future))
}

impl<T: 'static> JoinSet<T> {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`spawn`].
    #[track_caller]
    pub fn spawn<F>(&mut self, future: F) -> AbortHandle
    where
        F: Future<Output = T> + Send + 'static,
        T: Send,
    {
        self.0.spawn(Watched::at(Location::caller(), future))
    }

    /// As [`spawn_local`].
    ///
    /// # Panics
    /// As it does.
    #[track_caller]
    pub fn spawn_local<F>(&mut self, future: F) -> AbortHandle
    where
        F: Future<Output = T> + 'static,
    {
        self.0.spawn_local(Watched::at(Location::caller(), future))
    }

    /// What all of them end with, in the order in which they do.
    ///
    /// # Panics
    /// Where one of them did.
    pub async fn join_all(self) -> Vec<T> {
        self.0.join_all().await
    }
}

impl<T> Default for JoinSet<T> {
    fn default() -> Self {
        Self(tokio::task::JoinSet::default())
    }
}

impl<T> Deref for JoinSet<T> {
    type Target = tokio::task::JoinSet<T>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T> DerefMut for JoinSet<T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// Runs what blocks (files, hashing) on a thread of its own; under simulation, in a task.
#[cfg(not(bowline_sim))]
#[expect(clippy::disallowed_methods, reason = "this module is the door to spawning")]
pub fn spawn_blocking<F, T>(work: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    tokio::task::spawn_blocking(work)
}

/// Runs what blocks (files, hashing) in a task: a simulated host has one thread.
///
/// Work that waits for another task would wait for ever.
#[cfg(bowline_sim)]
pub fn spawn_blocking<F, T>(work: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    spawn(async move { work() })
}

/// The runtime of one core: everything on the calling thread, tasks need not be `Send`.
pub fn core_runtime() -> std::io::Result<tokio::runtime::LocalRuntime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build_local(tokio::runtime::LocalOptions::default())
}

/// Runs a future on a named thread with a runtime of its own, as each core of the data plane does.
///
/// `make` runs on that thread, within the runtime; the thread ends when the future does.
///
/// # Errors
/// When the thread or its runtime cannot be made.
#[cfg(not(bowline_sim))]
pub fn core_thread<F>(name: &str, make: impl FnOnce() -> F + Send + 'static) -> std::io::Result<()>
where
    F: Future<Output = ()>,
{
    try_core_thread(name, move || Ok(make()))
}

/// As [`core_thread`], for what may find out on its thread that it cannot begin.
///
/// # Errors
/// When the thread or its runtime cannot be made, and what `make` answers.
#[cfg(not(bowline_sim))]
pub fn try_core_thread<F>(name: &str, make: impl FnOnce() -> std::io::Result<F> + Send + 'static) -> std::io::Result<()>
where
    F: Future<Output = ()>,
{
    let (started, is_started) = std::sync::mpsc::sync_channel(1);
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let run = core_runtime().map(|runtime| {
            runtime.block_on(async {
                let future = make()?;
                started.send(Ok(())).ok();
                future.await;
                Ok(())
            })
        });
        if let Err(error) = run.flatten() {
            started.send(Err(error)).ok();
        }
    })?;
    is_started.recv().unwrap_or_else(|_| Err(std::io::ErrorKind::BrokenPipe.into()))
}

/// Runs a future as a task of this thread, which is the one core that a simulated host has.
///
/// # Panics
/// Outside a simulation.
#[cfg(bowline_sim)]
#[expect(clippy::unnecessary_wraps, reason = "the real one can fail")]
pub fn core_thread<F>(_name: &str, make: impl FnOnce() -> F + Send + 'static) -> std::io::Result<()>
where
    F: Future<Output = ()> + 'static,
{
    drop(spawn_local(async move { make().await }));
    Ok(())
}

/// As [`core_thread`], for what may find out that it cannot begin.
///
/// # Panics
/// Outside a simulation.
#[cfg(bowline_sim)]
pub fn try_core_thread<F>(
    _name: &str,
    make: impl FnOnce() -> std::io::Result<F> + Send + 'static,
) -> std::io::Result<()>
where
    F: Future<Output = ()> + 'static,
{
    drop(spawn_local(make()?));
    Ok(())
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

#[cfg(all(test, not(bowline_sim)))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_core_thread_spawns_locally() {
        let (tell, told) = tokio::sync::oneshot::channel();
        core_thread("core-7", move || async move {
            let name = spawn_local(async { std::thread::current().name().map(str::to_owned) });
            tell.send(name.await.unwrap()).unwrap();
        })
        .unwrap();
        assert_eq!(told.await.unwrap().as_deref(), Some("core-7"));
    }

    #[test]
    fn a_core_that_cannot_begin_is_told() {
        let make = || Err::<std::future::Ready<()>, _>(std::io::ErrorKind::StorageFull.into());
        assert_eq!(try_core_thread("core-8", make).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
        assert!(try_core_thread("core-9", || Ok(std::future::ready(()))).is_ok());
    }
}
