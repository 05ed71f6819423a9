//! Puts messages with the dead letters: many in one sync, beside the topic's own work.

use bowline_model::error::chain;
use bowline_runtime::task;

use super::{Arc, DeadLetter, Effect, Error, Event, Item, Message, Position, Topic, in_graveyard, now};
use crate::embedded::{batch, command::Answer};

/// About how much is buried at a time: with the last one it is still a batch.
const BURY_BYTES_MAX: usize = 2 << 20;
const BURY_MAX: usize = 1024;

/// What is to be put with the dead letters.
pub(super) struct Dying {
    pub(super) group: String,
    pub(super) position: Position,
    pub(super) attempts: u32,
    /// Who waits for it.
    pub(super) answer: Option<Answer<()>>,
}

/// What is being buried.
pub(super) struct Burying {
    work: task::JoinHandle<Result<(), Error>>,
    who: Vec<Dying>,
}

impl Burying {
    pub(super) fn who(self) -> Vec<Dying> {
        self.who
    }
}

/// Waits until that is buried; for ever, if it is nothing.
pub(super) async fn buried(burying: &mut Option<Burying>) -> Result<(), Error> {
    match burying {
        Some(Burying { work, .. }) => work.await.unwrap_or(Err(Error::Closed)),
        None => std::future::pending().await,
    }
}

impl Topic {
    /// Begins to bury who is dying.
    pub(super) async fn begin_burying(&mut self) -> Option<Burying> {
        let (mut who, mut letters, mut bytes) = (Vec::new(), Vec::new(), 0);
        while bytes < BURY_BYTES_MAX && who.len() < BURY_MAX {
            let Some(dying) = self.dying.pop_front() else { break };
            let message = match self.message(dying.position).await {
                Ok(message) => message,
                Err(error) => {
                    self.end_unread(dying, error);
                    continue;
                }
            };
            let letter = self.letter(&dying, &message);
            bytes += batch::message_bytes(&letter.message) + letter.failure.len() + letter.group.len();
            letters.push(letter);
            who.push(dying);
        }
        if who.is_empty() {
            return None;
        }
        let graveyard = self.graveyard.clone();
        let work = task::spawn(in_graveyard(graveyard, move |graveyard| graveyard.bury(letters)));
        Some(Burying { work, who })
    }

    /// It cannot be read: it is tried again, or needs no grave any more.
    fn end_unread(&mut self, dying: Dying, error: Error) {
        let Dying { group, position, .. } = &dying;
        let is_lost = self.groups.get_mut(group).is_some_and(|group| group.is_lost(*position, &error));
        if is_lost {
            self.note_lost(group, *position, &error);
        }
        self.end_burying(dying, &if is_lost { Ok(()) } else { Err(error) });
    }

    fn letter(&self, dying: &Dying, message: &Arc<Message>) -> DeadLetter {
        let Dying { group, position, attempts, .. } = dying;
        tracing::warn!(topic = self.name, group, position, attempts, "a message is a dead letter now");
        DeadLetter {
            position: 0,
            group: group.clone(),
            attempts: *attempts,
            failure: self.groups.get(group).map_or("", |group| group.failure(*position)).to_owned(),
            died_ms: now(),
            message: Message::clone(message),
        }
    }

    /// It is buried, or tried again; whoever waits for it hears so once that is durable.
    pub(super) fn end_burying(&mut self, dying: Dying, buried: &Result<(), Error>) {
        let Dying { group, position, answer, .. } = dying;
        let event = match buried {
            Ok(()) => Event::Buried { position },
            Err(error) => {
                tracing::error!(topic = self.name, group, position, error = %chain(error),
                    "a message could not be put with the dead letters, it is tried again");
                Event::NotBuried { position }
            }
        };
        let moment = super::moment();
        let effect = self.groups.get_mut(&group).map_or(Effect::Stale, |group| group.step(event, moment));
        let record = self.follow(&group, effect);
        let Some(answer) = answer else {
            if let Some(record) = record {
                self.queue.push(Item::Record(record, None));
            }
            return;
        };
        match (record, buried) {
            (Some(record), Ok(())) => self.keep(record, answer, ()),
            (record, buried) => {
                if let Some(record) = record {
                    self.queue.push(Item::Record(record, None));
                }
                answer.send(buried.clone()).ok();
            }
        }
    }
}
