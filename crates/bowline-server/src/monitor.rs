//! What the node measures and is asked about it: samples, queries over them, rules and alerts.

use std::{
    net::ToSocketAddrs as _,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use bowline_config::{ConfigManager, Document};
use bowline_model::{
    ConfigKey, InstanceId, Protocol, ServiceName,
    error::chain,
    monitor::{MetricsPolicy, StaticTarget},
};
use bowline_observe::{
    alerts::{self, Alerts, Evaluate},
    labels::{Labels, Matcher},
    promql::{self, Cancel, Engine, Expr, Value},
    scrape::{self, Target},
    series::{self, SeriesStore},
    source::{Series, SourceError},
};
use bowline_proxy::follow::Follow;
use bowline_registry::Registry;
use bowline_runtime::{
    BoxFuture,
    drain::{self, Drainer},
    metric,
    task::{self, Guarded},
    time::{self, Duration, Instant},
};
use bowline_store::Store;
use bowline_transport::{Endpoint, PoolSettings, SharedPool};
use tokio::sync::{Semaphore, watch};

use crate::{
    collect::{CollectSettings, Collecting, Dial},
    judge::Measures,
};

/// How many queries of people are evaluated at once, and how many of rules; others wait, within their time.
const QUERIES_MAX: usize = 4;
/// How long the directory of names may take at the start.
const RESOLVE_MAX: Duration = Duration::from_secs(5);
/// As whom the node says what it makes of documents, and as whom it is scraped.
const OWN_NAME: &str = "bowline";

/// What is measured and watched for.
#[derive(Debug, Clone)]
pub struct MonitorSettings {
    /// How much disk samples may take, in bytes.
    pub bytes_max: u64,
    /// What is scraped, how often, and how long it is kept.
    pub policy: MetricsPolicy,
    /// Where people find this node: `http://127.0.0.1:7117`.
    pub external_url: String,
}

impl Default for MonitorSettings {
    fn default() -> Self {
        let bytes_max = series::Settings::new("").bytes_max;
        let external_url = String::new();
        Self { bytes_max, policy: MetricsPolicy::default(), external_url }
    }
}

/// What it stands on.
pub(crate) struct Parts {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) config: Arc<dyn ConfigManager>,
    pub(crate) metrics: metric::Registry,
    /// The services of the system: counted before they have an instance.
    pub(crate) services: Vec<ServiceName>,
}

/// Everything that measures. [`Monitor::stop`] ends it in order.
pub(crate) struct Monitor {
    series: SeriesStore,
    pub(crate) queries: Queries,
    pub(crate) alerts: Alerts,
    settings: MonitorSettings,
    metrics: metric::Registry,
    services: Vec<ServiceName>,
    config: Arc<dyn ConfigManager>,
    pub(crate) gate: Gate,
    /// Follows what is published of alerts, once it may have been.
    following: OnceLock<Guarded<()>>,
    drainer: Drainer,
}

impl Monitor {
    /// Goes on where it ended: opens the samples, and evaluates the rules that were published last.
    pub(crate) async fn open(data_dir: &Path, settings: MonitorSettings, parts: Parts) -> Result<Self, OpenError> {
        let Parts { store, config, metrics, services } = parts;
        let mut store_settings = series::Settings::new(data_dir.join("metrics"));
        store_settings.bytes_max = settings.bytes_max;
        store_settings.retention = settings.policy.retention;
        store_settings.metrics = metrics.clone();
        // It reads its log: seconds for gigabytes.
        let opened = task::spawn_blocking(move || SeriesStore::open(store_settings)).await;
        let series = opened.unwrap_or(Err(series::Error::Closed)).map_err(OpenError::Series)?;
        let engine = Engine { subquery_step: settings.policy.every, ..Engine::default() };
        let queries = Queries::new(series.clone(), engine.clone());
        // With places of their own: rules do not wait for what people ask.
        let rules = Queries::new(series.clone(), engine);
        let mut told = alerts::Settings::new(store, Arc::new(rules), Arc::new(series.clone()));
        told.interval = settings.policy.every;
        let gate = Gate::new(2 * settings.policy.every);
        let watching = gate.clone();
        told.is_watching = Arc::new(move || watching.is_open());
        told.external_url.clone_from(&settings.external_url);
        told.metrics = metrics.clone();
        let (drainer, drain) = drain::channel();
        let first = published(&*config).await.map_err(OpenError::Config)?;
        let alerts = Alerts::start(told, first, drain).await.map_err(OpenError::Alerts)?;
        Ok(Self {
            series,
            queries,
            alerts,
            settings,
            metrics,
            services,
            config,
            gate,
            following: OnceLock::new(),
            drainer,
        })
    }

    /// Begins to follow what is published of alerts.
    pub(crate) fn follow(&self) {
        let follow = || Guarded::new(task::spawn(follow(self.config.clone(), self.alerts.clone())));
        self.following.get_or_init(follow);
    }

    /// Begins to scrape the registry's instances, what was given beside, and this process.
    pub(crate) async fn collect(&self, registry: Arc<dyn Registry>, pool: PoolSettings, dial: Dial) -> Collecting {
        let interval = self.settings.policy.every;
        let scrape = scrape::Settings { interval, metrics: self.metrics.clone(), ..scrape::Settings::default() };
        let mut fixed = vec![Target::process(OWN_NAME, OWN_NAME)];
        let targets = self.settings.policy.targets.iter().cloned();
        // All at once: a directory of names that does not answer holds up the start only once.
        let found: Vec<_> = targets.map(|target| task::spawn(fixed_target(target))).collect();
        for target in found {
            fixed.extend(target.await.ok().flatten());
        }
        let declared = self.services.clone();
        let settings = CollectSettings { scrape, pool: SharedPool::new(pool), dial, fixed, declared };
        Collecting::start(settings, registry, Arc::new(self.series.clone()))
    }

    /// What judges releases by the samples.
    pub(crate) fn measures(&self, registry: Arc<dyn Registry>) -> Measures {
        Measures::new(self.series.clone(), registry)
    }

    /// Evaluates and tells no more, and lets the folder go.
    pub(crate) async fn stop(self) {
        let Self {
            series,
            queries,
            alerts,
            settings: _,
            metrics: _,
            services: _,
            config: _,
            gate: _,
            following,
            mut drainer,
        } = self;
        drop(following);
        drainer.drain().await;
        drop((alerts, queries));
        series.close().await;
    }
}

/// Whether rules are evaluated: not while a system is being started or stopped. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    opens_at: Arc<Mutex<Option<Instant>>>,
    settle: Duration,
}

impl Gate {
    /// Shut; once opened, it opens after so long.
    fn new(settle: Duration) -> Self {
        Self { opens_at: Arc::default(), settle }
    }

    /// Opens when what was scraped meanwhile can be judged.
    pub(crate) fn open(&self) {
        *self.lock() = Some(time::now() + self.settle);
    }

    pub(crate) fn shut(&self) {
        *self.lock() = None;
    }

    fn is_open(&self) -> bool {
        self.lock().is_some_and(|at| at <= time::now())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.opens_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why it could not be opened.
#[derive(Debug)]
pub(crate) enum OpenError {
    Series(series::Error),
    Config(bowline_config::Error),
    Alerts(alerts::Error),
}

/// What the file names, found in the directory of names once; who moves is found at the next start.
async fn fixed_target(target: StaticTarget) -> Option<Target> {
    let StaticTarget { job, address, path, labels } = target;
    let name = address.clone();
    let found = task::spawn_blocking(move || name.to_socket_addrs().ok()?.next());
    let found = time::timeout(RESOLVE_MAX, found).await;
    let Some(addr) = found.ok().and_then(Result::ok).flatten() else {
        tracing::warn!(
            job,
            address,
            "nothing has the name of a scrape target; it is asked for again at the next start"
        );
        return None;
    };
    let endpoint = Endpoint { address: addr.into(), protocol: Protocol::Http1, tls: None };
    let labels = Labels::new(labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    Some(Target { labels, ..Target::http(&job, &address, endpoint, &path) })
}

// === alerts ===

/// Reads a document `bowline/alerts`.
pub(crate) fn read_alerts(document: &Document) -> Result<alerts::Config, Vec<bowline_model::Problem>> {
    alerts::Config::parse(&document.text, &check_expression)
}

/// Whether an expression of a rule can be evaluated.
fn check_expression(text: &str) -> Result<(), String> {
    promql::parse(text).map(drop).map_err(|error| error.to_string())
}

/// What was published last. A store that fails is no such thing as nothing published: all alerts would be over, and
/// receivers forgotten.
async fn published(config: &dyn ConfigManager) -> Result<alerts::Config, bowline_config::Error> {
    let Some(version) = config.get_config(&ConfigKey::alerts()).await? else { return Ok(alerts::Config::default()) };
    Ok(read_alerts(&version.document).unwrap_or_else(|problems| {
        // Another release took it.
        let (key, problem) = (ConfigKey::alerts(), first_of(&problems));
        tracing::error!(%key, version = version.number, problem, "cannot be read: no rule is evaluated until it is mended");
        alerts::Config::default()
    }))
}

/// Acts by each version that is published, for ever.
async fn follow(config: Arc<dyn ConfigManager>, alerts: Alerts) {
    let (told, mut news) = watch::channel(None);
    let follow = Follow {
        config,
        key: ConfigKey::alerts(),
        instance: InstanceId::new(OWN_NAME).expect("it is an id"),
        service: ServiceName::new(OWN_NAME).expect("it is a name"),
        last_good: None,
        runs: None,
    };
    let following = follow.run(move |version| {
        let config = read_alerts(&version.document).map_err(|problems| first_of(&problems))?;
        told.send_replace(Some(config));
        Ok(())
    });
    let acting = async {
        while news.changed().await.is_ok() {
            let Some(config) = news.borrow_and_update().clone() else { continue };
            if let Err(error) = alerts.set(config).await {
                tracing::error!(error = chain(&error), "rules were published that are not evaluated");
            }
        }
    };
    tokio::join!(following, acting);
}

fn first_of(problems: &[bowline_model::Problem]) -> String {
    problems.first().map(|problem| problem.message.clone()).unwrap_or_default()
}

// === queries ===

/// Evaluates queries on threads that may block, a few at a time. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Queries {
    series: SeriesStore,
    engine: Engine,
    places: Arc<Semaphore>,
}

impl Queries {
    pub(crate) fn new(series: SeriesStore, engine: Engine) -> Self {
        Self { series, engine, places: Arc::new(Semaphore::new(QUERIES_MAX)) }
    }

    /// How many samples were taken so far.
    pub(crate) fn samples(&self) -> u64 {
        self.series.samples_taken()
    }

    /// The expression that a text is, read on a thread that may block: regular expressions take a while.
    pub(crate) async fn parse(text: String) -> Result<Expr, promql::ParseError> {
        let read = task::spawn_blocking(move || promql::parse(&text)).await;
        read.unwrap_or_else(|_| {
            let position = promql::Position { line: 1, column: 1 };
            Err(promql::ParseError { position, message: "the expression could not be read".to_owned() })
        })
    }

    /// The value of an expression at one time.
    ///
    /// # Cancel safety
    /// The evaluation ends soon.
    pub(crate) async fn instant(
        &self,
        expr: Expr,
        at_ms: i64,
        timeout: Option<Duration>,
    ) -> Result<Value, promql::Error> {
        self.evaluate(timeout, move |engine, series| engine.instant(series, &expr, at_ms)).await
    }

    /// The values of an expression over a time.
    ///
    /// # Cancel safety
    /// The evaluation ends soon.
    pub(crate) async fn range(
        &self,
        expr: Expr,
        (from_ms, to_ms): (i64, i64),
        step_ms: i64,
        timeout: Option<Duration>,
    ) -> Result<Vec<Series>, promql::Error> {
        self.evaluate(timeout, move |engine, series| engine.range(series, &expr, from_ms, to_ms, step_ms)).await
    }

    /// The labels of the series that pass one of the lists of matchers, and have samples in that time.
    pub(crate) async fn labels(
        &self,
        matchers: Vec<Vec<Matcher>>,
        (from_ms, to_ms): (i64, i64),
    ) -> Result<Vec<Labels>, promql::Error> {
        let read = move |_: &Engine, series: &SeriesStore| Ok(series.labels(&matchers, from_ms, to_ms)?);
        self.evaluate(None, read).await
    }

    /// The names of the labels of such series; without matchers of all, roughly in that time.
    pub(crate) async fn label_names(
        &self,
        matchers: Vec<Vec<Matcher>>,
        (from_ms, to_ms): (i64, i64),
    ) -> Result<Vec<String>, promql::Error> {
        let read = move |_: &Engine, series: &SeriesStore| Ok(series.label_names(&matchers, from_ms, to_ms)?);
        self.evaluate(None, read).await
    }

    /// The values that a label of such series has; without matchers of all, roughly in that time.
    pub(crate) async fn label_values(
        &self,
        label: String,
        matchers: Vec<Vec<Matcher>>,
        (from_ms, to_ms): (i64, i64),
    ) -> Result<Vec<String>, promql::Error> {
        let read = move |_: &Engine, series: &SeriesStore| Ok(series.label_values(&label, &matchers, from_ms, to_ms)?);
        self.evaluate(None, read).await
    }

    async fn evaluate<T: Send + 'static>(
        &self,
        timeout: Option<Duration>,
        evaluate: impl FnOnce(&Engine, &SeriesStore) -> Result<T, promql::Error> + Send + 'static,
    ) -> Result<T, promql::Error> {
        let closed = || promql::Error::from(SourceError::Closed);
        let timeout = timeout.map_or(self.engine.timeout, |timeout| timeout.min(self.engine.timeout));
        let begun = time::now();
        let place = time::timeout(timeout, Arc::clone(&self.places).acquire_owned()).await;
        let place = place.map_err(|_| promql::Error::Timeout)?.map_err(|_| closed())?;
        // What was waited counts.
        let timeout = timeout.saturating_sub(begun.elapsed());
        let engine = Engine { cancel: Cancel::default(), timeout, ..self.engine.clone() };
        let _cancel = CancelOnDrop(engine.cancel.clone());
        let series = self.series.clone();
        let evaluating = task::spawn_blocking(move || {
            // Held by the thread: a caller that gives up does not end it at once.
            let _place = place;
            evaluate(&engine, &series)
        });
        evaluating.await.unwrap_or_else(|_| Err(closed()))
    }
}

/// Ends an evaluation that nobody waits for any more.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Evaluate for Queries {
    fn instant<'a>(&'a self, expr: &'a str, at_ms: i64) -> BoxFuture<'a, Result<Vec<(Labels, f64)>, String>> {
        Box::pin(async move {
            let expr = Self::parse(expr.to_owned()).await.map_err(|error| error.to_string())?;
            match Self::instant(self, expr, at_ms, None).await.map_err(|error| chain(&error))? {
                Value::Scalar(sample) => Ok(vec![(Labels::default(), sample.value)]),
                Value::Vector(vector) => {
                    Ok(vector.into_iter().map(|(labels, sample)| (labels, sample.value)).collect())
                }
                Value::Text { .. } | Value::Matrix(_) => Err("a rule needs a scalar or an instant vector".to_owned()),
            }
        })
    }
}
