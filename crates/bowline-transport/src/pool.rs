//! Where connections wait for the next request: per core, or shared between threads.

mod metrics;
mod places;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bowline_runtime::{
    metric::Gauge,
    rand, task,
    time::{self, Instant},
};

pub(crate) use self::{
    metrics::Held,
    places::{Place, Places},
};
pub use metrics::PoolMetrics;

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
    /// HTTP/1 connections to one endpoint, those in use and the idle ones; beyond, requests wait in line.
    pub open_per_endpoint_max: usize,
    /// Requests under way to one endpoint over HTTP/2; beyond, they wait in line. Of each answer 64 KiB
    /// may be unread; 1,024 that nobody reads hold up no other.
    pub streams_per_endpoint_max: usize,
    /// Requests that wait in line for one endpoint; beyond, they are refused with
    /// [`Kind::PoolFull`](crate::Kind::PoolFull).
    pub waiting_per_endpoint_max: usize,
    /// How old a connection gets, give or take a tenth, so that not all end at once: it takes no request after that.
    pub age_max: Duration,
    /// Idle HTTP/1 connections kept for one endpoint.
    pub idle_per_endpoint_max: usize,
    /// Idle HTTP/1 connections kept in all.
    pub idle_max: usize,
    /// How long one is kept idle.
    pub idle_timeout: Duration,
    /// The most bytes of a response's head, and of a body's trailers.
    pub head_bytes_max: usize,
    /// How often an HTTP/2 connection with requests on it is pinged, and how long the answer may take.
    pub http2_ping: Duration,
    /// How connections are made to endpoints that demand TLS; none: those cannot be reached.
    pub tls: Option<ClientTls>,
    /// What is counted.
    pub metrics: PoolMetrics,
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
    /// What is shown of the count, and since when: pools of all cores share the cell.
    shown: (i64, Instant),
    gauge: Gauge,
}

#[derive(Debug)]
struct Slot {
    endpoint: Arc<Endpoint>,
    /// The longest idle first.
    http1: Vec<Parked>,
    http2: Option<Arc<http2::Shared>>,
    places: Arc<Places>,
    used_at: Instant,
}

#[derive(Debug)]
struct Parked {
    connection: Connection,
    since: Instant,
}

/// What a request gets of a pool.
#[derive(Debug)]
pub(crate) enum Taken {
    /// That one, which waited since then.
    Connection(Connection, Instant),
    /// No connection waits; one may be made.
    None(Arc<Endpoint>, Place),
    /// So many are open that one has to be waited for.
    Full(Arc<Places>),
}

/// Connections that are closed when this is dropped: a system call each, for which nobody should
/// wait at a lock.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Closed(Vec<Connection>);

/// How often the count of idle connections is shown.
const SHOWN_EVERY: Duration = Duration::from_secs(1);

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::LocalPool {}
    impl Sealed for super::SharedPool {}
}

impl LocalPool {
    /// An empty pool.
    pub fn new(settings: PoolSettings) -> Self {
        let idle = RefCell::new(Idle::new(&settings));
        Self(Rc::new(Local { settings, idle }))
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
        let idle = Mutex::new(Idle::new(&settings));
        Self(Arc::new(Shared { settings, idle }))
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
    /// 5 s to connect; 512 open an endpoint or 1024 requests over HTTP/2, 1024 that wait, none older than 10 minutes;
    /// 256 idle an endpoint, 4096 in all, each for 30 s; heads of 64 KiB; pings every 10 s.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            open_per_endpoint_max: 512,
            streams_per_endpoint_max: 1024,
            waiting_per_endpoint_max: 1024,
            age_max: Duration::from_mins(10),
            idle_per_endpoint_max: 256,
            idle_max: 4096,
            idle_timeout: Duration::from_secs(30),
            head_bytes_max: 64 * 1024,
            http2_ping: Duration::from_secs(10),
            tls: None,
            metrics: PoolMetrics::default(),
        }
    }
}

impl PoolSettings {
    /// The defaults of who passes on what others ask, and bounds that where it comes in: 4096 open an endpoint, or as
    /// many requests over HTTP/2.
    pub fn of_proxy() -> Self {
        Self { open_per_endpoint_max: 4096, streams_per_endpoint_max: 4096, ..Self::default() }
    }

    /// Until when a connection that is made now takes requests; none: for ever.
    pub(crate) fn old_at(&self, now: Instant) -> Option<Instant> {
        let share = 0.9 + 0.2 * rand::unit();
        let age = Duration::try_from_secs_f64(self.age_max.as_secs_f64() * share).ok()?;
        now.checked_add(age)
    }
}

impl Idle {
    fn new(settings: &PoolSettings) -> Self {
        let now = time::now();
        let gauge = settings.metrics.idle.clone();
        Self { endpoints: BTreeMap::new(), parked_count: 0, swept_at: now, shown: (0, now), gauge }
    }

    /// What a request to that endpoint gets: the connection that was used last and is alive still, the right to make
    /// one, or a line to wait in; and the connections that are not alive, to be closed outside the lock.
    ///
    /// `place` is what the request has of the line, if it waited.
    pub(crate) fn take(
        &mut self,
        endpoint: &Endpoint,
        settings: &PoolSettings,
        place: Option<Place>,
    ) -> (Taken, Closed) {
        let now = time::now();
        let mut closed = self.sweep(now, settings);
        let slot = match self.endpoints.get_mut(endpoint) {
            Some(slot) => slot,
            None => {
                self.endpoints.entry(Arc::new(endpoint.clone())).or_insert_with_key(|it| Slot::new(it, now, settings))
            }
        };
        slot.used_at = now;
        let Some(place) = place.or_else(|| slot.places.try_take()) else {
            return (Taken::Full(Arc::clone(&slot.places)), closed);
        };
        let before = slot.http1.len();
        let taken = match slot.take(now, settings, &mut closed) {
            Some(Parked { mut connection, since }) => {
                connection.place = Some(place);
                Taken::Connection(connection, since)
            }
            None => Taken::None(Arc::clone(&slot.endpoint), place),
        };
        self.parked_count -= before - slot.http1.len();
        self.show(now);
        (taken, closed)
    }

    /// A connection that had waited since then was dead: so are perhaps those that wait for as long, which are to be
    /// closed outside the lock.
    pub(crate) fn distrust(&mut self, endpoint: &Endpoint, since: Instant, settings: &PoolSettings) -> Closed {
        let Some(slot) = self.endpoints.get_mut(endpoint) else { return Closed::default() };
        let suspect = slot.http1.partition_point(|parked| parked.since <= since);
        let closed: Vec<_> = slot.http1.drain(..suspect).map(|parked| parked.connection).collect();
        settings.metrics.closed_stale.add(1 + closed.len() as u64);
        self.parked_count -= closed.len();
        Closed(closed)
    }

    /// Keeps a connection for the next request, unless that would exceed a bound.
    ///
    /// Returns what is not kept, to be closed outside the lock.
    pub(crate) fn park(&mut self, mut connection: Connection, settings: &PoolSettings) -> Closed {
        let now = time::now();
        // Given back when the connection is where the next one finds it.
        let _place = connection.place.take();
        let mut closed = self.sweep(now, settings);
        let is_full = self.parked_count >= settings.idle_max;
        let entry = self.endpoints.entry(Arc::clone(&connection.endpoint));
        let slot = entry.or_insert_with_key(|it| Slot::new(it, now, settings));
        if is_full || slot.http1.len() >= settings.idle_per_endpoint_max {
            settings.metrics.closed_full.increment();
            closed.0.push(connection);
            return closed;
        }
        slot.http1.push(Parked { connection, since: now });
        self.parked_count += 1;
        self.show(now);
        closed
    }

    /// The HTTP/2 connection of an endpoint, which may have to be made first; and what is to be
    /// closed outside the lock.
    pub(crate) fn http2(&mut self, endpoint: &Endpoint, settings: &PoolSettings) -> (Arc<http2::Shared>, Closed) {
        let now = time::now();
        let closed = self.sweep(now, settings);
        let slot = match self.endpoints.get_mut(endpoint) {
            Some(slot) => slot,
            None => {
                self.endpoints.entry(Arc::new(endpoint.clone())).or_insert_with_key(|it| Slot::new(it, now, settings))
            }
        };
        slot.used_at = now;
        (Arc::clone(slot.http2.get_or_insert_with(|| Arc::new(http2::Shared::new(settings)))), closed)
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
            let is_recent = now.duration_since(slot.used_at) < settings.idle_timeout;
            let is_used = is_recent || slot.has_streams() || slot.places.are_used();
            let stays = is_used || !slot.http1.is_empty();
            let is_http2_idle = !stays && slot.http2.as_ref().is_some_and(|shared| shared.is_live());
            settings.metrics.closed_idle.add(u64::from(is_http2_idle));
            stays
        });
        self.parked_count = parked_count;
        closed
    }

    /// Shows how many wait, once a second: the cell is not this core's alone.
    fn show(&mut self, now: Instant) {
        let (shown, at) = self.shown;
        let count = i64::try_from(self.parked_count).unwrap_or(i64::MAX);
        if shown != count && now.duration_since(at) >= SHOWN_EVERY {
            self.gauge.add(count - shown);
            self.shown = (count, now);
        }
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.gauge.add(-self.shown.0);
    }
}

impl Slot {
    fn new(endpoint: &Arc<Endpoint>, now: Instant, settings: &PoolSettings) -> Self {
        let (endpoint, places) = (Arc::clone(endpoint), Arc::new(Places::new(settings.open_per_endpoint_max)));
        Self { endpoint, http1: Vec::new(), http2: None, places, used_at: now }
    }

    /// The connection that was used last and is alive still; those that are not are to be closed.
    fn take(&mut self, now: Instant, settings: &PoolSettings, closed: &mut Closed) -> Option<Parked> {
        while let Some(Parked { mut connection, since }) = self.http1.pop() {
            let metrics = &settings.metrics;
            if now.duration_since(since) >= settings.idle_timeout {
                // It was the youngest: the others are older.
                metrics.closed_idle.add(1 + self.http1.len() as u64);
                closed.0.extend(self.http1.drain(..).map(|parked| parked.connection));
            } else if connection.is_over(now) {
                metrics.closed_over.increment();
            } else if connection.is_old(now) {
                metrics.closed_age.increment();
            } else if connection.is_stale() {
                metrics.closed_stale.increment();
            } else {
                return Some(Parked { connection, since });
            }
            closed.0.push(connection);
        }
        None
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
