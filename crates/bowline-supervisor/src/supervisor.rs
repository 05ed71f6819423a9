//! The supervisor itself: starts a system, waits until it is ready, drains it.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use bowline_model::{InstanceId, System, system::Bind};
use bowline_registry::{
    Registry,
    health::{NoWatcher, ProbeWatcher},
};
use bowline_runtime::{
    task,
    time::{self, Instant},
};
use tokio::sync::mpsc;

use crate::{
    Error, Event, Settings,
    board::{Board, Phase, Row},
    build, environment,
    event::Bus,
    expand::Placeholders,
    order,
    port::Ports,
    probe,
    registration::{self, Registrar},
    release::{self, Release},
    run::RunId,
    slot::{Aim, Common, Slot, Template},
    sockets::Sockets,
};

/// The longest a drain waits for processes that were killed.
const KILLED_MAX: Duration = Duration::from_secs(1);

/// The longest a drain waits for a receiver of events that does not take them.
const EVENTS_MAX: Duration = Duration::from_secs(1);

/// A system's running processes. Dropping it kills them all.
#[derive(Debug)]
pub struct Supervisor {
    common: Arc<Common>,
    slots: Vec<Slot>,
    /// Indices into `slots`, in the order in which they stop.
    tiers: Vec<Vec<usize>>,
    started: Instant,
    carrier: task::JoinHandle<()>,
}

/// How a drain went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drained {
    /// Instances whose processes ended within the grace period.
    pub stopped: Vec<InstanceId>,
    /// Instances that had to be killed.
    pub killed: Vec<InstanceId>,
}

impl Supervisor {
    /// Kills what an earlier run left behind, removes what it left in the registry, builds, and
    /// starts every instance.
    ///
    /// The data folder must be this process's alone, by a lock as the store's: whoever else runs a
    /// system over it is taken for an earlier run.
    ///
    /// Returns when the processes are being started; [`Supervisor::ready`] waits for their health.
    ///
    /// # Errors
    /// [`Error::Build`], [`Error::Keeper`], [`Error::Run`], [`Error::Leftovers`], [`Error::Folder`];
    /// nothing is left running.
    ///
    /// # Cancel safety
    /// Dropping the future kills a build that is under way with all its processes.
    pub async fn start(
        system: System,
        settings: Settings,
        registry: Arc<dyn Registry>,
        events: mpsc::Sender<Event>,
    ) -> Result<Self, Error> {
        let settings = absolute(settings);
        let placeholders = Placeholders { target: &settings.target_dir, data: &settings.data_dir };
        let (bus, carrier) = Bus::new(events, &settings.metrics);
        environment::make_folders(&settings)?;
        // Before the registrations go: until then their processes may live.
        let run = RunId::take_over(&settings.data_dir).await?;
        let watcher = settings
            .probes
            .as_ref()
            .map_or_else(|| Arc::new(NoWatcher) as Arc<dyn ProbeWatcher>, |probes| probes.0.clone());
        registration::clear(registry.as_ref(), &*watcher).await.map_err(|source| Error::Leftovers { source })?;
        let releases = release::all(&system);
        build::run(&releases, &settings, placeholders, run, &bus).await?;
        let templates = templates(&system, releases, &settings, placeholders);
        let sockets = sockets(&templates, &settings)?;
        let registrar = Registrar::new(registry, settings.lease_ttl, settings.heartbeat_every);
        let board = Arc::new(Board::new());
        let (ports, checker) = (Ports::default(), Box::new(probe::Http));
        let common = Common { settings, run, board, bus, ports, sockets, registrar, checker, watcher };
        let common = Arc::new(common);
        let slots: Vec<Slot> = templates
            .into_iter()
            .flat_map(|(template, ids)| ids.into_iter().map(move |id| (template.clone(), id)))
            .map(|(template, id)| Slot::start(common.clone(), template, id))
            .collect();
        let tiers = tiers(&system, &slots);
        Ok(Self { common, slots, tiers, started: time::now(), carrier })
    }

    /// Waits until every instance was healthy and is registered.
    ///
    /// # Errors
    /// [`Error::NeverHealthy`] for the first service that used up its time, or whose command
    /// cannot be run. Its processes, and the others, go on: whether to drain is the caller's
    /// decision.
    ///
    /// # Cancel safety
    /// Nothing is lost; waiting can begin again.
    pub async fn ready(&self) -> Result<(), Error> {
        let board = &self.common.board;
        let until = self.started + self.common.settings.startup_max;
        let settled = board.wait_for(|rows| {
            if let Some((id, row)) = rows.iter().find(|(_, row)| row.phase == Phase::Hopeless) {
                return Some(Err(self.never_healthy(id, row)));
            }
            rows.values().all(|row| row.phase != Phase::Starting).then_some(Ok(()))
        });
        time::timeout_at(until, settled).await.unwrap_or_else(|_| {
            board.look(|rows| match rows.iter().find(|(_, row)| row.phase == Phase::Starting) {
                Some((id, row)) => Err(self.never_healthy(id, row)),
                None => Ok(()),
            })
        })
    }

    /// Stops everything: no new requests, SIGTERM to callers first, SIGKILL to who is left after
    /// the grace period.
    ///
    /// A service is sent SIGTERM when all that call it have ended, or have had their share of the
    /// grace period. Takes at most the grace period and three seconds.
    ///
    /// # Cancel safety
    /// Dropping the future kills what still runs.
    pub async fn drain(self) -> Drained {
        let until = time::now() + self.common.settings.grace;
        for (at, tier) in self.tiers.iter().enumerate() {
            for slot in tier {
                self.slots[*slot].aim(Aim::Drain);
            }
            let rest = until.saturating_duration_since(time::now());
            let tiers_left = u32::try_from(self.tiers.len() - at).unwrap_or(u32::MAX);
            time::timeout(rest / tiers_left, self.stopped(tier)).await.ok();
        }
        let all: Vec<usize> = (0..self.slots.len()).collect();
        time::timeout_at(until, self.stopped(&all)).await.ok();
        self.slots.iter().for_each(|slot| slot.aim(Aim::Kill));
        time::timeout(KILLED_MAX, self.stopped(&all)).await.ok();
        let drained = self.common.board.look(drained);
        let Self { common, slots, tiers: _, started: _, carrier } = self;
        drop((slots, common));
        time::timeout(EVENTS_MAX, carrier).await.ok();
        drained
    }

    async fn stopped(&self, slots: &[usize]) {
        let is_stopped = |rows: &BTreeMap<InstanceId, Row>, slot: &usize| {
            rows.get(&self.slots[*slot].id).is_none_or(|row| matches!(row.phase, Phase::Stopped { .. }))
        };
        self.common.board.wait_for(|rows| slots.iter().all(|slot| is_stopped(rows, slot)).then_some(())).await;
    }

    fn never_healthy(&self, id: &InstanceId, row: &Row) -> Error {
        Error::NeverHealthy {
            service: row.service.clone(),
            instance: id.clone(),
            check: row.check.clone(),
            failure: row.failure.clone(),
            waited: time::now() - self.started,
            lines: row.tail.all(),
        }
    }
}

/// Who did not stop in time was killed, even if its end was not seen.
fn drained(rows: &BTreeMap<InstanceId, Row>) -> Drained {
    let mut drained = Drained::default();
    for (id, row) in rows {
        let list = match row.phase {
            Phase::Stopped { was_killed: false } => &mut drained.stopped,
            Phase::Stopped { was_killed: true } | Phase::Starting | Phase::Ready | Phase::Hopeless => {
                &mut drained.killed
            }
        };
        list.push(id.clone());
    }
    drained
}

/// Commands run in the root: paths that are relative to where we are would be wrong there.
fn absolute(mut settings: Settings) -> Settings {
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    settings.root = absolute(&settings.root);
    settings.target_dir = absolute(&settings.target_dir);
    settings.data_dir = absolute(&settings.data_dir);
    settings.keeper = absolute(&settings.keeper);
    settings
}

/// The releases that run here, with the ids of their instances.
fn templates(
    system: &System,
    releases: Vec<Release>,
    settings: &Settings,
    placeholders: Placeholders<'_>,
) -> Vec<(Arc<Template>, Vec<InstanceId>)> {
    let template = |Release { service, ids }| {
        let template = Template {
            service: service.name.clone(),
            version: service.version.clone(),
            bind: service.bind,
            command: placeholders.in_command(service.run.as_ref()?),
            check: service.check.clone(),
            metrics: service.metrics.clone(),
            environment: environment::of_service(system, &service, settings, placeholders),
            declared: service.env.into_keys().collect(),
        };
        Some((Arc::new(template), ids))
    };
    releases.into_iter().filter_map(template).collect()
}

/// The folder for the sockets of those that listen on one; none is made where nobody does.
fn sockets(templates: &[(Arc<Template>, Vec<InstanceId>)], settings: &Settings) -> Result<Sockets, Error> {
    let listen_there = templates.iter().filter(|(template, _)| template.bind == Bind::Unix);
    let ids: Vec<InstanceId> = listen_there.flat_map(|(_, ids)| ids.clone()).collect();
    if settings.companions.is_none() || ids.is_empty() {
        return Ok(Sockets::default());
    }
    Sockets::make(&settings.data_dir, &ids)
}

fn tiers(system: &System, slots: &[Slot]) -> Vec<Vec<usize>> {
    let of_tier =
        |tier: Vec<_>| -> Vec<usize> { (0..slots.len()).filter(|slot| tier.contains(&slots[*slot].service)).collect() };
    order::tiers(system).into_iter().map(of_tier).filter(|tier| !tier.is_empty()).collect()
}
