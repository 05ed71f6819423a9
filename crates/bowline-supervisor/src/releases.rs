//! Scales the releases of a system that runs: the supervisor's side of the port [`Fleet`].

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use bowline_deploy::{Failure, Fleet};
use bowline_model::{
    InstanceId, ServiceName,
    deploy::Release,
    system::{REPLICAS_MAX, Service},
};
use bowline_runtime::{
    BoxFuture,
    time::{self, Instant},
};

use crate::{
    Error,
    board::{Phase, Row},
    build,
    crew::{Crew, is_healthy, is_stopped},
    release,
    template::Template,
};

/// How often the process of an instance that was never healthy may end before it counts as one that never will be,
/// each time it is asked for.
const CRASHES_MAX: u32 = 3;

/// How long after the grace period an instance may still be ending: telling the registry, and the kernel's time.
const LATE_MAX: Duration = Duration::from_secs(5);

/// Scales the releases of a system that runs. Cheap to clone; keeps nothing running.
///
/// Releases of one service are scaled one after the other. A release that has a build of its own is built before
/// its first instance starts, and again when it comes back after it had none; one that has the file's is built
/// where this run has not done so yet. Who lowers a count does not wait for the health of those who stay: that one
/// of them is sick is no reason to keep the others.
#[derive(Debug, Clone)]
pub struct Releases(pub(crate) Weak<Crew>);

impl Fleet for Releases {
    fn scale<'a>(
        &'a self,
        service: &'a ServiceName,
        release: &'a Release,
        count: u32,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let crew = self.0.upgrade().ok_or(Error::Stopping);
            let scaled = match crew {
                Ok(crew) => scale(&crew, service, release, count).await,
                Err(error) => Err(error),
            };
            scaled.map_err(|error| Failure(in_words(&error)))
        })
    }
}

/// Scales a release, until the system is stopped.
async fn scale(crew: &Crew, service: &ServiceName, release: &Release, count: u32) -> Result<(), Error> {
    let mut closed = crew.closed.subscribe();
    tokio::select! {
        biased;
        _ = closed.wait_for(|is_closed| *is_closed) => Err(Error::Stopping),
        scaled = Box::pin(scale_in_turn(crew, service, release, count)) => scaled,
    }
}

async fn scale_in_turn(crew: &Crew, name: &ServiceName, release: &Release, count: u32) -> Result<(), Error> {
    let no_service = || Error::NoService { service: name.clone() };
    let declared = crew.system.service(name.as_str()).ok_or_else(no_service)?;
    if count > REPLICAS_MAX {
        return Err(Error::TooMany { service: name.clone(), count });
    }
    let turn = crew.turns.get(name).ok_or_else(no_service)?;
    let _turn = turn.lock().await;
    crew.forget_stopped(name);
    let is_lowered = crew.muster(name, &release.version).staying.len() > usize::try_from(count).unwrap_or(usize::MAX);
    if count > 0 {
        raise(crew, &release::of(declared, release), release.build.is_some(), count).await?;
    }
    crew.lower(name, &release.version, count);
    if !is_lowered {
        healthy(crew, name, &release.version).await?;
    }
    let ended = ended(crew, name, &release.version).await;
    crew.forget_stopped(name);
    ended
}

/// Builds a release if need be, and starts its instances.
async fn raise(crew: &Crew, release: &Service, has_own_build: bool, count: u32) -> Result<(), Error> {
    let template = Template::of(&crew.system, release, &crew.common.settings);
    let template = Arc::new(template.ok_or_else(|| Error::NotRun { service: release.name.clone() })?);
    if crew.has_another(&template) {
        return Err(Error::OtherRelease { service: template.service.clone(), version: template.version.clone() });
    }
    if crew.muster(&release.name, &release.version).staying.is_empty() {
        make_ready(crew, release, has_own_build).await?;
    }
    crew.raise(release, &template, count).map(drop)
}

/// Runs the build of a release, if it has one that was not run.
async fn make_ready(crew: &Crew, release: &Service, has_own_build: bool) -> Result<(), Error> {
    let Some(command) = &release.build else { return Ok(()) };
    let common = &crew.common;
    let placeholders = common.settings.placeholders();
    let command = placeholders.in_command(command);
    let mut built = crew.built.lock().await;
    if !has_own_build && built.contains(&command) {
        return Ok(());
    }
    build::run(&[release], &common.settings, placeholders, common.run, &common.bus).await?;
    if !has_own_build {
        built.insert(command);
    }
    Ok(())
}

/// Waits until all that are to run of a release are registered as healthy.
async fn healthy(crew: &Crew, service: &ServiceName, version: &str) -> Result<(), Error> {
    let ids = crew.muster(service, version).staying;
    let (board, began) = (&crew.common.board, time::now());
    let crashes = |rows: &BTreeMap<InstanceId, Row>, id: &InstanceId| rows.get(id).map_or(0, |row| row.crashes);
    let before: Vec<u32> = board.look(|rows| ids.iter().map(|id| crashes(rows, id)).collect());
    let settled = board.wait_for(|rows| {
        for (id, before) in ids.iter().zip(&before) {
            if let Some(row) = rows.get(id).filter(|row| is_lost(row, *before)) {
                return Some(Err(lost(id, row)));
            }
        }
        ids.iter().all(|id| rows.get(id).is_some_and(is_healthy)).then_some(Ok(()))
    });
    time::timeout_at(began + crew.common.settings.startup_max, settled).await.unwrap_or_else(|_| {
        let late = |rows: &BTreeMap<InstanceId, Row>| {
            let mut rows = ids.iter().filter_map(|id| Some((id, rows.get(id)?)));
            rows.find(|(_, row)| !is_healthy(row)).map(|(id, row)| never_healthy(id, row, began))
        };
        board.look(late).map_or(Ok(()), Err)
    })
}

/// Waits until all that are on the way out of a release have ended.
async fn ended(crew: &Crew, service: &ServiceName, version: &str) -> Result<(), Error> {
    let ids = crew.muster(service, version).leaving;
    let board = &crew.common.board;
    let waited = crew.common.settings.notice + crew.common.settings.grace + LATE_MAX;
    let all = board.wait_for(|rows| ids.iter().all(|id| is_stopped(rows.get(id))).then_some(()));
    time::timeout(waited, all).await.or_else(|_| {
        let late = board.look(|rows| ids.iter().find(|id| !is_stopped(rows.get(*id))).cloned());
        late.map_or(Ok(()), |instance| Err(Error::NotEnded { instance, waited }))
    })
}

/// Whether an instance that was never healthy will not be, as far as can be told.
fn is_lost(row: &Row, crashes_before: u32) -> bool {
    match row.phase {
        Phase::Hopeless => true,
        Phase::Starting => row.crashes.saturating_sub(crashes_before) >= CRASHES_MAX,
        Phase::Ready | Phase::Stopped { .. } => false,
    }
}

/// The error of an instance that will never be healthy.
fn lost(id: &InstanceId, row: &Row) -> Error {
    let (service, instance, failure) = (row.service.clone(), id.clone(), row.failure.clone());
    let lines = row.tail.current();
    match row.phase {
        Phase::Hopeless => Error::NoCommand { service, instance, failure, lines },
        _ => Error::Ends { service, instance, crashes: row.crashes, failure, lines },
    }
}

/// The error of an instance that is not healthy.
pub(crate) fn never_healthy(id: &InstanceId, row: &Row, since: Instant) -> Error {
    if row.phase == Phase::Hopeless {
        return lost(id, row);
    }
    Error::NeverHealthy {
        service: row.service.clone(),
        instance: id.clone(),
        check: row.check.clone(),
        failure: row.failure.clone(),
        waited: time::now() - since,
        lines: row.tail.all(),
    }
}

/// An error with its causes, for whoever may see how a rollout stands: no commands, and nothing that processes wrote,
/// which may hold secrets. Whoever runs the system sees that in its output.
fn in_words(error: &Error) -> String {
    let mut text = match error {
        Error::Build { services, exit, .. } => {
            let services: Vec<&str> = services.iter().map(ServiceName::as_str).collect();
            format!("the build of {} failed: it {exit}", services.join(", "))
        }
        error => error.to_string(),
    };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
