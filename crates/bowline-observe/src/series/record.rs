//! What the log says: which series there are, and what was appended to them.
//!
//! ```text
//! record     = operation*
//! operation  = 1 series label_count (length name length value)*   a series, by a number of this log
//!            | 2 at token*                                        samples of one time, signed milliseconds
//! token      = count << 2                so many series on, the value of each is what it was
//!            | zigzag << 2 | 1           the next one's is a whole number, as it was, and differs by this
//!            | 2, 8 bytes                the next one's bits, XORed with those before
//!            | (zigzag + 1) << 2 | 3     the next series is so many numbers on
//!            | 3                         the end
//! ```
//!
//! The value before the first one is 0. A scrape in which nothing changed is a few bytes so, whatever
//! its size.

use std::sync::Arc;

use bowline_disk::{Corrupt, Reader, put_count, put_number, put_signed};

use crate::{
    labels::Labels,
    series::chunk::{number_of, unzigzag, zigzag},
};

const SERIES: u8 = 1;
const SAMPLES: u8 = 2;

const SAME: u64 = 0;
const NUMBER: u64 = 1;
const BITS: u8 = 2;
const JUMP: u64 = 3;

/// The most labels of one series.
pub(crate) const LABELS_MAX: usize = 48;

/// Writes operations.
#[derive(Debug, Default)]
pub(crate) struct Operations {
    done: Vec<u8>,
    series: Vec<u8>,
    samples: Vec<u8>,
    at_ms: i64,
    next: u32,
    same: u64,
}

impl Operations {
    /// Begins the samples of one time.
    pub(crate) fn begin(&mut self, at_ms: i64) {
        self.at_ms = at_ms;
        self.next = 0;
    }

    /// Says which series a number means from here on.
    pub(crate) fn define(&mut self, series: u32, labels: &Labels) {
        let out = &mut self.series;
        out.push(SERIES);
        put_number(out, u64::from(series));
        put_count(out, labels.len());
        for (name, value) in labels.iter() {
            for text in [name, value] {
                put_count(out, text.len());
                out.extend_from_slice(text.as_bytes());
            }
        }
    }

    #[inline]
    pub(crate) fn sample(&mut self, series: u32, before: u64, bits: u64) {
        if series != self.next {
            self.put_same();
            let jump = zigzag(i64::from(series) - i64::from(self.next));
            put_number(&mut self.samples, (jump + 1) << 2 | JUMP);
        }
        self.next = series.wrapping_add(1);
        if bits == before {
            self.same += 1;
            return;
        }
        self.put_same();
        if let Some(difference) = difference(before, bits) {
            put_number(&mut self.samples, zigzag(difference) << 2 | NUMBER);
        } else {
            self.samples.push(BITS);
            self.samples.extend_from_slice(&(before ^ bits).to_le_bytes());
        }
    }

    fn put_same(&mut self) {
        if self.same > 0 {
            put_number(&mut self.samples, self.same << 2 | SAME);
            self.same = 0;
        }
    }

    /// Ends the samples of one time.
    pub(crate) fn end(&mut self) {
        self.put_same();
        self.done.append(&mut self.series);
        if !self.samples.is_empty() {
            self.done.push(SAMPLES);
            put_signed(&mut self.done, self.at_ms);
            self.done.append(&mut self.samples);
            self.done.push(3);
        }
    }

    /// How long a record of what is there would be.
    pub(crate) fn bytes(&self) -> usize {
        self.done.len() + self.series.len() + self.samples.len()
    }

    /// What was ended.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.done)
    }
}

/// By how much a whole number changed, if it is one and was one.
#[inline]
fn difference(before: u64, bits: u64) -> Option<i64> {
    let number = number_of(f64::from_bits(bits), 0)?;
    Some(number - number_of(f64::from_bits(before), 0)?)
}

/// Hears what a record says.
pub(crate) trait Listener {
    /// From here on the number means that series.
    fn define(&mut self, series: u32, labels: Labels) -> Result<(), Corrupt>;
    /// The bits of the last value of a series.
    fn before(&mut self, series: u32) -> Result<u64, Corrupt>;
    /// A series has a sample.
    fn sample(&mut self, series: u32, at_ms: i64, bits: u64);
}

/// Tells what a record says, as far as it makes sense.
pub(crate) fn read(record: &[u8], listener: &mut impl Listener) -> Result<(), Corrupt> {
    let mut reader = Reader(record);
    while !reader.0.is_empty() {
        match reader.byte()? {
            SERIES => {
                let series = u32::try_from(reader.number()?).map_err(|_| Corrupt)?;
                listener.define(series, read_labels(&mut reader)?)?;
            }
            SAMPLES => read_samples(&mut reader, listener)?,
            _ => return Err(Corrupt),
        }
    }
    Ok(())
}

fn read_labels(reader: &mut Reader<'_>) -> Result<Labels, Corrupt> {
    let count = reader.index()?;
    if count > LABELS_MAX {
        return Err(Corrupt);
    }
    let mut text = || -> Result<Arc<str>, Corrupt> {
        let length = reader.index()?;
        Ok(str::from_utf8(reader.slice(length)?).map_err(|_| Corrupt)?.into())
    };
    let pairs: Result<Vec<_>, Corrupt> = (0..count).map(|_| Ok((text()?, text()?))).collect();
    Ok(Labels::new(pairs?))
}

fn read_samples(reader: &mut Reader<'_>, listener: &mut impl Listener) -> Result<(), Corrupt> {
    let at_ms = reader.signed()?;
    let mut next = 0_u32;
    loop {
        let token = reader.number()?;
        let payload = token >> 2;
        match token & 3 {
            SAME => {
                for _ in 0..payload {
                    let bits = listener.before(next)?;
                    listener.sample(next, at_ms, bits);
                    next = next.checked_add(1).ok_or(Corrupt)?;
                }
            }
            JUMP if payload == 0 => return Ok(()),
            JUMP => {
                let jumped = i64::from(next).checked_add(unzigzag(payload - 1));
                next = jumped.and_then(|next| u32::try_from(next).ok()).ok_or(Corrupt)?;
            }
            kind => {
                let before = listener.before(next)?;
                let bits = if kind == NUMBER {
                    let number = number_of(f64::from_bits(before), 0).ok_or(Corrupt)?;
                    whole(number.wrapping_add(unzigzag(payload)))
                } else {
                    before ^ u64::from_le_bytes(reader.array()?)
                };
                listener.sample(next, at_ms, bits);
                next = next.checked_add(1).ok_or(Corrupt)?;
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "what was written is at most 2^53")]
fn whole(number: i64) -> u64 {
    (number as f64).to_bits()
}
