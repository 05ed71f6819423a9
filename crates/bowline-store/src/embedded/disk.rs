//! The file: its tables, how they are read at the start, and how a batch is written.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bowline_runtime::{fs, rand};
use redb::{
    Builder, Database, Durability, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError,
    TableHandle as _,
};

use super::{
    codec,
    draft::Outcome,
    file::{Opener, WatchedFile},
    memory::Step,
};
use crate::{Entry, Error, HistoryId, LeaseId, Revision};

/// The format that this release writes, and the latest that it reads.
const FORMAT: u64 = 1;

/// What the engine may cache; all reads are from memory, so it serves writes only.
const CACHE_BYTES: usize = 32 << 20;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");
const HISTORY: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("history");
const LEASES: TableDefinition<'_, u64, u64> = TableDefinition::new("leases");

/// The open file.
pub(super) struct Disk {
    path: PathBuf,
    opener: Opener,
    /// Absent after a failure, until it is opened again.
    database: Option<Database>,
    sync_failed: Arc<AtomicBool>,
}

/// All that is in the file.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) history: HistoryId,
    pub(super) meta: Meta,
    pub(super) entries: BTreeMap<Arc<str>, Entry>,
    pub(super) steps: Vec<Step>,
    pub(super) leases: Vec<(LeaseId, Duration)>,
}

/// The counters in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    /// Counts the batches written: tells whether one whose writing failed is there all the same.
    pub(super) batch: u64,
    pub(super) revision: Revision,
    pub(super) lease_last: u64,
}

impl Disk {
    /// Opens the file, or creates it, and reads all of it.
    pub(super) fn open(path: &Path, opener: Opener) -> Result<(Self, Loaded), Error> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all_durable(dir).map_err(io_error)?;
        }
        let mut disk =
            Self { path: path.to_owned(), opener, database: None, sync_failed: Arc::new(AtomicBool::new(false)) };
        disk.database = Some(disk.open_database()?);
        disk.check_format()?;
        let loaded = disk.load().map_err(|error| disk.error(error))?;
        let loaded = loaded.ok_or_else(|| disk.corrupt("a record cannot be read"))?;
        Ok((disk, loaded))
    }

    /// Opens the file again after a failure; answers the counters that are in it.
    pub(super) fn reopen(&mut self) -> Result<Meta, Error> {
        // The old one holds the lock.
        self.database = None;
        self.database = Some(self.open_database()?);
        self.meta().map_err(|error| self.error(error))
    }

    /// Whether the file cannot be trusted until this process is started again.
    pub(super) fn is_lost(&self) -> bool {
        self.sync_failed.load(Ordering::Acquire)
    }

    /// Writes a batch in one durable transaction; the history before `first_kept` is dropped.
    pub(super) fn write(&self, outcome: &Outcome, batch: u64, oldest: Revision) -> Result<(), Error> {
        self.try_write(outcome, batch, oldest).map_err(|error| self.error(error))
    }

    fn try_write(&self, outcome: &Outcome, batch: u64, oldest: Revision) -> Result<(), redb::Error> {
        let mut txn = self.database()?.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        {
            let mut entries = txn.open_table(ENTRIES)?;
            for (key, entry) in &outcome.entries {
                match entry {
                    Some(entry) => drop(entries.insert(&**key, codec::encode_entry(entry).as_slice())?),
                    None => drop(entries.remove(&**key)?),
                }
            }
            let mut history = txn.open_table(HISTORY)?;
            for step in outcome.steps.iter().filter(|step| step.revision >= outcome.first_kept) {
                history.insert(step.revision, codec::encode_changes(&step.changes).as_slice())?;
            }
            for revision in oldest + 1..outcome.first_kept {
                history.remove(revision)?;
            }
            let mut leases = txn.open_table(LEASES)?;
            for (lease, ttl) in &outcome.granted {
                leases.insert(lease.0, u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX))?;
            }
            for lease in &outcome.ended {
                leases.remove(lease.0)?;
            }
            let mut meta = txn.open_table(META)?;
            meta.insert("batch", batch)?;
            meta.insert("revision", outcome.revision)?;
            meta.insert("lease_last", outcome.lease_last)?;
        }
        txn.commit()?;
        Ok(())
    }

    fn database(&self) -> Result<&Database, redb::Error> {
        self.database.as_ref().ok_or(redb::Error::DatabaseClosed)
    }

    fn open_database(&self) -> Result<Database, Error> {
        let file = (self.opener)(&self.path).map_err(io_error)?;
        let file = WatchedFile::new(file, Arc::clone(&self.sync_failed));
        let database = Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(file);
        database.map_err(|error| self.error(error.into()))
    }

    /// Refuses a format of a later release, and gives a new file its format and its history's name.
    fn check_format(&self) -> Result<(), Error> {
        let found = self.read_meta("format").map_err(|error| self.error(error))?;
        match found {
            Some(FORMAT) => Ok(()),
            Some(found) if found > FORMAT => Err(Error::Format { path: self.path.clone(), found, known: FORMAT }),
            Some(_) => Err(self.corrupt("its format is 0")),
            None if self.is_fresh().map_err(|error| self.error(error))? => {
                self.initialize().map_err(|error| self.error(error))
            }
            None => Err(self.corrupt("it is the database of another program")),
        }
    }

    fn is_fresh(&self) -> Result<bool, redb::Error> {
        Ok(self.database()?.begin_read()?.list_tables()?.all(|table| table.name() == META.name()))
    }

    fn initialize(&self) -> Result<(), redb::Error> {
        let txn = self.database()?.begin_write()?;
        {
            txn.open_table(ENTRIES)?;
            txn.open_table(HISTORY)?;
            txn.open_table(LEASES)?;
            let mut meta = txn.open_table(META)?;
            meta.insert("format", FORMAT)?;
            meta.insert("history", rand::u64())?;
        }
        txn.commit()?;
        Ok(())
    }

    fn read_meta(&self, name: &str) -> Result<Option<u64>, redb::Error> {
        match self.database()?.begin_read()?.open_table(META) {
            Ok(meta) => Ok(meta.get(name)?.map(|value| value.value())),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn meta(&self) -> Result<Meta, redb::Error> {
        let read = |name| self.read_meta(name).map(Option::unwrap_or_default);
        Ok(Meta { batch: read("batch")?, revision: read("revision")?, lease_last: read("lease_last")? })
    }

    /// Everything; none if a record cannot be read.
    fn load(&self) -> Result<Option<Loaded>, redb::Error> {
        let meta = self.meta()?;
        let history = HistoryId(self.read_meta("history")?.unwrap_or_default());
        let txn = self.database()?.begin_read()?;
        let mut entries = BTreeMap::new();
        for row in txn.open_table(ENTRIES)?.iter()? {
            let (key, value) = row?;
            let Some(entry) = codec::decode_entry(key.value().into(), value.value()) else { return Ok(None) };
            entries.insert(Arc::clone(&entry.key), entry);
        }
        let mut steps = Vec::new();
        for row in txn.open_table(HISTORY)?.iter()? {
            let (revision, changes) = row?;
            let Some(changes) = codec::decode_changes(changes.value()) else { return Ok(None) };
            steps.push(Step { revision: revision.value(), changes });
        }
        let mut leases = Vec::new();
        for row in txn.open_table(LEASES)?.iter()? {
            let (lease, ttl) = row?;
            leases.push((LeaseId(lease.value()), Duration::from_nanos(ttl.value())));
        }
        let is_whole = steps.windows(2).all(|pair| pair[0].revision + 1 == pair[1].revision)
            && steps.last().is_none_or(|last| last.revision == meta.revision);
        Ok(is_whole.then_some(Loaded { history, meta, entries, steps, leases }))
    }

    fn corrupt(&self, reason: &str) -> Error {
        Error::Corrupt { path: self.path.clone(), reason: reason.to_owned() }
    }

    fn error(&self, error: redb::Error) -> Error {
        match error {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
                Error::InUse { path: self.path.clone() }
            }
            redb::Error::UpgradeRequired(_) => self.corrupt("it was written by another version of the engine"),
            redb::Error::Corrupted(reason) => Error::Corrupt { path: self.path.clone(), reason },
            redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => self.corrupt(&error.to_string()),
            redb::Error::Io(error) => io_error(error),
            error => Error::Io(Arc::new(error)),
        }
    }
}

fn io_error(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Error::Full,
        _ => Error::Io(Arc::new(error)),
    }
}
