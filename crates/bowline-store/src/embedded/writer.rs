//! The one writer: takes what is queued, judges it, writes it with one sync, then answers.

use std::{io, sync::Arc, time::Duration};

use bowline_runtime::{
    task,
    time::{self, Instant},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    disk::{Disk, Meta},
    draft::{Bounds, Draft, Outcome},
    memory::Shared,
    metrics::Metrics,
};
use crate::{Error, LeaseId, Op, Revision, TXN_BYTES_MAX, Txn};

/// The most commands that wait; who comes later waits for a place.
pub(super) const QUEUE_MAX: usize = 1024;

/// The most commands, and about the most bytes, written with one sync.
const BATCH_MAX: usize = 1024;
const BATCH_BYTES_MAX: usize = 2 * TXN_BYTES_MAX;

/// How long after a failure the file is left alone.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

type Committed = Result<(Revision, Option<LeaseId>), Error>;

/// What the writer is asked for.
#[derive(Debug)]
pub(super) enum Command {
    /// Commits a transaction, and grants a lease with it if `ttl` is there.
    Commit { txn: Txn, ttl: Option<Duration>, answer: oneshot::Sender<Committed> },
    /// Deletes a lease that is ending, with its keys.
    End { lease: LeaseId, answer: Option<oneshot::Sender<Result<bool, Error>>> },
    /// Writes what was queued before, and releases the file.
    Close { answer: oneshot::Sender<()> },
}

/// An answer that waits for the sync.
enum Answer {
    Commit(oneshot::Sender<Committed>, Committed),
    End(LeaseId, Option<oneshot::Sender<Result<bool, Error>>>, bool),
}

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) disk: Disk,
    pub(super) bounds: Bounds,
    pub(super) meta: Meta,
    pub(super) metrics: Metrics,
    pub(super) failure: Option<Failure>,
}

/// A batch that could not be written, and may be there all the same.
pub(super) struct Failure {
    at: Instant,
    error: Error,
    in_doubt: Outcome,
}

/// Runs the writer until it is closed or nobody can reach it. The work is done where it may block.
pub(super) async fn run(mut writer: Writer, mut queue: mpsc::Receiver<Command>) {
    let _closing = Closing(Arc::clone(&writer.shared));
    let mut closed = None;
    while let Some(first) = queue.recv().await {
        // Whoever was woken by the last batch's answers gets a chance to be in this one.
        task::yield_now().await;
        let mut bytes = first.bytes();
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX && bytes < BATCH_BYTES_MAX {
            let Ok(command) = queue.try_recv() else { break };
            bytes += command.bytes();
            batch.push(command);
        }
        let mut closing = batch.extract_if(.., |command| matches!(command, Command::Close { .. })).collect::<Vec<_>>();
        if let Some(Command::Close { answer }) = closing.pop() {
            queue.close();
            closed = Some(answer);
        }
        let work = task::spawn_blocking(move || {
            writer.run_batch(batch);
            writer
        });
        match work.await {
            Ok(back) => writer = back,
            Err(error) => {
                // The answers were dropped with the batch: their callers hear that it is closed.
                tracing::error!(%error, "store writer failed");
                return;
            }
        }
    }
    // Releasing the file writes to it.
    if let Err(error) = task::spawn_blocking(move || drop(writer)).await {
        tracing::error!(%error, "store file could not be closed");
    }
    if let Some(closed) = closed {
        closed.send(()).ok();
    }
}

/// Ends the watches when the writer ends, however it does.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Command {
    fn bytes(&self) -> usize {
        let bytes = |op: &Op| op.key().len() + op.value().map_or(0, bytes::Bytes::len);
        match self {
            Self::Commit { txn, .. } => txn.ops.iter().map(bytes).sum(),
            Self::End { .. } | Self::Close { .. } => 0,
        }
    }
}

impl Writer {
    fn run_batch(&mut self, batch: Vec<Command>) {
        self.metrics.transactions.add(batch.len() as u64);
        if let Err(error) = self.recover() {
            self.refuse(batch, &error);
            return;
        }
        let (outcome, answers) = self.judge(batch);
        let written = self.write(outcome);
        self.answer(answers, &written);
    }

    /// Opens the file again after a failure, and finds out what became of the batch that failed.
    fn recover(&mut self) -> Result<(), Error> {
        let Some(failure) = &mut self.failure else { return Ok(()) };
        if self.disk.is_lost() || time::now() < failure.at + REOPEN_AFTER {
            return Err(failure.error.clone());
        }
        failure.at = time::now();
        let found = self.disk.reopen()?;
        let Some(failure) = self.failure.take() else { return Ok(()) };
        if found.batch == self.meta.batch + 1 {
            self.publish(failure.in_doubt);
        }
        if found != self.meta {
            let error = Error::Io(Arc::new(io::Error::other("the file was changed by somebody else")));
            self.failure = Some(Failure { error: error.clone(), in_doubt: Outcome::default(), at: failure.at });
            return Err(error);
        }
        tracing::info!(revision = self.meta.revision, "store can write again");
        Ok(())
    }

    fn judge(&self, batch: Vec<Command>) -> (Outcome, Vec<Answer>) {
        let memory = self.shared.read();
        let mut draft = Draft::new(&memory, &self.shared.leases, self.meta.lease_last, self.bounds);
        let mut answers = Vec::with_capacity(batch.len());
        for command in batch {
            match command {
                Command::Commit { txn, ttl, answer } => answers.push(Answer::Commit(answer, draft.commit(txn, ttl))),
                Command::End { lease, answer } => answers.push(Answer::End(lease, answer, draft.end(lease))),
                Command::Close { .. } => {}
            }
        }
        (draft.finish(), answers)
    }

    /// Writes an outcome and shows it; if it fails, nothing is shown.
    fn write(&mut self, outcome: Outcome) -> Result<(), Error> {
        if outcome.is_empty() {
            return Ok(());
        }
        let begin = time::now();
        let oldest = self.shared.read().oldest();
        if let Err(error) = self.disk.write(&outcome, self.meta.batch + 1, oldest) {
            tracing::error!(error = &error as &dyn std::error::Error, "store cannot write");
            self.metrics.write_failures.increment();
            self.failure = Some(Failure { at: time::now(), error: error.clone(), in_doubt: outcome });
            if self.disk.is_lost() {
                tracing::error!("store cannot be written until this process is started again");
                self.shared.lose();
                self.metrics.is_writable.set(0);
            }
            return Err(error);
        }
        self.metrics.write_duration.record(time::now() - begin);
        self.publish(outcome);
        Ok(())
    }

    fn publish(&mut self, outcome: Outcome) {
        self.meta = Meta { batch: self.meta.batch + 1, revision: outcome.revision, lease_last: outcome.lease_last };
        self.metrics.batches.increment();
        self.metrics.leases_ended.add(outcome.ended.len() as u64);
        self.shared.publish(outcome);
        self.measure();
    }

    /// Answers everybody: a batch that failed, failed for all of it, as each transaction was judged
    /// against the others.
    fn answer(&self, answers: Vec<Answer>, written: &Result<(), Error>) {
        let mut unended = Vec::new();
        for answer in answers {
            match answer {
                Answer::Commit(answer, committed) => {
                    answer.send(written.clone().and(committed)).ok();
                }
                Answer::End(lease, answer, ended) => {
                    if written.is_err() {
                        unended.push(lease);
                    }
                    if let Some(answer) = answer {
                        answer.send(written.clone().map(|()| ended)).ok();
                    }
                }
            }
        }
        if !unended.is_empty() {
            self.shared.leases.unsettle(&unended);
        }
    }

    fn refuse(&self, batch: Vec<Command>, error: &Error) {
        let answers = batch.into_iter().filter_map(|command| match command {
            Command::Commit { answer, .. } => Some(Answer::Commit(answer, Err(error.clone()))),
            Command::End { lease, answer } => Some(Answer::End(lease, answer, false)),
            Command::Close { .. } => None,
        });
        self.answer(answers.collect(), &Err(error.clone()));
    }

    pub(super) fn measure(&self) {
        let gauge = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let memory = self.shared.read();
        self.metrics.is_writable.set(i64::from(!self.shared.is_lost()));
        self.metrics.revision.set(gauge(memory.revision));
        self.metrics.entries.set(gauge(memory.entries.len() as u64));
        self.metrics.data_bytes.set(gauge(memory.data_bytes));
        self.metrics.leases.set(gauge(self.shared.leases.count() as u64));
    }
}
