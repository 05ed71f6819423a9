//! The registration of an instance beside its sidecar: while its application takes requests, and the
//! server can be told.

use std::{sync::Arc, time::Duration};

use bowline_model::{Address, Instance, error::chain, instance::Health};
use bowline_registry::{Error, Registry};
use bowline_runtime::{
    drain,
    net::{TcpStream, UnixStream},
    task, time,
};
use bowline_transport::HttpClient;
use http::Request;

/// How long the registration outlives its process.
const LEASE_TTL: Duration = Duration::from_secs(10);
/// Time between checks, and between heartbeats: two may be lost before the lease ends.
const CHECK_EVERY: Duration = Duration::from_secs(2);
/// Time between checks until the first that is passed.
const FIRST_CHECK_EVERY: Duration = Duration::from_millis(50);
/// How long it may take no requests at first until that is said.
const SILENT_MAX: Duration = Duration::from_secs(10);
/// The longest a check may take.
const CHECK_MAX: Duration = Duration::from_secs(1);
/// The longest a goodbye may take.
const GOODBYE_MAX: Duration = Duration::from_secs(2);

/// A registration that is kept.
#[derive(Debug)]
pub(super) struct Member(drain::Drainer);

impl Member {
    /// Checks the application, and registers the instance once it takes requests.
    pub(super) fn start(registry: Arc<impl Registry>, instance: Instance, app: Address, path: Option<String>) -> Self {
        let (drainer, drain) = drain::channel();
        let keeping = Keeping { registry, instance, check: Check { app, path }, is_known: false, has_failed: false };
        task::spawn(keeping.run(drain));
        Self(drainer)
    }

    /// Deregisters; gives up after two seconds, the lease then ends by itself.
    pub(super) async fn end(mut self) {
        let _in_time = time::timeout(GOODBYE_MAX, self.0.drain()).await;
    }
}

/// What keeps it.
struct Keeping<R> {
    registry: Arc<R>,
    instance: Instance,
    check: Check,
    /// Whether the registry has it as it is.
    is_known: bool,
    has_failed: bool,
}

impl<R: Registry> Keeping<R> {
    async fn run(mut self, mut drain: drain::Drain) {
        let (mut is_begun, mut silent_until) = (false, Some(time::now() + SILENT_MAX));
        loop {
            let Some(is_healthy) = drain.or_drain(self.check.is_passed()).await else { break };
            is_begun |= is_healthy;
            if !is_begun && silent_until.take_if(|until| time::now() >= *until).is_some() {
                let (app, path) = (&self.check.app, self.check.path.as_deref().unwrap_or("a connection"));
                tracing::warn!(%app, check = path, "the command takes no requests yet, so it is not registered");
            }
            if is_begun {
                let health = if is_healthy { Health::Healthy } else { Health::Unhealthy };
                self.is_known &= self.instance.health == health;
                self.instance.health = health;
                if drain.or_drain(self.tell()).await.is_none() {
                    break;
                }
            }
            let wait = if is_begun { CHECK_EVERY } else { FIRST_CHECK_EVERY };
            if drain.or_drain(time::sleep(wait)).await.is_none() {
                break;
            }
        }
        // Also when no answer came: the server may have registered it.
        if is_begun && let Err(error) = self.registry.deregister(&self.instance.id).await {
            tracing::debug!(error = chain(&error), "registration is left to the end of its lease");
        }
    }

    /// Registers it, or keeps its lease.
    async fn tell(&mut self) {
        match self.try_tell().await {
            Ok(is_known) => {
                self.is_known = is_known;
                self.has_failed = false;
            }
            Err(error) => {
                // A server that is back has it, unless it says otherwise.
                if !std::mem::replace(&mut self.has_failed, true) {
                    tracing::warn!(error = chain(&error), "registration waits for the server");
                }
            }
        }
    }

    async fn try_tell(&self) -> Result<bool, Error> {
        let Self { registry, instance, is_known, .. } = self;
        if *is_known {
            let answers = registry.heartbeat(std::slice::from_ref(&instance.id)).await?;
            if answers.first().is_some_and(|answer| answer.known) {
                return Ok(true);
            }
        }
        registry.register(instance.clone(), Some(LEASE_TTL)).await.map(|_| true)
    }
}

/// How it is found out that an application takes requests.
struct Check {
    app: Address,
    /// A path that answers 2xx then; none: it is connected to.
    path: Option<String>,
}

impl Check {
    async fn is_passed(&self) -> bool {
        let asked = async {
            match (&self.path, &self.app) {
                (Some(path), app) => {
                    let request = Request::get(path).header("host", "localhost").body(bowline_transport::Body::empty());
                    let Ok(request) = request else { return false };
                    let answer = HttpClient::new(app.clone()).with_timeout(CHECK_MAX).request(request).await;
                    answer.is_ok_and(|answer| answer.status().is_success())
                }
                (None, Address::Tcp(addr)) => TcpStream::connect(addr).await.is_ok(),
                (None, Address::Unix(path)) => UnixStream::connect(path).await.is_ok(),
            }
        };
        time::timeout(CHECK_MAX, asked).await.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use bowline_testkit::{Answer, HttpServer};

    use super::*;

    #[tokio::test]
    async fn a_check_asks_for_its_path_or_connects() {
        let answer = |request: &bowline_testkit::Request| Answer::status(if request.path == "/ok" { 204 } else { 503 });
        let server = HttpServer::start(answer);
        let check = |path: Option<&str>| Check { app: server.addr().into(), path: path.map(ToOwned::to_owned) };
        assert!(check(Some("/ok")).is_passed().await && check(None).is_passed().await);
        assert!(!check(Some("/no")).is_passed().await);
        let nowhere = Check { app: "unix:/nowhere/at/all".parse().unwrap(), path: None };
        assert!(!nowhere.is_passed().await);
    }
}
