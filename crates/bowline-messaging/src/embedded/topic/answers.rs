//! What a topic answers.

use super::{
    Arc, BTreeSet, Command, DeadLetter, Effect, Error, Event, Graveyard, Group, Item, Message, Path, Place, Position,
    Record, Topic, graveyard, in_graveyard, kept_settings, millis, moment, mpsc, shelf, task,
};
use crate::{
    PAGE_BYTES_MAX, PAGE_MAX, Tail,
    embedded::{
        command::{Answer, Asks, Publish},
        graveyard::Places,
    },
    port::{GroupInfo, TopicInfo, Which},
};

impl Topic {
    /// Does what it is asked for.
    pub(super) fn take(&mut self, command: Command) {
        match command {
            Command::Publish(publish) => self.queue.push(Item::Publish(publish)),
            Command::Lease { group, position, attempt, epoch, asks, answer } => {
                self.answer_lease(&group, (position, attempt, epoch), &asks, answer);
            }
            Command::Declare { settings, answer } => {
                self.settings = settings;
                let bytes_max = self.settings.bytes_max;
                let graveyard = self.graveyard.clone();
                task::spawn(async move {
                    let set = move |graveyard: &mut Graveyard| {
                        graveyard.set_bytes_max(bytes_max);
                        Ok(())
                    };
                    in_graveyard(graveyard, set).await.ok();
                });
                self.keep(kept_settings(&self.settings), answer, ());
            }
            Command::Join { group, settings, credit, answer } => match self.join(&group, &settings, credit) {
                Ok((joined, Some(record))) => self.keep(record, answer, joined),
                Ok((joined, None)) => drop(answer.send(Ok(joined))),
                Err(error) => drop(answer.send(Err(error))),
            },
            Command::Seek { group, to, answer } => {
                let position = self.position(to);
                self.next_epoch += 1;
                match self.groups.get_mut(&group) {
                    Some(known) => {
                        known.seek(position, self.next_epoch);
                        let record = Record::Group(known.begun(position));
                        self.keep(record, answer, ());
                    }
                    None => drop(answer.send(Err(self.no_group(group)))),
                }
            }
            Command::Remove { group, answer } => match self.groups.remove(&group) {
                Some(_) => self.keep(Record::Removed { group }, answer, ()),
                None => drop(answer.send(Err(self.no_group(group)))),
            },
            Command::Info { answer } => self.answer_info(answer),
            Command::Read { from, limit, answer } => {
                let read = self.read(from, limit);
                drop(task::spawn_blocking(move || answer.send(read())));
            }
            Command::Tail { from, limit, answer } => {
                let read = self.read(from - 1, limit.saturating_add(1));
                let (first, next) = (self.shelf.first(), self.shelf.next());
                let tail = move || read().map(|messages| Tail::new(first, next, from, messages, limit));
                drop(task::spawn_blocking(move || answer.send(tail())));
            }
            Command::Dead { after, limit, answer } => self.answer_dead(after, limit, answer),
            Command::Redrive { which, answer } => self.redrive(which, answer),
            Command::Purge { which, answer } => self.raise(move |graveyard| chosen(graveyard, which), answer),
            Command::Close { .. } => {}
        }
    }

    fn no_group(&self, group: String) -> Error {
        Error::NoGroup { topic: self.name.clone(), group }
    }

    /// Keeps a record, and answers once it is durable.
    pub(super) fn keep<T: Send + 'static>(&mut self, record: Record, answer: Answer<T>, value: T) {
        let then = move |kept: Result<(), Error>| drop(answer.send(kept.map(|()| value)));
        self.queue.push(Item::Record(record, Some(Box::new(then))));
    }

    /// What a consumer says of its message, if it still has it.
    fn answer_lease(&mut self, name: &str, lease: (Position, u32, u64), asks: &Asks, answer: Answer<()>) {
        let (position, attempt, epoch) = lease;
        let moment = moment();
        let Some(group) = self.groups.get_mut(name).filter(|group| group.epoch() == epoch) else {
            answer.send(Err(Error::LeaseLost { position })).ok();
            return;
        };
        let event = match asks {
            Asks::Ack => Event::Ack { position, attempt },
            Asks::Extend { by } => Event::Extend { position, attempt, until: moment.now.saturating_add(millis(*by)) },
            Asks::Nack { verdict, .. } => Event::Nack { position, attempt, verdict: *verdict },
        };
        let effect = group.step(event, moment);
        if let (Asks::Nack { failure, .. }, false) = (asks, effect == Effect::Stale) {
            group.note_failure(position, failure);
        }
        match self.follow(name, effect) {
            Some(record) => self.keep(record, answer, ()),
            // It is answered when its letter is durable.
            None if matches!(effect, Effect::Bury { .. }) => {
                if let Some(dying) = self.dying.back_mut() {
                    dying.answer = Some(answer);
                }
            }
            None if effect == Effect::Stale => drop(answer.send(Err(Error::LeaseLost { position }))),
            None => drop(answer.send(Ok(()))),
        }
    }

    fn answer_info(&mut self, answer: Answer<TopicInfo>) {
        let next = self.shelf.next();
        let group = |(name, group): (&String, &Group)| GroupInfo {
            name: name.clone(),
            consumers: group.consumers(),
            lag: group.lag(next),
            leased: group.leased(),
            oldest_ms: self.shelf.recent(group.floor()).map(|message| message.published_ms),
        };
        let info = TopicInfo {
            name: self.name.clone(),
            settings: self.settings.clone(),
            first: self.shelf.first(),
            next,
            bytes: self.bytes,
            dead: 0,
            groups: self.groups.iter().map(group).collect(),
        };
        let graveyard = self.graveyard.clone();
        task::spawn(async move {
            let dead = in_graveyard(graveyard, |graveyard| Ok(graveyard.count())).await;
            answer.send(dead.map(|dead| TopicInfo { dead, ..info })).ok();
        });
    }

    /// Reads beside the topic's own work.
    fn read(&self, from: Position, limit: usize) -> impl FnOnce() -> Result<Vec<Arc<Message>>, Error> + Send + use<> {
        let first = from.max(self.shelf.first());
        let last = first.saturating_add(limit.min(PAGE_MAX) as u64).min(self.shelf.next());
        let (mut found, mut bytes) = (Vec::new(), 0);
        for position in first..last {
            match self.shelf.recent(position) {
                Some(message) => {
                    bytes += shelf::weight(message);
                    found.push(Source::Memory(message.clone()));
                }
                None => found.extend(self.shelf.find(position).map(Source::Disk)),
            }
            found.dedup_by(|next, before| next.place().is_some() && next.place() == before.place());
            if bytes > PAGE_BYTES_MAX {
                break;
            }
        }
        let dir = self.dir.clone();
        move || read_page(&dir, found, first, last)
    }

    fn answer_dead(&self, after: Position, limit: usize, answer: Answer<Vec<DeadLetter>>) {
        let graveyard = self.graveyard.clone();
        task::spawn(async move {
            let places =
                in_graveyard(graveyard, move |graveyard| Ok(graveyard.places(graveyard.after(after).take(limit))));
            let letters = match places.await {
                Ok(places) => read_letters(places).await.map(|(letters, _)| letters),
                Err(error) => Err(error),
            };
            answer.send(letters).ok();
        });
    }

    /// Takes dead letters away.
    fn raise(&self, which: impl FnOnce(&Graveyard) -> Vec<Position> + Send + 'static, answer: Answer<usize>) {
        let graveyard = self.graveyard.clone();
        task::spawn(async move {
            let raised = in_graveyard(graveyard, move |graveyard| {
                let positions = which(graveyard);
                graveyard.raise(&positions)
            });
            answer.send(raised.await).ok();
        });
    }

    /// Publishes dead letters again, for their groups alone, and takes those away that were.
    fn redrive(&self, which: Which, answer: Answer<usize>) {
        let (graveyard, commands) = (self.graveyard.clone(), self.commands.clone());
        let groups: BTreeSet<String> = self.groups.keys().cloned().collect();
        task::spawn(async move {
            let positions = in_graveyard(graveyard.clone(), move |graveyard| Ok(chosen(graveyard, which))).await;
            let redriven = match positions {
                Ok(positions) => redrive_all(graveyard, &commands, &positions, &groups).await,
                Err(error) => Err(error),
            };
            answer.send(redriven).ok();
        });
    }
}

/// Where a message is read from.
enum Source {
    Memory(Arc<Message>),
    Disk(Place),
}

impl Source {
    fn place(&self) -> Option<Place> {
        if let Self::Disk(place) = self { Some(*place) } else { None }
    }
}

/// Reads messages in order until they are more than a page's bytes, one at least. Blocks.
fn read_page(dir: &Path, sources: Vec<Source>, first: Position, last: Position) -> Result<Vec<Arc<Message>>, Error> {
    let (mut page, mut next, mut bytes) = (Vec::new(), first, 0);
    for source in sources {
        let messages = match source {
            Source::Memory(message) => vec![message],
            Source::Disk(place) => shelf::load(dir, place)?,
        };
        for message in messages {
            if !(next..last).contains(&message.position) {
                continue;
            }
            bytes += shelf::weight(&message);
            if bytes > PAGE_BYTES_MAX && !page.is_empty() {
                return Ok(page);
            }
            next = message.position + 1;
            page.push(message);
        }
    }
    Ok(page)
}

async fn read_letters(places: Places) -> Result<(Vec<DeadLetter>, Option<Position>), Error> {
    task::spawn_blocking(move || places.read()).await.unwrap_or(Err(Error::Closed))
}

fn chosen(graveyard: &Graveyard, which: Which) -> Vec<Position> {
    match which {
        Which::All => graveyard.after(0).collect(),
        Which::At(position) => vec![position],
    }
}

/// How many dead letters are published again at a time.
const REDRIVE_AT_ONCE: usize = 64;

async fn redrive_all(
    graveyard: graveyard::Shared,
    commands: &mpsc::WeakSender<Command>,
    positions: &[Position],
    groups: &BTreeSet<String>,
) -> Result<usize, Error> {
    let commands = commands.upgrade().ok_or(Error::Closed)?;
    let (mut count, mut left) = (0, positions);
    while !left.is_empty() {
        let (some, rest) = left.split_at(left.len().min(REDRIVE_AT_ONCE));
        let wanted = some.to_vec();
        let places = in_graveyard(graveyard.clone(), move |graveyard| Ok(graveyard.places(wanted.into_iter()))).await?;
        let (letters, next) = read_letters(places).await?;
        left = next.map_or(rest, |next| &left[left.partition_point(|position| *position < next)..]);
        let mut answers = Vec::new();
        // Whose group is gone stays where it is: nobody would get it.
        for letter in letters.into_iter().filter(|letter| groups.contains(&letter.group)) {
            let (answer, published) = tokio::sync::oneshot::channel();
            answers.push((letter.position, published));
            let only = Some(letter.group.clone());
            // A page of them waits at a time.
            let publish = Publish { message: letter.again(), only, room: None, answer };
            commands.send(Command::Publish(publish)).await.map_err(|_| Error::Closed)?;
        }
        let mut published = Vec::new();
        let mut failed = Ok(());
        for (position, answer) in answers {
            match answer.await.unwrap_or(Err(Error::Closed)) {
                Ok(_) => published.push(position),
                Err(error) => failed = Err(error),
            }
        }
        count += in_graveyard(graveyard.clone(), move |graveyard| graveyard.raise(&published)).await?;
        failed?;
    }
    Ok(count)
}
