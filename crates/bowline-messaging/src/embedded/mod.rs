//! The embedded provider: one log for each topic, durable before answered.

mod batch;
mod command;
mod dedup;
mod delayed;
mod graveyard;
mod group;
mod log;
mod record;
mod shelf;
mod topic;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bowline_disk::{Disk, LockFailure};
use bowline_model::error::chain;
use bowline_runtime::{
    BoxFuture,
    fs::{self, File},
    metric, task, time,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use self::{
    command::{Answer, Asks, Command, Publish},
    group::Ready,
    topic::{Handle, TAILS_MAX, Tails, Topic, WAITING_BYTES_MAX, now},
};
use crate::{
    DELAYED_MAX, Error, PAGE_MAX, TAIL_WAIT_MAX, check_credit, check_group, check_lease, check_message, check_name,
    check_then, check_topic,
    delivery::Position,
    port::{
        DeadLetter, Delivery, DeliverySource, GroupSettings, Lease, Message, MessageBus, NewMessage, Published, Start,
        Subscription, Tail, Then, TopicInfo, TopicSettings, Which,
    },
};

/// The most topics.
pub const TOPICS_MAX: usize = 1024;

/// The folder of the topics' folders.
const TOPICS: &str = "topics";

/// Where messages are kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder.
    pub dir: PathBuf,
    /// Where it counts.
    pub metrics: metric::Registry,
    /// The disk; tests have one that fails.
    pub disk: Disk,
    /// The most messages of a topic that are delayed at a time; one more is refused.
    pub delayed_max: usize,
}

/// Topics in a folder of this machine.
#[derive(Clone)]
pub struct Embedded(Arc<Shared>);

struct Shared {
    settings: Settings,
    /// What is damaged answers so.
    topics: RwLock<BTreeMap<String, Result<Handle, Error>>>,
    /// Held while a topic is made.
    making: tokio::sync::Mutex<()>,
    is_closed: AtomicBool,
    lock: Arc<File>,
}

impl Settings {
    /// A folder, on the disk as it is.
    pub fn new(dir: impl Into<PathBuf>, metrics: metric::Registry) -> Self {
        Self { dir: dir.into(), metrics, disk: Disk::default(), delayed_max: DELAYED_MAX }
    }
}

impl Embedded {
    /// Opens or makes the folder, and starts every topic in it. One that is damaged, or of another release, answers so to
    /// every call: [`Error::Corrupt`] and [`Error::Format`] name the file.
    ///
    /// # Errors
    /// [`Error::InUse`] while another process has it; [`Error::Io`].
    pub async fn open(settings: Settings) -> Result<Self, Error> {
        let opening = settings.clone();
        let opened = task::spawn_blocking(move || {
            fs::create_private_dir_all(&opening.dir.join(TOPICS)).map_err(log::failed)?;
            let lock = Arc::new(lock(&opening.dir)?);
            let topics = find(&opening, &lock)?;
            Ok((lock, topics))
        });
        let (lock, topics) = opened.await.unwrap_or(Err(Error::Closed))?;
        let topics = topics.into_iter().map(|(name, start)| (name, start.map(|start| start()))).collect();
        let (topics, making) = (RwLock::new(topics), tokio::sync::Mutex::default());
        Ok(Self(Arc::new(Shared { settings, topics, making, is_closed: AtomicBool::new(false), lock })))
    }

    /// Writes what was asked for before, and ends; every call after it answers [`Error::Closed`].
    ///
    /// # Cancel safety
    /// Topics that were told to end do so.
    pub async fn close(&self) {
        self.0.is_closed.store(true, Ordering::Release);
        let _making = self.0.making.lock().await;
        let topics = std::mem::take(&mut *self.0.topics.write().unwrap_or_else(PoisonError::into_inner));
        for handle in topics.into_values().flatten() {
            let (answer, closed) = oneshot::channel();
            if handle.commands.send(Command::Close { answer }).await.is_ok() {
                closed.await.ok();
            }
        }
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.0.is_closed.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    fn topic(&self, name: &str) -> Result<Handle, Error> {
        self.check_open()?;
        let topics = self.0.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.get(name).cloned().unwrap_or_else(|| Err(Error::NoTopic { topic: name.to_owned() }))
    }

    /// Makes a topic; its handle, if it is there already.
    async fn make(&self, name: &str, topic: &TopicSettings) -> Result<Handle, Error> {
        let _making = self.0.making.lock().await;
        match self.topic(name) {
            Err(Error::NoTopic { .. }) => {}
            known => return known,
        }
        if self.0.topics.read().unwrap_or_else(PoisonError::into_inner).len() >= TOPICS_MAX {
            return Err(Error::TooMany { what: "topics", max: TOPICS_MAX });
        }
        let (name, topic, settings) = (name.to_owned(), topic.clone(), self.0.settings.clone());
        let lock = self.0.lock.clone();
        let open = task::spawn_blocking(move || {
            let dir = settings.dir.join(TOPICS).join(&name);
            Topic::open(&name, &dir, Some(topic), &settings, lock).map(|start| (name, start))
        });
        let (name, start) = open.await.unwrap_or(Err(Error::Closed))?;
        let handle = start();
        self.0.topics.write().unwrap_or_else(PoisonError::into_inner).insert(name, Ok(handle.clone()));
        Ok(handle)
    }
}

/// A topic that is to be started, or why it cannot be.
type Found<F> = (String, Result<F, Error>);

/// The topics of a folder. Blocks.
fn find(settings: &Settings, lock: &Arc<File>) -> Result<Vec<Found<impl FnOnce() -> Handle + Send + use<>>>, Error> {
    let mut topics = Vec::new();
    for entry in fs::read_dir(settings.dir.join(TOPICS)).map_err(log::failed)? {
        let path = entry.map_err(log::failed)?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|_| path.is_dir()) else { continue };
        if check_name("topic", name).is_err() {
            continue;
        }
        let topic = Topic::open(name, &path, None, settings, lock.clone());
        match &topic {
            Err(error @ (Error::Corrupt { .. } | Error::Format { .. })) => {
                tracing::error!(topic = name, error = %chain(error), "a topic cannot be opened, all others are");
            }
            Err(error) => return Err(error.clone()),
            Ok(_) => {}
        }
        topics.push((name.to_owned(), topic));
    }
    Ok(topics)
}

fn lock(dir: &Path) -> Result<File, Error> {
    bowline_disk::lock(dir).map_err(|failure| match failure {
        LockFailure::Locked => Error::InUse { dir: dir.to_owned() },
        LockFailure::Io { source, .. } => log::failed(source),
    })
}

impl Handle {
    /// Room for bytes that wait to be written.
    fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        let too_many = || Error::TooMany { what: "bytes of messages that wait to be written", max: WAITING_BYTES_MAX };
        let bytes = u32::try_from(bytes).map_err(|_| too_many())?;
        self.room.clone().try_acquire_many_owned(bytes).map_err(|_| too_many())
    }

    /// Asks the topic for something.
    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.map_err(|_| Error::Closed)?;
        answered.await.unwrap_or(Err(Error::Closed))
    }
}

impl Tails {
    /// Waits until the topic does not end at that position any more, or for so long.
    async fn wait(&self, from: Position, wait: Duration) -> Result<(), Error> {
        let mut next = self.next.clone();
        if *next.borrow_and_update() != from || wait.is_zero() {
            return Ok(());
        }
        let too_many = |_| Error::TooMany { what: "who wait for what comes to one topic", max: TAILS_MAX };
        let _place = self.room.try_acquire().map_err(too_many)?;
        match time::timeout(wait, next.wait_for(|next| *next != from)).await {
            Ok(Ok(_)) | Err(_) => Ok(()),
            Ok(Err(_)) => Err(Error::Closed),
        }
    }
}

impl MessageBus for Embedded {
    fn declare(&self, topic: &str, settings: TopicSettings) -> BoxFuture<'_, Result<(), Error>> {
        let name = topic.to_owned();
        Box::pin(async move {
            check_name("topic", &name)?;
            check_topic(&settings)?;
            let handle = self.make(&name, &settings).await?;
            handle.ask(|answer| Command::Declare { settings, answer }).await
        })
    }

    fn publish(&self, topic: &str, message: NewMessage) -> BoxFuture<'_, Result<Published, Error>> {
        let handle = check_message(&message).and_then(|()| self.topic(topic));
        Box::pin(async move {
            let handle = handle?;
            let room = Some(handle.room(batch::bytes(&message))?);
            handle.ask(|answer| Command::Publish(Publish { message, only: None, room, answer })).await
        })
    }

    fn subscribe(
        &self,
        topic: &str,
        group: &str,
        settings: GroupSettings,
        credit: usize,
    ) -> BoxFuture<'_, Result<Subscription, Error>> {
        let handle = self.topic(topic);
        let group = group.to_owned();
        Box::pin(async move {
            check_name("group", &group)?;
            check_group(&settings)?;
            check_credit(credit)?;
            let handle = handle?;
            let name = group.clone();
            let joined = handle.ask(|answer| Command::Join { group: name, settings, credit, answer }).await?;
            let source = Source { ready: Some(joined.ready), handle, group: group.into() };
            Ok(Subscription::new(source))
        })
    }

    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicInfo>, Error>> {
        Box::pin(async move {
            self.check_open()?;
            let handles: Vec<Handle> =
                self.0.topics.read().unwrap_or_else(PoisonError::into_inner).values().flatten().cloned().collect();
            let mut infos = Vec::with_capacity(handles.len());
            for handle in handles {
                // What is damaged or closed was logged when it became so, and hides no others.
                infos.extend(handle.ask(|answer| Command::Info { answer }).await.ok());
            }
            Ok(infos)
        })
    }

    fn read(&self, topic: &str, from: Position, limit: usize) -> BoxFuture<'_, Result<Vec<Arc<Message>>, Error>> {
        let handle = self.topic(topic);
        let limit = limit.min(PAGE_MAX);
        Box::pin(async move { handle?.ask(|answer| Command::Read { from, limit, answer }).await })
    }

    fn tail(&self, topic: &str, from: Position, limit: usize, wait: Duration) -> BoxFuture<'_, Result<Tail, Error>> {
        let (handle, from) = (self.topic(topic), from.max(1));
        Box::pin(async move {
            let handle = handle?;
            handle.tails.wait(from, wait.min(TAIL_WAIT_MAX)).await?;
            handle.ask(|answer| Command::Tail { from, limit, answer }).await
        })
    }

    fn seek(&self, topic: &str, group: &str, to: Start) -> BoxFuture<'_, Result<(), Error>> {
        let (handle, group) = (self.topic(topic), group.to_owned());
        Box::pin(async move { handle?.ask(|answer| Command::Seek { group, to, answer }).await })
    }

    fn remove_group(&self, topic: &str, group: &str) -> BoxFuture<'_, Result<(), Error>> {
        let (handle, group) = (self.topic(topic), group.to_owned());
        Box::pin(async move { handle?.ask(|answer| Command::Remove { group, answer }).await })
    }

    fn dead(&self, topic: &str, after: Position, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, Error>> {
        let handle = self.topic(topic);
        let limit = limit.min(PAGE_MAX);
        Box::pin(async move { handle?.ask(|answer| Command::Dead { after, limit, answer }).await })
    }

    fn redrive(&self, topic: &str, which: Which) -> BoxFuture<'_, Result<usize, Error>> {
        let handle = self.topic(topic);
        Box::pin(async move { handle?.ask(|answer| Command::Redrive { which, answer }).await })
    }

    fn purge(&self, topic: &str, which: Which) -> BoxFuture<'_, Result<usize, Error>> {
        let handle = self.topic(topic);
        Box::pin(async move { handle?.ask(|answer| Command::Purge { which, answer }).await })
    }
}

/// Where a subscription gets its messages from.
struct Source {
    /// None once it is left.
    ready: Option<mpsc::Receiver<Ready>>,
    handle: Handle,
    group: Arc<str>,
}

impl DeliverySource for Source {
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, Error>> {
        Box::pin(async move {
            let receiver = self.ready.as_mut().ok_or(Error::Closed)?;
            let (Ready { message, attempt, epoch, .. }, until) = loop {
                let ready = receiver.recv().await.ok_or(Error::Closed)?;
                // What its consumer did not come to in time is others' meanwhile.
                let left = ready.until - now();
                if left > 0 {
                    break (ready, time::now() + Duration::from_millis(left.unsigned_abs()));
                }
                self.handle.left.notify_one();
            };
            let position = message.position;
            let lease = Leased { handle: self.handle.clone(), group: self.group.clone(), position, attempt, epoch };
            Ok(Delivery::new(message, attempt, until, lease))
        })
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // First the channel, then the word: whoever looks finds it closed.
        self.ready = None;
        self.handle.left.notify_one();
    }
}

/// How a delivery is answered.
struct Leased {
    handle: Handle,
    group: Arc<str>,
    position: Position,
    attempt: u32,
    epoch: u64,
}

impl Leased {
    fn ask(&self, asks: Asks) -> BoxFuture<'_, Result<(), Error>> {
        let Self { handle, group, position, attempt, epoch } = self;
        let (group, position, attempt, epoch) = (group.to_string(), *position, *attempt, *epoch);
        Box::pin(handle.ask(move |answer| Command::Lease { group, position, attempt, epoch, asks, answer }))
    }
}

impl Lease for Leased {
    fn ack(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.ask(Asks::Ack)
    }

    fn nack(&self, failure: &str, then: Then) -> BoxFuture<'_, Result<(), Error>> {
        if let Err(error) = check_then(then) {
            return Box::pin(async { Err(error) });
        }
        self.ask(Asks::Nack { failure: failure.to_owned(), verdict: then.into() })
    }

    fn extend(&self, by: Duration) -> BoxFuture<'_, Result<(), Error>> {
        if let Err(error) = check_lease(by) {
            return Box::pin(async { Err(error) });
        }
        self.ask(Asks::Extend { by })
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("dir", &self.0.settings.dir).finish_non_exhaustive()
    }
}
