//! Where the application of an instance listens, and who stands beside it.

use std::{io, path::Path, time::Duration};

use bowline_model::{Address, InstanceId, system::Bind};
use bowline_runtime::time;

use super::Common;
use crate::{
    companion::{Beside, Companion, Companions},
    environment::Environment,
    port::Port,
    sockets,
    template::Template,
};

/// The longest a companion may take to start, or to tell its environment.
const COMPANION_MAX: Duration = Duration::from_secs(10);

/// The longest a companion is waited for while it refuses what is new.
const REFUSE_MAX: Duration = Duration::from_secs(1);

/// Where an application listens, for as long as it listens there.
#[derive(Debug)]
pub(super) struct Seat {
    app: Address,
    /// The port, where it is one.
    port: Option<Port>,
    companion: Option<Box<dyn Companion>>,
}

impl Seat {
    /// A new place for the processes of an instance, with a companion if there are any.
    pub(super) async fn take(common: &Common, template: &Template, id: &InstanceId) -> io::Result<Self> {
        let companions = common.settings.companions.as_deref();
        if companions.is_some() && template.bind == Bind::Unix {
            let app = Address::Unix(common.sockets.path(id));
            return Self::beside(companions, template, id, app, None).await;
        }
        let port = common.ports.take()?;
        let app = Address::Tcp(port.address());
        Self::beside(companions, template, id, app, Some(port)).await
    }

    async fn beside(
        companions: Option<&dyn Companions>,
        template: &Template,
        id: &InstanceId,
        app: Address,
        port: Option<Port>,
    ) -> io::Result<Self> {
        let Some(companions) = companions else { return Ok(Self { app, port, companion: None }) };
        let beside = Beside {
            service: template.service.clone(),
            instance: id.clone(),
            version: template.version.clone(),
            app: app.clone(),
        };
        let companion = bounded(companions.start(beside)).await.map_err(|error| of_companion(&error))?;
        Ok(Self { app, port, companion: Some(companion) })
    }

    /// Whether the next process may have it too: others know the companion, nobody the port alone.
    pub(super) fn is_lasting(&self) -> bool {
        self.companion.is_some()
    }

    /// Where the application listens.
    pub(super) fn app(&self) -> &Address {
        &self.app
    }

    /// The port that the application listens on, where it is one.
    pub(super) fn port(&self) -> Option<u16> {
        self.port.as_ref().map(Port::number)
    }

    /// Where others reach it.
    pub(super) fn public(&self) -> Address {
        self.companion.as_ref().map_or_else(|| self.app.clone(), |companion| companion.address())
    }

    /// Removes what the last process left of its socket.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.socket().map_or(Ok(()), sockets::remove)
    }

    /// What the companion tells the next process.
    pub(super) async fn environment(&self) -> io::Result<Environment> {
        let Some(companion) = &self.companion else { return Ok(Environment::new()) };
        bounded(companion.environment()).await.map_err(|error| of_companion(&error))
    }

    /// Lets nothing new in.
    pub(super) async fn refuse_new(&self, grace: Duration) {
        if let Some(companion) = &self.companion {
            time::timeout(REFUSE_MAX.min(grace / 4), companion.refuse_new()).await.ok();
        }
    }

    /// Ends it, when the process has ended.
    pub(super) async fn end(mut self, grace: Duration) {
        if let Some(companion) = self.companion.take() {
            companion.drain(grace).await;
        }
        // Dropping it removes the socket.
    }

    fn socket(&self) -> Option<&Path> {
        match &self.app {
            Address::Unix(path) => Some(path),
            Address::Tcp(_) => None,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            tracing::debug!(%error, app = %self.app, "a socket is left");
        }
    }
}

async fn bounded<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    time::timeout(COMPANION_MAX, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Of its own kind: that a companion lacks a file does not say that the command is missing.
fn of_companion(error: &io::Error) -> io::Error {
    io::Error::other(format!("its companion: {error}"))
}
