//! Values: differences of whole or decimal numbers, repeats as a count, the rest bit by bit.
//!
//! ```text
//! column = token*
//! token  = count << 2          the prediction comes true so many times
//!        | zigzag << 2 | 1     a number, by its difference to the prediction
//!        | form << 2 | 2 byte+ any bits, XORed with those before;
//!                              form = bytes of zeros at the end * 8 + bytes that follow - 1
//!        | digits << 2 | 3     numbers have so many digits after the point from here on
//! ```

use bowline_disk::{Corrupt, Reader, put_number};

use crate::source::Sample;

use super::Wanted;

/// What a number is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// The number before: what moves now and then.
    Differences,
    /// The number before and the step to it: what grows evenly.
    Changes,
}

/// How many digits after the point are tried, in this order.
const DIGITS: [u8; 6] = [0, 1, 2, 3, 6, 9];
const POWERS: [f64; 10] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// Up to here every whole number is a float.
const NUMBER_MAX: i64 = 1 << 53;
/// After so many values in a row that are no decimal numbers, no more are tried to be.
const MISSES_MAX: u8 = 4;

const REPEAT: u64 = 0;
const NUMBER: u64 = 1;
const BITS: u64 = 2;
const SCALE: u64 = 3;

/// A column of values that is added to.
#[derive(Debug, Clone)]
pub(crate) struct Values {
    bytes: Vec<u8>,
    state: State,
    /// How many times the prediction came true and is not in `bytes` yet.
    repeats: u64,
    misses: u8,
}

/// What both sides know of the values so far.
#[derive(Debug, Clone, Copy)]
struct State {
    order: Order,
    digits: u8,
    is_begun: bool,
    /// The last number, in units of the last digit.
    number: i64,
    step: i64,
    /// The last value, be it a number or not.
    bits: u64,
}

impl State {
    const fn new(order: Order) -> Self {
        Self { order, digits: 0, is_begun: false, number: 0, step: 0, bits: 0 }
    }

    #[inline]
    fn prediction(&self) -> i64 {
        match self.order {
            Order::Differences => self.number,
            Order::Changes => self.number.wrapping_add(self.step),
        }
    }

    #[inline]
    fn take_number(&mut self, number: i64) {
        if self.is_begun {
            self.step = number.wrapping_sub(self.number);
        }
        self.is_begun = true;
        self.number = number;
        self.bits = value_of(number, self.digits).to_bits();
    }

    /// The last value counts on with other digits; as 0 if it is no number then.
    fn rescale(&mut self, digits: u8) {
        self.digits = digits;
        self.step = 0;
        self.number = number_of(f64::from_bits(self.bits), digits).unwrap_or(0);
    }
}

impl Values {
    pub(crate) const fn new(order: Order) -> Self {
        Self { bytes: Vec::new(), state: State::new(order), repeats: 0, misses: 0 }
    }

    #[inline]
    pub(crate) fn push(&mut self, value: f64) {
        let bits = value.to_bits();
        match self.state.order {
            Order::Differences if bits == self.state.bits => {
                self.repeats += 1;
                return;
            }
            Order::Differences | Order::Changes => {}
        }
        let number = self.number(value);
        // After the search: it may have put a new scale, and what was put before it must stay there.
        match number {
            Some(number) => {
                if self.state.order == Order::Changes && number == self.state.prediction() {
                    self.repeats += 1;
                } else {
                    self.put_repeats();
                    let difference = number.wrapping_sub(self.state.prediction());
                    put_number(&mut self.bytes, zigzag(difference) << 2 | NUMBER);
                }
                self.state.take_number(number);
            }
            None => self.put_bits(bits),
        }
    }

    /// The value as a number of the digits of now, or of others, which hold from here on.
    #[inline]
    fn number(&mut self, value: f64) -> Option<i64> {
        let known = number_of(value, self.state.digits);
        if known.is_some() {
            self.misses = 0;
            return known;
        }
        self.rescaled(value)
    }

    #[cold]
    fn rescaled(&mut self, value: f64) -> Option<i64> {
        if self.misses >= MISSES_MAX || !value.is_finite() {
            return None;
        }
        for digits in DIGITS {
            if digits == self.state.digits {
                continue;
            }
            if let Some(number) = number_of(value, digits) {
                self.put_repeats();
                put_number(&mut self.bytes, u64::from(digits) << 2 | SCALE);
                self.state.rescale(digits);
                return Some(number);
            }
        }
        self.misses += 1;
        None
    }

    fn put_repeats(&mut self) {
        if self.repeats > 0 {
            put_number(&mut self.bytes, self.repeats << 2 | REPEAT);
            self.repeats = 0;
        }
    }

    fn put_bits(&mut self, bits: u64) {
        self.put_repeats();
        let changed = bits ^ self.state.bits;
        // Of no change, one byte is put all the same.
        let (zeros_before, zeros_behind) = match changed {
            0 => (7, 0),
            changed => (changed.leading_zeros() / 8, changed.trailing_zeros() / 8),
        };
        let length = 8 - zeros_before - zeros_behind;
        put_number(&mut self.bytes, u64::from(zeros_behind * 8 + length - 1) << 2 | BITS);
        let shifted = (changed >> (8 * zeros_behind)).to_le_bytes();
        self.bytes.extend_from_slice(&shifted[..length as usize]);
        self.state.bits = bits;
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.put_repeats();
        self.bytes
    }
}

/// Reads as many values as there are times, and adds those that are wanted.
pub(crate) fn decode_values(
    order: Order,
    bytes: &[u8],
    wanted: Wanted<'_>,
    out: &mut Vec<Sample>,
) -> Result<(), Corrupt> {
    let Wanted { times, skipped } = wanted;
    out.reserve(times.len() - skipped);
    let mut reader = Reader(bytes);
    let mut state = State::new(order);
    let mut at = 0;
    while at < times.len() {
        let token = reader.number()?;
        let payload = token >> 2;
        match token & 3 {
            REPEAT => {
                let count = usize::try_from(payload).map_err(|_| Corrupt)?;
                if count == 0 {
                    return Err(Corrupt);
                }
                let end = count.saturating_add(at).min(times.len());
                repeat(&mut state, &times[at..end], skipped.saturating_sub(at), out);
                at = end;
            }
            SCALE => {
                let digits = u8::try_from(payload).ok().filter(|digits| usize::from(*digits) < POWERS.len());
                state.rescale(digits.ok_or(Corrupt)?);
            }
            kind => {
                if kind == NUMBER {
                    state.take_number(state.prediction().wrapping_add(unzigzag(payload)));
                } else {
                    state.bits ^= changed(&mut reader, payload)?;
                }
                if at >= skipped {
                    out.push(Sample { at_ms: times[at], value: f64::from_bits(state.bits) });
                }
                at += 1;
            }
        }
    }
    Ok(())
}

#[inline]
fn repeat(state: &mut State, times: &[i64], skipped: usize, out: &mut Vec<Sample>) {
    match state.order {
        Order::Differences => {
            let value = f64::from_bits(state.bits);
            let wanted = times.get(skipped..).unwrap_or_default();
            out.extend(wanted.iter().map(|at_ms| Sample { at_ms: *at_ms, value }));
        }
        Order::Changes => {
            for (at, at_ms) in times.iter().enumerate() {
                state.take_number(state.prediction());
                if at >= skipped {
                    out.push(Sample { at_ms: *at_ms, value: f64::from_bits(state.bits) });
                }
            }
        }
    }
}

fn changed(reader: &mut Reader<'_>, form: u64) -> Result<u64, Corrupt> {
    let (zeros_behind, length) = (form / 8, form % 8 + 1);
    if zeros_behind + length > 8 {
        return Err(Corrupt);
    }
    let slice = reader.slice(usize::try_from(length).map_err(|_| Corrupt)?)?;
    let bytes = slice.iter().rev().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
    Ok(bytes << (8 * zeros_behind))
}

/// The whole number that is the value in units of its last digit, if it gives exactly the value back.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "what is cut off is found out by going back")]
pub(crate) fn number_of(value: f64, digits: u8) -> Option<i64> {
    let number = match digits {
        0 => value as i64,
        digits => (value * POWERS[usize::from(digits)]).round() as i64,
    };
    let is_exact =
        number.unsigned_abs() <= NUMBER_MAX.unsigned_abs() && value_of(number, digits).to_bits() == value.to_bits();
    is_exact.then_some(number)
}

#[inline]
#[expect(clippy::cast_precision_loss, reason = "numbers are at most 2^53")]
fn value_of(number: i64, digits: u8) -> f64 {
    if digits == 0 { number as f64 } else { number as f64 / POWERS[usize::from(digits)] }
}

#[inline]
pub(crate) fn zigzag(number: i64) -> u64 {
    (number << 1 ^ (number >> 63)).cast_unsigned()
}

#[inline]
pub(crate) fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}
