//! The task of one group in this process: it stands by until the group is free, serves it, and gives it back.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bowline_messaging::{
    DeadLetter, Error, GroupSettings, Message, Metrics,
    delivery::{Effect, Event, Position, Verdict},
};
use bowline_model::error::chain;
use bowline_runtime::{
    task::{self, JoinSet},
    time,
};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::{
    feed::{Fed, Feed},
    group::{Consumers, Group, Ready},
    kept::{self, Kept, NotWritten},
    letters,
    link::{Link, Named},
    topics::{self, millis, now},
};

/// How often whoever serves a group says so, if he has nothing else to say.
const BEAT: Duration = Duration::from_secs(5);

/// How long whoever serves a group says nothing before somebody else takes it.
const SILENT_MAX: Duration = Duration::from_secs(15);

/// How often is looked whether a group is free.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The most commands that wait; who comes later waits for a place.
pub(crate) const COMMANDS_MAX: usize = 4096;

/// Where an answer goes.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// What a group is asked for.
#[derive(Debug)]
pub(crate) enum Command {
    Join {
        settings: GroupSettings,
        credit: usize,
        answer: Answer<Joined>,
    },
    /// About a message that is with a consumer.
    Lease {
        position: Position,
        attempt: u32,
        epoch: u64,
        asks: Asks,
        answer: Answer<()>,
    },
    /// The log was changed; is answered when that is heeded.
    Look {
        answer: oneshot::Sender<()>,
    },
    Info {
        next: Position,
        answer: oneshot::Sender<Info>,
    },
    /// Ends, whoever consumes.
    Close {
        answer: oneshot::Sender<()>,
    },
}

/// A consumer's place in a group: its messages, and the life of the group.
pub(crate) type Joined = (mpsc::Receiver<Ready>, Arc<AtomicU64>);

/// What a consumer says of its message.
#[derive(Debug)]
pub(crate) enum Asks {
    Ack,
    Nack { failure: String, verdict: Verdict },
    Extend { by: Duration },
}

/// What is known here of a group; more, if it is this process's.
#[derive(Debug)]
pub(crate) struct Info {
    pub(crate) consumers: usize,
    pub(crate) served: Option<Served>,
}

#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) lag: u64,
    pub(crate) leased: usize,
    pub(crate) oldest_ms: Option<i64>,
}

pub(crate) struct Actor {
    link: Arc<Link>,
    topic: String,
    name: String,
    subject: String,
    stream: Named,
    metrics: Metrics,
    /// How many messages of the group are delayed, for who publishes.
    delayed: Arc<AtomicUsize>,
    commands: mpsc::Receiver<Command>,
    left: Arc<Notify>,
    consumers: Consumers,
    /// As who joined last wants it.
    settings: Option<GroupSettings>,
    /// Who is to hear when the log was read again.
    looking: Vec<oneshot::Sender<()>>,
    closing: Option<oneshot::Sender<()>>,
    /// Nobody can reach it any more.
    is_orphan: bool,
}

/// What is under way while a group is served.
struct Serving {
    group: Group,
    feed: Feed,
    writing: Option<(task::JoinHandle<Result<u64, NotWritten>>, Batch)>,
    /// Who hears of what is to be written.
    waiting: Vec<(Position, Answer<()>)>,
    dying: VecDeque<(Position, u32)>,
    /// Who hears that a message is a dead letter.
    told_at_burial: BTreeMap<Position, Answer<()>>,
    burying: JoinSet<(Position, Result<(), Error>)>,
    /// When an entry was written last.
    written: time::Instant,
    /// The entry that makes it this process's was written.
    is_ours: bool,
}

/// An entry that is being written.
struct Batch {
    answers: Vec<(Position, Answer<()>)>,
    is_whole: bool,
    is_release: bool,
}

/// How serving a group ends.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It was given back.
    Released,
    /// What was known of it is not so any more.
    Stale,
}

/// What woke the actor.
enum Woken {
    Command(Option<Command>),
    Fed(Option<Fed>),
    Written(Option<Result<u64, NotWritten>>),
    Buried(Position, Result<(), Error>),
    Time,
}

impl Actor {
    pub(crate) async fn new(
        link: Arc<Link>,
        topic: &str,
        name: &str,
        commands: mpsc::Receiver<Command>,
        left: Arc<Notify>,
        delayed: Arc<AtomicUsize>,
    ) -> Result<Self, Error> {
        let consumers = Consumers::default();
        Ok(Self {
            subject: link.names.group_subject(topic, name),
            stream: link.messages(topic).await?,
            metrics: link.metrics(topic),
            delayed,
            link,
            topic: topic.to_owned(),
            name: name.to_owned(),
            commands,
            left,
            consumers,
            settings: None,
            looking: Vec::new(),
            closing: None,
            is_orphan: false,
        })
    }

    /// Runs until nobody consumes any more, or the group is removed.
    pub(crate) async fn run(mut self) {
        // Somebody joins, or it is over at once.
        match self.commands.recv().await {
            Some(command) => self.take_idle(command),
            None => return,
        }
        while let Some(kept) = self.stand_by().await {
            let end = self.serve(kept).await;
            self.delayed.store(0, Ordering::Relaxed);
            if end == End::Released {
                break;
            }
        }
        if let Some(closed) = self.closing.take() {
            closed.send(()).ok();
        }
    }

    fn is_over(&self) -> bool {
        self.closing.is_some() || self.is_orphan || self.consumers.len() == 0
    }

    /// Waits until the group is free or was this process's; none: it is over.
    async fn stand_by(&mut self) -> Option<Kept> {
        let mut seen = (0, time::now());
        loop {
            while self.consumers.gone().is_some() {}
            if self.is_over() {
                return None;
            }
            match self.look(&mut seen).await {
                Ok(Look::Gone) => return None,
                Ok(Look::Free(kept)) => return Some(*kept),
                // What was changed is heeded by whoever serves the group.
                Ok(Look::Taken) => self.looking.clear(),
                Err(error) => {
                    tracing::warn!(topic = self.topic, group = self.name, error = %chain(&error),
                        "what is kept of a group cannot be read yet");
                    seen.1 = time::now();
                }
            }
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.take_idle(command),
                    None => return None,
                },
                () = self.left.notified() => {}
                () = time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Looks whose the group is; `seen` is the last entry, and since when it is the last.
    async fn look(&self, seen: &mut (u64, time::Instant)) -> Result<Look, Error> {
        let Some(last) = kept::last(&self.link, &self.subject).await? else { return Ok(Look::Gone) };
        if last.sequence != seen.0 {
            *seen = (last.sequence, time::now());
        }
        let is_free = last.entry.owner.as_ref().is_none_or(|owner| *owner == self.link.owner);
        if !is_free && seen.1.elapsed() < SILENT_MAX {
            return Ok(Look::Taken);
        }
        let kept = kept::load(&self.link, &self.subject).await?;
        Ok(kept.map_or(Look::Gone, |kept| Look::Free(Box::new(kept))))
    }

    /// Does what it is asked for while the group is not this process's.
    fn take_idle(&mut self, command: Command) {
        match command {
            Command::Join { settings, credit, answer } => self.join(settings, credit, answer),
            Command::Lease { position, answer, .. } => drop(answer.send(Err(Error::LeaseLost { position }))),
            Command::Look { answer } => self.looking.push(answer),
            Command::Info { answer, .. } => {
                answer.send(Info { consumers: self.consumers.len(), served: None }).ok();
            }
            Command::Close { answer } => self.closing = Some(answer),
        }
    }

    fn join(&mut self, settings: GroupSettings, credit: usize, answer: Answer<Joined>) {
        let joined = self.consumers.join(credit).map(|ready| (ready, self.consumers.epoch.clone()));
        if joined.is_ok() {
            self.settings = Some(settings);
        }
        answer.send(joined).ok();
    }

    /// Serves a group until it is given back, or was changed by somebody else.
    async fn serve(&mut self, kept: Kept) -> End {
        let feed = Feed::new(self.link.clone(), self.topic.clone(), kept.pending.clone(), kept.next);
        let mut serving = Serving {
            group: Group::new(&self.name, kept, &mut self.consumers),
            feed,
            writing: None,
            waiting: Vec::new(),
            dying: VecDeque::new(),
            told_at_burial: BTreeMap::new(),
            burying: JoinSet::new(),
            written: time::now(),
            is_ours: false,
        };
        loop {
            if let Some(settings) = self.settings.take() {
                serving.group.set(&settings);
            }
            self.work(&mut serving).await;
            self.delayed.store(serving.group.delayed(), Ordering::Relaxed);
            if serving.writing.is_none() {
                self.write(&mut serving);
            }
            let woken = self.wait(&mut serving).await;
            if let Some(end) = self.heed(&mut serving, woken) {
                return end;
            }
        }
    }

    async fn wait(&mut self, serving: &mut Serving) -> Woken {
        let rest = self.rest(serving);
        let Serving { group, feed, writing, burying, .. } = serving;
        tokio::select! {
            command = self.commands.recv(), if !self.is_orphan => Woken::Command(command),
            written = written(writing) => Woken::Written(written),
            fed = feed.fed.recv(), if group.wants() => Woken::Fed(fed),
            Some(Ok((position, buried))) = burying.join_next() => Woken::Buried(position, buried),
            () = self.left.notified() => Woken::Time,
            () = time::sleep(rest) => Woken::Time,
        }
    }

    /// How long nothing happens by itself.
    fn rest(&self, serving: &Serving) -> Duration {
        let until = |at: i64| Duration::from_millis(u64::try_from(at - now()).unwrap_or_default());
        // What is ready waits until NATS is there.
        let wakes = serving.group.wakes_at().map_or(BEAT, until);
        let most = if self.link.is_connected() { BEAT } else { LOOK_EVERY };
        wakes.min(most)
    }

    /// Takes what happened; some: serving ends.
    fn heed(&mut self, serving: &mut Serving, woken: Woken) -> Option<End> {
        match woken {
            Woken::Time => {}
            Woken::Fed(Some(Fed::Message(message, tries))) => serving.group.take_in(message, tries),
            Woken::Fed(Some(Fed::Gone(position))) => serving.group.pass_over(position),
            Woken::Fed(Some(Fed::Resumed)) => serving.group.resumed(),
            // A task that panicked: all anew.
            Woken::Fed(None) => return Some(self.lose(serving)),
            Woken::Buried(position, buried) => self.buried(serving, position, buried),
            Woken::Written(written) => return self.written(serving, written.as_ref()),
            Woken::Command(None) => self.is_orphan = true,
            Woken::Command(Some(command)) => {
                if let Command::Look { answer } = command {
                    self.looking.push(answer);
                    return Some(self.lose(serving));
                }
                self.take(serving, command);
                // Many come at once.
                for _ in 0..COMMANDS_MAX {
                    match self.commands.try_recv() {
                        Ok(Command::Look { answer }) => {
                            self.looking.push(answer);
                            return Some(self.lose(serving));
                        }
                        Ok(command) => self.take(serving, command),
                        Err(_) => break,
                    }
                }
            }
        }
        None
    }

    /// Does what it is asked for.
    fn take(&mut self, serving: &mut Serving, command: Command) {
        match command {
            Command::Lease { position, attempt, epoch, asks, answer } => {
                self.answer_lease(serving, (position, attempt, epoch), &asks, answer);
            }
            Command::Info { next, answer } => {
                let group = &serving.group;
                let served = Served { lag: group.lag(next), leased: group.leased(), oldest_ms: group.oldest_ms() };
                answer.send(Info { consumers: self.consumers.len(), served: Some(served) }).ok();
            }
            command => self.take_idle(command),
        }
    }

    /// What a consumer says of its message, if it still has it.
    fn answer_lease(&mut self, serving: &mut Serving, lease: (Position, u32, u64), asks: &Asks, answer: Answer<()>) {
        let (position, attempt, epoch) = lease;
        if serving.group.epoch != epoch {
            answer.send(Err(Error::LeaseLost { position })).ok();
            return;
        }
        let event = match asks {
            Asks::Ack => Event::Ack { position, attempt },
            Asks::Extend { by } => Event::Extend { position, attempt, until: now().saturating_add(millis(*by)) },
            Asks::Nack { verdict, .. } => Event::Nack { position, attempt, verdict: *verdict },
        };
        let effect = self.step(serving, event);
        if let (Asks::Nack { failure, .. }, false) = (asks, effect == Effect::Stale) {
            serving.group.note_failure(position, failure);
        }
        match effect {
            Effect::Stale => drop(answer.send(Err(Error::LeaseLost { position }))),
            Effect::Done { .. } | Effect::Failed { .. } => serving.waiting.push((position, answer)),
            // Answered when its letter is durable.
            Effect::Bury { .. } => drop(serving.told_at_burial.insert(position, answer)),
            Effect::Nothing | Effect::Deliver { .. } => drop(answer.send(Ok(()))),
        }
    }

    fn step(&mut self, serving: &mut Serving, event: Event) -> Effect {
        let effect = serving.group.step(&mut self.consumers, event);
        self.metrics.count(effect);
        if let Effect::Bury { position, attempts } = effect {
            serving.dying.push_back((position, attempts));
        }
        effect
    }

    /// Gives back what consumers had that are gone, wakes what is due, and delivers what can be.
    async fn work(&mut self, serving: &mut Serving) {
        while let Some(consumer) = self.consumers.gone() {
            serving.group.note_gone(consumer);
            while self.step(serving, Event::Gone { consumer }) != Effect::Nothing {}
        }
        while self.step(serving, Event::Wake) != Effect::Nothing {}
        // Nobody gets what this process may not have any more, or is giving back: whoever joins meanwhile waits for that.
        let is_releasing = serving.writing.as_ref().is_some_and(|(_, batch)| batch.is_release);
        if serving.is_ours && !is_releasing && self.link.is_connected() {
            self.offer(serving).await;
            self.bury(serving);
        }
    }

    /// Gives consumers what is ready.
    async fn offer(&mut self, serving: &mut Serving) {
        while let Some((consumer, until, effect)) = serving.group.offer(&self.consumers) {
            self.metrics.count(effect);
            let Effect::Deliver { position, attempt } = effect else { continue };
            let message = match serving.group.cached(position) {
                Some(message) => Ok(Some(message)),
                None => topics::get(&self.stream, position).await,
            };
            match message {
                Ok(Some(message)) => serving.group.deliver(&mut self.consumers, (consumer, until), message, attempt),
                Ok(None) => drop(self.step(serving, Event::Ack { position, attempt })),
                Err(error) => {
                    serving.group.note_failure(position, &chain(&error));
                    let _kept = self.step(serving, Event::Nack { position, attempt, verdict: Verdict::Retry });
                }
            }
        }
    }

    /// Puts with the dead letters what is dying.
    fn bury(&self, serving: &mut Serving) {
        while let Some((position, attempts)) = serving.dying.pop_front() {
            let failure = serving.group.failure(position).to_owned();
            let (topic, group, life) = (self.topic.clone(), self.name.clone(), serving.group.kept.life.clone());
            // Not why: what a consumer says may hold secrets.
            tracing::warn!(topic, group, position, attempts, "a message is a dead letter now");
            let (link, stream, cached) = (self.link.clone(), self.stream.clone(), serving.group.cached(position));
            serving.burying.spawn(async move {
                let bury = async {
                    let message = match cached {
                        Some(message) => message,
                        None => topics::get(&stream, position).await?.ok_or_else(|| no_message(&topic, position))?,
                    };
                    let message = Message::clone(&message);
                    let letter = DeadLetter { position: 0, group, attempts, failure, died_ms: now(), message };
                    letters::bury(&link, &topic, &letter, &life).await
                };
                (position, bury.await)
            });
        }
    }

    fn buried(&mut self, serving: &mut Serving, position: Position, buried: Result<(), Error>) {
        let answer = serving.told_at_burial.remove(&position);
        match buried {
            // What is gone for good needs no grave.
            Ok(()) | Err(Error::NoMessage { .. }) => {
                let effect = self.step(serving, Event::Buried { position });
                if let (Effect::Done { .. }, Some(answer)) = (effect, answer) {
                    serving.waiting.push((position, answer));
                }
            }
            Err(error) => {
                tracing::error!(topic = self.topic, group = self.name, position, error = %chain(&error),
                    "a message could not be put with the dead letters, it is tried again");
                let _kept = self.step(serving, Event::NotBuried { position });
                answer.map(|answer| answer.send(Err(error)));
            }
        }
    }

    /// Begins to write what there is to write, if there is.
    fn write(&mut self, serving: &mut Serving) {
        let is_idle = serving.burying.is_empty() && serving.dying.is_empty();
        let is_release = self.is_over() && serving.is_ours && is_idle;
        if !is_release && !serving.group.is_due() && serving.written.elapsed() < BEAT {
            return;
        }
        let owner = (!is_release).then(|| self.link.owner.clone());
        let entry = serving.group.entry(owner, self.link.bytes_max());
        // What is beyond is said by the next one.
        let answers = serving.waiting.extract_if(.., |(position, _)| *position < entry.next).collect();
        let batch = Batch { answers, is_whole: entry.whole.is_some(), is_release };
        let (link, subject, after) = (self.link.clone(), self.subject.clone(), serving.group.kept.sequence);
        let write = async move { kept::write(&link, &subject, &entry, after).await };
        serving.writing = Some((task::spawn(write), batch));
    }

    /// An entry was written, or will never be; some: serving ends.
    fn written(&mut self, serving: &mut Serving, written: Option<&Result<u64, NotWritten>>) -> Option<End> {
        let (_, batch) = serving.writing.take()?;
        let Some(&Ok(sequence)) = written else {
            self.metrics.write_failures.increment();
            if let Some(Err(NotWritten::TooLong)) = written {
                tracing::error!(
                    topic = self.topic,
                    group = self.name,
                    "what a group did is more than the NATS server takes at once, it begins anew from what was kept; \
                     set `max_payload: 2MB` in its configuration"
                );
            }
            refuse(batch.answers);
            return Some(self.lose(serving));
        };
        serving.group.kept.sequence = sequence;
        serving.written = time::now();
        if !serving.is_ours {
            serving.is_ours = true;
            self.looking.clear();
        }
        for (_, answer) in batch.answers {
            answer.send(Ok(())).ok();
        }
        if batch.is_whole {
            let (link, subject) = (self.link.clone(), self.subject.clone());
            drop(task::spawn(async move {
                if let Err(error) = kept::forget_before(&link, &subject, sequence).await {
                    tracing::debug!(subject, error = %chain(&error), "old entries stay for now");
                }
            }));
        }
        if !batch.is_release {
            return None;
        }
        // Somebody may have joined meanwhile.
        if self.is_over() { Some(End::Released) } else { Some(self.lose(serving)) }
    }

    /// All that is leased is lost to its consumers; what was done and not kept is done again.
    fn lose(&self, serving: &mut Serving) -> End {
        if let Some((write, batch)) = serving.writing.take() {
            write.abort();
            refuse(batch.answers);
        }
        refuse(std::mem::take(&mut serving.waiting));
        self.consumers.epoch.fetch_add(1, Ordering::AcqRel);
        End::Stale
    }
}

/// What is found when looked whose a group is.
enum Look {
    /// There is no such group any more.
    Gone,
    /// Somebody else serves it.
    Taken,
    Free(Box<Kept>),
}

fn refuse(answers: Vec<(Position, Answer<()>)>) {
    for (position, answer) in answers {
        answer.send(Err(Error::LeaseLost { position })).ok();
    }
}

fn no_message(topic: &str, position: Position) -> Error {
    Error::NoMessage { topic: topic.to_owned(), position }
}

/// Waits for the entry that is being written; for ever, if there is none.
async fn written(
    writing: &mut Option<(task::JoinHandle<Result<u64, NotWritten>>, Batch)>,
) -> Option<Result<u64, NotWritten>> {
    match writing {
        Some((handle, _)) => handle.await.ok(),
        None => std::future::pending().await,
    }
}
