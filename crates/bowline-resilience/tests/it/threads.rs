//! Many threads that begin at the same moment.

use std::{sync::Barrier, thread};

pub(crate) const THREADS: usize = 8;

/// Runs it on every thread at the same moment and collects what comes out.
pub(crate) fn together<R: Send>(run: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        let handles: Vec<_> = (0..THREADS)
            .map(|at| {
                let (barrier, run) = (&barrier, &run);
                scope.spawn(move || {
                    barrier.wait();
                    run(at)
                })
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().expect("no thread panics")).collect()
    })
}
