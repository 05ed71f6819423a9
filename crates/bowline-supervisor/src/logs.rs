//! The last lines that the processes of each service wrote, for whoever asks later: bounded in lines and in bytes, the
//! oldest go first. What Bowline gave the processes as secrets is not told in them.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    mem::size_of,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bowline_model::{InstanceId, Secret, ServiceName, percent};
use bowline_runtime::{metric, time};

use crate::Settings;

/// The most lines that are kept of one service.
pub const LOG_LINES_MAX: usize = 2000;

/// The most bytes that the lines of one service take.
const SERVICE_BYTES_MAX: usize = 1 << 20;

/// The most bytes that all of them take.
const BYTES_MAX: usize = 64 << 20;

/// What stands in the place of a secret.
const MASK: &str = "***";

/// A secret that is shorter is none that could be told from other words.
const SECRET_BYTES_MIN: usize = 6;

/// How a token of the API, a client's key and a token to join the mesh begin, all alike and each, and how long it is at
/// least.
const TOKENS_BEGIN: &str = "bw";
const TOKEN_PREFIXES: [&str; 3] = ["bwl_", "bwk_", "bwj_"];
const TOKEN_BYTES_MIN: usize = 68;

/// A line that a process wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Grows from line to line, also from one run of Bowline to the next: microseconds since 1970 where the clock does.
    pub number: u64,
    /// When it was read, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Whose process wrote it.
    pub instance: InstanceId,
    /// Whether to its standard error.
    pub is_stderr: bool,
    /// The line, at most 16 KiB of it; more comes as a line of its own.
    pub text: String,
}

/// Which lines of a service are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Only those of this instance.
    pub instance: Option<InstanceId>,
    /// Only those that came after the one of this number; absent: the last ones.
    pub after: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

/// Lines of a service, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogPage {
    /// The lines.
    pub lines: Vec<LogLine>,
    /// What to ask for lines after, to have those that come next.
    pub next: u64,
    /// Whether some were left off: with `after` later ones, else earlier ones.
    pub more: bool,
    /// Whether lines that came after `after` are kept no longer.
    pub is_cut: bool,
}

/// The last lines of all services. Cheap to clone.
#[derive(Clone)]
pub struct Logs(Arc<Inner>);

struct Inner {
    /// What is not told, as it may stand in a line.
    secrets: Vec<String>,
    kept: Mutex<Kept>,
    dropped: metric::Counter,
}

#[derive(Default)]
struct Kept {
    services: BTreeMap<ServiceName, Ring>,
    bytes: usize,
    /// The number of the last line.
    last: u64,
}

/// The lines of one service.
#[derive(Default)]
struct Ring {
    lines: VecDeque<LogLine>,
    bytes: usize,
    /// The number of the last line that is kept no longer.
    dropped: u64,
}

impl Logs {
    /// No lines, of a system with those settings.
    pub(crate) fn new(settings: &Settings) -> Self {
        let dropped = settings.metrics.counter(
            "bowline_supervisor_log_lines_dropped_total",
            "Lines of services that made room for later ones: `bowline logs` does not show them any more.",
            &[],
        );
        Self(Arc::new(Inner { secrets: secrets(settings), kept: Mutex::default(), dropped }))
    }

    /// Keeps a line; the oldest go.
    pub(crate) fn push(&self, service: &ServiceName, instance: &InstanceId, is_stderr: bool, text: &str) {
        let text = self.masked(text);
        let micros = time::unix_nanos(time::wall()) / 1000;
        let dropped = self.lock().push(service, |last| LogLine {
            number: micros.max(last + 1),
            at_unix_ms: micros / 1000,
            instance: instance.clone(),
            is_stderr,
            text,
        });
        self.0.dropped.add(dropped);
    }

    /// The lines of a service that are wanted; none where it wrote none.
    pub fn read(&self, service: &ServiceName, query: &LogQuery) -> LogPage {
        let kept = self.lock();
        match kept.services.get(service) {
            Some(ring) => ring.read(query, kept.last),
            None => LogPage { next: kept.last, ..LogPage::default() },
        }
    }

    fn masked(&self, text: &str) -> String {
        let mut text = without_tokens(text);
        for secret in &self.0.secrets {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), MASK);
            }
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the processes were given that is not told, in each form in which a line may have it; the longest first, since
/// one may be part of another.
fn secrets(settings: &Settings) -> Vec<String> {
    let given = [&settings.token, &settings.redis_token, &settings.postgres_credential];
    let given = given.into_iter().flatten().map(Secret::expose);
    // A credential may be `USER:PASSWORD`, of which the password stands alone elsewhere.
    let alone = given.flat_map(|secret| [Some(secret), secret.split_once(':').map(|(_, password)| password)]);
    let alone = alone.flatten().filter(|secret| secret.len() >= SECRET_BYTES_MIN);
    // Part of an address, of a text in quotes.
    let forms = |secret: &str| {
        let quoted = format!("{secret:?}");
        [secret.to_owned(), percent::encode(secret, b""), quoted[1..quoted.len() - 1].to_owned()]
    };
    let mut secrets: Vec<String> = alone.flat_map(forms).collect();
    secrets.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    secrets.dedup();
    secrets
}

/// A line without what has the form of one of Bowline's tokens or keys, whoever it was given to: each process of a mesh
/// has one of its own to join by.
fn without_tokens(text: &str) -> String {
    let mut told = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(TOKENS_BEGIN) {
        let (before, from) = rest.split_at(at);
        let is_token = TOKEN_PREFIXES.iter().any(|prefix| from.starts_with(prefix));
        let token_end = || from.find(|char: char| !(char.is_ascii_alphanumeric() || char == '_'));
        let end = if is_token { token_end().unwrap_or(from.len()) } else { TOKENS_BEGIN.len() };
        told.push_str(before);
        told.push_str(if end >= TOKEN_BYTES_MIN { MASK } else { &from[..end] });
        rest = &from[end..];
    }
    told.push_str(rest);
    told
}

impl fmt::Debug for Logs {
    /// Without the lines, which are the services' own business, and without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logs").field("bytes", &self.lock().bytes).finish_non_exhaustive()
    }
}

impl Kept {
    /// Keeps the line that is made of the last one's number; how many others made room for it.
    fn push(&mut self, service: &ServiceName, line: impl FnOnce(u64) -> LogLine) -> u64 {
        let line = line(self.last);
        self.last = line.number;
        if !self.services.contains_key(service) {
            self.services.insert(service.clone(), Ring::default());
        }
        let Some(ring) = self.services.get_mut(service) else { return 0 };
        let before = ring.bytes;
        let mut dropped = ring.push(line);
        self.bytes = self.bytes + ring.bytes - before;
        while self.bytes > BYTES_MAX {
            let Some(largest) = self.services.values_mut().max_by_key(|ring| ring.bytes) else { break };
            self.bytes -= largest.drop_oldest();
            dropped += 1;
        }
        dropped
    }
}

impl Ring {
    fn push(&mut self, line: LogLine) -> u64 {
        self.bytes += bytes(&line);
        self.lines.push_back(line);
        let mut dropped = 0;
        while self.lines.len() > LOG_LINES_MAX || self.bytes > SERVICE_BYTES_MAX {
            self.drop_oldest();
            dropped += 1;
        }
        dropped
    }

    /// Lets the oldest line go; how many bytes that gives.
    fn drop_oldest(&mut self) -> usize {
        let Some(line) = self.lines.pop_front() else { return 0 };
        let bytes = bytes(&line);
        self.bytes -= bytes;
        self.dropped = line.number;
        bytes
    }

    fn read(&self, query: &LogQuery, last: u64) -> LogPage {
        let LogQuery { instance, after, limit } = query;
        let is_wanted = |line: &&LogLine| instance.as_ref().is_none_or(|wanted| line.instance == *wanted);
        let Some(after) = *after else {
            let mut newest = self.lines.iter().rev().filter(is_wanted);
            let mut lines: Vec<LogLine> = newest.by_ref().take(*limit).cloned().collect();
            lines.reverse();
            return LogPage { lines, next: last, more: newest.next().is_some(), is_cut: false };
        };
        let begin = self.lines.partition_point(|line| line.number <= after);
        let mut later = self.lines.range(begin..).filter(is_wanted);
        let lines: Vec<LogLine> = later.by_ref().take(*limit).cloned().collect();
        let more = later.next().is_some();
        // Whoever has read all goes on behind what others wrote, too.
        let next = lines.last().filter(|_| more).map_or(last, |line| line.number);
        LogPage { lines, next, more, is_cut: after < self.dropped }
    }
}

/// What a line takes.
fn bytes(line: &LogLine) -> usize {
    size_of::<LogLine>() + line.text.len()
}

#[cfg(test)]
mod tests;
