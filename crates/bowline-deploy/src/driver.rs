//! The task of one service: it brings about what the table wants, and tells the table what came of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bowline_model::{
    deploy::{Figures, Plan},
    units,
};
use bowline_runtime::{
    drain::Drain,
    time::{self, Instant},
};

use crate::{
    course::WEIGHT_ALL,
    deployer::Ports,
    error::Error,
    port::{Failure, Question, Verdict},
    rollout::Rollout,
    table::{Effect, Event, Judgement, Side, Stage, State},
    track::{Task, Track},
};

/// How often a port is asked before it is given up, where that is possible.
const ATTEMPTS_MAX: u32 = 3;
/// The waits after failures: the first one, doubled from one to the next, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The shortest and the longest time between two looks at a release; between them, a quarter of the bake.
const JUDGED_EVERY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How often it is looked whether requests are still split as was published.
const LOOKED_EVERY: Duration = Duration::from_secs(5);
/// The longest that a measurement takes.
const JUDGE_MAX: Duration = Duration::from_secs(10);
/// How far back it is looked at least, where the bake is shorter, and at most, where it is longer and there were
/// requests enough.
const WINDOW: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(1));

/// Drives the rollouts of one service until it is drained.
pub(crate) async fn drive(track: Arc<Track>, ports: Ports, mut drain: Drain) {
    let driver = Driver { track, ports };
    drain.or_drain(driver.run()).await;
}

struct Driver {
    track: Arc<Track>,
    ports: Ports,
}

/// What its driver remembers of a rollout. All of it is lost in a restart, which begins a bake anew.
struct Memory {
    id: u64,
    number: u32,
    /// Since when the release is measured with the share that it has.
    since: Instant,
    /// Whether what has to run was started by another process, and is not yet known to run here.
    is_resumed: bool,
}

/// What happened, and why where that is not plain.
type Happened = (Event, Option<String>);

impl Driver {
    async fn run(&self) {
        let mut memory = Memory { id: 0, number: 0, since: time::now(), is_resumed: false };
        let mut failures = 0;
        loop {
            match self.turn(&mut memory).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    let service = self.track.declared.service.as_str();
                    tracing::warn!(service, error = &error as &dyn std::error::Error, "a rollout cannot be kept");
                    time::sleep(backoff(failures)).await;
                }
            }
        }
    }

    /// Brings about one effect, or waits for something to do.
    async fn turn(&self, memory: &mut Memory) -> Result<(), Error> {
        let Some(Task { rollout, is_resumed }) = self.track.task().await? else {
            self.track.poked().await;
            return Ok(());
        };
        memory.remember(&rollout, is_resumed);
        let (event, why) = tokio::select! {
            biased;
            () = self.track.poked() => return Ok(()),
            happened = self.happen(&rollout, memory) => happened,
        };
        self.track.report(&rollout, event, why).await.map(drop)
    }

    async fn happen(&self, rollout: &Rollout, memory: &mut Memory) -> Happened {
        let since = memory.since;
        tokio::select! {
            happened = self.work(rollout, memory) => happened,
            happened = self.watch(rollout, since) => happened,
        }
    }

    /// Does what the state wants done; where that is to watch, it ends only when it has to be given up.
    async fn work(&self, rollout: &Rollout, memory: &mut Memory) -> Happened {
        let course = rollout.course();
        if memory.is_resumed && matches!(rollout.state, State::Going(_) | State::Paused(_)) {
            // What runs now was begun by what the file says, which does not wait for it.
            let count = rollout.state.running(&course).new;
            if count > 0
                // It may be down meanwhile, with a share of the requests: it ran, so that one failure is enough.
                && let Some(given_up) = self.insist(rollout, Effect::Scale(Side::New, count), 1).await
            {
                return given_up;
            }
            memory.is_resumed = false;
        }
        match rollout.state.effect(&course) {
            Effect::Watch => self.hold(rollout).await,
            Effect::Finish => std::future::pending().await,
            effect => self.insist(rollout, effect, ATTEMPTS_MAX).await.unwrap_or((Event::Done, None)),
        }
    }

    /// Asks a port until it has done it; or gives up after so many failures, where the table knows what to do then.
    async fn insist(&self, rollout: &Rollout, effect: Effect, attempts_max: u32) -> Option<Happened> {
        let mut attempts = 0;
        while let Err(Failure(failure)) = self.ask(rollout, effect).await {
            attempts += 1;
            let service = rollout.service.as_str();
            let phase = rollout.phase().name();
            tracing::warn!(service, phase, attempts, error = failure, "a rollout's step failed");
            let can_give_up = rollout.state.step(&rollout.course(), Event::GaveUp).is_some();
            if attempts >= attempts_max && can_give_up {
                return Some((Event::GaveUp, Some(failure)));
            }
            let wait = backoff(attempts);
            let waits_for = format!("it is tried again in {}: {failure}", units::format_duration(wait));
            self.track.show_wait(rollout, &waits_for);
            time::sleep(wait).await;
        }
        None
    }

    /// Sees to it that the new release keeps its share: somebody may bring back an earlier version of what is published.
    async fn hold(&self, rollout: &Rollout) -> Happened {
        let Rollout { service, id, .. } = rollout;
        let (State::Going(place) | State::Paused(place)) = rollout.state else { return std::future::pending().await };
        if place.stage != Stage::Baking {
            // Paused before the step's share was published: callers may act by the one before it.
            return std::future::pending().await;
        }
        let weight = rollout.weight();
        let weights = weights(rollout, weight);
        loop {
            time::sleep(LOOKED_EVERY).await;
            let published = self.ports.steer.published(service).await;
            // Where nobody can tell, nothing is known to be wrong.
            if published.is_ok_and(|it| it.rollout != Some(*id) || it.split != weights) {
                tracing::warn!(%service, id, "somebody else changed how its requests are split: it is published anew");
                if let Some(given_up) = self.insist(rollout, Effect::Split(Some(weight)), ATTEMPTS_MAX).await {
                    return given_up;
                }
                self.track.show_no_wait(rollout);
            }
        }
    }

    async fn ask(&self, rollout: &Rollout, effect: Effect) -> Result<(), Failure> {
        let Rollout { service, id, from, to, .. } = rollout;
        match effect {
            Effect::Scale(Side::Old, count) => self.ports.fleet.scale(service, from, count).await,
            Effect::Scale(Side::New, count) => self.ports.fleet.scale(service, to, count).await,
            Effect::Split(weight) => {
                let weights = weight.map(|new| weights(rollout, new)).unwrap_or_default();
                self.ports.steer.split(service, *id, &weights).await
            }
            Effect::Watch | Effect::Finish => Ok(()),
        }
    }

    /// Measures the release again and again, until that ends something; never ends where it is not to be measured.
    async fn watch(&self, rollout: &Rollout, since: Instant) -> Happened {
        let plan = &rollout.plan;
        let is_baking = matches!(rollout.state, State::Going(place) if place.stage == Stage::Baking);
        if !rollout.state.is_watched(&rollout.course()) {
            return std::future::pending().await;
        }
        let every = (plan.bake / 4).clamp(JUDGED_EVERY.0, JUDGED_EVERY.1);
        let over = since + plan.bake;
        loop {
            let next = time::now() + every;
            let is_near = is_baking && time::now() < over && over < next;
            time::sleep_until(if is_near { over } else { next }).await;
            let is_over = is_baking && time::now() >= over;
            let verdict = self.judge(rollout, since).await;
            if let Some(verdict) = &verdict {
                self.track.show_verdict(rollout, verdict);
            }
            match verdict {
                Some(Verdict::Bad(_, by)) => return (bad(), Some(by)),
                None if is_over => return (good(), None),
                Some(Verdict::Good(figures)) if is_over => return (good(), Some(format!("good: {figures}"))),
                Some(Verdict::Few(figures)) if is_over => self.track.show_wait(rollout, &few(rollout, &figures)),
                Some(Verdict::Unknown(why)) if is_over => {
                    self.track.show_wait(rollout, &format!("no verdict yet: {why}"));
                }
                None | Some(Verdict::Good(_) | Verdict::Few(_) | Verdict::Unknown(_)) => {}
            }
        }
    }

    /// Measures it once, where something measured can end it.
    async fn judge(&self, rollout: &Rollout, since: Instant) -> Option<Verdict> {
        let condition = rollout.plan.abort_when.clone()?;
        let Plan { bake, min_requests, .. } = rollout.plan;
        let since = time::now() - since;
        let window = since.min(bake.clamp(WINDOW.0, WINDOW.1));
        let (service, version) = (rollout.service.clone(), rollout.to.version.clone());
        let question = Question { service, version, window, since, min_requests, condition };
        let verdict = time::timeout(JUDGE_MAX, self.ports.judge.judge(&question)).await;
        Some(verdict.unwrap_or_else(|_| Verdict::Unknown("the measurement took too long".to_owned())))
    }
}

impl Memory {
    fn remember(&mut self, rollout: &Rollout, is_resumed: bool) {
        let is_other = (self.id, self.number) != (rollout.id, rollout.number());
        let is_baking = matches!(rollout.state, State::Going(place) if place.stage == Stage::Baking);
        if is_other && (is_baking || self.id != rollout.id) {
            self.since = time::now();
        }
        self.is_resumed = if self.id == rollout.id { self.is_resumed } else { is_resumed };
        (self.id, self.number) = (rollout.id, rollout.number());
    }
}

/// The weight of each version where the new one has that.
fn weights(rollout: &Rollout, new: u32) -> BTreeMap<String, u32> {
    let Rollout { from, to, .. } = rollout;
    [(from.version.clone(), WEIGHT_ALL - new), (to.version.clone(), new)].into()
}

/// What a step waits for whose bake is over.
fn few(rollout: &Rollout, figures: &Figures) -> String {
    let (service, version, needed) = (&rollout.service, &rollout.to.version, rollout.plan.min_requests);
    let requests = figures.requests.floor();
    format!(
        "no verdict yet: {requests} of {needed} requests to {version} were measured since the step began; send traffic, or end it by `bowline deploy promote {service}` or `abort {service}`"
    )
}

fn good() -> Event {
    Event::Judged { verdict: Judgement::Good, is_over: true }
}

fn bad() -> Event {
    Event::Judged { verdict: Judgement::Bad, is_over: false }
}

/// The wait after so many failures in a row.
fn backoff(failures: u32) -> Duration {
    let (first, most) = BACKOFF;
    first.saturating_mul(1 << (failures - 1).min(10)).min(most)
}
