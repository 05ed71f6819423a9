//! What is written to the disk: values, what is gone, and the marks of feeds.

use bowline_disk::{Corrupt, Format, Reader, put_count, put_number};

use crate::{Feed, Mark};

/// The layout; files of another one are deleted, since they are a cache.
pub(super) const FORMAT: Format = Format { magic: *b"bowcache", version: 2 };

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    /// A value, when it was put and until when it is fresh, in milliseconds since 1970.
    Put { key: String, put_unix: u64, fresh_unix: u64, value: Vec<u8> },
    /// Keys that are gone; with it, up to where a feed was applied.
    Gone { keys: Vec<String>, applied: Option<(Feed, Mark)> },
    /// How a segment begins: up to where each feed was applied in those before it.
    Begin { marks: Vec<(Feed, Mark)> },
}

const PUT: u8 = 0;
const GONE: u8 = 1;
const BEGIN: u8 = 2;

impl Record {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Put { key, put_unix, fresh_unix, value } => {
                out.push(PUT);
                put_text(&mut out, key);
                put_number(&mut out, *put_unix);
                put_number(&mut out, *fresh_unix);
                out.extend_from_slice(value);
            }
            Self::Gone { keys, applied } => {
                out.push(GONE);
                put_count(&mut out, keys.len());
                for key in keys {
                    put_text(&mut out, key);
                }
                put_marks(&mut out, applied.as_slice());
            }
            Self::Begin { marks } => {
                out.push(BEGIN);
                put_marks(&mut out, marks);
            }
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader(bytes);
        match reader.byte()? {
            PUT => {
                let (key, put_unix, fresh_unix) = (text(&mut reader)?, reader.number()?, reader.number()?);
                Ok(Self::Put { key, put_unix, fresh_unix, value: reader.0.to_vec() })
            }
            GONE => {
                let count = reader.count(1)?;
                let keys = (0..count).map(|_| text(&mut reader)).collect::<Result<_, _>>()?;
                Ok(Self::Gone { keys, applied: marks(&mut reader)?.pop() })
            }
            BEGIN => Ok(Self::Begin { marks: marks(&mut reader)? }),
            _ => Err(Corrupt),
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_count(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn put_marks(out: &mut Vec<u8>, marks: &[(Feed, Mark)]) {
    put_count(out, marks.len());
    for (feed, Mark { position, id }) in marks {
        put_text(out, feed);
        put_number(out, *position);
        put_text(out, id);
    }
}

fn text(reader: &mut Reader<'_>) -> Result<String, Corrupt> {
    let length = reader.count(1)?;
    String::from_utf8(reader.slice(length)?.to_vec()).map_err(|_| Corrupt)
}

fn marks(reader: &mut Reader<'_>) -> Result<Vec<(Feed, Mark)>, Corrupt> {
    let count = reader.count(3)?;
    let mark = |_| Ok((text(reader)?, Mark { position: reader.number()?, id: text(reader)? }));
    (0..count).map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_back() {
        let mark = || ("user.changed".to_owned(), Mark { position: 7, id: "x".to_owned() });
        let records = [
            Record::Put { key: "ada".to_owned(), put_unix: 7, fresh_unix: u64::MAX, value: b"v".to_vec() },
            Record::Gone { keys: vec![], applied: None },
            Record::Gone { keys: vec!["ada".to_owned(), "ä".to_owned()], applied: Some(mark()) },
            Record::Begin { marks: vec![mark(), mark()] },
        ];
        for record in records {
            assert_eq!(Record::decode(&record.encode()), Ok(record));
        }
        assert!(Record::decode(b"").is_err() && Record::decode(b"\x01\x09").is_err() && Record::decode(b"?").is_err());
    }
}
