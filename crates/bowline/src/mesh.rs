//! A process in the mesh: its identity, and the snapshot that says how it calls. Outside one, how its calls are split
//! between the versions of those whom it calls.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bowline_config::ConfigManager;
use bowline_identity::{Admission, Identity, Issuer};
use bowline_model::{
    ConfigKey,
    error::chain,
    mesh::{SNAPSHOT_FORMAT, Snapshot, SpiffeId, Workload},
};
use bowline_runtime::{
    metric, rand,
    task::{self, Guarded},
    time::{self, Duration},
};
use bowline_transport::ClientTls;
use futures_util::FutureExt as _;
use tokio::sync::watch;

use crate::{
    config::Loader,
    sampling::as_application,
    settings::{Mesh, Settings},
};

/// The wait until the first snapshot is asked for again, more or less: half of it is up to chance.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long the server has to say how calls are split, until they are split as they were before the start: less than
/// the first calls wait for it.
const SPLITS_WITHIN: Duration = Duration::from_secs(1);

/// What a process was told of how it calls.
#[derive(Debug, Clone, Default)]
pub(crate) enum Told {
    /// Nothing yet: it is asked.
    #[default]
    NotYet,
    /// That there is nothing to be told.
    Nothing,
    /// What it is to act by.
    Snapshot(Arc<Snapshot>),
}

/// What says how a process calls.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// The mesh that it is part of.
    Meshed(Member),
    /// Its environment, and of the versions of those whom it calls what is published.
    Steered(Steered),
    /// Its environment alone.
    Alone,
}

/// What is published of how calls are split, outside a mesh. Cheap to clone; it is followed while a clone lives.
#[derive(Debug, Clone)]
pub(crate) struct Steered {
    told: watch::Receiver<Told>,
    _following: Arc<Guarded<()>>,
}

impl Place {
    pub(crate) fn member(&self) -> Option<&Member> {
        match self {
            Self::Meshed(member) => Some(member),
            Self::Steered(_) | Self::Alone => None,
        }
    }

    /// What it acts by, now and later; none: nobody tells it.
    pub(crate) fn told(&self) -> Option<watch::Receiver<Told>> {
        match self {
            Self::Meshed(member) => Some(member.0.told.clone()),
            Self::Steered(Steered { told, .. }) => Some(told.clone()),
            Self::Alone => None,
        }
    }
}

impl Steered {
    /// Begins to follow it.
    pub(crate) fn follow(settings: &Settings, config: Arc<dyn ConfigManager>) -> Self {
        let (tell, told) = watch::channel(Told::NotYet);
        let following = Guarded::new(task::spawn(follow_splits(settings.clone(), config, tell)));
        Self { told, _following: Arc::new(following) }
    }
}

/// A process's place in the mesh. Cheap to clone; it is kept while a clone lives.
#[derive(Debug, Clone)]
pub(crate) struct Member(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    identity: Identity,
    told: watch::Receiver<Told>,
    _renewing: Guarded<()>,
    _following: Guarded<()>,
}

impl Member {
    /// Begins to join: certificate and snapshot come when they come.
    pub(crate) fn join(
        settings: &Settings,
        mesh: &Mesh,
        config: Arc<dyn ConfigManager>,
        issuer: Arc<dyn Issuer>,
        metrics: &metric::Registry,
    ) -> Self {
        let workload = Workload::Service(settings.service.clone());
        let identity = bowline_identity::Settings {
            id: SpiffeId::new(mesh.system.clone(), workload),
            // Nothing of it is kept: the next process is given a token of its own.
            admission: Admission::Join { token: mesh.join.clone(), folder: None },
            metrics: metrics.clone(),
        };
        let id = identity.id.clone();
        let started = Identity::start(identity, issuer);
        let (identity, renewing) = started.expect("settings hold whole tokens only, and nothing is read from disk");
        let (tell, told) = watch::channel(Told::NotYet);
        let following = Guarded::new(task::spawn(follow(settings.clone(), id, config, tell)));
        Self(Arc::new(Inner { identity, told, _renewing: renewing, _following: following }))
    }

    /// How connections to others of the mesh are made.
    pub(crate) fn client_tls(&self) -> ClientTls {
        self.0.identity.client_tls()
    }

    /// Waits until it is decided whether there is a certificate.
    ///
    /// # Cancel safety
    /// It only waits.
    pub(crate) async fn decided(&self) {
        // What was decided is asked for in `standing`.
        self.0.identity.ready().await.ok();
    }

    /// Whether it has a certificate that is good now.
    ///
    /// # Errors
    /// Why not, for people.
    pub(crate) fn standing(&self) -> Result<(), String> {
        let identity = &self.0.identity;
        match identity.expires_at() {
            Some(expires_at) if time::system() < expires_at => Ok(()),
            Some(_) => Err("its certificate of the mesh has expired, and could not be renewed".to_owned()),
            None => match identity.ready().now_or_never() {
                Some(Err(error)) => Err(format!("it is given no certificate of the mesh: {}", chain(&error))),
                Some(Ok(())) | None => Err("it has no certificate of the mesh yet".to_owned()),
            },
        }
    }
}

/// Follows the snapshot as any other document of configuration: acknowledged, and the last good one kept.
async fn follow(settings: Settings, id: SpiffeId, config: Arc<dyn ConfigManager>, tell: watch::Sender<Told>) {
    let key = ConfigKey::snapshot(&id.workload);
    let settings = as_application(settings);
    loop {
        let mine = id.clone();
        let loader = Loader::<Snapshot>::new(Some(config.clone()), &settings, key.clone());
        match loader.validate(move |snapshot| check(snapshot, &mine)).load().await {
            Ok(snapshots) => {
                snapshots.on_change(move |snapshot| {
                    tell.send_replace(Told::Snapshot(snapshot.clone()));
                });
                return std::future::pending().await;
            }
            Err(error) => tracing::warn!(error = chain(&error), "the mesh has not said yet how to call"),
        }
        time::sleep(RETRY_AFTER.mul_f64(0.5 + rand::unit())).await;
    }
}

/// Follows the snapshot as [`follow`] does; that there is none yet is as good as one that splits nothing.
async fn follow_splits(settings: Settings, config: Arc<dyn ConfigManager>, tell: watch::Sender<Told>) {
    let workload = Workload::Service(settings.service.clone());
    let key = ConfigKey::snapshot(&workload);
    let loader = Loader::<Option<Snapshot>>::new(Some(config), &as_application(settings), key);
    let loader = loader.or(None).within(SPLITS_WITHIN);
    let check = move |snapshot: &Option<Snapshot>| match snapshot {
        Some(snapshot) => check_of(snapshot, &workload),
        None => Ok(()),
    };
    // With a default there is always something to begin with.
    let Ok(snapshots) = loader.validate(check).load().await else {
        tell.send_replace(Told::Nothing);
        return;
    };
    snapshots.on_change(move |snapshot| {
        let snapshot = Option::clone(snapshot).map(Arc::new);
        tell.send_replace(snapshot.map_or(Told::Nothing, Told::Snapshot));
    });
    std::future::pending::<()>().await;
}

fn check_of(snapshot: &Snapshot, mine: &Workload) -> Result<(), String> {
    check_format(snapshot)?;
    let Snapshot { workload, .. } = snapshot;
    if workload == mine { Ok(()) } else { Err(format!("it is {workload}'s, and this is {mine}")) }
}

fn check_format(Snapshot { format, .. }: &Snapshot) -> Result<(), String> {
    if *format == SNAPSHOT_FORMAT {
        return Ok(());
    }
    Err(format!("its format is {format}; this release reads {SNAPSHOT_FORMAT}"))
}

fn check(snapshot: &Snapshot, mine: &SpiffeId) -> Result<(), String> {
    check_format(snapshot)?;
    let Snapshot { system, workload, .. } = snapshot;
    let whose = SpiffeId::new(system.clone(), workload.clone());
    if whose == *mine { Ok(()) } else { Err(format!("it is {whose}'s, and this is {mine}")) }
}
