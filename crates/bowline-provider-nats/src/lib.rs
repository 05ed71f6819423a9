//! NATS JetStream as a provider of the `MessageBus` port.
//!
//! A topic is a stream, and a position is a sequence number. NATS keeps messages durably, refuses them at a bound and
//! knows an id that it saw lately. It has no ordering keys, no delay, no dead letters, and its consumers do not survive
//! in what order, how often and until when a message is tried. So it is used as a log, and what a group does is
//! decided here, by the port's own transition table:
//!
//! - Each group has a log of its own (`kept`): what is done, what failed and when it is tried again. An
//!   acknowledgement is answered once its entry is kept. Now and then an entry says all of it, and those before it
//!   are deleted.
//! - One process at a time serves a group (`actor`); others stand by. Each entry names the one that it follows, and
//!   NATS refuses it where another one came between: so who was taken a group away finds out before what he did
//!   counts. Who serves says so every 5 s; a group is taken over after 15 s of silence, or at once where it was given
//!   back. `seek` writes such an entry from outside.
//! - What a group has to see comes by an ephemeral consumer without acknowledgements (`feed`), which is made anew
//!   where something is missing.
//! - Messages are deleted here, too (`topics`): by age, once all groups are done with them, and when a stream is full.
//! - Dead letters are a second stream of each topic (`letters`), written before the message is done.
//!
//! While NATS is away nothing is delivered; calls wait 10 s for it, and then fail.

mod actor;
mod failure;
mod feed;
mod group;
mod kept;
mod letters;
mod link;
mod names;
mod settings;
mod tails;
mod topics;
mod wire;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bowline_messaging::{
    DeadLetter, Delivery, DeliverySource, Error, GroupInfo, GroupSettings, Lease, Message, MessageBus, NewMessage,
    Published, Start, Subscription, Tail, Then, TopicInfo, TopicSettings, Which, check_credit, check_group,
    check_lease, check_message, check_name, check_then, check_topic, delivery::Position,
};
use bowline_model::error::chain;
use bowline_runtime::{BoxFuture, task, time};
use tokio::sync::{Mutex, Notify, mpsc, oneshot};

pub use settings::{Credentials, Settings};

use crate::{
    actor::{Actor, Asks, COMMANDS_MAX, Command, Info},
    group::Ready,
    kept::{Kept, NotWritten},
    link::{Link, PATIENCE},
    tails::Tails,
};

/// The most groups of a topic.
const GROUPS_MAX: usize = 64;

/// How often a group is tried to be changed while somebody else changes it.
const CHANGES_MAX: usize = 50;

/// Topics in NATS.
#[derive(Clone)]
pub struct Nats(Arc<Shared>);

struct Shared {
    link: Arc<Link>,
    /// The groups that this process consumes, by topic and name.
    groups: Mutex<BTreeMap<(String, String), Handle>>,
    /// How many messages of each of them are delayed: who publishes does not wait for who joins.
    delayed: std::sync::Mutex<Delayed>,
    delayed_max: usize,
    tails: Arc<Tails>,
    is_closed: AtomicBool,
    _tidying: task::Guarded<()>,
}

/// By topic and group, as those tell that run.
type Delayed = BTreeMap<String, BTreeMap<String, Weak<AtomicUsize>>>;

/// How a group is reached.
#[derive(Debug, Clone)]
struct Handle {
    commands: mpsc::Sender<Command>,
    /// Is told when a consumer leaves.
    left: Arc<Notify>,
    task: Arc<task::JoinHandle<()>>,
}

impl Nats {
    /// Connects, and makes what all topics share.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what cannot be; [`Error::Io`] says why NATS cannot be used.
    pub async fn connect(settings: Settings) -> Result<Self, Error> {
        let link = Arc::new(Link::open(&settings).await?);
        if link.bytes_max() < bowline_messaging::PAYLOAD_BYTES_MAX {
            tracing::warn!(
                bytes_max = link.bytes_max(),
                "the NATS server takes smaller messages than Bowline allows: set `max_payload: 2MB` in its configuration"
            );
        }
        let (tidied, every) = (link.clone(), settings.tidy_every);
        let tidying = task::spawn(async move {
            loop {
                time::sleep(every).await;
                if let Err(error) = topics::tidy(&tidied).await {
                    tracing::warn!(error = %chain(&error), "old messages are not deleted for now");
                }
            }
        });
        let tidying = task::Guarded::new(tidying);
        Ok(Self(Arc::new(Shared {
            link,
            groups: Mutex::default(),
            delayed: std::sync::Mutex::default(),
            delayed_max: settings.delayed_max,
            tails: Arc::default(),
            is_closed: AtomicBool::new(false),
            _tidying: tidying,
        })))
    }

    /// Keeps what is to be kept, gives all groups back, and ends; every call after it answers [`Error::Closed`].
    ///
    /// # Cancel safety
    /// Groups that were told to end do so.
    pub async fn close(&self) {
        self.0.is_closed.store(true, Ordering::Release);
        self.0.tails.end();
        let groups = std::mem::take(&mut *self.0.groups.lock().await);
        for handle in groups.into_values() {
            let (answer, closed) = oneshot::channel();
            let told = async {
                handle.commands.send(Command::Close { answer }).await.ok();
                closed.await.ok();
            };
            if time::timeout(PATIENCE, told).await.is_err() {
                handle.task.abort();
            }
        }
    }

    /// The connection, once NATS is there.
    async fn link(&self) -> Result<&Arc<Link>, Error> {
        if self.0.is_closed.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        self.0.link.ready().await?;
        Ok(&self.0.link)
    }

    /// The task of a group, which is begun where there is none.
    async fn handle(&self, topic: &str, group: &str) -> Result<Handle, Error> {
        let key = (topic.to_owned(), group.to_owned());
        let mut groups = self.0.groups.lock().await;
        if self.0.is_closed.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        groups.retain(|_, handle| !handle.commands.is_closed());
        if let Some(handle) = groups.get(&key) {
            return Ok(handle.clone());
        }
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let left = Arc::new(Notify::new());
        let delayed = Arc::new(AtomicUsize::new(0));
        let counted = Arc::downgrade(&delayed);
        let actor = Actor::new(self.0.link.clone(), topic, group, receiver, left.clone(), delayed).await?;
        let handle = Handle { commands, left, task: Arc::new(task::spawn(actor.run())) };
        groups.insert(key, handle.clone());
        self.0.delayed().entry(topic.to_owned()).or_default().insert(group.to_owned(), counted);
        Ok(handle)
    }

    /// Has the task of a group heed what was written of it, if there is one.
    async fn look(&self, topic: &str, group: &str) {
        let handle = self.0.groups.lock().await.get(&(topic.to_owned(), group.to_owned())).cloned();
        let Some(handle) = handle else { return };
        let (answer, heeded) = oneshot::channel();
        if handle.commands.send(Command::Look { answer }).await.is_ok() {
            // It ends, or begins anew.
            time::timeout(PATIENCE, heeded).await.ok();
        }
    }

    /// Refuses one more delayed message where a group has as many as it may have, if it is served here.
    fn check_delayed(&self, topic: &str) -> Result<(), Error> {
        let max = self.0.delayed_max;
        let mut delayed = self.0.delayed();
        let Some(groups) = delayed.get_mut(topic) else { return Ok(()) };
        groups.retain(|_, count| count.strong_count() > 0);
        let is_full = |count: Arc<AtomicUsize>| count.load(Ordering::Relaxed) >= max;
        if groups.values().filter_map(Weak::upgrade).any(is_full) {
            return Err(Error::TooMany { what: "delayed messages", max });
        }
        Ok(())
    }

    /// Joins a group that is there.
    async fn join(
        &self,
        topic: &str,
        group: &str,
        settings: &GroupSettings,
        credit: usize,
    ) -> Result<Subscription, Error> {
        loop {
            let handle = self.handle(topic, group).await?;
            let (answer, joined) = oneshot::channel();
            let join = Command::Join { settings: settings.clone(), credit, answer };
            if handle.commands.send(join).await.is_err() {
                continue;
            }
            // It may have ended just now.
            let Ok(joined) = joined.await else { continue };
            let (ready, epoch) = joined?;
            return Ok(Subscription::new(Source { ready: Some(ready), epoch, handle }));
        }
    }

    async fn info(&self, known: &topics::Topic, group: &str) -> Result<GroupInfo, Error> {
        let handle = self.0.groups.lock().await.get(&(known.name.clone(), group.to_owned())).cloned();
        let mut here = None;
        if let Some(handle) = handle {
            let (answer, info) = oneshot::channel();
            if handle.commands.send(Command::Info { next: known.next, answer }).await.is_ok() {
                here = time::timeout(PATIENCE, info).await.ok().and_then(Result::ok);
            }
        }
        let (name, consumers) = (group.to_owned(), here.as_ref().map_or(0, |info| info.consumers));
        if let Some(Info { served: Some(served), .. }) = here {
            let actor::Served { lag, leased, oldest_ms } = served;
            return Ok(GroupInfo { name, consumers, lag, leased, oldest_ms });
        }
        let link = &self.0.link;
        let kept = kept::load(link, &link.names.group_subject(&known.name, group)).await?;
        let lag = |kept: Kept| known.next.saturating_sub(kept.next) + kept.pending.len() as u64;
        Ok(GroupInfo { name, consumers, lag: kept.map_or(0, lag), leased: 0, oldest_ms: None })
    }
}

impl Shared {
    fn delayed(&self) -> std::sync::MutexGuard<'_, Delayed> {
        self.delayed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a group, where there is none.
async fn found(link: &Link, topic: &str, group: &str, settings: &GroupSettings) -> Result<(), Error> {
    let known = topics::find(link, topic).await?;
    let subject = link.names.group_subject(topic, group);
    if kept::last(link, &subject).await?.is_some() {
        return Ok(());
    }
    if topics::groups(link).await?.iter().filter(|(of, _)| of == topic).count() >= GROUPS_MAX {
        return Err(Error::TooMany { what: "groups of one topic", max: GROUPS_MAX });
    }
    let kept = Kept::new(settings.clone(), known.position(settings.start));
    // Where somebody else made it meanwhile, it is there.
    kept::write_soon(link, &subject, &kept.whole(None), 0).await.map(drop)
}

/// Makes a group begin anew, whoever serves it.
async fn seek(link: &Link, topic: &str, group: &str, to: Start) -> Result<(), Error> {
    let known = topics::find(link, topic).await?;
    let subject = link.names.group_subject(topic, group);
    for _ in 0..CHANGES_MAX {
        let kept = kept::load(link, &subject).await?;
        let kept = kept.ok_or_else(|| no_group(topic, group))?;
        let anew = Kept::new(kept.settings, known.position(to));
        match kept::write_soon(link, &subject, &anew.whole(kept.owner), kept.sequence).await? {
            Ok(_) => return Ok(()),
            Err(NotWritten::Fenced | NotWritten::TooLong) => {}
        }
    }
    Err(Error::Unavailable { retry_after: None })
}

fn no_group(topic: &str, group: &str) -> Error {
    Error::NoGroup { topic: topic.to_owned(), group: group.to_owned() }
}

impl MessageBus for Nats {
    fn declare(&self, topic: &str, settings: TopicSettings) -> BoxFuture<'_, Result<(), Error>> {
        let topic = topic.to_owned();
        Box::pin(async move {
            check_name("topic", &topic)?;
            check_topic(&settings)?;
            topics::declare(self.link().await?, &topic, &settings).await
        })
    }

    fn publish(&self, topic: &str, message: NewMessage) -> BoxFuture<'_, Result<Published, Error>> {
        let topic = topic.to_owned();
        Box::pin(async move {
            check_message(&message)?;
            known_name(&topic)?;
            if !message.delay.is_zero() {
                self.check_delayed(&topic)?;
            }
            topics::publish(self.link().await?, &topic, message, None).await
        })
    }

    fn subscribe(
        &self,
        topic: &str,
        group: &str,
        settings: GroupSettings,
        credit: usize,
    ) -> BoxFuture<'_, Result<Subscription, Error>> {
        let (topic, group) = (topic.to_owned(), group.to_owned());
        Box::pin(async move {
            known_name(&topic)?;
            check_name("group", &group)?;
            check_group(&settings)?;
            check_credit(credit)?;
            found(self.link().await?, &topic, &group, &settings).await?;
            self.join(&topic, &group, &settings, credit).await
        })
    }

    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicInfo>, Error>> {
        Box::pin(async move {
            let link = self.link().await?;
            let mut of: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (topic, group) in topics::groups(link).await? {
                of.entry(topic).or_default().push(group);
            }
            let mut infos = Vec::new();
            for known in topics::list(link).await? {
                let mut groups = Vec::new();
                for group in of.remove(&known.name).unwrap_or_default() {
                    groups.push(self.info(&known, &group).await?);
                }
                let dead = letters::count(link, &known.name).await?;
                let topics::Topic { name, settings, first, next, bytes, .. } = known;
                infos.push(TopicInfo { name, settings, first, next, bytes, dead, groups });
            }
            Ok(infos)
        })
    }

    fn read(&self, topic: &str, from: Position, limit: usize) -> BoxFuture<'_, Result<Vec<Arc<Message>>, Error>> {
        let topic = topic.to_owned();
        Box::pin(async move {
            known_name(&topic)?;
            topics::page(self.link().await?, &topic, from, limit).await
        })
    }

    fn tail(&self, topic: &str, from: Position, limit: usize, wait: Duration) -> BoxFuture<'_, Result<Tail, Error>> {
        let topic = topic.to_owned();
        Box::pin(async move {
            known_name(&topic)?;
            tails::tail(self, &topic, from, limit, wait).await
        })
    }

    fn seek(&self, topic: &str, group: &str, to: Start) -> BoxFuture<'_, Result<(), Error>> {
        let (topic, group) = (topic.to_owned(), group.to_owned());
        Box::pin(async move {
            known_name(&topic)?;
            check_name("group", &group)?;
            seek(self.link().await?, &topic, &group, to).await?;
            self.look(&topic, &group).await;
            Ok(())
        })
    }

    fn remove_group(&self, topic: &str, group: &str) -> BoxFuture<'_, Result<(), Error>> {
        let (topic, group) = (topic.to_owned(), group.to_owned());
        Box::pin(async move {
            known_name(&topic)?;
            check_name("group", &group)?;
            let link = self.link().await?;
            topics::find(link, &topic).await?;
            if !kept::remove(link, &link.names.group_subject(&topic, &group)).await? {
                return Err(no_group(&topic, &group));
            }
            self.look(&topic, &group).await;
            Ok(())
        })
    }

    fn dead(&self, topic: &str, after: Position, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, Error>> {
        let topic = topic.to_owned();
        Box::pin(async move {
            known_name(&topic)?;
            letters::page(self.link().await?, &topic, after, limit).await
        })
    }

    fn redrive(&self, topic: &str, which: Which) -> BoxFuture<'_, Result<usize, Error>> {
        let topic = topic.to_owned();
        Box::pin(async move {
            known_name(&topic)?;
            letters::redrive(self.link().await?, &topic, which).await
        })
    }

    fn purge(&self, topic: &str, which: Which) -> BoxFuture<'_, Result<usize, Error>> {
        let topic = topic.to_owned();
        Box::pin(async move {
            known_name(&topic)?;
            letters::purge(self.link().await?, &topic, which).await
        })
    }
}

/// A topic that cannot be is not there: NATS is not asked for it.
fn known_name(topic: &str) -> Result<(), Error> {
    check_name("topic", topic).map_err(|_| topics::no_topic(topic))
}

/// Where a subscription gets its messages from.
struct Source {
    /// None once it is left.
    ready: Option<mpsc::Receiver<Ready>>,
    /// The life of the group.
    epoch: Arc<AtomicU64>,
    handle: Handle,
}

impl DeliverySource for Source {
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, Error>> {
        Box::pin(async move {
            let receiver = self.ready.as_mut().ok_or(Error::Closed)?;
            loop {
                let Ready { message, attempt, until, epoch } = receiver.recv().await.ok_or(Error::Closed)?;
                // What is of another life was lost to this consumer, as is what it did not come to in time.
                let left = until - topics::now();
                if epoch == self.epoch.load(Ordering::Acquire) && left > 0 {
                    let until = time::now() + Duration::from_millis(left.unsigned_abs());
                    let position = message.position;
                    let lease = Leased { commands: self.handle.commands.clone(), position, attempt, epoch };
                    return Ok(Delivery::new(message, attempt, until, lease));
                }
                self.handle.left.notify_one();
            }
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
    commands: mpsc::Sender<Command>,
    position: Position,
    attempt: u32,
    epoch: u64,
}

impl Leased {
    fn ask(&self, asks: Asks) -> BoxFuture<'_, Result<(), Error>> {
        let Self { commands, position, attempt, epoch } = self;
        let (position, attempt, epoch) = (*position, *attempt, *epoch);
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let asked = async {
                commands.send(Command::Lease { position, attempt, epoch, asks, answer }).await.ok()?;
                answered.await.ok()
            };
            match time::timeout(PATIENCE, asked).await {
                Ok(answer) => answer.unwrap_or(Err(Error::LeaseLost { position })),
                Err(_) => Err(failure::failed("keep what a group did", "it did not answer in time")),
            }
        })
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

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nats").field("owner", &self.0.link.owner).finish_non_exhaustive()
    }
}
