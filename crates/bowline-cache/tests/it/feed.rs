//! A feed of invalidations in memory, which can stall, be trimmed and be made anew.

use std::sync::{Mutex, MutexGuard};

use bowline_cache::{After, Batch, Invalidations, Mark, PortError, Resumed, Which};
use bowline_runtime::{BoxFuture, rand};
use tokio::sync::Notify;

use super::*;

/// Shared by all processes that follow it.
#[derive(Clone)]
pub(crate) struct Tape(Arc<Inside>);

struct Inside {
    name: &'static str,
    state: Mutex<State>,
    told: Notify,
}

struct State {
    entries: Vec<(u64, String, Which)>,
    next: u64,
    is_stalled: bool,
    is_ours: bool,
    /// How long an answer is under way.
    latency: Duration,
}

impl Tape {
    pub(crate) fn new(name: &'static str) -> Self {
        let state = State { entries: Vec::new(), next: 1, is_stalled: false, is_ours: true, latency: Duration::ZERO };
        Self(Arc::new(Inside { name, state: Mutex::new(state), told: Notify::new() }))
    }

    pub(crate) fn others(name: &'static str) -> Self {
        let tape = Self::new(name);
        tape.lock().is_ours = false;
        tape
    }

    pub(crate) fn feed(&self) -> Arc<dyn Invalidations> {
        Arc::new(self.clone())
    }

    /// How many hold it, this one included.
    pub(crate) fn handles(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    pub(crate) fn put(&self, what: Which) {
        let mut state = self.lock();
        let entry = (state.next, format!("{:016x}", rand::u64()), what);
        state.entries.push(entry);
        state.next += 1;
        drop(state);
        self.0.told.notify_waiters();
    }

    pub(crate) fn put_key(&self, key: &str) {
        self.put(Which::Key(key.to_owned()));
    }

    /// Nobody gets an answer any more.
    pub(crate) fn stall(&self, is_stalled: bool) {
        self.lock().is_stalled = is_stalled;
    }

    pub(crate) fn slow(&self, latency: Duration) {
        self.lock().latency = latency;
    }

    /// What is older than now is gone.
    pub(crate) fn trim(&self) {
        self.lock().entries.clear();
    }

    /// It begins anew.
    pub(crate) fn lose(&self) {
        let mut state = self.lock();
        state.entries.clear();
        state.next = 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    async fn answers(&self) -> Result<(), PortError> {
        if self.lock().is_stalled {
            return std::future::pending().await;
        }
        let latency = self.lock().latency;
        if !latency.is_zero() {
            time::sleep(latency).await; // tidy: sleep: the clock is paused
        }
        Ok(())
    }
}

impl State {
    fn end(&self) -> Mark {
        let id = self.entries.last().map_or_else(String::new, |(_, id, _)| id.clone());
        Mark { position: self.next - 1, id }
    }

    fn has_all_after(&self, mark: &Mark) -> bool {
        let first = self.entries.first().map_or(self.next, |(position, ..)| *position);
        let there = self.entries.iter().find(|(position, ..)| *position == mark.position);
        first <= mark.position + 1 && mark.position < self.next && there.is_none_or(|(_, id, _)| *id == mark.id)
    }
}

impl Invalidations for Tape {
    fn name(&self) -> &str {
        self.0.name
    }

    fn resume(&self, from: Option<Mark>) -> BoxFuture<'_, Result<Resumed, PortError>> {
        Box::pin(async move {
            self.answers().await?;
            let state = self.lock();
            Ok(match from.filter(|mark| state.has_all_after(mark)) {
                Some(mark) => Resumed::At(mark),
                None => Resumed::Gap { end: state.end() },
            })
        })
    }

    fn after(&self, mark: Mark, wait: Duration) -> BoxFuture<'_, Result<After, PortError>> {
        Box::pin(async move {
            let told = self.0.told.notified();
            if self.lock().next == mark.position + 1 {
                time::timeout(wait, told).await.ok();
            }
            self.answers().await?;
            let state = self.lock();
            if !state.has_all_after(&mark) {
                return Ok(After::Gap { end: state.end() });
            }
            let new: Vec<_> = state.entries.iter().filter(|(position, ..)| *position > mark.position).take(2).collect();
            let upto = new.last().map_or(mark, |(position, id, _)| Mark { position: *position, id: id.clone() });
            let is_end = upto.position + 1 == state.next;
            let what = new.into_iter().map(|(.., what)| what.clone()).collect();
            Ok(After::Batch(Batch { what, upto, is_end }))
        })
    }

    fn tell(&self, what: Which) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move {
            self.answers().await?;
            if !self.lock().is_ours {
                return Err(PortError::NotOurs { feed: self.0.name.to_owned() });
            }
            self.put(what);
            Ok(())
        })
    }
}
