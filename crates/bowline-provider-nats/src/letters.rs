//! Dead letters: a stream for each topic, from which they are deleted one by one.

use std::collections::BTreeSet;

use async_nats::jetstream::stream::RawMessageErrorKind;
use bowline_messaging::{DeadLetter, Error, PAGE_BYTES_MAX, PAGE_MAX, Which, delivery::Position};

use crate::{
    failure::failed,
    group::weight,
    link::{Link, Named},
    topics, wire,
};

/// How many are published again before the next ones are read.
const REDRIVE_AT_ONCE: usize = 16;

/// Puts a letter here; nothing happens where it is here already.
pub(crate) async fn bury(link: &Link, topic: &str, letter: &DeadLetter, life: &str) -> Result<(), Error> {
    let what = "keep a dead letter";
    let known = topics::find(link, topic).await?;
    let info = link.letters(topic).await?.get_info().await.map_err(|error| failed(what, error))?;
    if info.state.bytes > known.settings.bytes_max {
        return Err(Error::Full { topic: "dead letters".to_owned(), by: None });
    }
    let kept = link.publish(&link.names.letters_subject(topic), wire::bury(letter, life)).await;
    kept.map(drop).map_err(|error| failed(what, error))
}

/// How many there are.
pub(crate) async fn count(link: &Link, topic: &str) -> Result<u64, Error> {
    let info = link.letters(topic).await?.get_info().await;
    info.map(|info| info.state.messages).map_err(|error| failed("count dead letters", error))
}

/// Letters after a position, the oldest first, until they are more than a page's bytes, one at least.
pub(crate) async fn page(link: &Link, topic: &str, after: Position, limit: usize) -> Result<Vec<DeadLetter>, Error> {
    topics::find(link, topic).await?;
    let (stream, subject) = (link.letters(topic).await?, link.names.letters_subject(topic));
    let (mut letters, mut bytes) = (Vec::new(), 0);
    let mut from = after.saturating_add(1);
    while letters.len() < limit.min(PAGE_MAX) {
        match stream.get_first_raw_message_by_subject(&subject, from).await {
            Ok(raw) => {
                from = raw.sequence + 1;
                let letter = wire::letter(raw);
                bytes += letter.as_ref().map_or(0, |letter| weight(&letter.message));
                if bytes > PAGE_BYTES_MAX && !letters.is_empty() {
                    break;
                }
                letters.extend(letter);
            }
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => break,
            Err(error) => return Err(failed("read dead letters", error)),
        }
    }
    Ok(letters)
}

/// Deletes letters; how many there were.
pub(crate) async fn purge(link: &Link, topic: &str, which: Which) -> Result<usize, Error> {
    topics::find(link, topic).await?;
    let stream = link.letters(topic).await?;
    match which {
        Which::All => {
            let purged = stream.purge().await.map_err(|error| failed("delete dead letters", error))?;
            Ok(usize::try_from(purged.purged).unwrap_or(usize::MAX))
        }
        Which::At(position) => delete(&stream, position).await.map(usize::from),
    }
}

/// Deletes a letter; whether it was there.
async fn delete(stream: &Named, position: Position) -> Result<bool, Error> {
    if topics::get(stream, position).await?.is_none() {
        return Ok(false);
    }
    stream.delete_message(position).await.map_err(|error| failed("delete a dead letter", error))
}

/// Publishes letters again, for their groups alone, and deletes those that were; how many.
pub(crate) async fn redrive(link: &Link, topic: &str, which: Which) -> Result<usize, Error> {
    let (after, limit) = match which {
        Which::All => (0, REDRIVE_AT_ONCE),
        Which::At(position) => (position.saturating_sub(1), 1),
    };
    let groups: BTreeSet<String> =
        topics::groups(link).await?.into_iter().filter(|(of, _)| of == topic).map(|(_, group)| group).collect();
    let stream = link.letters(topic).await?;
    let info = stream.get_info().await.map_err(|error| failed("read dead letters", error))?;
    let (mut after, mut count) = (after, 0);
    // What dies again meanwhile is another letter.
    while after < info.state.last_sequence {
        let letters = page(link, topic, after, limit).await?;
        let Some(last) = letters.last().map(|letter| letter.position) else { break };
        for letter in letters {
            let is_meant = match which {
                Which::All => letter.position <= info.state.last_sequence,
                Which::At(position) => letter.position == position,
            };
            // Whose group is gone stays where it is: nobody would get it.
            if is_meant && groups.contains(&letter.group) {
                let (position, only) = (letter.position, Some(letter.group.clone()));
                topics::publish(link, topic, letter.again(), only).await?;
                count += usize::from(delete(&stream, position).await?);
            }
        }
        if which != Which::All {
            break;
        }
        after = last;
    }
    Ok(count)
}
