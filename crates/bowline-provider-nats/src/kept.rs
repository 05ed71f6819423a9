//! What survives of a group: its log in NATS, one subject of entries, of which each follows the one before.
//!
//! Whoever writes an entry says which one he saw last; NATS refuses it when there is a later one. So one process at a
//! time serves a group, and whoever was taken the group away finds out before what he did counts.

use std::{collections::BTreeMap, time::Duration};

use async_nats::jetstream::{
    context::PublishErrorKind,
    message::{PublishMessage, StreamMessage},
    stream::RawMessageErrorKind,
};
use bowline_messaging::{Error, GroupSettings, Start, delivery::Position};
use bowline_runtime::{rand, time};
use serde::{Deserialize, Serialize};

use crate::{
    failure::{Failure, failed},
    link::{Link, PATIENCE},
    wire::json,
};

/// The most positions that one entry goes on by, and that one run of [`Whole`] has.
pub(crate) const STEP_MAX: u64 = 1_000_000;

/// Between two tries to write.
const AGAIN: Duration = Duration::from_millis(500);

/// One entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The process that serves the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<String>,
    /// All before it were seen.
    pub(crate) next: Position,
    /// What was seen since the entry before is not before that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<Position>,
    /// All before it are done.
    pub(crate) floor: Position,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) done: Vec<Position>,
    /// With the tries so far, and when the next one is due.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) failed: Vec<(Position, u32, i64)>,
    /// All that is known: entries before this one say nothing more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) whole: Option<Whole>,
}

/// All that is known of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Whole {
    /// Another one after each seek.
    life: String,
    lease_ms: u64,
    attempts_max: u32,
    backoff_ms: u64,
    backoff_ms_max: u64,
    /// What was seen and not tried: how many not, how many so, again and again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    untried: Vec<(u64, u64)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tried: Vec<(Position, u32, i64)>,
}

/// A group as its log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) owner: Option<String>,
    pub(crate) life: String,
    pub(crate) settings: GroupSettings,
    pub(crate) next: Position,
    /// What was seen and is not done, with its tries, and when the next one is due.
    pub(crate) pending: BTreeMap<Position, (u32, i64)>,
    /// The entry that it ends with.
    pub(crate) sequence: u64,
    /// How many entries there are.
    pub(crate) entries: u64,
}

/// The last entry of a group.
#[derive(Debug)]
pub(crate) struct Last {
    pub(crate) sequence: u64,
    pub(crate) entry: Entry,
}

/// Why an entry was not written.
#[derive(Debug)]
pub(crate) enum NotWritten {
    /// Somebody else wrote one.
    Fenced,
    /// It is longer than the server takes.
    TooLong,
}

impl Kept {
    /// A group that begins at a position.
    pub(crate) fn new(settings: GroupSettings, next: Position) -> Self {
        let life = format!("{:016x}", rand::u64());
        Self { owner: None, life, settings, next, pending: BTreeMap::new(), sequence: 0, entries: 0 }
    }

    /// The first position that is not done.
    pub(crate) fn floor(&self) -> Position {
        self.pending.first_key_value().map_or(self.next, |(position, _)| *position)
    }

    /// Goes on by an entry; none: it cannot be.
    pub(crate) fn apply(&mut self, entry: &Entry) -> Option<()> {
        let Entry { owner, next, from, floor: _, done, failed, whole } = entry;
        if let Some(whole) = whole {
            self.pending = whole.pending()?;
            (self.life, self.settings) = (whole.life.clone(), whole.settings());
        } else {
            let from = from.map_or(self.next, |from| from.max(self.next));
            if next.saturating_sub(from) > STEP_MAX {
                return None;
            }
            self.pending.extend((from..*next).map(|position| (position, UNTRIED)));
        }
        self.next = if whole.is_some() { *next } else { self.next.max(*next) };
        for (position, attempts, due) in failed {
            if let Some(tries) = self.pending.get_mut(position) {
                *tries = (*attempts, *due);
            }
        }
        for position in done {
            self.pending.remove(position);
        }
        self.owner.clone_from(owner);
        Some(())
    }

    /// An entry that says all of it.
    pub(crate) fn whole(&self, owner: Option<String>) -> Entry {
        let GroupSettings { start: _, lease, attempts_max, backoff, backoff_max } = self.settings;
        let mut whole = Whole {
            life: self.life.clone(),
            lease_ms: millis(lease),
            attempts_max,
            backoff_ms: millis(backoff),
            backoff_ms_max: millis(backoff_max),
            ..Whole::default()
        };
        let mut end = 0;
        for (&position, &(attempts, due)) in &self.pending {
            if (attempts, due) != UNTRIED {
                whole.tried.push((position, attempts, due));
                continue;
            }
            match whole.untried.last_mut() {
                Some((_, count)) if position == end && *count < STEP_MAX => *count += 1,
                _ => whole.untried.push((position - end, 1)),
            }
            end = position + 1;
        }
        Entry { owner, next: self.next, floor: self.floor(), whole: Some(whole), ..Entry::default() }
    }
}

/// What was never tried.
const UNTRIED: (u32, i64) = (0, 0);

impl Whole {
    /// None: it cannot be.
    fn pending(&self) -> Option<BTreeMap<Position, (u32, i64)>> {
        let mut pending: BTreeMap<_, _> =
            self.tried.iter().map(|(position, attempts, due)| (*position, (*attempts, *due))).collect();
        let mut position: Position = 0;
        for (skipped, count) in &self.untried {
            position = position.checked_add(*skipped)?;
            let end = position.checked_add(*count).filter(|_| *count <= STEP_MAX)?;
            pending.extend((position..end).map(|position| (position, UNTRIED)));
            position = end;
        }
        Some(pending)
    }

    fn settings(&self) -> GroupSettings {
        GroupSettings {
            start: Start::First,
            lease: Duration::from_millis(self.lease_ms),
            attempts_max: self.attempts_max,
            backoff: Duration::from_millis(self.backoff_ms),
            backoff_max: Duration::from_millis(self.backoff_ms_max),
        }
    }
}

/// The last entry; none: there is no such group.
pub(crate) async fn last(link: &Link, subject: &str) -> Result<Option<Last>, Error> {
    let raw = link.groups().await?.get_last_raw_message_by_subject(subject).await;
    match raw {
        Ok(raw) => Ok(Some(Last { sequence: raw.sequence, entry: read(subject, &raw)? })),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(failed("read what is kept of a group", error)),
    }
}

/// A group from its log; none: there is no such group.
pub(crate) async fn load(link: &Link, subject: &str) -> Result<Option<Kept>, Error> {
    let stream = link.groups().await?;
    let damaged = || Error::from(Failure::Damaged { subject: subject.to_owned() });
    let (mut kept, mut from): (Option<Kept>, u64) = (None, 1);
    loop {
        let raw = match stream.get_first_raw_message_by_subject(subject, from).await {
            Ok(raw) => raw,
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => return Ok(kept),
            Err(error) => return Err(failed("read what is kept of a group", error)),
        };
        let entry = read(subject, &raw)?;
        let mut group = match kept {
            Some(group) => group,
            None if entry.whole.is_some() => Kept::new(GroupSettings::default(), entry.next),
            None => return Err(damaged()),
        };
        group.apply(&entry).ok_or_else(damaged)?;
        group.entries = if entry.whole.is_some() { 1 } else { group.entries + 1 };
        group.sequence = raw.sequence;
        from = raw.sequence + 1;
        kept = Some(group);
    }
}

fn read(subject: &str, raw: &StreamMessage) -> Result<Entry, Error> {
    serde_json::from_slice(&raw.payload).map_err(|_| Failure::Damaged { subject: subject.to_owned() }.into())
}

/// Writes an entry after that one, and answers where it stands. Tries until it is known what became of it.
pub(crate) async fn write(link: &Link, subject: &str, entry: &Entry, after: u64) -> Result<u64, NotWritten> {
    let id = format!("{:032x}", rand::u128());
    let payload = bytes::Bytes::from(json(entry));
    let mut is_told = false;
    loop {
        link.ready().await.ok();
        let message = PublishMessage::build().message_id(&id).expected_last_subject_sequence(after);
        let error = match link.publish(subject, message.payload(payload.clone())).await {
            Ok(kept) => return Ok(kept.sequence),
            Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => return Err(NotWritten::TooLong),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => {
                match is_last(link, subject, &id).await {
                    Ok(Some(sequence)) => return Ok(sequence),
                    Ok(None) => return Err(NotWritten::Fenced),
                    Err(error) => error,
                }
            }
            Err(error) => failed("keep what a group did", error),
        };
        if !is_told {
            tracing::warn!(subject, error = %bowline_model::error::chain(&error), "what a group did is not kept yet");
            is_told = true;
        }
        time::sleep(AGAIN).await;
    }
}

/// Writes an entry as [`write`] does, for a while.
pub(crate) async fn write_soon(
    link: &Link,
    subject: &str,
    entry: &Entry,
    after: u64,
) -> Result<Result<u64, NotWritten>, Error> {
    let written = time::timeout(PATIENCE, write(link, subject, entry, after)).await;
    written.map_err(|_| failed("keep what a group is", "it did not answer in time"))
}

/// Whether the last entry has that id, after all: where it stands.
async fn is_last(link: &Link, subject: &str, id: &str) -> Result<Option<u64>, Error> {
    match link.groups().await?.get_last_raw_message_by_subject(subject).await {
        Ok(raw) => {
            let is_it = raw.headers.get("Nats-Msg-Id").is_some_and(|found| found.as_str() == id);
            Ok(is_it.then_some(raw.sequence))
        }
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(failed("read what is kept of a group", error)),
    }
}

/// Deletes the entries before that one.
pub(crate) async fn forget_before(link: &Link, subject: &str, sequence: u64) -> Result<(), Error> {
    let purge = link.groups().await?.purge().filter(subject).sequence(sequence);
    purge.await.map(drop).map_err(|error| failed("delete old entries of a group", error))
}

/// Deletes all entries; whether there were some.
pub(crate) async fn remove(link: &Link, subject: &str) -> Result<bool, Error> {
    let purged = link.groups().await?.purge().filter(subject).await;
    purged.map(|purged| purged.purged > 0).map_err(|error| failed("remove a group", error))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> Kept {
        Kept::new(GroupSettings::default(), 5)
    }

    #[test]
    fn a_group_is_what_its_entries_say() {
        let mut kept = group();
        let first = Entry { next: 9, done: vec![6], failed: vec![(7, 2, 100)], ..Entry::default() };
        kept.apply(&first).unwrap();
        assert_eq!(kept.pending.keys().copied().collect::<Vec<_>>(), [5, 7, 8]);
        assert_eq!((kept.pending[&7], kept.floor()), ((2, 100), 5));
        kept.apply(&Entry { next: 9, done: vec![5, 7, 8], ..Entry::default() }).unwrap();
        assert_eq!(kept.floor(), 9);
    }

    #[test]
    fn an_entry_says_all_of_it() {
        let mut kept = group();
        let done = vec![6, 7, 12];
        kept.apply(&Entry { next: 20, done, failed: vec![(9, 1, 50)], ..Entry::default() }).unwrap();
        let entry: Entry = serde_json::from_str(&json(&kept.whole(Some("me".to_owned())))).unwrap();
        let mut again = Kept::new(GroupSettings::default(), 1);
        again.apply(&entry).unwrap();
        assert_eq!(again, Kept { owner: Some("me".to_owned()), ..kept });
    }

    #[test]
    fn a_step_that_cannot_be_is_refused() {
        assert!(group().apply(&Entry { next: u64::MAX, ..Entry::default() }).is_none());
        for untried in [vec![(1, STEP_MAX + 1)], vec![(u64::MAX, 1)], vec![(2, 1), (u64::MAX - 2, 1)]] {
            let whole = Some(Whole { untried, ..Whole::default() });
            assert!(group().apply(&Entry { next: 5, whole, ..Entry::default() }).is_none());
        }
    }

    #[test]
    fn what_was_seen_may_begin_behind_a_gap() {
        let mut kept = group();
        kept.apply(&Entry { next: 5_000_002, from: Some(5_000_000), ..Entry::default() }).unwrap();
        assert_eq!(kept.pending.keys().copied().collect::<Vec<_>>(), [5_000_000, 5_000_001]);
    }

    #[test]
    fn a_long_run_is_said_whole() {
        const COUNT: u64 = 1_500_000;
        let mut kept = group();
        for next in [5 + STEP_MAX, 5 + COUNT] {
            kept.apply(&Entry { next, ..Entry::default() }).unwrap();
        }
        kept.apply(&Entry { next: 5 + COUNT, failed: vec![(5 + COUNT - 3, 1, 50)], ..Entry::default() }).unwrap();
        let entry: Entry = serde_json::from_str(&json(&kept.whole(None))).unwrap();
        let mut again = Kept::new(GroupSettings::default(), 1);
        again.apply(&entry).unwrap();
        assert_eq!(again.pending.len() as u64, COUNT);
        assert!(again == kept);
    }
}
