//! Alerts as one component: settings, start, and the handle of what runs.

use std::{fmt, sync::Arc, time::Duration};

use bowline_runtime::{
    drain::{self, Drain},
    metric, task, time,
};
use bowline_store::Store;

use super::{
    Clock,
    config::{Config, Receiver},
    error::Error,
    evaluator::{self, ActiveView, Evaluate, Evaluator, GroupView, Record, Transition},
    journal::Journal,
    ledger,
    manager::{Alert, AlertManager},
    metrics::Metrics,
    notifier::{self, Notifier},
    silence::{NewSilence, Silence},
    webhook::{Answer, HttpPost, Post, PostError},
};

/// What alerts need.
#[derive(Clone)]
pub struct Settings {
    /// How often groups are evaluated that do not say so themselves. 5 s.
    pub interval: Duration,
    /// Whether rules are to be evaluated now: not while what they read is being started or stopped, nor before each
    /// target was scraped once, as what fires would else be taken for over after a long absence. Always.
    pub is_watching: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Where people find Bowline: `http://127.0.0.1:7117`.
    pub external_url: String,
    /// Where what has to survive is kept, below `alerts/`.
    pub store: Arc<dyn Store>,
    /// Answers expressions.
    pub evaluate: Arc<dyn Evaluate>,
    /// Takes what rules record.
    pub record: Arc<dyn Record>,
    /// Sends notifications.
    pub post: Arc<dyn Post>,
    /// Milliseconds since 1970 now: the clock that samples are told by.
    pub clock: Clock,
    /// Where it counts.
    pub metrics: metric::Registry,
}

/// What evaluates rules and tells people. Cheap to clone.
#[derive(Clone)]
pub struct Alerts {
    evaluator: Evaluator,
    notifier: Notifier,
}

impl Settings {
    /// The defaults: every 5 s, always, over HTTP, by the system's clock.
    pub fn new(store: Arc<dyn Store>, evaluate: Arc<dyn Evaluate>, record: Arc<dyn Record>) -> Self {
        Self {
            interval: Duration::from_secs(5),
            is_watching: Arc::new(|| true),
            external_url: String::new(),
            store,
            evaluate,
            record,
            post: Arc::new(HttpPost),
            clock: Arc::new(|| i64::try_from(time::unix_millis_now()).unwrap_or(i64::MAX)),
            metrics: metric::Registry::default(),
        }
    }
}

impl Alerts {
    /// Goes on where it ended, and runs until the drain begins; what is being sent then is finished first, which
    /// takes 10 s at most.
    ///
    /// # Errors
    /// [`Error::Load`] when what was kept cannot be read.
    ///
    /// # Cancel safety
    /// Dropping the future starts nothing, or leaves it running until the drain begins.
    pub async fn start(settings: Settings, config: Config, mut drain: Drain) -> Result<Self, Error> {
        let Settings { interval, is_watching, external_url, store, evaluate, record, post, clock, metrics } = settings;
        let metrics = Metrics::new(&metrics);
        let journal = Arc::new(Journal::new(store, metrics.keep_failures.clone()));
        let external_url: Arc<str> = external_url.into();
        let parts = notifier::Parts {
            journal: journal.clone(),
            post,
            clock: clock.clone(),
            metrics: metrics.clone(),
            external_url: external_url.clone(),
        };
        let notifier = Notifier::load(parts, config.route).await?;
        let manager = Arc::new(notifier.clone());
        let parts = evaluator::Parts {
            evaluate,
            record,
            manager,
            journal,
            clock,
            interval,
            is_watching,
            external_url,
            metrics,
        };
        let evaluator = Evaluator::load(parts, config.groups).await?;
        let (mut telling, told) = drain::channel();
        let alerts = Self { evaluator, notifier };
        let running = alerts.clone();
        task::spawn(running.notifier.clone().run(told));
        task::spawn(async move {
            drain.draining().await;
            // Who raises alerts ends before who tells of them.
            running.evaluator.stop().await;
            telling.drain().await;
        });
        Ok(alerts)
    }

    /// Evaluates other rules, and tells others, from now on. Alerts of rules that are the same (by group, name and
    /// labels) go on; those of rules that are gone are over.
    ///
    /// # Errors
    /// [`Error::Stopped`], and [`Error::Keep`] when what changed may not survive.
    ///
    /// # Cancel safety
    /// It may be done in part: set it again.
    pub async fn set(&self, config: Config) -> Result<(), Error> {
        let Config { groups, route } = config;
        let kept = self.notifier.set_route(route).await;
        self.evaluator.set(groups).await?;
        kept
    }

    /// The groups, as `/api/v1/rules` has them.
    pub fn rules(&self) -> Vec<GroupView> {
        self.evaluator.rules()
    }

    /// The alerts that are pending or fire, as `/api/v1/alerts` has them.
    pub fn alerts(&self) -> Vec<ActiveView> {
        self.evaluator.alerts()
    }

    /// The last transitions of alerts since the start, the newest first.
    pub fn history(&self) -> Vec<Transition> {
        self.evaluator.history()
    }

    /// The last decisions, the newest first.
    pub fn ledger(&self) -> Vec<ledger::Entry> {
        self.notifier.ledger()
    }

    /// Who can be told.
    pub fn receivers(&self) -> Vec<Receiver> {
        self.notifier.route().receivers.clone()
    }

    /// All silences, those that ended lately included, by id.
    pub fn silences(&self) -> Vec<Silence> {
        self.notifier.silences()
    }

    /// Makes a silence.
    ///
    /// # Errors
    /// [`Error::InvalidSilence`], [`Error::TooMany`], [`Error::Keep`].
    ///
    /// # Cancel safety
    /// It may be made or not.
    pub async fn silence(&self, silence: NewSilence) -> Result<Silence, Error> {
        self.notifier.silence(silence).await
    }

    /// Ends a silence.
    ///
    /// # Errors
    /// [`Error::NoSilence`], [`Error::Keep`].
    ///
    /// # Cancel safety
    /// It may be ended or not.
    pub async fn expire(&self, id: &str) -> Result<Silence, Error> {
        self.notifier.expire(id).await
    }

    /// Sends a receiver a notification that says it is a test, once, and answers what came back.
    ///
    /// # Errors
    /// [`Error::NoReceiver`].
    ///
    /// # Cancel safety
    /// It may have been sent.
    pub async fn test(&self, receiver: &str) -> Result<Result<Answer, PostError>, Error> {
        self.notifier.test(receiver).await
    }
}

impl AlertManager for Alerts {
    fn send(&self, alerts: Vec<Alert>) -> bowline_runtime::BoxFuture<'_, Result<(), Error>> {
        self.notifier.send(alerts)
    }
}

impl fmt::Debug for Alerts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alerts").finish_non_exhaustive()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("interval", &self.interval).finish_non_exhaustive()
    }
}
