//! The supervisor itself: starts a system, waits until it is ready, drains it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use bowline_model::{InstanceId, ServiceName, System, system::Service};
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
    Error, Event, Releases, Settings,
    board::{Board, Phase, Row},
    build,
    crew::{Crew, is_stopped},
    environment,
    event::Bus,
    logs::Logs,
    order,
    port::Ports,
    probe,
    registration::{self, Registrar},
    release,
    releases::never_healthy,
    run::RunId,
    slot::{Aim, Common, Slot},
    sockets::Sockets,
    template::Template,
};

/// The longest a drain waits for processes that were killed.
const KILLED_MAX: Duration = Duration::from_secs(1);

/// The longest a drain waits for a receiver of events that does not take them.
const EVENTS_MAX: Duration = Duration::from_secs(1);

/// A system's running processes. Dropping it kills them all.
#[derive(Debug)]
pub struct Supervisor {
    crew: Held,
    /// Whom a start fails of.
    awaited: Vec<InstanceId>,
    /// Which of them are of releases that the file does not declare.
    promoted: BTreeMap<InstanceId, (ServiceName, String)>,
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
    /// [`Error::Build`], or [`Error::Promoted`] of it, [`Error::Keeper`], [`Error::Run`], [`Error::Leftovers`], [`Error::Folder`];
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
        let built = build_all(&system, &releases, &settings, run, &bus).await?;
        let registrar = Registrar::new(registry, settings.lease_ttl, settings.heartbeat_every);
        let (board, sockets) = (Arc::new(Board::new()), Sockets::over(&settings.data_dir));
        let (ports, checker, logs) = (Ports::default(), Box::new(probe::Http), Logs::new(&settings));
        let common = Common { settings, run, board, bus, logs, ports, sockets, registrar, checker, watcher };
        let mut supervisor = Self {
            crew: Held(Arc::new(Crew::new(Arc::new(common), system, built.clone()))),
            awaited: Vec::new(),
            promoted: BTreeMap::new(),
            started: time::now(),
            carrier,
        };
        for release in releases {
            supervisor.raise(&release, &built)?;
        }
        Ok(supervisor)
    }

    /// Scales releases while the system runs.
    pub fn releases(&self) -> Releases {
        Releases(Arc::downgrade(&self.crew.0))
    }

    /// What the services' processes wrote lately; builds are not among them.
    pub fn logs(&self) -> Logs {
        self.crew.0.common.logs.clone()
    }

    /// Waits until every instance that was started with the system was healthy and is registered, but for those that
    /// are [on trial](Settings::on_trial).
    ///
    /// # Errors
    /// [`Error::NeverHealthy`] for the first service that used up its time, or whose command
    /// cannot be run; as [`Error::Promoted`] where the file does not declare it. Its processes, and the others, go on: whether to drain is the caller's
    /// decision.
    ///
    /// # Cancel safety
    /// Nothing is lost; waiting can begin again.
    pub async fn ready(&self) -> Result<(), Error> {
        let common = &self.crew.0.common;
        let until = self.started + common.settings.startup_max;
        // Who is not there any more was scaled away.
        let find = |rows: &BTreeMap<InstanceId, Row>, is_wanted: fn(&Row) -> bool| {
            let mut awaited = self.awaited.iter().filter_map(|id| Some((id, rows.get(id)?)));
            let found = awaited.find(|(_, row)| is_wanted(row));
            found.map(|(id, row)| never_healthy(id, row, self.started).of_promoted(self.promoted.get(id).cloned()))
        };
        let is_starting = |row: &Row| row.phase == Phase::Starting;
        let settled = common.board.wait_for(|rows| {
            if let Some(error) = find(rows, |row| row.phase == Phase::Hopeless) {
                return Some(Err(error));
            }
            find(rows, is_starting).is_none().then_some(Ok(()))
        });
        let late = || common.board.look(|rows| find(rows, is_starting)).map_or(Ok(()), Err);
        time::timeout_at(until, settled).await.unwrap_or_else(|_| late())
    }

    /// Stops everything: no new requests, SIGTERM to callers first, SIGKILL to who is left after
    /// the grace period.
    ///
    /// A service is sent SIGTERM when all that call it have ended, or have had their share of the
    /// grace period. Takes at most the grace period and three seconds. What is being scaled is given up.
    ///
    /// # Cancel safety
    /// Dropping the future kills what still runs.
    pub async fn drain(self) -> Drained {
        let Self { crew, awaited: _, promoted: _, started: _, carrier } = self;
        let common = crew.0.common.clone();
        let until = time::now() + common.settings.grace;
        let slots = crew.0.close();
        let tiers = tiers(&crew.0.system, &slots);
        for (at, tier) in tiers.iter().enumerate() {
            for slot in tier {
                slot.aim(Aim::Drain);
            }
            let rest = until.saturating_duration_since(time::now());
            let tiers_left = u32::try_from(tiers.len() - at).unwrap_or(u32::MAX);
            time::timeout(rest / tiers_left, stopped(&common.board, tier)).await.ok();
        }
        let all: Vec<&Slot> = slots.iter().collect();
        time::timeout_at(until, stopped(&common.board, &all)).await.ok();
        for slot in &all {
            slot.aim(Aim::Kill);
        }
        time::timeout(KILLED_MAX, stopped(&common.board, &all)).await.ok();
        let drained = common.board.look(drained);
        drop((slots, common, crew));
        time::timeout(EVENTS_MAX, carrier).await.ok();
        drained
    }

    /// Starts the instances of a release, if it is run here. One on trial that this start has not built is left to
    /// whoever rolls it out.
    fn raise(&mut self, release: &Service, built: &BTreeSet<String>) -> Result<(), Error> {
        let Crew { common, system, .. } = &*self.crew.0;
        let Some(template) = Template::of(system, release, &common.settings) else { return Ok(()) };
        let is_on_trial = common.settings.on_trial.contains(&key(release));
        let build = release.build.as_ref().map(|command| common.settings.placeholders().in_command(command));
        if is_on_trial && build.is_some_and(|command| !built.contains(&command)) {
            return Ok(());
        }
        let is_promoted = release::is_promoted(system, release);
        let ids = self.crew.0.raise(release, &Arc::new(template), release.replicas)?;
        if is_on_trial {
            return Ok(());
        }
        if is_promoted {
            self.promoted.extend(ids.iter().map(|id| (id.clone(), key(release))));
        }
        self.awaited.extend(ids);
        Ok(())
    }
}

/// A crew that is let go when it is dropped, whoever else still holds it.
#[derive(Debug)]
struct Held(Arc<Crew>);

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.close());
    }
}

/// Builds all releases that have instances, but those on trial; gives the commands that ended well.
async fn build_all(
    system: &System,
    releases: &[Service],
    settings: &Settings,
    run: RunId,
    bus: &Bus,
) -> Result<BTreeSet<String>, Error> {
    // What is run elsewhere may be built here.
    let is_wanted = |release: &&Service| release.run.is_none() || release.replicas > 0;
    let is_firm = |release: &&Service| !settings.on_trial.contains(&key(release));
    let firm: Vec<&Service> = releases.iter().filter(is_wanted).filter(is_firm).collect();
    let placeholders = settings.placeholders();
    let command = |service: &&Service| service.build.as_ref().map(|command| placeholders.in_command(command));
    match build::run(&firm, settings, placeholders, run, bus).await {
        Ok(()) => Ok(firm.iter().filter_map(command).collect()),
        Err(error) => {
            let Error::Build { command: failed, .. } = &error else { return Err(error) };
            let mut at_fault = firm.iter().filter(|release| command(release).as_ref() == Some(failed));
            let promoted = at_fault.find(|release| release::is_promoted(system, release)).map(|release| key(release));
            Err(error.of_promoted(promoted))
        }
    }
}

/// What a release is known by.
fn key(release: &Service) -> (ServiceName, String) {
    (release.name.clone(), release.version.clone())
}

async fn stopped(board: &Board, slots: &[&Slot]) {
    board.wait_for(|rows| slots.iter().all(|slot| is_stopped(rows.get(&slot.id))).then_some(())).await;
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

/// The instances in the order in which they stop.
fn tiers<'a>(system: &System, slots: &'a [Slot]) -> Vec<Vec<&'a Slot>> {
    let of_tier = |tier: Vec<ServiceName>| -> Vec<&Slot> {
        slots.iter().filter(|slot| tier.contains(&slot.template.service)).collect()
    };
    order::tiers(system).into_iter().map(of_tier).filter(|tier| !tier.is_empty()).collect()
}
