//! Tells people: alerts in groups, each told once, with what was decided in the ledger.

mod sending;
mod state;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bowline_runtime::{
    BoxFuture,
    drain::Drain,
    rand,
    task::JoinSet,
    time::{self, Instant},
};
use tokio::sync::Notify;

use super::{
    Clock,
    config::Route,
    error::Error,
    journal::Journal,
    ledger::{self, Decision, Ledger},
    manager::{Alert, AlertManager},
    metrics::Metrics,
    silence::{NewSilence, Silence},
    webhook::{Answer, Head, Payload, Post, PostError},
};
use crate::labels::{Labels, NAME};

use state::{KeptDelivery, State};

/// The most alerts that are held at once, each for each of its receivers.
pub const HELD_MAX: usize = 10_000;

/// The most notifications under way at once, and of them to one receiver.
pub(crate) const SENDS_MAX: usize = 16;
pub(crate) const SENDS_PER_RECEIVER_MAX: usize = 4;

/// The longest that one attempt takes.
pub(crate) const ATTEMPT_MAX: Duration = Duration::from_secs(10);

/// What the notifier needs.
pub(crate) struct Parts {
    pub(crate) journal: Arc<Journal>,
    pub(crate) post: Arc<dyn Post>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    pub(crate) external_url: Arc<str>,
}

/// The notifier. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Notifier(Arc<Shared>);

struct Shared {
    parts: Parts,
    state: Mutex<State>,
    /// Something is due sooner than was known.
    wake: Notify,
}

impl Notifier {
    /// What was kept, and who is told from now on.
    pub(crate) async fn load(parts: Parts, route: Route) -> Result<Self, Error> {
        let entries = parts.journal.load("ledger/").await?;
        let (ledger, changed, gone) = Ledger::restore(entries.into_iter().map(|(_, entry)| entry).collect());
        for entry in &changed {
            parts.journal.put(&ledger::key(entry.id), entry);
        }
        for id in gone {
            parts.journal.delete(&ledger::key(id));
        }
        let mut state = State::new(ledger, parts.journal.clone(), parts.metrics.clone());
        for (_, silence) in parts.journal.load::<Silence>("silences/").await? {
            state.silences.restore(silence);
        }
        for (_, kept) in parts.journal.load::<KeptDelivery>("deliveries/").await? {
            state.restore(kept);
        }
        count_silences(&state, &parts.metrics);
        state.set_route(route, time::now(), (parts.clock)());
        Ok(Self(Arc::new(Shared { parts, state: Mutex::new(state), wake: Notify::new() })))
    }

    /// Tells people until the drain begins; what is under way then is finished first, which takes 10 s at most.
    pub(crate) async fn run(self, mut drain: Drain) {
        let mut sends = JoinSet::new();
        loop {
            let (due, next) = self.state().take_due(time::now(), SENDS_MAX - sends.len());
            for group in due {
                let (notifier, drain) = (self.clone(), drain.clone());
                sends.spawn(async move { notifier.flush(&group, drain).await });
            }
            let next = next.unwrap_or_else(|| time::now() + Duration::from_hours(1));
            tokio::select! {
                biased;
                () = drain.draining() => break,
                Some(_) = sends.join_next() => {}
                () = self.0.wake.notified() => {}
                () = time::sleep_until(next) => {}
            }
        }
        while sends.join_next().await.is_some() {}
        if let Err(error) = self.0.parts.journal.commit().await {
            tracing::warn!(error = %bowline_model::error::chain(&error), "the state of alerts was not kept");
        }
    }

    pub(crate) async fn set_route(&self, route: Route) -> Result<(), Error> {
        self.state().set_route(route, time::now(), self.now_ms());
        self.0.wake.notify_one();
        self.0.parts.journal.commit().await
    }

    pub(crate) fn route(&self) -> Arc<Route> {
        self.state().route()
    }

    pub(crate) fn ledger(&self) -> Vec<ledger::Entry> {
        self.state().ledger.all()
    }

    pub(crate) fn silences(&self) -> Vec<Silence> {
        self.state().silences.all()
    }

    pub(crate) async fn silence(&self, new: NewSilence) -> Result<Silence, Error> {
        let now_ms = self.now_ms();
        let silence = new.check(format!("{:032x}", rand::u128()), now_ms)?;
        let kept = silence.0.clone();
        {
            let mut state = self.state();
            for gone in state.silences.add(silence, now_ms)? {
                self.0.parts.journal.delete(&format!("silences/{gone}"));
            }
            self.keep_silence(&state, &kept);
        }
        self.0.parts.journal.commit().await?;
        Ok(kept)
    }

    pub(crate) async fn expire(&self, id: &str) -> Result<Silence, Error> {
        let silence = {
            let mut state = self.state();
            let silence = state.silences.expire(id, self.now_ms())?;
            self.keep_silence(&state, &silence);
            silence
        };
        self.0.parts.journal.commit().await?;
        Ok(silence)
    }

    fn keep_silence(&self, state: &State, silence: &Silence) {
        self.0.parts.journal.put(&format!("silences/{}", silence.id), silence);
        count_silences(state, &self.0.parts.metrics);
    }

    /// Sends one notification that says it is a test, and answers what came back.
    pub(crate) async fn test(&self, receiver: &str) -> Result<Result<Answer, PostError>, Error> {
        let route = self.route();
        let found = route.receivers.iter().find(|known| known.name() == receiver);
        let found = found.ok_or_else(|| Error::NoReceiver { name: receiver.to_owned() })?;
        let alert = Alert {
            labels: Labels::new([("alertname", "BowlineTest"), ("severity", "none")]),
            annotations: [("summary".to_owned(), "This is a test of the receiver.".to_owned())].into(),
            starts_at_ms: self.now_ms(),
            ends_at_ms: None,
            generator_url: self.0.parts.external_url.to_string(),
        };
        let group_labels = Labels::new([("alertname", "BowlineTest")]);
        let head = Head {
            group_key: "{}:{alertname=\"BowlineTest\"}",
            receiver,
            group_labels: &group_labels,
            external_url: &self.0.parts.external_url,
        };
        let body = Payload::new(head, vec![&alert]).encode();
        let answer = self.0.parts.post.post(found.webhook(), body, ATTEMPT_MAX).await;
        let is_taken = answer.as_ref().is_ok_and(|answer| (200..300).contains(&answer.status));
        let outcome = if is_taken { "test_sent" } else { "test_failed" };
        self.0.parts.metrics.notifications(receiver, outcome).increment();
        Ok(answer)
    }

    fn now_ms(&self) -> i64 {
        (self.0.parts.clock)()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AlertManager for Notifier {
    fn send(&self, alerts: Vec<Alert>) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let mut taken = Ok(());
            {
                let (mut state, now) = (self.state(), time::now());
                for alert in alerts {
                    let alert = Alert { labels: alert.labels.with(NAME, ""), ..alert };
                    taken = taken.and(state.hear(alert, now, self.now_ms()));
                }
            }
            self.0.wake.notify_one();
            // Also where nothing changed now: what changed before may not be kept yet.
            self.0.parts.journal.commit().await?;
            taken
        })
    }
}

fn count_silences(state: &State, metrics: &Metrics) {
    metrics.silences.set(i64::try_from(state.silences.all().len()).unwrap_or(i64::MAX));
}

/// What a notification came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) attempts: u32,
    /// Why not, and whether it is certain that it has not arrived.
    pub(crate) failed: Option<(String, bool)>,
}

impl Outcome {
    fn decision(&self, status: &str, because: &str) -> Decision {
        let (status, because) = (status.to_owned(), because.to_owned());
        match &self.failed {
            None => Decision::Sent { status, because, attempts: self.attempts },
            Some((error, _)) => Decision::Failed { status, because, attempts: self.attempts, error: error.clone() },
        }
    }
}

/// The end of the time that a notification may take.
pub(crate) fn deadline(began: Instant, interval: Duration) -> Instant {
    began + interval
}
