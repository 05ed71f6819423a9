//! The instances of a system, which come and go: who is there, who is to leave, who is to come.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bowline_model::{
    Health, InstanceId, ServiceName, System,
    system::{Bind, Service},
};
use bowline_runtime::metric;
use tokio::sync::{self, watch};

use crate::{
    Error,
    board::{Phase, Row},
    release,
    slot::{Aim, Common, Slot},
    template::Template,
};

/// The instances of a system, which come and go.
pub(crate) struct Crew {
    pub(crate) common: Arc<Common>,
    pub(crate) system: System,
    roster: Mutex<Roster>,
    /// Whether nobody comes any more.
    pub(crate) closed: watch::Sender<bool>,
    /// For each service, the right to scale it.
    pub(crate) turns: BTreeMap<ServiceName, sync::Mutex<()>>,
    /// The builds that the file declares and that ended well in this run; and the right to build.
    pub(crate) built: sync::Mutex<BTreeSet<String>>,
}

#[derive(Debug, Default)]
struct Roster {
    slots: BTreeMap<InstanceId, Slot>,
    is_closed: bool,
}

/// What came of a change of a release's count.
#[derive(Debug, Default)]
pub(crate) struct Muster {
    /// Who is to run.
    pub(crate) staying: Vec<InstanceId>,
    /// Who is on the way out, of the same release.
    pub(crate) leaving: Vec<InstanceId>,
}

impl std::fmt::Debug for Crew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crew").field("roster", &self.roster).finish_non_exhaustive()
    }
}

impl Crew {
    pub(crate) fn new(common: Arc<Common>, system: System, built: BTreeSet<String>) -> Self {
        let turns = system.services.iter().map(|service| (service.name.clone(), sync::Mutex::default())).collect();
        let (roster, closed) = (Mutex::default(), watch::Sender::new(false));
        Self { common, system, roster, closed, turns, built: sync::Mutex::new(built) }
    }

    /// Who of a release is there.
    pub(crate) fn muster(&self, service: &ServiceName, version: &str) -> Muster {
        self.lock().muster(service, version)
    }

    /// Whether another release of the same name is there, and not on the way out.
    pub(crate) fn has_another(&self, template: &Template) -> bool {
        let roster = self.lock();
        let mut staying = roster.of(&template.service, &template.version).filter(|slot| slot.is_staying());
        staying.any(|slot| !slot.template.is_same(template))
    }

    /// Starts who is missing of a release; gives the ids of those who were. Who is there and waits for its next start
    /// starts now, as if it had never crashed: what made it crash may be mended.
    ///
    /// # Errors
    /// [`Error::Folder`] for the sockets, [`Error::Stopping`].
    pub(crate) fn raise(
        &self,
        release: &Service,
        template: &Arc<Template>,
        count: u32,
    ) -> Result<Vec<InstanceId>, Error> {
        let mut roster = self.lock();
        if roster.is_closed {
            return Err(Error::Stopping);
        }
        let staying = roster.of(&template.service, &template.version).filter(|slot| slot.is_staying());
        let there = staying.inspect(|slot| slot.start_now()).count();
        let missing = usize::try_from(count).unwrap_or(usize::MAX).saturating_sub(there);
        let used: BTreeSet<u32> = roster.of(&template.service, &template.version).map(|slot| slot.number).collect();
        let mut started = Vec::new();
        for number in (1..).filter(|number| !used.contains(number)).take(missing) {
            let id = release::id(&self.system, release, number, |id| roster.slots.contains_key(id));
            if self.common.settings.companions.is_some() && template.bind == Bind::Unix {
                self.common.sockets.make(std::slice::from_ref(&id))?;
            }
            let slot = Slot::start(self.common.clone(), template.clone(), id.clone(), number);
            started.push(id.clone());
            roster.slots.insert(id, slot);
        }
        self.count(&roster, &template.service);
        Ok(started)
    }

    /// Sends away who is too much of a release: first who is not healthy, then the last who came.
    pub(crate) fn lower(&self, service: &ServiceName, version: &str, count: u32) {
        let roster = self.lock();
        let mut staying: Vec<&Slot> = roster.of(service, version).filter(|slot| slot.is_staying()).collect();
        self.common.board.look(|rows| {
            let is_healthy = |slot: &Slot| rows.get(&slot.id).is_some_and(is_healthy);
            staying.sort_by_key(|slot| (!is_healthy(slot), slot.number));
        });
        for slot in staying.into_iter().skip(usize::try_from(count).unwrap_or(usize::MAX)) {
            slot.aim(Aim::Retire);
        }
    }

    /// Forgets who has left.
    pub(crate) fn forget_stopped(&self, service: &ServiceName) {
        let mut roster = self.lock();
        let stopped = |rows: &BTreeMap<InstanceId, Row>| -> Vec<InstanceId> {
            let of_service = roster.slots.values().filter(|slot| slot.template.service == *service);
            of_service.map(|slot| slot.id.clone()).filter(|id| is_stopped(rows.get(id))).collect()
        };
        for id in self.common.board.look(stopped) {
            roster.slots.remove(&id);
            self.common.board.remove(&id);
        }
        self.count(&roster, service);
    }

    /// Lets nobody come any more, and hands over who is there.
    pub(crate) fn close(&self) -> Vec<Slot> {
        for service in &self.system.services {
            self.forget_stopped(&service.name);
        }
        let mut roster = self.lock();
        roster.is_closed = true;
        self.closed.send_replace(true);
        std::mem::take(&mut roster.slots).into_values().collect()
    }

    fn count(&self, roster: &Roster, service: &ServiceName) {
        let count = roster.slots.values().filter(|slot| slot.template.service == *service).count();
        self.gauge(service).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    fn gauge(&self, service: &ServiceName) -> metric::Gauge {
        self.common.settings.metrics.gauge(
            "bowline_supervisor_instances",
            "Instances that are run, those that start or stop included.",
            &[("service", service.as_str())],
        )
    }

    fn lock(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Roster {
    fn of<'a>(&'a self, service: &'a ServiceName, version: &'a str) -> impl Iterator<Item = &'a Slot> {
        self.slots.values().filter(move |slot| slot.template.is_of(service, version))
    }

    fn muster(&self, service: &ServiceName, version: &str) -> Muster {
        let mut muster = Muster::default();
        for slot in self.of(service, version) {
            let list = if slot.is_staying() { &mut muster.staying } else { &mut muster.leaving };
            list.push(slot.id.clone());
        }
        muster
    }
}

/// Whether the registry has an instance as healthy.
pub(crate) fn is_healthy(row: &Row) -> bool {
    row.registered == Some(Health::Healthy)
}

/// Whether an instance has ended, or is not known any more.
pub(crate) fn is_stopped(row: Option<&Row>) -> bool {
    row.is_none_or(|row| matches!(row.phase, Phase::Stopped { .. }))
}
