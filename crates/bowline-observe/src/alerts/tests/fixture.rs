//! What stands around alerts in tests.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_runtime::{
    BoxFuture,
    drain::{self, Drainer},
    metric, time,
};
use bowline_store::{Entry, Error as StoreError, HistoryId, LeaseId, Op, Page, Revision, Store, Txn, Watch};
use bytes::Bytes;
use serde_json::Value;

use crate::{
    alerts::{Alerts, Answer, Clock, Config, Evaluate, Post, PostError, Record, Settings, Target},
    labels::Labels,
};

/// When each world begins: rules are evaluated at multiples of their interval, so it decides how many evaluations
/// there are in a number of seconds.
const BEGAN_MS: i64 = 1_800_000_000_000;

/// A store in memory, which can be made to fail.
#[derive(Debug, Clone, Default)]
pub(in crate::alerts) struct Memory {
    entries: Arc<Mutex<BTreeMap<String, Bytes>>>,
    fails: Arc<AtomicBool>,
}

/// What rules read and write, who is told, and the time; outlives what it tests.
#[derive(Clone)]
pub(super) struct World {
    pub(super) store: Memory,
    pub(super) metrics: metric::Registry,
    /// Since when rules are evaluated.
    pub(super) watches_from: time::Instant,
    series: Arc<Mutex<BTreeMap<String, Answered>>>,
    delay: Arc<Mutex<Duration>>,
    pub(super) recorded: Arc<Mutex<Vec<(i64, Labels, f64)>>>,
    script: Arc<Mutex<VecDeque<Act>>>,
    pub(super) posts: Arc<Mutex<Vec<Posted>>>,
    offset_ms: Arc<AtomicI64>,
    began: time::Instant,
}

/// What an expression answers.
type Answered = Result<Vec<Labels>, String>;

/// What the receiver does about a notification.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    Status(u16),
    Later(u16, Duration),
    Hang,
    Refuse,
}

/// What the receiver was sent.
#[derive(Debug, Clone)]
pub(super) struct Posted {
    /// Since the beginning, in seconds.
    pub(super) at: u64,
    pub(super) target: String,
    pub(super) body: Value,
}

/// Alerts that run.
pub(super) struct Running {
    pub(super) alerts: Alerts,
    drainer: Drainer,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            store: Memory::default(),
            metrics: metric::Registry::default(),
            watches_from: time::now(),
            series: Arc::default(),
            delay: Arc::default(),
            recorded: Arc::default(),
            script: Arc::default(),
            posts: Arc::default(),
            offset_ms: Arc::new(AtomicI64::new(BEGAN_MS - wall_ms())),
            began: time::now(),
        }
    }

    /// Its clock: milliseconds since 1970.
    pub(super) fn now_ms(&self) -> i64 {
        wall_ms() + self.offset_ms.load(Relaxed)
    }

    /// The same world as far as it survives when the process is killed now: what ran goes on in the old one.
    pub(super) fn killed(&self) -> Self {
        let entries = lock(&self.store.entries).clone();
        let store = Memory { entries: Arc::new(Mutex::new(entries)), fails: Arc::default() };
        let series = Arc::new(Mutex::new(lock(&self.series).clone()));
        let offset_ms = Arc::new(AtomicI64::new(self.offset_ms.load(Relaxed)));
        Self { store, series, offset_ms, began: self.began, ..Self::new() }
    }

    pub(super) async fn start(&self, config: &str) -> Running {
        let world = Arc::new(self.clone());
        let clock: Clock = {
            let world = self.clone();
            Arc::new(move || world.now_ms())
        };
        let watches_from = self.watches_from;
        let settings = Settings {
            is_watching: Arc::new(move || time::now() >= watches_from),
            external_url: "http://bowline.test".to_owned(),
            post: world.clone(),
            clock,
            metrics: self.metrics.clone(),
            ..Settings::new(Arc::new(self.store.clone()), world.clone(), world)
        };
        let (drainer, drain) = drain::channel();
        let alerts = Alerts::start(settings, parse(config), drain).await.unwrap();
        Running { alerts, drainer }
    }

    /// What the expression answers from now on: these series, with the value 1.
    pub(super) fn answer(&self, expr: &str, services: &[&str]) {
        let series = services.iter().map(|service| Labels::new([("__name__", "x"), ("service", service)])).collect();
        lock(&self.series).insert(expr.to_owned(), Ok(series));
    }

    pub(super) fn fail(&self, expr: &str) {
        lock(&self.series).insert(expr.to_owned(), Err("it is broken".to_owned()));
    }

    pub(super) fn delay(&self, delay: Duration) {
        *lock(&self.delay) = delay;
    }

    pub(super) fn script(&self, acts: &[Act]) {
        lock(&self.script).extend(acts);
    }

    /// The receiver is well from now on.
    pub(super) fn forget_script(&self) {
        lock(&self.script).clear();
    }

    pub(super) fn step_clock(&self, by_ms: i64) {
        self.offset_ms.fetch_add(by_ms, Relaxed);
    }

    pub(super) fn posts(&self) -> Vec<Posted> {
        lock(&self.posts).clone()
    }

    /// What the receivers were told: status, and the services of its alerts.
    pub(super) fn told(&self) -> Vec<String> {
        self.posts().iter().map(Posted::told).collect()
    }

    pub(super) fn metric(&self, line: &str) -> bool {
        self.metrics.render().lines().any(|known| known == line)
    }

    pub(super) fn samples(&self, name: &str) -> Vec<(Labels, f64)> {
        let recorded = lock(&self.recorded);
        let of_name = recorded.iter().filter(|(_, labels, _)| labels.name() == Some(name));
        of_name.map(|(_, labels, value)| (labels.clone(), *value)).collect()
    }
}

impl Posted {
    fn told(&self) -> String {
        let alerts = self.body["alerts"].as_array().unwrap();
        let mut services: Vec<String> = alerts
            .iter()
            .map(|alert| {
                let sign = if alert["status"] == "firing" { '+' } else { '-' };
                format!("{sign}{}", alert["labels"]["service"].as_str().unwrap_or_default())
            })
            .collect();
        services.sort();
        services.join(" ")
    }
}

impl Running {
    pub(super) async fn stop(mut self) {
        self.drainer.drain().await;
        for _ in 0..100 {
            bowline_runtime::task::yield_now().await;
        }
    }

    /// The decisions in the ledger, the oldest first, as their names.
    pub(super) fn decisions(&self) -> Vec<String> {
        let mut ledger = self.alerts.ledger();
        ledger.reverse();
        let name = |entry: crate::alerts::ledger::Entry| {
            let decision = serde_json::to_value(entry.decision).unwrap();
            let because = decision["because"].as_str().map(|because| format!(" {because}")).unwrap_or_default();
            format!("{}{because}", decision["decision"].as_str().unwrap())
        };
        ledger.into_iter().map(name).collect()
    }
}

pub(super) fn parse(config: &str) -> Config {
    Config::parse(config, &|_| Ok(())).unwrap()
}

pub(super) async fn seconds(seconds: u64) {
    time::sleep(Duration::from_secs(seconds)).await; // tidy: sleep: the clock is paused
}

fn wall_ms() -> i64 {
    i64::try_from(time::unix_nanos(time::wall()) / 1_000_000).unwrap()
}

impl Evaluate for World {
    fn instant<'a>(&'a self, expr: &'a str, _at_ms: i64) -> BoxFuture<'a, Result<Vec<(Labels, f64)>, String>> {
        let delay = *lock(&self.delay);
        Box::pin(async move {
            time::sleep(delay).await; // tidy: sleep: the clock is paused
            let answer = lock(&self.series).get(expr).cloned().unwrap_or(Ok(vec![]));
            answer.map(|series| series.into_iter().map(|labels| (labels, 1.0)).collect())
        })
    }
}

impl Record for World {
    fn record(&self, at_ms: i64, samples: &[(Labels, f64)]) {
        lock(&self.recorded).extend(samples.iter().map(|(labels, value)| (at_ms, labels.clone(), *value)));
    }
}

impl Post for World {
    fn post<'a>(
        &'a self,
        target: &'a Target,
        body: Bytes,
        _timeout: Duration,
    ) -> BoxFuture<'a, Result<Answer, PostError>> {
        Box::pin(async move {
            let act = lock(&self.script).pop_front().unwrap_or(Act::Status(200));
            let (at, body) = (self.began.elapsed().as_secs(), serde_json::from_slice(&body).unwrap());
            lock(&self.posts).push(Posted { at, target: target.to_string(), body });
            let answer = |status, retry_after| Answer { status, retry_after, text: "busy".to_owned() };
            match act {
                Act::Status(status) => Ok(answer(status, None)),
                Act::Later(status, wait) => Ok(answer(status, Some(wait))),
                Act::Hang => std::future::pending().await,
                Act::Refuse => Err(PostError { reason: "refused".to_owned(), is_certain: true }),
            }
        })
    }
}

impl Memory {
    pub(in crate::alerts) fn set_failing(&self, fails: bool) {
        self.fails.store(fails, Relaxed);
    }

    pub(in crate::alerts) fn keys(&self, part: &str) -> usize {
        lock(&self.entries).keys().filter(|key| key.starts_with(&format!("alerts/v1/{part}"))).count()
    }
}

const CLOSED: StoreError = StoreError::Closed;

impl Store for Memory {
    fn get(&self, _key: &str) -> BoxFuture<'_, Result<Option<Entry>, StoreError>> {
        Box::pin(async { Err(CLOSED) })
    }

    fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> BoxFuture<'_, Result<Page, StoreError>> {
        let entries = lock(&self.entries);
        let found =
            entries.iter().filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after));
        let found: Vec<Entry> = found
            .take(limit)
            .map(|(key, value)| Entry {
                key: key.as_str().into(),
                value: value.clone(),
                created: 1,
                modified: 1,
                lease: None,
            })
            .collect();
        let more = found.len() == limit;
        Box::pin(async move { Ok(Page { entries: found, revision: 1, more }) })
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(async move {
            if self.fails.load(Relaxed) {
                return Err(StoreError::Full);
            }
            bowline_store::check_txn(&txn)?;
            let mut entries = lock(&self.entries);
            for op in txn.ops {
                match op {
                    Op::Put { key, value, .. } | Op::PutLasting { key, value } => drop(entries.insert(key, value)),
                    Op::Delete { key } => drop(entries.remove(&key)),
                }
            }
            Ok(1)
        })
    }

    fn commit_leased(&self, _: Txn, _: Duration) -> BoxFuture<'_, Result<(Revision, LeaseId), StoreError>> {
        Box::pin(async { Err(CLOSED) })
    }

    fn watch(&self, _: &str, _: Revision) -> BoxFuture<'_, Result<Watch, StoreError>> {
        Box::pin(async { Err(CLOSED) })
    }

    fn grant(&self, _: Duration) -> BoxFuture<'_, Result<LeaseId, StoreError>> {
        Box::pin(async { Err(CLOSED) })
    }

    fn keep_alive(&self, _: &[LeaseId]) -> BoxFuture<'_, Result<Vec<Result<Duration, StoreError>>, StoreError>> {
        Box::pin(async { Err(CLOSED) })
    }

    fn revoke(&self, _: LeaseId) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async { Err(CLOSED) })
    }

    fn time_left(&self, _: LeaseId) -> BoxFuture<'_, Result<Duration, StoreError>> {
        Box::pin(async { Err(CLOSED) })
    }

    fn lease_keys(&self, _: LeaseId) -> BoxFuture<'_, Result<Vec<Arc<str>>, StoreError>> {
        Box::pin(async { Err(CLOSED) })
    }

    fn history(&self) -> BoxFuture<'_, Result<HistoryId, StoreError>> {
        Box::pin(async { Err(CLOSED) })
    }

    fn revision(&self) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(async { Err(CLOSED) })
    }
}
