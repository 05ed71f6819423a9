//! The life of one instance: start, check, restart, stop.

mod checks;
mod output;
mod port_lost;
mod seat;

use std::{io, sync::Arc, time::Duration};

use bowline_model::{
    Address, Health, Instance, InstanceId, Protocol,
    instance::{METADATA_MESH, METADATA_MESH_MTLS, METADATA_METRICS, METADATA_METRICS_OFF},
    monitor::MetricsPath,
    policy::Backoff,
};
use bowline_registry::health::{HealthChecker, ProbeWatcher};
use bowline_runtime::{
    metric, task,
    time::{self, Instant},
};
use tokio::sync::watch;

use crate::{
    Event, Exit, Settings,
    board::{Board, Phase, Row},
    environment,
    event::Bus,
    kept::{Kept, Order, Output},
    lines::Tail,
    logs::Logs,
    port::Ports,
    registration::{self, Registrar, Registration},
    run::RunId,
    sockets::Sockets,
    template::Template,
};
use checks::{Checks, Of, Verdict};
use output::Reading;
use port_lost::speaks_of_taken_address;
use seat::Seat;

/// How many lines of an instance are remembered.
const TAIL_LINES: usize = 20;

/// The longest the last lines of a dead process are waited for.
const LAST_LINES_MAX: Duration = Duration::from_millis(500);

/// The longest a drain waits for the registry.
const REGISTRY_MAX: Duration = Duration::from_secs(1);

/// A process that ends this soon, and speaks of its address, lost its port to somebody else.
const PORT_LOST_WITHIN: Duration = Duration::from_secs(10);

/// How often in a row a lost port is no crash.
const PORTS_LOST_MAX: u32 = 5;

/// What all slots of a supervisor share.
pub(crate) struct Common {
    pub(crate) settings: Settings,
    pub(crate) run: RunId,
    pub(crate) board: Arc<Board>,
    pub(crate) bus: Bus,
    /// What processes wrote lately.
    pub(crate) logs: Logs,
    pub(crate) ports: Ports,
    pub(crate) sockets: Sockets,
    pub(crate) registrar: Registrar,
    pub(crate) checker: Box<dyn HealthChecker>,
    /// Who is told of every check.
    pub(crate) watcher: Arc<dyn ProbeWatcher>,
}

impl std::fmt::Debug for Common {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Common").field("run", &self.run).finish_non_exhaustive()
    }
}

/// What is to become of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Aim {
    /// It runs.
    Run,
    /// It is scaled away: it ends what it does and stops, or is killed when the grace period is over.
    Retire,
    /// It ends what it does and stops.
    Drain,
    /// It stops at once.
    Kill,
}

/// An instance, whatever process it has now. Dropping it kills that process.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) id: InstanceId,
    pub(crate) template: Arc<Template>,
    /// Which instance of its release it is, from 1 on.
    pub(crate) number: u32,
    aim: watch::Sender<Aim>,
    again: watch::Sender<()>,
    board: Arc<Board>,
    _task: task::Guarded<()>,
}

impl Slot {
    /// Starts the instance of this id and number.
    ///
    /// The id names the slot, not the process: a process that is started again has the same. Who
    /// registers, renews and deregisters it is one task, so no late word of a dead process can
    /// harm the next one.
    pub(crate) fn start(common: Arc<Common>, template: Arc<Template>, id: InstanceId, number: u32) -> Self {
        let ((aim, aim_seen), (again, asked)) = (watch::channel(Aim::Run), watch::channel(()));
        let board = common.board.clone();
        let life = Life::new(common, template.clone(), id.clone(), Orders { aim: aim_seen, again: asked });
        Self { id, template, number, aim, again, board, _task: task::Guarded::new(task::spawn(life.live())) }
    }

    /// Has one that waits for its next start begin at once, and counts its crashes anew.
    pub(crate) fn start_now(&self) {
        if self.board.look(|rows| rows.get(&self.id).is_some_and(|row| row.registered.is_some())) {
            return;
        }
        self.again.send_replace(());
        self.board.change(&self.id, |row| {
            row.crashes = 0;
            if row.phase == Phase::Hopeless {
                row.phase = Phase::Starting;
            }
        });
    }

    /// Whether it is to run on.
    pub(crate) fn is_staying(&self) -> bool {
        *self.aim.borrow() == Aim::Run
    }

    /// Says what is to become of it; never takes back what was said before.
    pub(crate) fn aim(&self, aim: Aim) {
        self.aim.send_if_modified(|now| aim > std::mem::replace(now, aim.max(*now)));
    }
}

/// What the task of a slot is told.
struct Orders {
    aim: watch::Receiver<Aim>,
    /// Changes when it is asked for once more.
    again: watch::Receiver<()>,
}

/// What the task of a slot knows.
struct Life {
    common: Arc<Common>,
    template: Arc<Template>,
    id: InstanceId,
    orders: Orders,
    /// Where its processes listen; absent before the first, and when it was lost to somebody else.
    seat: Option<Seat>,
    registration: Registration,
    tail: Tail,
    restarts: metric::Counter,
    crashes: u32,
    ports_lost: u32,
}

/// A process of the instance.
struct Running {
    kept: Kept,
    began: Instant,
    /// When a check succeeded for the first time.
    first_healthy: Option<Instant>,
    instance: Instance,
    readers: [task::JoinHandle<()>; 2],
}

/// Why a process is no longer.
enum End {
    Crashed(Crash),
    Drained,
}

/// What a crash means for the next start.
#[derive(Debug, Clone, Copy, Default)]
struct Crash {
    /// It was first healthy long ago, whatever it was at the end.
    was_stable: bool,
    /// Its port was taken by somebody else.
    is_port_lost: bool,
    /// The next start will not go better.
    is_hopeless: bool,
}

impl Life {
    fn new(common: Arc<Common>, template: Arc<Template>, id: InstanceId, orders: Orders) -> Self {
        let tail = Tail::new(TAIL_LINES);
        let row = Row {
            service: template.service.clone(),
            phase: Phase::Starting,
            registered: None,
            crashes: 0,
            check: template.check.http.clone(),
            failure: "it was not started yet".to_owned(),
            ended: None,
            tail: tail.clone(),
        };
        common.board.put(id.clone(), row);
        let restarts = common.settings.metrics.counter(
            "bowline_supervisor_restarts_total",
            "Processes started again after they ended by themselves.",
            &[("service", template.service.as_str())],
        );
        let (board, of) = (common.board.clone(), id.clone());
        let registration = common.registrar.place(id.clone(), move |health| {
            board.change(&of, |row| {
                row.registered = health;
                if health.is_some() && matches!(row.phase, Phase::Starting | Phase::Hopeless) {
                    row.phase = Phase::Ready;
                }
            });
        });
        Self { common, template, id, orders, seat: None, registration, tail, restarts, crashes: 0, ports_lost: 0 }
    }

    /// Starts the process again and again, until it is to stop.
    async fn live(mut self) {
        loop {
            let end = match self.start().await {
                Ok(running) => self.watch_over(running).await,
                Err(error) => self.not_started(&error),
            };
            let End::Crashed(crash) = end else { return };
            let wait = self.wait_after(crash);
            tokio::select! {
                biased;
                () = aimed(&mut self.orders.aim, Aim::Retire) => {
                    self.stopped(Exit::NoProcess, false).await;
                    return;
                }
                Ok(()) = self.orders.again.changed() => self.crashes = 0,
                () = time::sleep(wait) => {}
            }
            self.restarts.increment();
        }
    }

    async fn start(&mut self) -> io::Result<Running> {
        self.tail.begin();
        if !self.seat.as_ref().is_some_and(Seat::is_lasting) {
            self.seat = None;
            self.seat = Some(Seat::take(&self.common, &self.template, &self.id).await?);
        }
        let seat = self.seat();
        seat.clear()?;
        let of_companion = seat.environment().await?;
        let environment = environment::of_instance(&self.template, of_companion, &self.id, seat.app());
        let settings = &self.common.settings;
        let order = Order {
            keeper: &settings.keeper,
            command: &self.template.command,
            dir: &settings.root,
            environment: &environment,
            run: self.common.run,
        };
        let began = time::now();
        let (kept, output) = Kept::start(order).await?;
        let instance = self.instance(seat, kept.pid());
        let check = checked_url(seat.app(), &self.template.check.http);
        self.common.board.change(&self.id, |row| row.check = check);
        let readers = self.read(output);
        let (service, pid, address) = (self.template.service.clone(), kept.pid(), instance.address.clone());
        self.common.bus.tell(Event::InstanceStarted { instance: self.id.clone(), service, pid, address });
        Ok(Running { kept, began, first_healthy: None, instance, readers })
    }

    fn seat(&self) -> &Seat {
        self.seat.as_ref().expect("a process has a place from its start until it is drained")
    }

    /// What is registered of a process.
    fn instance(&self, seat: &Seat, pid: u32) -> Instance {
        let mut instance = Instance::new(self.id.clone(), self.template.service.clone(), seat.public());
        instance.version.clone_from(&self.template.version);
        registration::mark(&mut instance, pid);
        let metrics = match &self.template.metrics {
            MetricsPath::Usual => None,
            MetricsPath::At(path) => Some(path.as_str()),
            MetricsPath::Off => Some(METADATA_METRICS_OFF),
        };
        if let Some(metrics) = metrics {
            instance.metadata.insert(METADATA_METRICS.to_owned(), metrics.to_owned());
        }
        if seat.is_lasting() {
            instance.protocol = Protocol::Both;
            instance.metadata.insert(METADATA_MESH.to_owned(), METADATA_MESH_MTLS.to_owned());
        }
        instance
    }

    /// Tells, remembers and keeps what the process writes.
    fn read(&self, output: Output) -> [task::JoinHandle<()>; 2] {
        let (instance, service) = (self.id.clone(), self.template.service.clone());
        let (bus, tail, logs) = (self.common.bus.clone(), self.tail.clone(), self.common.logs.clone());
        Reading { instance, service, bus, tail, logs }.read(output)
    }

    /// Checks the process until it ends or is to stop.
    async fn watch_over(&mut self, mut running: Running) -> End {
        let (common, template, id) = (Arc::clone(&self.common), Arc::clone(&self.template), self.id.clone());
        let (checker, watcher) = (&*common.checker, &*common.watcher);
        let of = Of { instance: &id, service: &template.service, checker, watcher };
        let mut checks = Checks::new(of, self.seat().app().clone(), &template.check);
        loop {
            tokio::select! {
                biased;
                () = running.kept.ended() => break,
                () = aimed(&mut self.orders.aim, Aim::Retire) => {
                    self.drain(running).await;
                    return End::Drained;
                }
                verdict = checks.next() => self.judge(&mut running, verdict),
            }
        }
        watcher.leaves(&id, "its process ended");
        self.registration.want(None);
        let exit = running.kept.wait().await;
        let is_stable = |since: Instant| time::now() - since >= self.common.settings.stable_after;
        let was_stable = running.first_healthy.is_some_and(is_stable);
        let is_young = running.first_healthy.is_none() && time::now() - running.began < PORT_LOST_WITHIN;
        last_lines(running.readers).await;
        let last_lines = self.tail.current();
        let port = self.seat.as_ref().and_then(Seat::port).filter(|_| is_young);
        let is_port_lost = port.is_some_and(|port| last_lines.iter().any(|line| speaks_of_taken_address(line, port)));
        if is_port_lost {
            self.seat = None;
        }
        // What a shell answers when there is no such command, or it may not be run.
        let is_hopeless = matches!(exit, Exit::Status(126 | 127));
        self.exited(exit, last_lines);
        End::Crashed(Crash { was_stable, is_port_lost, is_hopeless })
    }

    fn exited(&self, exit: Exit, last_lines: Vec<String>) {
        self.common.board.change(&self.id, |row| {
            row.failure = format!("its process {exit}");
            row.ended = Some(row.failure.clone());
            row.registered = None;
        });
        self.common.bus.tell(Event::InstanceExited { instance: self.id.clone(), exit, last_lines });
    }

    /// Acts upon a change of health.
    fn judge(&self, running: &mut Running, verdict: Verdict) {
        let instance = self.id.clone();
        match verdict {
            Verdict::Healthy(protocol) => {
                let address = running.instance.address.clone();
                running.first_healthy.get_or_insert_with(time::now);
                running.instance.health = Health::Healthy;
                // Of a companion, the answer of the application behind it says nothing.
                if !self.seat().is_lasting() {
                    running.instance.protocol = protocol;
                }
                let after = time::now() - running.began;
                self.common.bus.tell(Event::InstanceHealthy { instance, address, after });
                let failure = "it is healthy, but the registry did not take it".to_owned();
                self.common.board.change(&self.id, |row| row.failure = failure);
            }
            Verdict::NotYet(failure) => {
                let failure = String::from(failure);
                // That a process does not answer yet says less than how the one before it ended.
                self.common.board.change(&self.id, |row| {
                    row.failure = match &row.ended {
                        Some(ended) => format!("{ended}, and the next one: {failure}"),
                        None => failure,
                    }
                });
                return;
            }
            Verdict::Unhealthy(failure) => {
                running.instance.health = Health::Unhealthy;
                self.common.bus.tell(Event::InstanceUnhealthy { instance, failure: failure.into() });
            }
        }
        self.registration.want(Some(running.instance.clone()));
    }

    fn not_started(&self, error: &io::Error) -> End {
        self.exited(Exit::NotStarted(error.to_string()), Vec::new());
        let is_hopeless = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied);
        End::Crashed(Crash { is_hopeless, ..Crash::default() })
    }

    /// Counts the crash, and says how long to wait for the next start.
    fn wait_after(&mut self, crash: Crash) -> Duration {
        let is_asked = self.orders.again.has_changed().unwrap_or_default();
        if crash.was_stable || is_asked {
            self.orders.again.mark_unchanged();
            self.crashes = 0;
        }
        let (crashes, after) = if crash.is_port_lost && self.ports_lost < PORTS_LOST_MAX {
            self.ports_lost += 1;
            (0, Duration::ZERO)
        } else {
            self.ports_lost = 0;
            self.crashes = self.crashes.saturating_add(1);
            (self.crashes, restart_wait(self.common.settings.restart, self.crashes))
        };
        self.common.bus.tell(Event::Restarting { instance: self.id.clone(), crashes, after });
        self.common.board.change(&self.id, |row| {
            row.crashes = self.crashes;
            if crash.is_hopeless && row.phase == Phase::Starting {
                row.phase = Phase::Hopeless;
            }
        });
        after
    }

    /// Keeps new requests away, then lets the process end what it has; kills it when told to.
    ///
    /// The registry is told first, then the companion takes nothing new, then the process gets SIGTERM: it
    /// can still call others by its companion, which ends last. Where it alone is scaled away, who called it
    /// goes on calling: they have a moment to hear of it, in which it still takes what comes.
    async fn drain(&mut self, mut running: Running) {
        if running.instance.health == Health::Healthy && running.first_healthy.is_some() {
            running.instance.health = Health::Draining;
            self.common.watcher.leaves(&self.id, "it is being stopped");
            self.registration.want(Some(running.instance.clone()));
            time::timeout(REGISTRY_MAX, self.registration.settled()).await.ok();
            time::timeout(self.common.settings.notice, aimed(&mut self.orders.aim, Aim::Drain)).await.ok();
        }
        self.common.bus.tell(Event::Draining { instance: self.id.clone() });
        let seat = self.seat.take();
        if let Some(seat) = &seat {
            seat.refuse_new(self.common.settings.grace).await;
        }
        let kill_at = (*self.orders.aim.borrow() == Aim::Retire).then(|| time::now() + self.common.settings.grace);
        running.kept.terminate();
        let (exit, was_killed) = tokio::select! {
            biased;
            exit = running.kept.wait() => (exit, false),
            () = out_of_time(&mut self.orders.aim, kill_at) => {
                self.common.bus.tell(Event::Killed { instance: self.id.clone() });
                running.kept.kill();
                (running.kept.wait().await, true)
            }
        };
        self.common.watcher.leaves(&self.id, "it was stopped");
        self.registration.want(None);
        last_lines(running.readers).await;
        if let Some(seat) = seat.filter(|_| !was_killed) {
            tokio::select! {
                biased;
                () = seat.end(self.common.settings.grace) => {}
                () = out_of_time(&mut self.orders.aim, kill_at) => {}
            }
        }
        self.stopped(exit, was_killed).await;
    }

    async fn stopped(&self, exit: Exit, was_killed: bool) {
        self.registration.want(None);
        time::timeout(REGISTRY_MAX, self.registration.settled()).await.ok();
        self.common.bus.tell(Event::InstanceStopped { instance: self.id.clone(), exit });
        self.common.board.change(&self.id, |row| row.phase = Phase::Stopped { was_killed });
    }
}

/// What is checked, for people.
fn checked_url(app: &Address, path: &str) -> String {
    match app {
        Address::Tcp(addr) => format!("http://{addr}{path}"),
        Address::Unix(_) => format!("{path} at {app}"),
    }
}

/// Waits until the aim is at least this. Without anybody to say so, it is for ever.
async fn aimed(aim: &mut watch::Receiver<Aim>, least: Aim) {
    if aim.wait_for(|aim| *aim >= least).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits until it is to be killed: at that time, if there is one, and when it is said.
async fn out_of_time(aim: &mut watch::Receiver<Aim>, kill_at: Option<Instant>) {
    let killed = aimed(aim, Aim::Kill);
    match kill_at {
        Some(at) => time::timeout_at(at, killed).await.unwrap_or_default(),
        None => killed.await,
    }
}

/// Waits for what a dead process wrote, but not for a receiver that does not take it.
async fn last_lines(readers: [task::JoinHandle<()>; 2]) {
    let until = time::now() + LAST_LINES_MAX;
    for mut reader in readers {
        if time::timeout_at(until, &mut reader).await.is_err() {
            reader.abort();
        }
    }
}

/// The shortest wait, doubled for each crash after the first, at most the longest.
fn restart_wait(backoff: Backoff, crashes: u32) -> Duration {
    let doublings = crashes.saturating_sub(1).min(20);
    backoff.min.saturating_mul(1 << doublings).min(backoff.max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_wait_longer_each_time_up_to_the_bound() {
        let backoff = Backoff { min: Duration::from_millis(100), max: Duration::from_secs(30) };
        let waits: Vec<_> =
            [1, 2, 3, 9, 10, 4_000_000].map(|crashes| restart_wait(backoff, crashes).as_millis()).into();
        assert_eq!(waits, [100, 200, 400, 25_600, 30_000, 30_000]);
    }
}
