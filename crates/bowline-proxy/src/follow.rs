//! Follows a document that is published, says what came of each version, and keeps the last good one on disk.
//!
//! It is how gateways and sidecars get what they act by: routes, snapshots of the mesh. What a version is
//! and whether it can be acted by is the follower's own affair, told by the function it hands in.

use std::{
    fmt,
    io::{self, Read as _},
    mem,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use bowline_config::{
    Acknowledgement, ConfigManager, ConfigWatcher, DOCUMENT_BYTES_MAX, Error, Outcome, REASON_BYTES_MAX, Version,
};
use bowline_model::{
    ConfigKey, InstanceId, ServiceName,
    error::chain,
    mesh::{SNAPSHOT_FORMAT, Snapshot},
};
use bowline_runtime::{
    BoxFuture, fs, task,
    time::{self, MissedTickBehavior},
};
use serde_json::Value;

/// How long an acknowledgement is known, how often it is renewed, and the longest that may take.
const ACK_TTL: Duration = Duration::from_secs(30);
const ACK_EVERY: Duration = Duration::from_secs(10);
const ACK_MAX: Duration = Duration::from_secs(5);

/// The wait after a watch that failed.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// The longest first line of a file.
const HEAD_BYTES_MAX: usize = 128;

/// How a document is followed.
pub struct Follow {
    /// Who is asked for it.
    pub config: Arc<dyn ConfigManager>,
    /// Which it is.
    pub key: ConfigKey,
    /// Who says what came of each version, and of which service that is an instance.
    pub instance: InstanceId,
    /// As `instance`.
    pub service: ServiceName,
    /// Where the last good version is kept, if anywhere.
    pub last_good: Option<LastGood>,
    /// The version that is acted by when following begins; none where it is none that was published.
    pub runs: Option<u64>,
}

/// A place on disk where the last version is kept that was acted by.
///
/// The file is its owner's only; its first line says what it is, in which format, and of which version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastGood {
    /// The file.
    pub path: PathBuf,
    /// What is kept there, in one word: `routes`.
    pub what: &'static str,
}

/// What a [`LastGood`] keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The document.
    pub text: String,
    /// Its version.
    pub version: u64,
}

impl LastGood {
    /// Reads what is kept; `None` where nothing is yet.
    ///
    /// # Errors
    /// When the file cannot be read; `InvalidData` when it has another format.
    pub fn read(&self) -> io::Result<Option<Kept>> {
        let file = match fs::File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut content = Vec::new();
        let bytes_max = DOCUMENT_BYTES_MAX + HEAD_BYTES_MAX;
        file.take(bytes_max as u64 + 1).read_to_end(&mut content)?;
        if content.len() > bytes_max {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has more than {bytes_max} bytes")));
        }
        self.parse(content).map(Some).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))
    }

    fn parse(&self, content: Vec<u8>) -> Result<Kept, String> {
        let text = String::from_utf8(content).map_err(|_| "it is no text".to_owned())?;
        let head = self.head();
        let rest = text.strip_prefix(&head).and_then(|rest| rest.split_once('\n'));
        let kept =
            rest.and_then(|(version, text)| Some(Kept { text: text.to_owned(), version: version.parse().ok()? }));
        kept.ok_or_else(|| format!("it does not begin with `{head}`: another release wrote it"))
    }

    /// Keeps a version in the place of the one before.
    ///
    /// # Errors
    /// When it cannot be written; what was kept before is still there.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it is kept.
    pub async fn keep(&self, version: u64, text: &str) -> io::Result<()> {
        let (path, content) = (self.path.clone(), format!("{}{version}\n{text}", self.head()));
        let keeping = task::spawn_blocking(move || fs::replace_private(&path, content.as_bytes()));
        keeping.await.map_err(io::Error::other).flatten()
    }

    /// The first words of a file that this release writes and reads.
    fn head(&self) -> String {
        format!("# bowline {}, format 1, version ", self.what)
    }
}

impl Follow {
    /// Follows, for ever: acts by each version as soon as it is told, or refuses it, says which of both, and
    /// keeps what it acts by.
    ///
    /// What `apply` refuses must leave what was acted by before in force; its reason goes to whoever
    /// published it. While there is no document, and when it is deleted, what is acted by stays; so it does
    /// while nobody can be asked. A version may be applied more than once. How long it takes to say what came
    /// of a version does not hold up the next one.
    ///
    /// # Cancel safety
    /// Dropping the future ends it; what was applied stays.
    pub async fn run(mut self, mut apply: impl FnMut(&Version) -> Result<(), String> + Send) {
        let mut ack = None;
        let mut is_noted = false;
        loop {
            let error = match self.config.watch_config(&self.key).await {
                Ok(mut watcher) => {
                    let (is_told, error) = self.watch(&mut *watcher, &mut apply, &mut ack).await;
                    is_noted &= !is_told;
                    error
                }
                Err(error) => error,
            };
            // Once, not each second of an outage.
            if !mem::replace(&mut is_noted, true) {
                self.note_failure(&error);
            }
            time::sleep(RETRY_WAIT).await;
        }
    }

    /// Takes each version until the watch fails; whether anything was told, and why it failed.
    async fn watch(
        &mut self,
        watcher: &mut dyn ConfigWatcher,
        apply: &mut (impl FnMut(&Version) -> Result<(), String> + Send),
        ack: &mut Option<Acknowledgement>,
    ) -> (bool, Error) {
        let mut is_told = false;
        let mut renewal = time::interval(ACK_EVERY);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The latest one takes the place of one that is under way still: only it is of interest.
        let mut saying: Option<BoxFuture<'static, ()>> = None;
        loop {
            let told = tokio::select! {
                told = watcher.next() => told,
                () = said(&mut saying) => {
                    saying = None;
                    continue;
                }
                _ = renewal.tick() => {
                    if saying.is_none() {
                        saying = ack.clone().map(|ack| self.acknowledge(ack));
                    }
                    continue;
                }
            };
            is_told |= told.is_ok();
            match told {
                Ok(Some(version)) => {
                    let taken = self.take(&version, apply).await;
                    saying = Some(self.acknowledge(taken.clone()));
                    *ack = Some(taken);
                }
                Ok(None) => {
                    (*ack, saying) = (None, None);
                    // Where nothing was acted by that was published, nothing is missed.
                    if self.runs.is_some() {
                        tracing::warn!(key = %self.key, "document is not published, what was acted by stays");
                    }
                }
                Err(error) => return (is_told, error),
            }
        }
    }

    /// Acts by a version, or refuses it; what is to be said of it.
    async fn take(
        &mut self,
        version: &Version,
        apply: &mut (impl FnMut(&Version) -> Result<(), String> + Send),
    ) -> Acknowledgement {
        let (key, number) = (&self.key, version.number);
        let outcome = match apply(version) {
            Ok(()) => {
                self.runs = Some(number);
                self.keep(version).await;
                tracing::info!(%key, version = number, "published version is acted by");
                Outcome::Applied
            }
            Err(mut reason) => {
                reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
                tracing::warn!(%key, version = number, reason, "published version refused, what was acted by stays");
                Outcome::Refused { reason }
            }
        };
        let (instance, service) = (self.instance.clone(), self.service.clone());
        Acknowledgement { instance, service, version: number, outcome, runs: self.runs }
    }

    async fn keep(&self, version: &Version) {
        let Some(last_good) = &self.last_good else { return };
        if let Err(error) = last_good.keep(version.number, &version.document.text).await {
            tracing::warn!(key = %self.key, error = chain(&error), "last good version cannot be kept on disk");
        }
    }

    fn acknowledge(&self, ack: Acknowledgement) -> BoxFuture<'static, ()> {
        let (config, key) = (Arc::clone(&self.config), self.key.clone());
        Box::pin(async move {
            // What fails is said again with the next renewal.
            match time::timeout(ACK_MAX, config.acknowledge(&key, ack, ACK_TTL)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%key, error = chain(&error), "version cannot be acknowledged"),
                Err(_) => tracing::debug!(%key, "version cannot be acknowledged in time"),
            }
        })
    }

    fn note_failure(&self, error: &Error) {
        tracing::warn!(key = %self.key, error = chain(error), "document cannot be followed, what was acted by stays");
    }
}

/// Reads a snapshot of the mesh, as it is published and kept.
///
/// # Errors
/// What is wrong with it, for people; of another format than this release knows nothing else is said.
pub fn read_snapshot(text: &str) -> Result<Snapshot, String> {
    let unreadable = |error: serde_json::Error| format!("it is no snapshot: {error}");
    let value: Value = serde_json::from_str(text).map_err(unreadable)?;
    let format = value.get("format").and_then(Value::as_u64).ok_or("it is no snapshot: it does not say its format")?;
    if format != u64::from(SNAPSHOT_FORMAT) {
        return Err(format!("it is of format {format}, and this release reads format {SNAPSHOT_FORMAT}"));
    }
    serde_json::from_value(value).map_err(unreadable)
}

/// Ends when what is being said was said; never where nothing is.
async fn said(saying: &mut Option<BoxFuture<'static, ()>>) {
    match saying {
        Some(saying) => saying.await,
        None => std::future::pending().await,
    }
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config: _, key, instance, service, last_good, runs } = self;
        f.debug_struct("Follow")
            .field("key", key)
            .field("instance", instance)
            .field("service", service)
            .field("last_good", last_good)
            .field("runs", runs)
            .finish_non_exhaustive()
    }
}
