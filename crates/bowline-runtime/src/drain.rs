//! Graceful stop: one signal everybody hears, and a count of who is still at work.

use std::{future::Future, sync::Arc};

use tokio::sync::{mpsc, watch};

/// The side that says stop and waits. Made by [`channel`].
#[derive(Debug)]
pub struct Drainer {
    stop: watch::Sender<bool>,
    ended: mpsc::Receiver<()>,
    watch: Option<Drain>,
}

/// The side that hears it. Whoever holds a clone is still at work: drop it when done.
#[derive(Debug, Clone)]
pub struct Drain {
    stop: watch::Receiver<bool>,
    _alive: Arc<mpsc::Sender<()>>,
}

/// A pair of a [`Drainer`] and its first [`Drain`].
pub fn channel() -> (Drainer, Drain) {
    let (stop, heard) = watch::channel(false);
    let (alive, ended) = mpsc::channel(1);
    let drain = Drain { stop: heard, _alive: Arc::new(alive) };
    (Drainer { stop, ended, watch: Some(drain.clone()) }, drain)
}

impl Drainer {
    /// Another listener.
    ///
    /// # Panics
    /// After [`Drainer::drain`] began.
    pub fn watch(&self) -> Drain {
        self.watch.clone().expect("draining has not begun")
    }

    /// Says stop, without waiting.
    pub fn start(&self) {
        self.stop.send_replace(true);
    }

    /// Says stop and waits until every [`Drain`] is dropped.
    ///
    /// # Cancel safety
    /// Stop stays said; waiting can begin again.
    pub async fn drain(&mut self) {
        self.start();
        self.watch = None;
        while self.ended.recv().await.is_some() {}
    }
}

impl Drain {
    /// Whether stop was said.
    pub fn is_draining(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits until stop is said, or the [`Drainer`] is gone.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn draining(&mut self) {
        while !*self.stop.borrow_and_update() {
            if self.stop.changed().await.is_err() {
                return;
            }
        }
    }

    /// Runs a future until it ends (`Some`) or stop is said (`None`).
    pub async fn or_drain<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.draining() => None,
            output = future => Some(output),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn drain_waits_for_the_last_clone() {
        let (mut drainer, drain) = channel();
        let mut worker = drain.clone();
        drop(drain);
        let work = crate::task::spawn(async move {
            worker.draining().await;
            assert!(worker.is_draining());
        });
        drainer.drain().await;
        work.await.unwrap();
    }
}
