//! What is written: messages, and what groups did with them. All numbers are varints.
//!
//! A batch is one frame of many records, so that it is there as a whole or not at all.

use bowline_disk::{Corrupt, Format, Reader, put_count, put_number, put_signed};
use bytes::Bytes;

use crate::{
    delivery::{Policy, Position},
    port::{DeadLetter, Message},
};

/// What a segment of a topic's log is.
pub(super) const FORMAT: Format = Format { magic: *b"bwlmsgs\0", version: 1 };

/// A payload that is at least this part of what was read with it is not copied.
const SHARED_PART_MIN: usize = 32;

/// One record.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Record {
    /// A message was published, with an id of its publisher.
    Message(Message),
    /// A message was published, whose id was made up.
    Unnamed(Message),
    /// A group is, or begins anew, so.
    Group(KeptGroup),
    /// More of what is pending for the group that was said before.
    Pending { group: String, pending: Vec<Pending> },
    /// How a group is served changed.
    Served { group: String, policy: Policy, lease_ms: i64 },
    /// A group is done with a message.
    Done { group: String, position: Position },
    /// A try failed.
    Failed { group: String, position: Position, attempts: u32, due: i64 },
    /// A group was removed.
    Removed { group: String },
    /// A segment begins: the position of its first message. The groups that follow are all there are.
    Began { next: Position },
    /// How the topic is kept.
    Topic { keep_ms: i64, bytes_max: u64, dedup_ms: i64 },
    /// A dead letter.
    Dead(DeadLetter),
    /// A dead letter was removed.
    Raised { position: Position },
}

/// What a group is not done with: where it stands, the tries so far, and when the next one is due.
pub(super) type Pending = (Position, u32, i64);

/// What survives of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct KeptGroup {
    pub(super) name: String,
    pub(super) policy: Option<Policy>,
    pub(super) lease_ms: i64,
    /// All before are done, but for what is pending.
    pub(super) next: Position,
    pub(super) pending: Vec<Pending>,
}

const MESSAGE: u8 = 1;
const GROUP: u8 = 2;
const DONE: u8 = 3;
const FAILED: u8 = 4;
const REMOVED: u8 = 5;
const BEGAN: u8 = 6;
const DEAD: u8 = 7;
const RAISED: u8 = 8;
const TOPIC: u8 = 9;
const UNNAMED: u8 = 10;
const PENDING: u8 = 11;
const SERVED: u8 = 12;

impl Record {
    /// Adds it to a batch.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Message(message) => {
                out.push(MESSAGE);
                put_message(out, message);
            }
            Self::Unnamed(message) => {
                out.push(UNNAMED);
                put_message(out, message);
            }
            Self::Group(group) => {
                out.push(GROUP);
                put_group(out, group);
            }
            Self::Pending { group, pending } => {
                out.push(PENDING);
                put_text(out, group);
                put_pending(out, pending);
            }
            Self::Served { group, policy, lease_ms } => {
                out.push(SERVED);
                put_text(out, group);
                put_policy(out, *policy);
                put_signed(out, *lease_ms);
            }
            Self::Done { group, position } => {
                out.push(DONE);
                put_text(out, group);
                put_number(out, *position);
            }
            Self::Failed { group, position, attempts, due } => {
                out.push(FAILED);
                put_text(out, group);
                put_number(out, *position);
                put_number(out, u64::from(*attempts));
                put_signed(out, *due);
            }
            Self::Removed { group } => {
                out.push(REMOVED);
                put_text(out, group);
            }
            Self::Began { next } => {
                out.push(BEGAN);
                put_number(out, *next);
            }
            Self::Topic { keep_ms, bytes_max, dedup_ms } => {
                out.push(TOPIC);
                put_signed(out, *keep_ms);
                put_number(out, *bytes_max);
                put_signed(out, *dedup_ms);
            }
            Self::Dead(letter) => {
                out.push(DEAD);
                put_letter(out, letter);
            }
            Self::Raised { position } => {
                out.push(RAISED);
                put_number(out, *position);
            }
        }
    }

    fn read(reader: &mut Reader<'_>, whole: Option<&Bytes>) -> Result<Self, Corrupt> {
        Ok(match reader.byte()? {
            MESSAGE => Self::Message(read_message(reader, whole)?),
            UNNAMED => Self::Unnamed(read_message(reader, whole)?),
            GROUP => Self::Group(read_group(reader)?),
            PENDING => Self::Pending { group: read_text(reader)?, pending: read_pending(reader)? },
            SERVED => {
                Self::Served { group: read_text(reader)?, policy: read_policy(reader)?, lease_ms: reader.signed()? }
            }
            DONE => Self::Done { group: read_text(reader)?, position: reader.number()? },
            FAILED => Self::Failed {
                group: read_text(reader)?,
                position: reader.number()?,
                attempts: read_small(reader)?,
                due: reader.signed()?,
            },
            REMOVED => Self::Removed { group: read_text(reader)? },
            BEGAN => Self::Began { next: reader.number()? },
            TOPIC => Self::Topic { keep_ms: reader.signed()?, bytes_max: reader.number()?, dedup_ms: reader.signed()? },
            DEAD => Self::Dead(read_letter(reader, whole)?),
            RAISED => Self::Raised { position: reader.number()? },
            _ => return Err(Corrupt),
        })
    }
}

/// The records of a batch; large payloads are parts of the whole that was read, if it is to be kept.
pub(super) fn read_batch(batch: &[u8], whole: Option<&Bytes>) -> Result<Vec<Record>, Corrupt> {
    let (mut reader, mut records) = (Reader(batch), Vec::new());
    while !reader.0.is_empty() {
        records.push(Record::read(&mut reader, whole)?);
    }
    Ok(records)
}

fn put_message(out: &mut Vec<u8>, message: &Message) {
    let Message { position, id, key, headers, payload, published_ms, due_ms, expires_ms, only } = message;
    put_number(out, *position);
    put_text(out, id);
    put_option(out, key.as_deref());
    put_count(out, headers.len());
    for (name, value) in headers {
        put_text(out, name);
        put_text(out, value);
    }
    put_signed(out, *published_ms);
    put_signed(out, due_ms - published_ms);
    put_number(out, u64::from(expires_ms.is_some()));
    put_signed(out, expires_ms.map_or(0, |expires| expires - published_ms));
    put_option(out, only.as_deref());
    put_count(out, payload.len());
    out.extend_from_slice(payload);
}

fn read_message(reader: &mut Reader<'_>, whole: Option<&Bytes>) -> Result<Message, Corrupt> {
    let position = reader.number()?;
    let id = read_text(reader)?;
    let key = read_option(reader)?;
    let count = reader.count(2)?;
    let headers = (0..count).map(|_| Ok((read_text(reader)?, read_text(reader)?))).collect::<Result<_, Corrupt>>()?;
    let published_ms = reader.signed()?;
    let due_ms = published_ms.checked_add(reader.signed()?).ok_or(Corrupt)?;
    let does_expire = reader.number()? != 0;
    let expires_in = reader.signed()?;
    let expires_ms = does_expire.then(|| published_ms.saturating_add(expires_in));
    let only = read_option(reader)?;
    let length = reader.count(1)?;
    let payload = reader.slice(length)?;
    // A small one is not to keep a large whole in memory.
    let whole = whole.filter(|whole| length.saturating_mul(SHARED_PART_MIN) >= whole.len());
    let payload = whole.map_or_else(|| Bytes::copy_from_slice(payload), |whole| whole.slice_ref(payload));
    Ok(Message { position, id, key, headers, payload, published_ms, due_ms, expires_ms, only })
}

fn put_group(out: &mut Vec<u8>, group: &KeptGroup) {
    let KeptGroup { name, policy, lease_ms, next, pending } = group;
    put_text(out, name);
    put_policy(out, policy.unwrap_or(Policy { attempts_max: 0, backoff_ms: 0, backoff_ms_max: 0 }));
    put_signed(out, *lease_ms);
    put_number(out, *next);
    put_pending(out, pending);
}

fn read_group(reader: &mut Reader<'_>) -> Result<KeptGroup, Corrupt> {
    let name = read_text(reader)?;
    let policy = Some(read_policy(reader)?).filter(|policy| policy.attempts_max > 0);
    let (lease_ms, next, pending) = (reader.signed()?, reader.number()?, read_pending(reader)?);
    Ok(KeptGroup { name, policy, lease_ms, next, pending })
}

fn put_policy(out: &mut Vec<u8>, policy: Policy) {
    let Policy { attempts_max, backoff_ms, backoff_ms_max } = policy;
    put_number(out, u64::from(attempts_max));
    put_signed(out, backoff_ms);
    put_signed(out, backoff_ms_max);
}

fn read_policy(reader: &mut Reader<'_>) -> Result<Policy, Corrupt> {
    let attempts_max = read_small(reader)?;
    Ok(Policy { attempts_max, backoff_ms: reader.signed()?, backoff_ms_max: reader.signed()? })
}

fn put_pending(out: &mut Vec<u8>, pending: &[Pending]) {
    put_count(out, pending.len());
    let mut before = 0;
    for (position, attempts, due) in pending {
        put_number(out, position - before);
        put_number(out, u64::from(*attempts));
        put_signed(out, *due);
        before = *position;
    }
}

fn read_pending(reader: &mut Reader<'_>) -> Result<Vec<Pending>, Corrupt> {
    let count = reader.count(3)?;
    let mut before: Position = 0;
    let mut pending = Vec::with_capacity(count);
    for _ in 0..count {
        let position = before.checked_add(reader.number()?).ok_or(Corrupt)?;
        pending.push((position, read_small(reader)?, reader.signed()?));
        before = position;
    }
    Ok(pending)
}

fn put_letter(out: &mut Vec<u8>, letter: &DeadLetter) {
    let DeadLetter { position, group, attempts, failure, died_ms, message } = letter;
    put_number(out, *position);
    put_text(out, group);
    put_number(out, u64::from(*attempts));
    put_text(out, failure);
    put_signed(out, *died_ms);
    put_message(out, message);
}

fn read_letter(reader: &mut Reader<'_>, whole: Option<&Bytes>) -> Result<DeadLetter, Corrupt> {
    Ok(DeadLetter {
        position: reader.number()?,
        group: read_text(reader)?,
        attempts: read_small(reader)?,
        failure: read_text(reader)?,
        died_ms: reader.signed()?,
        message: read_message(reader, whole)?,
    })
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_count(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn read_text(reader: &mut Reader<'_>) -> Result<String, Corrupt> {
    let length = reader.count(1)?;
    String::from_utf8(reader.slice(length)?.to_vec()).map_err(|_| Corrupt)
}

/// No text is no text: empty keys and groups are refused at the door.
fn put_option(out: &mut Vec<u8>, text: Option<&str>) {
    put_text(out, text.unwrap_or_default());
}

fn read_option(reader: &mut Reader<'_>) -> Result<Option<String>, Corrupt> {
    Ok(Some(read_text(reader)?).filter(|text| !text.is_empty()))
}

fn read_small(reader: &mut Reader<'_>) -> Result<u32, Corrupt> {
    u32::try_from(reader.number()?).map_err(|_| Corrupt)
}

#[cfg(test)]
mod tests;
