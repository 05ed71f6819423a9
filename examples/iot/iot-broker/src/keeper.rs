//! What connections share: the state under its lock, and the task that writes the journal.
//!
//! Records gather while a frame is written; the next frame takes them all, so that many share one sync. Where writing
//! fails, all that counts is written into a new file, again and again until that works: meanwhile nobody is acknowledged
//! anything, and nobody is told that something is lost, since nothing is.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_runtime::{drain::Drain, task, time};
use tokio::sync::{Notify, watch};

use crate::{
    admission::Admission,
    journal::Journal,
    metrics::Metrics,
    record::Record,
    settings::Bounds,
    state::{State, Ticket},
};

/// How much of records goes into one frame.
const FRAME_BYTES: usize = 1 << 20;

/// How much of records waits to be written; more is not kept: all that counts is written instead.
const PENDING_BYTES_MAX: usize = 64 << 20;

/// How long after a failure it is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How often it is looked at what is due.
const TICK_EVERY: Duration = Duration::from_secs(1);

/// What waits to be written.
#[derive(Debug)]
pub(crate) struct Pending {
    frames: VecDeque<Vec<u8>>,
    /// Of the last frame, or of the file before it.
    last: Ticket,
    /// The next thing to be written is a file: what waits is in it.
    is_file_due: bool,
}

/// What is to be written next; all that was promised before waits for its ticket.
#[derive(Debug)]
enum Job {
    Frame(Ticket, Vec<u8>),
    File(Ticket, Vec<Record>),
}

/// What connections share.
pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) bounds: Bounds,
    pub(crate) metrics: Metrics,
    pub(crate) admission: Arc<dyn Admission>,
    /// How far the journal is durable.
    pub(crate) durable: watch::Sender<Ticket>,
    /// Changes when whoever waits for room may try again.
    pub(crate) room: watch::Sender<u64>,
    /// Something waits to be written.
    writer: Notify,
    is_failing: AtomicBool,
}

impl Pending {
    /// Adds a record, unless it will be in a file anyway.
    pub(crate) fn add(&mut self, record: &Record) -> Ticket {
        if self.frames.len() * FRAME_BYTES > PENDING_BYTES_MAX {
            self.begin_file();
        }
        if self.is_file_due {
            return self.last + 1;
        }
        if self.frames.back().is_none_or(|frame| frame.len() >= FRAME_BYTES) {
            self.frames.push_back(Vec::new());
            self.last += 1;
        }
        record.put(self.frames.back_mut().expect("there is one"));
        self.last
    }

    /// Has all that counts written, in the place of what waits.
    fn begin_file(&mut self) {
        self.frames.clear();
        self.is_file_due = true;
    }

    fn is_empty(&self) -> bool {
        self.frames.is_empty() && !self.is_file_due
    }

    /// What waits, as if a file had been begun before it.
    #[cfg(test)]
    pub(crate) fn take_records(&mut self) -> Vec<Record> {
        self.is_file_due = false;
        let frames = self.frames.drain(..);
        frames.flat_map(|frame| Record::take_all(&frame).expect("it was written so")).collect()
    }
}

impl Default for Pending {
    /// Nothing was written: a file comes first.
    fn default() -> Self {
        Self { frames: VecDeque::new(), last: 0, is_file_due: true }
    }
}

impl State {
    fn next_job(&mut self, is_full: bool) -> Option<Job> {
        if is_full && !self.pending.is_empty() {
            self.pending.begin_file();
        }
        if self.pending.is_file_due {
            self.pending.is_file_due = false;
            self.pending.last += 1;
            return Some(Job::File(self.pending.last, self.records()));
        }
        let frame = self.pending.frames.pop_front()?;
        Some(Job::Frame(self.pending.last - self.pending.frames.len() as Ticket, frame))
    }
}

impl Job {
    fn ticket(&self) -> Ticket {
        match self {
            Self::Frame(ticket, _) | Self::File(ticket, _) => *ticket,
        }
    }

    fn run(self, journal: &mut Journal) -> std::io::Result<()> {
        match self {
            Self::Frame(_, records) => journal.append(&records),
            Self::File(_, records) => journal.begin(&records),
        }
    }
}

impl Shared {
    pub(crate) fn new(state: State, admission: Arc<dyn Admission>) -> Self {
        Self {
            bounds: state.bounds.clone(),
            metrics: state.metrics.clone(),
            state: Mutex::new(state),
            admission,
            durable: watch::Sender::new(0),
            room: watch::Sender::new(0),
            writer: Notify::new(),
            is_failing: AtomicBool::new(false),
        }
    }

    /// Does something to the state, and tells whom it concerns.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let output = change(&mut state);
        let (has_room, is_due) = (std::mem::take(&mut state.has_room), !state.pending.is_empty());
        drop(state);
        if has_room {
            self.room.send_modify(|count| *count += 1);
        }
        if is_due {
            self.writer.notify_one();
        }
        output
    }

    /// Whether what was written last is durable.
    pub(crate) fn is_writing(&self) -> bool {
        !self.is_failing.load(Relaxed)
    }

    /// Looks at what is due, until the drain.
    pub(crate) async fn tick(self: Arc<Self>, mut drain: Drain) {
        while drain.or_drain(time::sleep(TICK_EVERY)).await.is_some() {
            self.with(|state| state.tick(time::unix_millis_now()));
        }
    }

    /// Writes what there is to write, until the drain and nothing is left.
    pub(crate) async fn write(self: Arc<Self>, mut journal: Journal, mut drain: Drain) {
        loop {
            let is_full = journal.is_full();
            let Some(job) = self.with(|state| state.next_job(is_full)) else {
                if drain.or_drain(self.writer.notified()).await.is_none() && self.with(|state| state.pending.is_empty())
                {
                    return;
                }
                continue;
            };
            let (ticket, began) = (job.ticket(), time::now());
            let written = task::spawn_blocking(move || {
                let written = job.run(&mut journal);
                (journal, written)
            });
            let (back, written) = written.await.expect("writing does not panic");
            journal = back;
            self.metrics.journal_seconds.record(began.elapsed());
            self.metrics.journal_bytes.set(i64::try_from(journal.bytes()).unwrap_or(i64::MAX));
            self.is_failing.store(written.is_err(), Relaxed);
            match written {
                Ok(()) => drop(self.durable.send_replace(ticket)),
                Err(error) => {
                    self.metrics.journal_failures.increment();
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the journal cannot be written, so nobody is acknowledged anything: it is tried again"
                    );
                    self.with(|state| state.pending.begin_file());
                    if drain.or_drain(time::sleep(RETRY_AFTER)).await.is_none() {
                        return;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_that_of_what_has_the_record() {
        let mut pending = Pending::default();
        let record = Record::Ended { id: 1 };
        assert_eq!(pending.add(&record), 1, "the first file has it");
        (pending.is_file_due, pending.last) = (false, 1);
        assert_eq!((pending.add(&record), pending.add(&record)), (2, 2));
        pending.frames.pop_front();
        assert_eq!(pending.add(&record), 3);
        pending.begin_file();
        assert_eq!(pending.add(&record), 4, "what waited goes into the next file");
    }
}
