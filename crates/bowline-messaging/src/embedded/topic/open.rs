//! Opens a topic: reads its log, and goes on where it ended.

use std::{collections::BTreeMap, path::Path, sync::Mutex};

use bowline_runtime::fs::File;

use super::{
    Arc, COMMANDS_MAX, Dedup, Delayed, Duration, Error, Graveyard, Group, Handle, Log, Metrics, Notify, Place,
    Position, Queue, Semaphore, Shelf, TAILS_MAX, Tails, Topic, TopicSettings, VecDeque, WAITING_BYTES_MAX,
    graveyard_dir, millis, mpsc, task, time, watch,
};
use crate::embedded::{Settings, dedup::IDS_MAX, group::Kept, record::Record};

/// What a log says.
struct Found {
    settings: TopicSettings,
    shelf: Shelf,
    groups: BTreeMap<String, Kept>,
    ids: VecDeque<(i64, String, Position)>,
    published_ms: i64,
    delayed: Delayed,
}

impl Found {
    fn take(&mut self, place: Place, records: Vec<Record>) {
        let mut messages = Vec::new();
        for record in records {
            match record {
                Record::Message(message) => {
                    self.ids.push_back((message.published_ms, message.id.clone(), message.position));
                    messages.push(Arc::new(message));
                }
                Record::Unnamed(message) => messages.push(Arc::new(message)),
                // All that came before is said again.
                Record::Began { next } => {
                    self.shelf.begin_at(next);
                    self.groups.clear();
                }
                Record::Topic { keep_ms, bytes_max, dedup_ms } => {
                    let duration = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or_default());
                    self.settings = TopicSettings { keep: duration(keep_ms), bytes_max, dedup: duration(dedup_ms) };
                }
                Record::Group(group) => drop(self.groups.insert(group.name.clone(), Kept::new(group))),
                Record::Pending { group, pending } => {
                    if let Some(group) = self.groups.get_mut(&group) {
                        group.add(pending);
                    }
                }
                Record::Served { group, policy, lease_ms } => {
                    if let Some(group) = self.groups.get_mut(&group) {
                        group.set(policy, lease_ms);
                    }
                }
                Record::Removed { group } => drop(self.groups.remove(&group)),
                Record::Done { group, position } => {
                    if let Some(group) = self.groups.get_mut(&group) {
                        group.done(position);
                    }
                }
                Record::Failed { group, position, attempts, due } => {
                    if let Some(group) = self.groups.get_mut(&group) {
                        group.failed(position, attempts, due);
                    }
                }
                Record::Dead(_) | Record::Raised { .. } => {}
            }
        }
        self.published_ms = messages.last().map_or(self.published_ms, |last| last.published_ms.max(self.published_ms));
        self.forget();
        self.delayed.add(&messages);
        self.shelf.add(place, messages);
    }

    /// Ids that were published too long ago.
    fn forget(&mut self) {
        let oldest = self.published_ms - millis(self.settings.dedup);
        while self.ids.front().is_some_and(|(at, _, _)| *at < oldest) || self.ids.len() > IDS_MAX {
            self.ids.pop_front();
        }
    }
}

impl Topic {
    /// Opens or makes a topic in its folder, and starts it. Blocks.
    pub(crate) fn open(
        name: &str,
        dir: &Path,
        settings: Option<TopicSettings>,
        on: &Settings,
        lock: Arc<File>,
    ) -> Result<impl FnOnce() -> Handle + Send + use<>, Error> {
        let mut found = Found {
            settings: settings.clone().unwrap_or_default(),
            shelf: Shelf::new(),
            groups: BTreeMap::new(),
            ids: VecDeque::new(),
            published_ms: 0,
            delayed: Delayed::new(on.delayed_max),
        };
        let disk = &on.disk;
        let bytes_max = found.settings.bytes_max;
        let mut log = Log::open(dir, disk.clone(), bytes_max, |place, records| found.take(place, records))?;
        let Found { settings: kept, shelf, groups, ids, published_ms, delayed } = found;
        let settings = settings.unwrap_or(kept);
        log.set_bytes_max(settings.bytes_max);
        let graveyard = Graveyard::open(&graveyard_dir(dir), disk.clone(), settings.bytes_max)?;
        let mut dedup = Dedup::default();
        for (at, id, position) in ids {
            dedup.add(&id, position, at);
        }
        let (name, dir, metrics): (_, Arc<Path>, _) = (name.to_owned(), dir.into(), on.metrics.clone());
        Ok(move || {
            let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
            let (end, next) = watch::channel(shelf.next());
            let topic = Self {
                dir,
                settings,
                bytes: log.bytes(),
                log: Some(log),
                shelf,
                loaded: VecDeque::new(),
                unreadable: None,
                dedup,
                groups: groups.into_iter().map(|(name, kept)| (name, Group::resume(kept, 0))).collect(),
                graveyard: Arc::new(Mutex::new(graveyard)),
                queue: Queue::default(),
                dying: VecDeque::new(),
                making_room: None,
                has_more: false,
                published_ms,
                delayed,
                next_consumer: 0,
                next_epoch: 0,
                tidied: time::now(),
                commands: commands.downgrade(),
                end,
                metrics: Metrics::new(&metrics, &name),
                name,
                _lock: lock,
            };
            let left = Arc::new(Notify::new());
            task::spawn(topic.run(receiver, left.clone()));
            let tails = Arc::new(Tails { next, room: Semaphore::new(TAILS_MAX) });
            Handle { commands, left, room: Arc::new(Semaphore::new(WAITING_BYTES_MAX)), tails }
        })
    }
}
