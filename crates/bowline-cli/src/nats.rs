//! Messages in NATS, where the file says so: `[messages] nats`, with its secret.

use anyhow::Context as _;
use bowline_model::{System, messages::NatsServer};
use bowline_provider_nats::{Credentials, Nats, Settings};
use bowline_runtime::metric;

use crate::export;

/// Connects, where the file names a server; its names in NATS begin as the system is called.
///
/// # Errors
/// A secret that is not there, or why NATS cannot be used.
pub(crate) async fn connect(system: &System, metrics: &metric::Registry) -> anyhow::Result<Option<Nats>> {
    let Some(NatsServer { url, credential }) = &system.messages.nats else { return Ok(None) };
    let credentials = match export::credential("messages", credential.as_ref())? {
        Some(token) => Credentials::Token(token.expose().to_owned().into()),
        None => Credentials::find(|name| std::env::var(name).ok()).context("the credentials of NATS")?,
    };
    let prefix = system.name.to_string();
    let settings = Settings { credentials, prefix, ..Settings::new(url, metrics.clone()) };
    let nats = Nats::connect(settings).await.with_context(|| format!("[messages] nats: {url} cannot be used"))?;
    Ok(Some(nats))
}
