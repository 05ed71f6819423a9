//! Follows the route table that is published, says what came of each version, and keeps the last good one.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bowline_config::{
    Acknowledgement, ConfigManager, ConfigWatcher, DOCUMENT_BYTES_MAX, Format, Outcome, REASON_BYTES_MAX, Version,
};
use bowline_model::{ConfigKey, InstanceId, Problem, ServiceName, error::chain, gateway::RouteTable, parse};
use bowline_runtime::{
    fs, task,
    time::{self, MissedTickBehavior},
};

use crate::Handle;

/// How long an acknowledgement is known, how often it is renewed, and the longest that may take.
const ACK_TTL: Duration = Duration::from_secs(30);
const ACK_EVERY: Duration = Duration::from_secs(10);
const ACK_MAX: Duration = Duration::from_secs(5);

/// The wait after a watch that failed.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// The first words of a file that this version writes and reads.
const HEAD: &str = "# bowline routes, format 1, version ";

/// The longest such line.
const HEAD_BYTES_MAX: usize = 64;

/// How a gateway follows the published route table: for [`Gateway::follow`](crate::Gateway::follow).
pub struct Follow {
    /// Who is asked for it.
    pub config: Arc<dyn ConfigManager>,
    /// The services that a table may name; none: nobody here knows which there are, and any name is taken.
    pub services: Option<Vec<ServiceName>>,
    /// Who says what came of each version, and of which service that is an instance.
    pub instance: InstanceId,
    /// As `instance`.
    pub service: ServiceName,
    /// Where the last good table is kept, if anywhere.
    pub last_good: Option<PathBuf>,
    /// The version that is served when following begins; none where it is none that was published.
    pub runs: Option<u64>,
}

/// The last table that was served by a version that was published, as it is kept on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastGood {
    /// The table.
    pub table: RouteTable,
    /// Its version.
    pub version: u64,
}

impl LastGood {
    /// Reads the table that [`Follow::last_good`] keeps; `None` where there is none yet. `services` is as
    /// [`Follow::services`].
    ///
    /// # Errors
    /// When the file cannot be read; `InvalidData` when it has another format, or names what is none of
    /// `services` any more.
    pub fn read(path: &Path, services: Option<&[ServiceName]>) -> io::Result<Option<Self>> {
        let content = match crate::auth::read_file(path, DOCUMENT_BYTES_MAX + HEAD_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            content => content?,
        };
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let text = String::from_utf8(content).map_err(|_| invalid("it is no text".to_owned()))?;
        let version = text.strip_prefix(HEAD).and_then(|rest| rest.split_once('\n'));
        let version = version.and_then(|(version, _)| version.parse().ok());
        let version =
            version.ok_or_else(|| invalid(format!("it does not begin with `{HEAD}`: another release wrote it")))?;
        let table = parse_routes(&text, services).map_err(|problems| invalid(reason(&problems)))?;
        Ok(Some(Self { table, version }))
    }
}

impl Follow {
    /// Follows, for ever.
    pub(crate) async fn run(self, handle: Handle) {
        let key = ConfigKey::routes();
        let mut ack = None;
        let mut runs = self.runs;
        loop {
            match self.config.watch_config(&key).await {
                Ok(mut watcher) => self.watch(&mut *watcher, &handle, &mut runs, &mut ack).await,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "published routes cannot be followed, those served stay");
                }
            }
            time::sleep(RETRY_WAIT).await;
        }
    }

    /// Takes each version until the watch fails.
    async fn watch(
        &self,
        watcher: &mut dyn ConfigWatcher,
        handle: &Handle,
        runs: &mut Option<u64>,
        ack: &mut Option<Acknowledgement>,
    ) {
        let mut renewal = time::interval(ACK_EVERY);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let told = tokio::select! {
                told = watcher.next() => told,
                _ = renewal.tick() => {
                    self.acknowledge(ack.as_ref()).await;
                    continue;
                }
            };
            match told {
                Ok(Some(version)) => {
                    *ack = Some(self.take(&version, handle, runs).await);
                    self.acknowledge(ack.as_ref()).await;
                }
                Ok(None) => {
                    *ack = None;
                    tracing::warn!("no routes are published, those served stay");
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "published routes cannot be followed, those served stay");
                    return;
                }
            }
        }
    }

    /// Serves by a version, or refuses it; what is to be said of it.
    async fn take(&self, version: &Version, handle: &Handle, runs: &mut Option<u64>) -> Acknowledgement {
        let number = version.number;
        let outcome = match self.apply(version, handle) {
            Ok(()) => {
                *runs = Some(number);
                self.keep(version).await;
                tracing::info!(version = number, "published routes are live");
                Outcome::Applied
            }
            Err(reason) => {
                tracing::warn!(version = number, reason, "published routes refused, those served stay");
                Outcome::Refused { reason }
            }
        };
        let (instance, service) = (self.instance.clone(), self.service.clone());
        Acknowledgement { instance, service, version: number, outcome, runs: *runs }
    }

    fn apply(&self, version: &Version, handle: &Handle) -> Result<(), String> {
        let document = &version.document;
        if document.format != Format::Toml {
            return Err("routes are written in TOML".to_owned());
        }
        let table = parse_routes(&document.text, self.services.as_deref()).map_err(|problems| reason(&problems))?;
        handle.set_table(&table).map_err(|error| bounded(chain(&error)))
    }

    async fn keep(&self, version: &Version) {
        let Some(path) = self.last_good.clone() else { return };
        let content = format!("{HEAD}{}\n{}", version.number, version.document.text);
        let keeping = task::spawn_blocking(move || fs::replace_private(&path, content.as_bytes()));
        if let Err(error) = keeping.await.map_err(io::Error::other).flatten() {
            tracing::warn!(error = chain(&error), "the last good routes cannot be kept on disk");
        }
    }

    async fn acknowledge(&self, ack: Option<&Acknowledgement>) {
        let Some(ack) = ack else { return };
        let key = ConfigKey::routes();
        let acknowledging = time::timeout(ACK_MAX, self.config.acknowledge(&key, ack.clone(), ACK_TTL)).await;
        match acknowledging {
            Ok(Ok(())) => {}
            // It is said again with the next renewal.
            Ok(Err(error)) => tracing::debug!(error = chain(&error), "routes cannot be acknowledged"),
            Err(_) => tracing::debug!("routes cannot be acknowledged in time"),
        }
    }
}

fn parse_routes(text: &str, services: Option<&[ServiceName]>) -> Result<RouteTable, Vec<Problem>> {
    match services {
        Some(services) => parse::routes(text, services),
        None => parse::routes_of_any(text),
    }
}

/// What is wrong in a document, each with its place and what to write instead.
fn reason(problems: &[Problem]) -> String {
    let line = |problem: &Problem| match problem.help.as_str() {
        "" => problem.to_string(),
        help => format!("{problem} ({help})"),
    };
    bounded(problems.iter().map(line).collect::<Vec<_>>().join("; "))
}

fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(REASON_BYTES_MAX));
    text
}

impl std::fmt::Debug for Follow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { config: _, services, instance, service, last_good, runs } = self;
        f.debug_struct("Follow")
            .field("services", services)
            .field("instance", instance)
            .field("service", service)
            .field("last_good", last_good)
            .field("runs", runs)
            .finish_non_exhaustive()
    }
}
