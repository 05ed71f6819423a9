//! The track of one service: what is kept of its rollouts, and the only way to change it.
//!
//! Whoever changes it holds the lock from reading to keeping, and nothing is seen that is not durable. A change of
//! which it is not known whether it was kept (the store failed, its caller went away) is looked up before the next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bowline_model::deploy::Release;
use bowline_runtime::time;
use bowline_store::{Revision, Store};
use tokio::sync::{Notify, watch};

use crate::{
    declared::{Declared, Wanted},
    deployer::InForce,
    error::Error,
    kept::{self, Change, Current, Kept},
    metrics::Metrics,
    port::{Failure, Steer, Verdict},
    rollout::{Action, Begin, Rollout, Status},
    table::{Event, Running, State},
};

/// What is known of one service's rollouts.
pub(crate) struct Track {
    pub(crate) declared: Declared,
    store: Arc<dyn Store>,
    held: tokio::sync::Mutex<Held>,
    /// What the lock's holder found last, for those who only look.
    view: Mutex<View>,
    /// Told when somebody else than its driver may have changed the rollout.
    poke: Notify,
    changed: watch::Sender<u64>,
    metrics: Metrics,
}

/// What the store has, as far as is known.
#[derive(Debug, Default)]
struct Held {
    live: Option<(Rollout, Revision)>,
    /// What happened to the rollout that was found under way, and is not kept yet.
    first: Option<Event>,
    /// What may have been kept.
    unsure: Option<Rollout>,
    current: Option<Current>,
    /// The rollout that another process began.
    resumed: Option<u64>,
    /// The last id that was given.
    id: u64,
}

#[derive(Debug, Default)]
struct View {
    /// Of the rollout under way, or of the last one.
    status: Option<Status>,
    current: Option<Current>,
    /// Whether the rollout under way is of releases that the file does not know any more.
    is_superseded: bool,
}

/// What its driver has to do.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) rollout: Rollout,
    /// Whether another process began it, and its instances are to run here.
    pub(crate) is_resumed: bool,
}

/// Tells the driver to look again, also where its holder was given up.
struct Poke<'a>(&'a Notify);

impl Drop for Poke<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Track {
    /// What is kept of a service; a promoted release that does not count any more is forgotten.
    pub(crate) async fn open(
        declared: Declared,
        store: Arc<dyn Store>,
        changed: watch::Sender<u64>,
        metrics: Metrics,
    ) -> Result<Self, Error> {
        let Kept { live, current, last } = kept::load(&*store, &declared.service).await?;
        let is_same = |known: &str| known == declared.fingerprint;
        if current.as_ref().is_some_and(|current| !is_same(&current.declared)) {
            kept::forget_current(&*store, &declared.service).await?;
        }
        let current = current.filter(|current| is_same(&current.declared));
        let first = live.as_ref().map(
            |(rollout, _)| {
                if is_same(&rollout.declared) { Event::Restarted } else { Event::Superseded }
            },
        );
        let latest = live.as_ref().map(|(rollout, _)| rollout).or(last.as_ref());
        let id = latest.map(|rollout| rollout.id).unwrap_or_default();
        if let Some(rollout) = latest {
            metrics.show(rollout);
        }
        let status = latest.cloned().map(Status::new);
        let view = View { status, current: current.clone(), is_superseded: first == Some(Event::Superseded) };
        let resumed = live.as_ref().map(|(rollout, _)| rollout.id).filter(|_| first == Some(Event::Restarted));
        let held = tokio::sync::Mutex::new(Held { live, first, unsure: None, current, resumed, id });
        Ok(Self { declared, store, held, view: Mutex::new(view), poke: Notify::new(), changed, metrics })
    }

    /// The rollout under way, or the last one.
    pub(crate) fn status(&self) -> Option<Status> {
        self.view().status.clone()
    }

    /// The release that was promoted and still counts; none: what is declared.
    pub(crate) fn current(&self) -> Option<Release> {
        let view = self.view();
        view.current.as_ref().map(|current| current.release.clone()).filter(|release| !self.declared.is_own(release))
    }

    /// The rollout under way, where it is of releases that the file does not know any more.
    pub(crate) fn superseded(&self) -> Option<Rollout> {
        let view = self.view();
        view.status.as_ref().filter(|_| view.is_superseded).map(|status| status.rollout.clone())
    }

    /// Those that ended, the newest first.
    pub(crate) async fn history(&self) -> Result<Vec<Rollout>, Error> {
        kept::history(&*self.store, &self.declared.service).await
    }

    /// What has to run, where that is not what is declared.
    pub(crate) fn in_force(&self) -> Option<InForce> {
        let view = self.view();
        let live = view.status.as_ref().map(|status| &status.rollout);
        let live = live.filter(|rollout| rollout.is_live() && !view.is_superseded);
        let (own, own_count, beside) = if let Some(rollout) = live {
            let Running { old, new } = rollout.state.running(&rollout.course());
            if rollout.state.is_decided(&rollout.course()) {
                (rollout.to.clone(), new, None)
            } else {
                (rollout.from.clone(), old, Some((rollout.to.clone(), new)).filter(|(_, count)| *count > 0))
            }
        } else {
            let current = view.current.as_ref()?;
            (current.release.clone(), current.count.unwrap_or(self.declared.count), None)
        };
        let is_declared = self.declared.is_own(&own);
        if is_declared && own_count == self.declared.count && beside.is_none() {
            return None;
        }
        let own = (!is_declared).then_some(own);
        Some(InForce { service: self.declared.service.clone(), own, own_count, beside: beside.into_iter().collect() })
    }

    /// Begins a rollout, where nobody else steers the requests.
    ///
    /// # Cancel safety
    /// It may have begun.
    pub(crate) async fn begin(&self, begin: Begin, steer: &dyn Steer) -> Result<Status, Error> {
        let _poke = Poke(&self.poke);
        let mut held = self.held.lock().await;
        self.settle(&mut held).await?;
        if let Some((rollout, _)) = &held.live {
            let version = rollout.to.version.clone();
            return Err(Error::Busy { service: self.declared.service.clone(), version });
        }
        let current = held.current.as_ref();
        let from = current.map_or_else(|| self.declared.release(), |current| current.release.clone());
        let from_count = current.and_then(|current| current.count).unwrap_or(self.declared.count);
        let Wanted { release, plan, count } = self.declared.check(begin, &from)?;
        self.check_free(steer).await?;
        let rollout = Rollout {
            id: held.id + 1,
            service: self.declared.service.clone(),
            from,
            from_count,
            to: release,
            to_count: count.unwrap_or(from_count.max(1)),
            plan,
            state: State::START,
            why: None,
            begun_unix_ms: 0,
            transitions: Vec::new(),
            is_count_given: count.is_some(),
            declared: self.declared.fingerprint.clone(),
        };
        self.keep(&mut held, rollout.begun(time::unix_millis_now())).await
    }

    /// Checks that the requests are not split yet. Who splits them after that is told when the rollout does.
    async fn check_free(&self, steer: &dyn Steer) -> Result<(), Error> {
        let service = &self.declared.service;
        let rule = match steer.published(service).await {
            Ok(steering) if steering.split.is_empty() => return Ok(()),
            Ok(_) => format!("its requests are split by hand, which `bowline mesh split {service} --off` ends"),
            Err(Failure(why)) => why,
        };
        Err(Error::Unfit { service: service.clone(), rule })
    }

    /// Does what an operator orders, of the rollout with that id alone where one is given.
    ///
    /// # Cancel safety
    /// It may be done.
    pub(crate) async fn order(&self, action: Action, id: Option<u64>) -> Result<Status, Error> {
        let (event, ordered, why) = match action {
            Action::Pause => (Event::Pause, "paused", None),
            Action::Resume => (Event::Resume, "resumed", None),
            Action::Promote => (Event::Promote, "promoted", Some("promoted by hand")),
            Action::Abort => (Event::Abort, "aborted", Some("aborted by hand")),
        };
        let _poke = Poke(&self.poke);
        let mut held = self.held.lock().await;
        self.settle(&mut held).await?;
        let service = self.declared.service.clone();
        let live = held.live.as_ref().map(|(rollout, _)| rollout);
        if let Some(id) = id.filter(|id| live.is_none_or(|rollout| rollout.id != *id)) {
            return Err(Error::NotUnderWay { service, id, live: live.map(|rollout| rollout.id) });
        }
        let Some(rollout) = live else { return Err(Error::NoRollout { service }) };
        let Some(next) = rollout.after(event, why.map(str::to_owned), time::unix_millis_now()) else {
            return Err(Error::Refused { service, ordered, phase: rollout.phase().name() });
        };
        self.keep(&mut held, next).await
    }

    /// What there is to do; none: nothing is under way.
    pub(crate) async fn task(&self) -> Result<Option<Task>, Error> {
        let mut held = self.held.lock().await;
        self.settle(&mut held).await?;
        let live = held.live.as_ref().map(|(rollout, _)| rollout);
        Ok(live.map(|rollout| Task { rollout: rollout.clone(), is_resumed: held.resumed == Some(rollout.id) }))
    }

    /// Tells what happened to a rollout as its driver knows it; where somebody was faster, it means nothing.
    /// Whether it meant something.
    pub(crate) async fn report(&self, known: &Rollout, event: Event, why: Option<String>) -> Result<bool, Error> {
        let mut held = self.held.lock().await;
        self.settle(&mut held).await?;
        let rollout = held.live.as_ref().map(|(rollout, _)| rollout).filter(|rollout| rollout.is_at(known));
        let Some(next) = rollout.and_then(|rollout| rollout.after(event, why, time::unix_millis_now())) else {
            return Ok(false);
        };
        self.keep(&mut held, next).await.map(|_| true)
    }

    /// Shows what a rollout waits for; it is not kept.
    pub(crate) fn show_wait(&self, known: &Rollout, waits_for: &str) {
        self.show(known, |status| status.waits_for.replace(waits_for.to_owned()).as_deref() != Some(waits_for));
    }

    /// Shows that it waits for nothing any more.
    pub(crate) fn show_no_wait(&self, known: &Rollout) {
        self.show(known, |status| status.waits_for.take().is_some());
    }

    /// Shows what was measured; it is not kept.
    pub(crate) fn show_verdict(&self, known: &Rollout, verdict: &Verdict) {
        self.show(known, |status| status.verdict.replace(verdict.clone()).as_ref() != Some(verdict));
    }

    fn show(&self, known: &Rollout, change: impl FnOnce(&mut Status) -> bool) {
        let is_current = |status: &&mut Status| status.rollout.is_at(known);
        let has_changed = self.view().status.as_mut().filter(is_current).is_some_and(change);
        if has_changed {
            self.changed.send_modify(|count| *count += 1);
        }
    }

    /// Waits until somebody else may have changed the rollout.
    pub(crate) async fn poked(&self) {
        self.poke.notified().await;
    }

    /// Looks up what may have been kept, and keeps what happened before this process began.
    async fn settle(&self, held: &mut Held) -> Result<(), Error> {
        if let Some(unsure) = held.unsure.clone() {
            let found = kept::live(&*self.store, &self.declared.service).await?;
            match found {
                Some((rollout, revision)) => self.adopt(held, rollout, revision),
                None if !unsure.is_live() => self.adopt(held, unsure, 0),
                None => held.live = None,
            }
            held.unsure = None;
        }
        let Some(first) = held.first else { return Ok(()) };
        let why = (first == Event::Superseded).then(|| "bowline.toml declares another release now".to_owned());
        let next = held.live.as_ref().and_then(|(rollout, _)| rollout.after(first, why, time::unix_millis_now()));
        if let Some(next) = next {
            self.keep(held, next).await?;
        }
        held.first = None;
        Ok(())
    }

    /// Makes durable how far a rollout is; only then it is seen.
    async fn keep(&self, held: &mut Held, next: Rollout) -> Result<Status, Error> {
        let before = held.live.as_ref();
        let was_decided = before.is_some_and(|(rollout, _)| rollout.state.is_decided(&rollout.course()));
        let is_decided = next.state.is_decided(&next.course());
        let current = (is_decided && !was_decided).then(|| self.current_by(&next));
        let change = current.as_ref().map(|current| current.as_ref().map_or(Change::Forget, Change::Put));
        let revision = before.map(|(_, revision)| *revision);
        held.unsure = Some(next.clone());
        let revision = kept::put(&*self.store, revision, &next, change).await?;
        held.unsure = None;
        self.adopt(held, next.clone(), revision);
        Ok(Status::new(next))
    }

    /// What counts after a rollout that is decided; none: what is declared.
    fn current_by(&self, rollout: &Rollout) -> Option<Current> {
        let count = rollout.is_count_given.then_some(rollout.to_count);
        let is_declared = self.declared.is_own(&rollout.to) && count.is_none();
        let declared = rollout.declared.clone();
        (!is_declared).then(|| Current { release: rollout.to.clone(), count, declared })
    }

    /// Takes over what is durable.
    fn adopt(&self, held: &mut Held, rollout: Rollout, revision: Revision) {
        if held.live.as_ref().is_some_and(|(known, _)| rollout.is_at(known)) {
            return;
        }
        if rollout.state.is_decided(&rollout.course()) && rollout.declared == self.declared.fingerprint {
            held.current = self.current_by(&rollout);
        }
        held.id = held.id.max(rollout.id);
        held.live = rollout.is_live().then(|| (rollout.clone(), revision));
        rollout.log();
        self.metrics.record(&rollout);
        let mut view = self.view();
        view.is_superseded &= rollout.is_live();
        view.current.clone_from(&held.current);
        let measured = view.status.take().filter(|status| status.rollout.id == rollout.id);
        let verdict = measured.and_then(|status| status.verdict);
        view.status = Some(Status { verdict, ..Status::new(rollout) });
        drop(view);
        self.changed.send_modify(|count| *count += 1);
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
