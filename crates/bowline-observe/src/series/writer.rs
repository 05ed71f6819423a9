//! Owns the files: flushes the log, makes blocks of full generations, deletes old ones. Everything blocks.

mod open;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bowline_disk::Disk;
use bowline_runtime::{
    fs::{self, File},
    time,
};

use crate::series::{
    Error,
    block::{self, Block},
    head::Chunks,
    log::Log,
    store::Shared,
};

/// More blocks than this are as bad as too many bytes: the oldest are deleted.
const BLOCKS_MAX: usize = 4096;

#[derive(Debug)]
pub(crate) struct Writer {
    dir: PathBuf,
    bytes_max: u64,
    queue_bytes_max: usize,
    retention_ms: i64,
    shared: Arc<Shared>,
    /// By age.
    blocks: Vec<Arc<Block>>,
    log: Log,
    /// A generation that has ended and is no block yet.
    ended: Option<Ended>,
    /// What a block takes that could neither be finished nor deleted.
    unfinished_bytes: u64,
    next_id: u32,
    disk: Disk,
    _lock: File,
}

#[derive(Debug)]
struct Ended {
    log: Log,
    series: Arc<Vec<Chunks>>,
    /// The block, when it was made and could not be written.
    block: Option<Vec<u8>>,
}

impl Writer {
    /// Does what is to be done: what was appended is durable when this returns without an error.
    pub(crate) fn work(&mut self) -> Result<(), Error> {
        let flushed = self.flush();
        if self.ended.is_none() && self.shared.head().is_full() {
            self.roll()?;
        }
        let written = self.write_block();
        self.expire();
        self.report();
        flushed.and(written)
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.log.pending_bytes() < self.queue_bytes_max {
            let mut head = self.shared.head();
            let records = head.take_records();
            drop(head);
            for record in records {
                self.log.push(&record);
            }
        }
        self.shared.head().set_log_bytes(self.log.bytes());
        self.make_room(self.log.growth())?;
        let flushed = self.log.flush(&self.disk);
        self.shared.bytes(self.bytes());
        flushed
    }

    /// The sum of all files.
    fn bytes(&self) -> u64 {
        let blocks: u64 = self.blocks.iter().map(|block| block.bytes).sum();
        let ended = self.ended.as_ref().map_or(0, |ended| ended.log.extent());
        blocks + self.log.extent() + ended + self.unfinished_bytes
    }

    /// Ends the generation: what comes next goes into a new log.
    fn roll(&mut self) -> Result<(), Error> {
        let next = Log::create(&self.dir, self.next_id)?;
        self.next_id += 1;
        let mut log = std::mem::replace(&mut self.log, next);
        let mut head = self.shared.head();
        let records = head.take_records();
        let series = Arc::new(head.roll());
        head.set_log_bytes(self.log.bytes());
        // Before the head is let go: who reads it finds the samples here when they are no longer there.
        self.shared.set_frozen(Some(Arc::clone(&series)));
        drop(head);
        for record in records {
            log.push(&record);
        }
        self.ended = Some(Ended { log, series, block: None });
        Ok(())
    }

    /// Makes a block of the generation that has ended, and deletes its log.
    fn write_block(&mut self) -> Result<(), Error> {
        // It stays in its place: its log counts for the cap until it is deleted.
        let Some(ended) = &mut self.ended else { return Ok(()) };
        let (id, path) = (ended.log.id, ended.log.path.clone());
        if let Some(bytes) = ended.block.take().or_else(|| block::encode(&ended.series)) {
            match self.try_write_block(id, &bytes) {
                Ok(block) => {
                    self.blocks.push(Arc::new(block));
                    self.shared.set_blocks(&self.blocks);
                    self.shared.metrics.blocks_written.increment();
                }
                Err(error @ Error::NoRoom { .. }) => self.drop_ended(&error),
                Err(error) => {
                    self.shared.metrics.writes_failed.increment();
                    // Until there is a block the log has to have it all.
                    let logged = self.flush_ended(bytes);
                    return logged.and(Err(error));
                }
            }
        }
        self.shared.set_frozen(None);
        if let Some(ended) = &mut self.ended {
            // If the log cannot be deleted now, that is all that is left to do.
            ended.series = Arc::default();
        }
        delete(&path)?;
        self.ended = None;
        Ok(())
    }

    /// Counts what is lost with a block for which there is no room.
    fn drop_ended(&self, error: &Error) {
        let series = self.ended.iter().flat_map(|ended| ended.series.iter());
        let samples: usize = series.flat_map(|series| &series.chunks).map(|chunk| chunk.count).sum();
        self.shared.metrics.dropped_no_room.add(samples as u64);
        let error: &dyn std::error::Error = error;
        tracing::error!(error, samples, "series block does not fit, dropped it");
    }

    /// Makes the log of the generation that has ended durable, and keeps its block for the next try.
    fn flush_ended(&mut self, block: Vec<u8>) -> Result<(), Error> {
        let room = self.make_room(self.ended.as_ref().map_or(0, |ended| ended.log.growth()));
        let Some(ended) = &mut self.ended else { return room };
        ended.block = Some(block);
        room?;
        ended.log.flush(&self.disk)
    }

    fn try_write_block(&mut self, id: u32, bytes: &[u8]) -> Result<Block, Error> {
        let path = block::path(&self.dir, id);
        let new = path.with_extension(NEW);
        for left in [&new, &path] {
            delete(left)?;
        }
        self.unfinished_bytes = 0;
        self.make_room(bytes.len() as u64)?;
        let finished = self.finish_block(id, &new, &path, bytes);
        if finished.is_err() {
            let left = [&new, &path].into_iter().filter(|path| delete(path).is_err());
            self.unfinished_bytes = left.map(|path| fs::metadata(path).map_or(0, |file| file.len())).sum();
        }
        finished
    }

    fn finish_block(&self, id: u32, new: &Path, path: &Path, bytes: &[u8]) -> Result<Block, Error> {
        self.write_new(new, bytes)?;
        fs::rename(new, path).map_err(Error::io("rename", new))?;
        self.disk.sync_dir(&self.dir).map_err(Error::io("sync", &self.dir))?;
        Block::open(&self.dir, id)
    }

    fn write_new(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let create = fs::private_options().write(true).create_new(true).open(path);
        let file = create.map_err(Error::io("create", path))?;
        self.disk.write_at(&file, bytes, 0).map_err(Error::io("write", path))?;
        self.disk.sync(&file).map_err(Error::io("sync", path))
    }

    /// Deletes the oldest blocks until so many bytes more are within the cap.
    fn make_room(&mut self, bytes: u64) -> Result<(), Error> {
        let fixed = self.bytes() - self.blocks.iter().map(|block| block.bytes).sum::<u64>();
        if fixed + bytes > self.bytes_max {
            return Err(Error::NoRoom { bytes });
        }
        let mut deleted = 0;
        while self.bytes() + bytes > self.bytes_max || self.blocks.len() > BLOCKS_MAX {
            let Some(oldest) = self.blocks.first() else { break };
            delete(&oldest.path)?;
            self.blocks.remove(0);
            deleted += 1;
        }
        if deleted > 0 {
            self.shared.metrics.blocks_deleted_cap.add(deleted);
            self.shared.set_blocks(&self.blocks);
        }
        Ok(())
    }

    /// Deletes blocks whose samples are all older than the retention.
    fn expire(&mut self) {
        let now_ms = i64::try_from(time::unix_millis_now()).unwrap_or(i64::MAX);
        let from_ms = now_ms.saturating_sub(self.retention_ms);
        let (expired, kept): (Vec<_>, Vec<_>) =
            self.blocks.drain(..).partition(|block| block.to_ms().is_some_and(|to| to < from_ms));
        self.blocks = kept;
        if expired.is_empty() {
            return;
        }
        for block in expired {
            match delete(&block.path) {
                Ok(()) => self.shared.metrics.blocks_deleted_retention.increment(),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot delete an old series block");
                    self.blocks.push(block);
                }
            }
        }
        self.blocks.sort_by_key(|block| block.id);
        self.shared.set_blocks(&self.blocks);
    }

    fn report(&self) {
        self.shared.bytes(self.bytes());
        let head = self.shared.head();
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.shared.metrics.live.set(gauge(head.live()));
        self.shared.metrics.head_bytes.set(gauge(head.chunk_bytes()));
        self.shared.metrics.blocks.set(gauge(self.blocks.len()));
    }
}

/// The ending of a block that is being written.
const NEW: &str = "block-new";

/// Deletes a file, if it is there.
fn delete(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("delete", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
