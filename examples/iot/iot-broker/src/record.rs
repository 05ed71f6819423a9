//! What the journal is made of: one record for each thing that happened and has to be there after a crash.

use std::sync::Arc;

use bowline_disk::{Corrupt, Format, Reader, put_count, put_number};

use crate::{
    message::Message,
    session::{MessageId, Options, SessionId, WillId},
};

/// Of the journal's file; the version is also that of the records.
pub(crate) const FORMAT: Format = Format { magic: *b"IOTBROKR", version: 1 };

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    /// A session that outlives its connection began, or this changed of it.
    Session { id: SessionId, expiry_s: u32, left_ms: u64, client: Arc<str> },
    /// A session ended, and all that was its.
    Ended { id: SessionId },
    /// It subscribed.
    Filter { id: SessionId, options: Options, filter: String },
    /// It no longer does.
    FilterGone { id: SessionId, filter: String },
    /// A message came: for these sessions (and whether they are told that it was retained), and to be retained.
    Message { id: MessageId, message: Arc<Message>, is_retained: bool, to: Vec<(SessionId, bool)> },
    /// A session has it, or does not need it any more.
    Taken { session: SessionId, id: MessageId },
    /// Nothing is retained of that topic any more.
    Forgotten { topic: Box<str> },
    /// A client connected that has a last will.
    Will { id: WillId, message: Arc<Message>, is_retained: bool },
    /// The will was published, or its client said goodbye.
    WillGone { id: WillId },
}

const SESSION: u8 = 1;
const ENDED: u8 = 2;
const FILTER: u8 = 3;
const FILTER_GONE: u8 = 4;
const MESSAGE: u8 = 5;
const TAKEN: u8 = 6;
const FORGOTTEN: u8 = 7;
const WILL: u8 = 8;
const WILL_GONE: u8 = 9;

impl Record {
    /// Adds it to what is written.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Session { id, expiry_s, left_ms, client } => {
                put_all(out, SESSION, &[*id, u64::from(*expiry_s), *left_ms]);
                put_text(out, client);
            }
            Self::Ended { id } => put_all(out, ENDED, &[*id]),
            Self::Filter { id, options, filter } => {
                put_all(out, FILTER, &[*id, u64::from(options.to_byte())]);
                put_text(out, filter);
            }
            Self::FilterGone { id, filter } => {
                put_all(out, FILTER_GONE, &[*id]);
                put_text(out, filter);
            }
            Self::Message { id, message, is_retained, to } => {
                put_all(out, MESSAGE, &[*id, u64::from(*is_retained), to.len() as u64]);
                for (session, says) in to {
                    put_number(out, session << 1 | u64::from(*says));
                }
                message.put(out);
            }
            Self::Taken { session, id } => put_all(out, TAKEN, &[*session, *id]),
            Self::Forgotten { topic } => {
                put_all(out, FORGOTTEN, &[]);
                put_text(out, topic);
            }
            Self::Will { id, message, is_retained } => {
                put_all(out, WILL, &[*id, u64::from(*is_retained)]);
                message.put(out);
            }
            Self::WillGone { id } => put_all(out, WILL_GONE, &[*id]),
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Corrupt> {
        Ok(match reader.byte()? {
            SESSION => {
                let (id, expiry_s, left_ms) = (reader.number()?, reader.number()?, reader.number()?);
                let expiry_s = u32::try_from(expiry_s).map_err(|_| Corrupt)?;
                Self::Session { id, expiry_s, left_ms, client: text(reader)?.into() }
            }
            ENDED => Self::Ended { id: reader.number()? },
            FILTER => {
                let (id, options) = (reader.number()?, reader.number()?);
                let options = u8::try_from(options).ok().and_then(Options::from_byte).ok_or(Corrupt)?;
                Self::Filter { id, options, filter: text(reader)?.to_owned() }
            }
            FILTER_GONE => Self::FilterGone { id: reader.number()?, filter: text(reader)?.to_owned() },
            MESSAGE => {
                let (id, is_retained, count) = (reader.number()?, flag(reader)?, reader.count(1)?);
                let to = (0..count).map(|_| reader.number().map(|number| (number >> 1, number & 1 == 1)));
                let to = to.collect::<Result<_, _>>()?;
                Self::Message { id, message: Message::take(reader)?.into(), is_retained, to }
            }
            TAKEN => Self::Taken { session: reader.number()?, id: reader.number()? },
            FORGOTTEN => Self::Forgotten { topic: text(reader)?.into() },
            WILL => {
                let (id, is_retained) = (reader.number()?, flag(reader)?);
                Self::Will { id, message: Message::take(reader)?.into(), is_retained }
            }
            WILL_GONE => Self::WillGone { id: reader.number()? },
            _ => return Err(Corrupt),
        })
    }

    /// All records that were written together.
    pub(crate) fn take_all(bytes: &[u8]) -> Result<Vec<Self>, Corrupt> {
        let (mut reader, mut records) = (Reader(bytes), Vec::new());
        while !reader.0.is_empty() {
            records.push(Self::take(&mut reader)?);
        }
        Ok(records)
    }
}

fn put_all(out: &mut Vec<u8>, kind: u8, numbers: &[u64]) {
    out.push(kind);
    for number in numbers {
        put_number(out, *number);
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_count(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn text<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Corrupt> {
    let length = reader.count(1)?;
    std::str::from_utf8(reader.slice(length)?).map_err(|_| Corrupt)
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, Corrupt> {
    match reader.number()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Corrupt),
    }
}

#[cfg(test)]
mod tests {
    use rumqttc_v5::mqttbytes::{QoS, v5::Publish};

    use super::*;

    fn all() -> Vec<Record> {
        let message = Arc::new(Message::published(Publish::new("a/b", QoS::AtLeastOnce, "x", None), 0));
        let options = Options { qos: QoS::AtLeastOnce, is_no_local: true, keeps_retain: false };
        vec![
            Record::Session { id: 7, expiry_s: u32::MAX, left_ms: 1_700_000_000_000, client: "d-1".into() },
            Record::Ended { id: 7 },
            Record::Filter { id: 7, options, filter: "a/#".to_owned() },
            Record::FilterGone { id: 7, filter: "a/#".to_owned() },
            Record::Message { id: 300, message: message.clone(), is_retained: true, to: vec![(7, true), (8, false)] },
            Record::Taken { session: 7, id: 300 },
            Record::Forgotten { topic: "a/b".into() },
            Record::Will { id: 9, message, is_retained: true },
            Record::WillGone { id: 9 },
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        let mut bytes = Vec::new();
        for record in all() {
            record.put(&mut bytes);
        }
        assert_eq!(Record::take_all(&bytes), Ok(all()));
    }

    #[test]
    fn half_a_record_is_none() {
        for record in all() {
            let mut bytes = Vec::new();
            record.put(&mut bytes);
            for length in 1..bytes.len() {
                assert_eq!(Record::take_all(&bytes[..length]), Err(Corrupt), "{record:?} {length}");
            }
        }
    }
}
