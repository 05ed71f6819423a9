//! The graph as a whole: spans in, figures out.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bowline_runtime::{
    metric::Registry,
    time::{self, Instant},
};
use bowline_telemetry::{SpanData, SpanKind};

use super::{
    fact::{Fact, OTHER, Tables},
    figures::{Edge, Graph, Mode, Node, Operation},
    matcher::{Learned, Matcher},
    metrics::{Metrics, Red},
    names::Names,
    window::{self, Series, Totals, Window},
};
use crate::traces::Tap;

/// The shortest window that can be asked for.
pub const WINDOW_MIN: Duration = Duration::from_mins(1);
/// The longest window that can be asked for, and how long figures are kept.
pub const WINDOW_MAX: Duration = Duration::from_hours(1);

/// The bounds of a graph, and where it counts.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The most spans that are remembered, to be paired with others. 100 000.
    pub spans_max: usize,
    /// The most services, with those that are only called. 2000.
    pub services_max: usize,
    /// The most pairs of caller and callee. 10 000.
    pub edges_max: usize,
    /// The most operations of a service; further ones are together, as `(other)`. 100.
    pub operations_max: usize,
    /// The most counts kept, of about 8 bytes each; beyond, the oldest go before the hour is over. 4 million.
    pub cells_max: usize,
    /// Where it counts.
    pub metrics: Registry,
}

/// Who calls whom, from spans; cheap to clone.
///
/// A span counts once, however often it is reported within a minute. It waits up to 10 s for its parent
/// and its children, so what is asked may lack calls that have not settled.
#[derive(Clone)]
pub struct ServiceGraph(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    settings: Settings,
    metrics: Metrics,
}

struct State {
    tables: Tables,
    matcher: Matcher,
    kept: Kept,
}

/// The figures of the last hour.
#[derive(Default)]
struct Kept {
    services: BTreeMap<Arc<str>, Service>,
    edges: BTreeMap<(Arc<str>, Arc<str>, Mode), Counted>,
    cells: usize,
    /// The oldest bucket there may be.
    first_slot: u64,
}

#[derive(Default)]
struct Service {
    reported_slot: u64,
    /// By name, and whether it takes messages.
    operations: BTreeMap<(Arc<str>, bool), Counted>,
}

struct Counted {
    series: Series,
    red: Red,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            spans_max: 100_000,
            services_max: 2000,
            edges_max: 10_000,
            operations_max: 100,
            cells_max: 4_000_000,
            metrics: Registry::default(),
        }
    }
}

impl ServiceGraph {
    /// An empty graph.
    pub fn new(settings: Settings) -> Self {
        let tables = Tables {
            services: Names::new(settings.services_max),
            operations: Names::new(settings.services_max.saturating_mul(settings.operations_max).min(50_000)),
            failures: Names::new(1000),
        };
        let matcher = Matcher::new(settings.spans_max);
        let state = Mutex::new(State { tables, matcher, kept: Kept::default() });
        let metrics = Metrics::new(&settings.metrics);
        Self(Arc::new(Shared { state, settings, metrics }))
    }

    /// What feeds it, for [`traces::Settings::tap`](crate::traces::Settings::tap).
    pub fn tap(&self) -> Arc<dyn Tap> {
        Arc::new(self.clone())
    }

    /// Takes spans in. Blocks for about a microsecond a span.
    pub fn observe(&self, spans: &[SpanData]) {
        self.0.observe(spans, true);
    }

    /// Services and calls of the window that ends now, from [`WINDOW_MIN`] to [`WINDOW_MAX`].
    ///
    /// Blocks, and holds up who feeds it, for milliseconds where there are thousands of edges.
    pub fn snapshot(&self, window: Duration) -> Graph {
        let window = window.clamp(WINDOW_MIN, WINDOW_MAX);
        let mut state = self.0.lock();
        let now = Now::get();
        self.0.pass(&mut state, now);
        state.kept.snapshot(&Window::new(now.unix_nanos, window))
    }
}

impl Tap for ServiceGraph {
    fn appended(&self, spans: &[SpanData]) {
        self.0.observe(spans, true);
    }

    fn replayed(&self, spans: &[SpanData]) {
        self.0.observe(spans, false);
    }
}

/// The two clocks.
#[derive(Clone, Copy)]
struct Now {
    instant: Instant,
    unix_nanos: u64,
}

impl Now {
    fn get() -> Self {
        Self { instant: time::now(), unix_nanos: time::unix_nanos(time::wall()) }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn observe(&self, spans: &[SpanData], is_live: bool) {
        let mut state = self.lock();
        let now = Now::get();
        self.metrics.spans.add(spans.len() as u64);
        let State { tables, matcher, kept } = &mut *state;
        // First what is old goes, so that there are names to give.
        kept.forget_old(now, self);
        matcher.pass(now.instant, &mut |learned| kept.learn(learned, now, self));
        for span in spans {
            let Some(fact) = Fact::new(span, is_live, tables) else {
                self.metrics.dropped_service.increment();
                continue;
            };
            kept.reported(&fact, now);
            matcher.observe(fact, now.instant, &mut |learned| kept.learn(learned, now, self));
        }
        self.report(&mut state);
    }

    fn pass(&self, state: &mut State, now: Now) {
        let State { tables: _, matcher, kept } = state;
        kept.forget_old(now, self);
        matcher.pass(now.instant, &mut |learned| kept.learn(learned, now, self));
        self.report(state);
    }

    fn report(&self, state: &mut State) {
        let State { tables: _, matcher, kept } = state;
        self.metrics.dropped_early.add(std::mem::take(&mut matcher.hurried));
        self.metrics.duplicates.add(std::mem::take(&mut matcher.duplicates));
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.remembered.set(gauge(matcher.len()));
        self.metrics.services.set(gauge(kept.services.len()));
        self.metrics.edges.set(gauge(kept.edges.len()));
    }
}

impl Kept {
    /// Notes that a service reports.
    fn reported(&mut self, fact: &Fact, now: Now) {
        let slot = window::slot(fact.end_unix_nanos.min(now.unix_nanos));
        if slot < self.first_slot {
            return;
        }
        let service = self.services.entry(Arc::clone(&fact.service)).or_default();
        service.reported_slot = service.reported_slot.max(slot);
    }

    fn learn(&mut self, learned: Learned, now: Now, shared: &Shared) {
        let registry = &shared.settings.metrics;
        let first_slot = self.first_slot;
        let (counted, fact) = match learned {
            Learned::Answered(fact) => (self.operation(&fact, &shared.settings), fact),
            Learned::Called { caller, callee, mode, measure } => {
                let key = (caller, callee, mode);
                if self.edges.len() >= shared.settings.edges_max && !self.edges.contains_key(&key) {
                    shared.metrics.dropped_edge.increment();
                    return;
                }
                let red = || Red::of_edge(registry, &key.0, &key.1, mode);
                let new = || Counted { series: Series::default(), red: red() };
                (self.edges.entry(key.clone()).or_insert_with(new), measure)
            }
        };
        counted.red.record(&fact);
        // A clock that is ahead does not count for later.
        let end_unix_nanos = fact.end_unix_nanos.min(now.unix_nanos);
        if window::slot(end_unix_nanos) < first_slot {
            shared.metrics.dropped_late.increment();
            return;
        }
        self.cells += counted.series.record(&fact, end_unix_nanos);
    }

    fn operation(&mut self, fact: &Fact, settings: &Settings) -> &mut Counted {
        let service = self.services.entry(Arc::clone(&fact.service)).or_default();
        let is_consumer = fact.kind == SpanKind::Consumer;
        let mut key = (Arc::clone(&fact.operation), is_consumer);
        if service.operations.len() >= settings.operations_max && !service.operations.contains_key(&key) {
            key.0 = Arc::from(OTHER);
        }
        let red = || Red::of_operation(&settings.metrics, &fact.service, &key.0, fact.kind.as_str());
        let new = || Counted { series: Series::default(), red: red() };
        service.operations.entry(key.clone()).or_insert_with(new)
    }

    /// Forgets what is older than an hour, and more where there is too much.
    fn forget_old(&mut self, now: Now, shared: &Shared) {
        let first = Window::new(now.unix_nanos, WINDOW_MAX).first_slot();
        if self.first_slot < first {
            self.first_slot = first;
            self.forget_before_first();
        }
        let last = window::slot(now.unix_nanos);
        while self.cells > shared.settings.cells_max && self.first_slot < last {
            // A tenth of what there is, so that it is not done for every span.
            self.first_slot += (last - self.first_slot).div_ceil(10);
            self.forget_before_first();
        }
    }

    fn forget_before_first(&mut self) {
        let (first, cells) = (self.first_slot, &mut self.cells);
        let mut is_kept = |counted: &mut Counted| {
            *cells -= counted.series.forget_before(first);
            !counted.series.is_empty()
        };
        self.edges.retain(|_, edge| is_kept(edge));
        self.services.retain(|_, service| {
            service.operations.retain(|_, operation| is_kept(operation));
            !service.operations.is_empty() || service.reported_slot >= first
        });
    }

    fn snapshot(&self, window: &Window) -> Graph {
        let mut edges = Vec::new();
        let mut called: BTreeMap<Arc<str>, Totals> = BTreeMap::new();
        for ((caller, callee, mode), Counted { series, red: _ }) in &self.edges {
            let totals = series.totals(window);
            if totals.is_empty() {
                continue;
            }
            called.entry(Arc::clone(caller)).or_default();
            called.entry(Arc::clone(callee)).or_default().add(&totals);
            edges.push(Edge {
                caller: Arc::clone(caller),
                callee: Arc::clone(callee),
                mode: *mode,
                figures: totals.figures(window),
                last_seen_unix_nanos: series.last_seen_unix_nanos(),
                sample: series.sample(window),
                failures: totals.failures(),
            });
        }
        for (name, service) in &self.services {
            if window.contains(service.reported_slot) {
                called.entry(Arc::clone(name)).or_default();
            }
        }
        let services = called.into_iter().map(|(name, called)| {
            let service = self.services.get(&name);
            let service = service.filter(|service| window.contains(service.reported_slot));
            node(name, service, &called, window)
        });
        Graph { services: services.collect(), edges }
    }
}

fn node(name: Arc<str>, service: Option<&Service>, called: &Totals, window: &Window) -> Node {
    let Some(service) = service else {
        return Node { name, figures: called.figures(window), is_instrumented: false, operations: Vec::new() };
    };
    let mut answered = Totals::default();
    let mut operations = Vec::new();
    for ((name, is_consumer), Counted { series, red: _ }) in &service.operations {
        let totals = series.totals(window);
        if !totals.is_empty() {
            answered.add(&totals);
            let (name, figures) = (Arc::clone(name), totals.figures(window));
            operations.push(Operation { name, is_consumer: *is_consumer, figures });
        }
    }
    Node { name, figures: answered.figures(window), is_instrumented: true, operations }
}

impl fmt::Debug for ServiceGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceGraph").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
