//! What the devices of a run count together.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use example_load::Latencies;
use tokio::sync::watch;

/// What the devices of a run count together.
#[derive(Debug)]
pub struct Counts {
    /// Readings that were acknowledged.
    acknowledged: AtomicU64,
    connected: AtomicU64,
    /// Connections that were lost, or not made.
    lost: AtomicU64,
    /// Commands that were carried out, each once.
    commands: AtomicU64,
    /// Wishes that were applied.
    applied: AtomicU64,
    latencies: Mutex<Latencies>,
    /// Why the last connection was lost.
    why: Mutex<String>,
    /// Devices whose readings are all acknowledged.
    pub(crate) through: watch::Sender<u32>,
}

/// A device that is connected, as long as it is held.
#[derive(Debug)]
pub(crate) struct Connected<'a>(&'a Counts);

impl Default for Counts {
    fn default() -> Self {
        Self {
            acknowledged: AtomicU64::new(0),
            connected: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            commands: AtomicU64::new(0),
            applied: AtomicU64::new(0),
            latencies: Mutex::default(),
            why: Mutex::default(),
            through: watch::Sender::new(0),
        }
    }
}

impl Counts {
    /// Of a run that begins.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Readings that were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Relaxed)
    }

    /// Connections that were lost, or not made.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// Devices that are connected.
    pub fn connected(&self) -> u64 {
        self.connected.load(Relaxed)
    }

    /// Commands that were carried out, each once.
    pub fn commands(&self) -> u64 {
        self.commands.load(Relaxed)
    }

    /// Wishes that were applied.
    pub fn applied(&self) -> u64 {
        self.applied.load(Relaxed)
    }

    /// From a message to its acknowledgement.
    pub fn latencies(&self) -> Latencies {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn connect(&self) -> Connected<'_> {
        self.connected.fetch_add(1, Relaxed);
        Connected(self)
    }

    pub(crate) fn lose(&self, why: String) {
        self.lost.fetch_add(1, Relaxed);
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    pub(crate) fn acknowledge(&self, count: usize, took: Duration) {
        self.acknowledged.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Relaxed);
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).record(took);
    }

    pub(crate) fn command(&self) {
        self.commands.fetch_add(1, Relaxed);
    }

    pub(crate) fn apply(&self) {
        self.applied.fetch_add(1, Relaxed);
    }

    /// How far the run is.
    pub(crate) fn say(&self, last: &mut u64) -> String {
        let (acknowledged, connected, lost) = (self.acknowledged(), self.connected(), self.lost());
        let rate = acknowledged - *last;
        *last = acknowledged;
        let text = format!(
            "{rate:>6} readings/s  {acknowledged} acknowledged  {connected} connected  {lost} connections lost"
        );
        if connected > 0 {
            return text;
        }
        // Whoever reads it has to know what to mend.
        format!("{text}: {}", self.why.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.connected.fetch_sub(1, Relaxed);
    }
}
