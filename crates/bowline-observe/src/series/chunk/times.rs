//! Times: the difference of each step to the one before, zeros as a count.
//!
//! ```text
//! column = signed step*
//! step   = 0 count | signed (never 0)
//! ```

use bowline_disk::{Corrupt, Reader, put_number, put_signed};

/// A column of times that is added to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Times {
    bytes: Vec<u8>,
    count: usize,
    first: i64,
    last: i64,
    step: i64,
    /// How many even steps are not in `bytes` yet.
    even: u64,
}

impl Times {
    pub(crate) fn push(&mut self, at_ms: i64) {
        self.count += 1;
        if self.count == 1 {
            put_signed(&mut self.bytes, at_ms);
            (self.first, self.last) = (at_ms, at_ms);
            return;
        }
        // All wraps around, here and when it is read: whatever the times are, they come back.
        let step = at_ms.wrapping_sub(self.last);
        let change = step.wrapping_sub(self.step);
        (self.last, self.step) = (at_ms, step);
        if change == 0 {
            self.even += 1;
        } else {
            self.put_even();
            put_signed(&mut self.bytes, change);
        }
    }

    fn put_even(&mut self) {
        if self.even > 0 {
            self.bytes.push(0);
            put_number(&mut self.bytes, self.even);
            self.even = 0;
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn first_ms(&self) -> i64 {
        self.first
    }

    pub(crate) fn last_ms(&self) -> i64 {
        self.last
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.put_even();
        self.bytes
    }
}

/// Reads a column of so many times.
pub(crate) fn decode_times(bytes: &[u8], count: usize) -> Result<Vec<i64>, Corrupt> {
    if count == 0 || count > super::CHUNK_SAMPLES_MAX {
        return Err(Corrupt);
    }
    let mut reader = Reader(bytes);
    let mut times = Vec::with_capacity(count);
    let mut last = reader.signed()?;
    let mut step = 0_i64;
    times.push(last);
    while times.len() < count {
        let change = reader.signed()?;
        let mut repeats = 1;
        if change == 0 {
            repeats = reader.index()?;
            if repeats > count - times.len() {
                return Err(Corrupt);
            }
        }
        step = step.wrapping_add(change);
        for _ in 0..repeats {
            last = last.wrapping_add(step);
            times.push(last);
        }
    }
    if reader.0.is_empty() { Ok(times) } else { Err(Corrupt) }
}
