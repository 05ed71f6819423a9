//! How a process of its own joins a mesh: the identity on disk, or a new one by a join token.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use bowline_identity::{Admission, Identity};
use bowline_model::{
    Code, InstanceId, Secret, ServiceName,
    error::chain,
    mesh::{SpiffeId, Workload},
};
use bowline_provider_remote::{Client, RemoteIssuer};
use bowline_runtime::{fs, metric, task, time};
use bowline_transport::ClientError;

use crate::outlet::Outlet;

/// How long the server may take to say what system it is of, before what is on disk counts.
const ASK_MAX: Duration = Duration::from_secs(3);
/// The wait before it is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Who joins, and by what.
#[derive(Debug)]
pub(crate) struct Joining<'a> {
    /// The server.
    pub(crate) api: SocketAddr,
    /// Who it will be.
    pub(crate) workload: Workload,
    /// The join token: it lets in once, and seals what is on disk.
    pub(crate) token: &'a Secret,
    /// Where identities are kept.
    pub(crate) data_dir: &'a Path,
}

impl Joining<'_> {
    /// Waits until it has a certificate; gives its identity, and what renews that.
    ///
    /// # Errors
    /// A token that cannot be used, a server that lets it not in, a data folder that cannot be used.
    ///
    /// # Cancel safety
    /// Where the token was used already, it is used up.
    pub(crate) async fn join(
        self,
        instance: &InstanceId,
        metrics: &metric::Registry,
        out: &Outlet,
    ) -> anyhow::Result<(Identity, task::Guarded<()>)> {
        let Self { api, workload, token, data_dir } = self;
        let system = system(&Client::new(api), data_dir, out).await?;
        let admission = Admission::Join { token: token.clone(), folder: Some(data_dir.to_owned()) };
        let id = SpiffeId::new(system.clone(), workload);
        let settings = bowline_identity::Settings { id, admission, metrics: metrics.clone() };
        let started = Identity::start(settings, Arc::new(RemoteIssuer::new(api)));
        let (identity, rotation) = started.context("--join, --join-file or BOWLINE_JOIN cannot be used")?;
        if identity.chain().is_none() {
            out.line(format!("{instance} joins {system} as {}", identity.id())).await;
        }
        identity.ready().await.context("the server lets it not join: make a token with `bowline mesh join`")?;
        Ok((identity, rotation))
    }
}

/// The join token as it was given: in a file, or as it is; none: in neither way.
pub(crate) fn token(given: Option<&Secret>, file: Option<&Path>) -> anyhow::Result<Option<Secret>> {
    let Some(file) = file else { return Ok(given.cloned()) };
    let text = fs::read_to_string(file).with_context(|| format!("cannot read the join token in {}", file.display()))?;
    Ok(Some(Secret::new(text.trim())))
}

/// Whether that code says that nobody is there to ask.
fn is_of_absence(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::BadGateway | Code::DeadlineExceeded)
}

/// The system that it joins: as the server says, or as it said before.
async fn system(client: &Client, data_dir: &Path, out: &Outlet) -> anyhow::Result<ServiceName> {
    let file = data_dir.join("system");
    let mut is_waiting = false;
    loop {
        let error = match time::timeout(ASK_MAX, client.mesh_roots()).await {
            Ok(Ok(told)) => {
                let (path, text) = (file, told.system.to_string());
                let kept = task::spawn_blocking(move || fs::replace_private(&path, text.as_bytes())).await?;
                kept.with_context(|| format!("cannot use the data folder {}", data_dir.display()))?;
                return Ok(told.system);
            }
            // It says no; one that cannot answer now, or somebody before it, says nothing.
            Ok(Err(ClientError::Answer { problem, .. })) if !is_of_absence(problem.code) => bail!("{}", problem.detail),
            Ok(Err(error)) => chain(&error),
            Err(_) => "no answer in time".to_owned(),
        };
        let kept = fs::read_to_string(&file).ok().and_then(|text| ServiceName::new(text.trim()).ok());
        if let Some(kept) = kept {
            tracing::warn!(error, "the server is away: what it said before counts");
            return Ok(kept);
        }
        if !std::mem::replace(&mut is_waiting, true) {
            out.line(format!("the server does not answer, and nothing is on disk: waiting for it ({error})")).await;
        }
        time::sleep(ASK_AGAIN).await;
    }
}
