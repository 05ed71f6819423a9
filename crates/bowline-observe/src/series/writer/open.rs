//! Opens the folder: finds the blocks, reads the logs.

use std::{path::Path, sync::Arc};

use bowline_disk::Disk;
use bowline_runtime::fs;

use super::{Ended, NEW, Writer, delete};
use crate::series::{
    Error, Settings,
    block::{self, Block},
    head::Replay,
    log::{self, End, Log},
    store::Shared,
};

impl Writer {
    /// Opens or makes the folder; the head has what the logs say when this returns.
    pub(crate) fn open(settings: &Settings, disk: Disk, shared: &Arc<Shared>) -> Result<Self, Error> {
        let dir = settings.dir.clone();
        fs::create_private_dir_all(&dir).map_err(Error::io("create", &dir))?;
        let lock = bowline_disk::lock(&dir).map_err(Error::lock(&dir))?;
        let mut found = Found::list(&dir)?;
        let mut blocks = found.open_blocks(&dir, shared)?;
        found.part_logs_and_blocks(&dir, &mut blocks)?;
        let blocks = found.make_room(&dir, settings.bytes_max, blocks, shared)?;
        let next_id = found.last_id.saturating_add(1);
        let mut writer = Self {
            log: Log::create(&dir, next_id)?,
            dir,
            bytes_max: settings.bytes_max,
            queue_bytes_max: settings.queue_bytes_max(),
            retention_ms: i64::try_from(settings.retention.as_millis()).unwrap_or(i64::MAX),
            shared: Arc::clone(shared),
            blocks,
            ended: None,
            unfinished_bytes: 0,
            next_id: next_id.saturating_add(1),
            disk,
            _lock: lock,
        };
        writer.shared.set_blocks(&writer.blocks);
        writer.read_logs(&found.logs)?;
        writer.expire();
        writer.report();
        Ok(writer)
    }

    /// Reads the logs, by age. The newest is written on if it is whole; the others become blocks, of which one
    /// may wait until the disk takes it, as it may while the store is open.
    fn read_logs(&mut self, logs: &[u32]) -> Result<(), Error> {
        for id in logs {
            let (log, end) = self.read_log(*id)?;
            let is_newest = logs.last() == Some(id);
            // The empty log that was made for what comes next is only needed if this one is at its end.
            let empty = std::mem::replace(&mut self.log, log);
            self.shared.head().set_log_bytes(self.log.bytes());
            if is_newest && end != End::Corrupt {
                return delete(&empty.path);
            }
            let log = std::mem::replace(&mut self.log, empty);
            if self.ended.is_some() {
                self.write_block()?;
            }
            let mut head = self.shared.head();
            let series = Arc::new(head.roll());
            head.set_log_bytes(self.log.bytes());
            self.shared.set_frozen(Some(Arc::clone(&series)));
            drop(head);
            self.ended = Some(Ended { log, series, block: None });
            if let Err(error) = self.write_block() {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot write a series block");
            }
        }
        Ok(())
    }

    fn read_log(&mut self, id: u32) -> Result<(Log, End), Error> {
        let mut head = self.shared.head();
        let mut replay = Replay::new(&mut head);
        let (log, end) = Log::open(&self.dir, id, &self.disk, &mut replay)?;
        let lost = replay.lost;
        let metrics = &self.shared.metrics;
        let path = log.path.display();
        if lost > 0 {
            metrics.dropped_no_room.add(lost);
            tracing::error!(%path, samples = lost, "dropped samples of series that are more than may be");
        }
        match end {
            End::Clean => {}
            End::Torn => {
                metrics.tails_cut.increment();
                tracing::warn!(%path, "cut an unfinished record off the series log");
            }
            End::Corrupt => {
                metrics.logs_corrupt.increment();
                tracing::error!(%path, offset = log.bytes(), "series log is damaged, skipping the rest of it");
            }
        }
        Ok((log, end))
    }
}

/// What is in the folder.
struct Found {
    blocks: Vec<u32>,
    logs: Vec<u32>,
    last_id: u32,
}

impl Found {
    /// Lists the files by age; deletes blocks that were not finished, and logs that nothing came into.
    fn list(dir: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Io { operation: "list", path: dir.to_owned(), source };
        let mut found = Self { blocks: Vec::new(), logs: Vec::new(), last_id: 0 };
        for entry in fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            let Some((id, extension)) = bowline_disk::number(&path) else { continue };
            match extension {
                block::EXTENSION => found.blocks.push(id),
                log::EXTENSION if entry.metadata().map_err(failed)?.len() == 0 => delete(&path)?,
                log::EXTENSION => found.logs.push(id),
                NEW => delete(&path)?,
                _ => continue,
            }
            found.last_id = found.last_id.max(id);
        }
        found.blocks.sort_unstable();
        found.logs.sort_unstable();
        Ok(found)
    }

    fn open_blocks(&self, dir: &Path, shared: &Shared) -> Result<Vec<Arc<Block>>, Error> {
        let mut blocks = Vec::with_capacity(self.blocks.len());
        for id in &self.blocks {
            let block = Block::open(dir, *id)?;
            if block.is_damaged() {
                shared.metrics.blocks_corrupt.increment();
                tracing::error!(path = %block.path.display(), "series block is damaged, skipping it");
            }
            blocks.push(Arc::new(block));
        }
        Ok(blocks)
    }

    /// A crash came after the block was finished and before its log was deleted: one of the two goes.
    fn part_logs_and_blocks(&mut self, dir: &Path, blocks: &mut Vec<Arc<Block>>) -> Result<(), Error> {
        let is_whole = |id: u32| blocks.iter().any(|block| block.id == id && !block.is_damaged());
        for id in self.logs.extract_if(.., |id| is_whole(*id)) {
            delete(&log::path(dir, id))?;
        }
        // Of a damaged one the log has everything.
        for block in blocks.extract_if(.., |block| self.logs.contains(&block.id)) {
            delete(&block.path)?;
        }
        Ok(())
    }

    /// A cap that was lowered holds from the first moment: the oldest files go.
    fn make_room(
        &mut self,
        dir: &Path,
        bytes_max: u64,
        mut blocks: Vec<Arc<Block>>,
        shared: &Shared,
    ) -> Result<Vec<Arc<Block>>, Error> {
        let length = |id: &u32| fs::metadata(log::path(dir, *id)).map_or(0, |file| file.len());
        loop {
            let logs: u64 = self.logs.iter().map(length).sum();
            if logs + blocks.iter().map(|block| block.bytes).sum::<u64>() <= bytes_max {
                return Ok(blocks);
            }
            if blocks.is_empty() {
                let path = log::path(dir, self.logs.remove(0));
                tracing::error!(path = %path.display(), "series log is larger than bytes_max, deleting it");
                delete(&path)?;
            } else {
                delete(&blocks.remove(0).path)?;
                shared.metrics.blocks_deleted_cap.increment();
            }
        }
    }
}
