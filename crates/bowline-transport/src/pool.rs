//! Where connections wait for the next request: per core, or shared between threads.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bowline_runtime::{
    metric::{Counter, Registry},
    task,
    time::{self, Instant},
};

use crate::{aside::Errand, endpoint::Endpoint, http1::Connection, http2, tls::ClientTls};

/// Keeps connections between requests. [`LocalPool`] or [`SharedPool`]; there is no other.
///
/// Connections idle for longer than the settings allow are closed when the pool is next used.
pub trait Pool: Clone + sealed::Sealed + 'static {
    #[doc(hidden)]
    fn settings(&self) -> &PoolSettings;

    #[doc(hidden)]
    fn with<T>(&self, work: impl FnOnce(&mut Idle) -> T) -> T;

    /// Runs it in a task of its own, on this core where the pool is this core's.
    #[doc(hidden)]
    fn run_aside(&self, errand: Errand);
}

/// The pool of one core: no lock, not `Send`.
#[derive(Clone)]
pub struct LocalPool(Rc<Local>);

/// A pool that threads share.
#[derive(Clone)]
pub struct SharedPool(Arc<Shared>);

/// The bounds of a pool.
#[derive(Debug, Clone)]
pub struct PoolSettings {
    /// The longest a connection may take to be made.
    pub connect_timeout: Duration,
    /// Idle HTTP/1 connections kept for one endpoint.
    pub idle_per_endpoint_max: usize,
    /// Idle HTTP/1 connections kept in all.
    pub idle_max: usize,
    /// How long one is kept idle.
    pub idle_timeout: Duration,
    /// The most bytes of a response's head, and of a body's trailers.
    pub head_bytes_max: usize,
    /// How connections are made to endpoints that demand TLS; none: those cannot be reached.
    pub tls: Option<ClientTls>,
    /// What is counted.
    pub metrics: PoolMetrics,
}

/// What a pool counts.
#[derive(Debug, Clone, Default)]
pub struct PoolMetrics {
    /// Connections made.
    pub connected: Counter,
    /// Connections that could not be made.
    pub connect_failed: Counter,
    /// Connections closed since the pool was full.
    pub closed_full: Counter,
    /// Connections closed since nobody used them.
    pub closed_idle: Counter,
    /// Connections over which a certificate was shown that is about to expire.
    pub closed_over: Counter,
    /// Connections found closed by the other end.
    pub closed_stale: Counter,
}

struct Local {
    settings: PoolSettings,
    idle: RefCell<Idle>,
}

struct Shared {
    settings: PoolSettings,
    idle: Mutex<Idle>,
}

/// What waits.
#[derive(Debug)]
pub struct Idle {
    endpoints: BTreeMap<Arc<Endpoint>, Slot>,
    parked_count: usize,
    swept_at: Instant,
}

#[derive(Debug)]
struct Slot {
    /// The longest idle first.
    http1: Vec<Parked>,
    http2: Option<Arc<http2::Shared>>,
    used_at: Instant,
}

#[derive(Debug)]
struct Parked {
    connection: Connection,
    since: Instant,
}

/// Connections that are closed when this is dropped: a system call each, for which nobody should
/// wait at a lock.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Closed(Vec<Connection>);

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::LocalPool {}
    impl Sealed for super::SharedPool {}
}

impl LocalPool {
    /// An empty pool.
    pub fn new(settings: PoolSettings) -> Self {
        Self(Rc::new(Local { settings, idle: RefCell::new(Idle::new()) }))
    }

    /// What it counts.
    pub fn metrics(&self) -> &PoolMetrics {
        &self.0.settings.metrics
    }

    /// Idle HTTP/1 connections now.
    pub fn idle_count(&self) -> usize {
        self.with(|idle| idle.parked_count)
    }
}

impl SharedPool {
    /// An empty pool.
    pub fn new(settings: PoolSettings) -> Self {
        Self(Arc::new(Shared { settings, idle: Mutex::new(Idle::new()) }))
    }

    /// What it counts.
    pub fn metrics(&self) -> &PoolMetrics {
        &self.0.settings.metrics
    }

    /// Idle HTTP/1 connections now.
    pub fn idle_count(&self) -> usize {
        self.with(|idle| idle.parked_count)
    }
}

impl Pool for LocalPool {
    fn settings(&self) -> &PoolSettings {
        &self.0.settings
    }

    fn with<T>(&self, work: impl FnOnce(&mut Idle) -> T) -> T {
        work(&mut self.0.idle.borrow_mut())
    }

    fn run_aside(&self, errand: Errand) {
        task::spawn_local(errand.run(self.clone()));
    }
}

impl Pool for SharedPool {
    fn settings(&self) -> &PoolSettings {
        &self.0.settings
    }

    fn with<T>(&self, work: impl FnOnce(&mut Idle) -> T) -> T {
        work(&mut self.0.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn run_aside(&self, errand: Errand) {
        task::spawn(errand.run(self.clone()));
    }
}

impl Default for LocalPool {
    fn default() -> Self {
        Self::new(PoolSettings::default())
    }
}

impl Default for SharedPool {
    fn default() -> Self {
        Self::new(PoolSettings::default())
    }
}

impl Default for PoolSettings {
    /// 5 s to connect; 256 idle an endpoint, 4096 in all, each for 30 s; heads of 64 KiB.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            idle_per_endpoint_max: 256,
            idle_max: 4096,
            idle_timeout: Duration::from_secs(30),
            head_bytes_max: 64 * 1024,
            tls: None,
            metrics: PoolMetrics::default(),
        }
    }
}

impl PoolMetrics {
    /// Cells that the registry shows.
    pub fn new(registry: &Registry) -> Self {
        let connects = |outcome| {
            let help = "Connections to upstreams that were tried.";
            registry.counter("bowline_pool_connects_total", help, &[("outcome", outcome)])
        };
        let closed = |reason| {
            let help = "Idle connections to upstreams that were closed.";
            registry.counter("bowline_pool_closed_total", help, &[("reason", reason)])
        };
        Self {
            connected: connects("ok"),
            connect_failed: connects("error"),
            closed_full: closed("full"),
            closed_idle: closed("idle"),
            closed_over: closed("expired"),
            closed_stale: closed("stale"),
        }
    }
}

impl Idle {
    fn new() -> Self {
        Self { endpoints: BTreeMap::new(), parked_count: 0, swept_at: time::now() }
    }

    /// The connection that was used last and is alive still, and those that are not, to be closed
    /// outside the lock.
    pub(crate) fn take(&mut self, endpoint: &Endpoint, settings: &PoolSettings) -> (Option<Connection>, Closed) {
        let mut closed = Closed::default();
        let Some(slot) = self.endpoints.get_mut(endpoint).filter(|slot| !slot.http1.is_empty()) else {
            return (None, closed);
        };
        let now = time::now();
        slot.used_at = now;
        while let Some(Parked { mut connection, since }) = slot.http1.pop() {
            self.parked_count -= 1;
            if now.duration_since(since) >= settings.idle_timeout {
                // It was the youngest: the others are older.
                settings.metrics.closed_idle.add(1 + slot.http1.len() as u64);
                self.parked_count -= slot.http1.len();
                closed.0.push(connection);
                closed.0.extend(slot.http1.drain(..).map(|parked| parked.connection));
            } else if connection.is_over(now) {
                settings.metrics.closed_over.increment();
                closed.0.push(connection);
            } else if connection.is_stale() {
                settings.metrics.closed_stale.increment();
                closed.0.push(connection);
            } else {
                return (Some(connection), closed);
            }
        }
        (None, closed)
    }

    /// Keeps a connection for the next request, unless that would exceed a bound.
    ///
    /// Returns what is not kept, to be closed outside the lock.
    pub(crate) fn park(&mut self, connection: Connection, settings: &PoolSettings) -> Closed {
        let now = time::now();
        let mut closed = self.sweep(now, settings);
        let is_full = self.parked_count >= settings.idle_max;
        let slot = match self.endpoints.get_mut(&*connection.endpoint) {
            Some(slot) => slot,
            None => self.endpoints.entry(Arc::clone(&connection.endpoint)).or_insert(Slot::new(now)),
        };
        if is_full || slot.http1.len() >= settings.idle_per_endpoint_max {
            settings.metrics.closed_full.increment();
            closed.0.push(connection);
            return closed;
        }
        slot.http1.push(Parked { connection, since: now });
        self.parked_count += 1;
        closed
    }

    /// The HTTP/2 connection of an endpoint, which may have to be made first; and what is to be
    /// closed outside the lock.
    pub(crate) fn http2(&mut self, endpoint: &Endpoint, settings: &PoolSettings) -> (Arc<http2::Shared>, Closed) {
        let now = time::now();
        let closed = self.sweep(now, settings);
        let slot = match self.endpoints.get_mut(endpoint) {
            Some(slot) => slot,
            None => self.endpoints.entry(Arc::new(endpoint.clone())).or_insert(Slot::new(now)),
        };
        slot.used_at = now;
        (Arc::clone(slot.http2.get_or_insert_default()), closed)
    }

    /// Now and then gives out what has been idle for too long, at every endpoint.
    fn sweep(&mut self, now: Instant, settings: &PoolSettings) -> Closed {
        let mut closed = Closed::default();
        if now.duration_since(self.swept_at) < settings.idle_timeout / 2 {
            return closed;
        }
        self.swept_at = now;
        let mut parked_count = 0;
        self.endpoints.retain(|_, slot| {
            let expired =
                slot.http1.partition_point(|parked| now.duration_since(parked.since) >= settings.idle_timeout);
            closed.0.extend(slot.http1.drain(..expired).map(|parked| parked.connection));
            settings.metrics.closed_idle.add(expired as u64);
            parked_count += slot.http1.len();
            let is_used = now.duration_since(slot.used_at) < settings.idle_timeout || slot.has_streams();
            is_used || !slot.http1.is_empty()
        });
        self.parked_count = parked_count;
        closed
    }
}

impl Slot {
    fn new(now: Instant) -> Self {
        Self { http1: Vec::new(), http2: None, used_at: now }
    }

    /// Whether requests are under way on its HTTP/2 connection: each holds it until its answer ended.
    fn has_streams(&self) -> bool {
        self.http2.as_ref().is_some_and(|shared| Arc::strong_count(shared) > 1)
    }
}

impl fmt::Debug for LocalPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalPool").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

impl fmt::Debug for SharedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedPool").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}
