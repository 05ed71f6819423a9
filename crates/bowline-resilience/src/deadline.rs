//! The instant by which a call must be answered, and how it travels from hop to hop.
//!
//! It travels as the time that is left ([`TIMEOUT_HEADER`], whole milliseconds, rounded down),
//! since the clocks of two machines do not agree on instants. Each hop therefore works with a
//! deadline that is never later than its caller's, save for the time the request was on the wire.

use std::{
    fmt,
    future::poll_fn,
    mem,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bowline_model::Code;
use bowline_runtime::time::{self, Duration, Instant, Sleep};

/// The header that carries the time left for a request, in whole milliseconds.
pub const TIMEOUT_HEADER: &str = "x-bowline-timeout-ms";

/// The header that carries the same in gRPC's words, which is read beside [`TIMEOUT_HEADER`]: the earlier counts.
pub const GRPC_TIMEOUT_HEADER: &str = "grpc-timeout";

/// The most time a header may grant, and the most that is ever written into one: 24 h.
pub const TIMEOUT_MAX: Duration = Duration::from_hours(24);

/// The instant by which a call must be answered. The earlier one is the smaller one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(Instant);

/// A [`TIMEOUT_HEADER`] that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It holds something other than 1 to 8 ASCII digits.
    #[error("the timeout is not a whole number of milliseconds")]
    NotDigits,
    /// It is not 1 to 8 ASCII digits and a unit.
    #[error("the timeout is not a number of at most eight digits and a unit of H, M, S, m, u and n")]
    NotGrpc,
    /// It is more than [`TIMEOUT_MAX`].
    #[error("the timeout is longer than 24 h")]
    TooLong,
}

#[expect(clippy::unused_self, reason = "every error answers these")]
impl Error {
    /// Always [`Code::InvalidArgument`].
    pub fn code(self) -> Code {
        Code::InvalidArgument
    }

    /// Never: the same header reads the same.
    pub fn retryable(self) -> bool {
        false
    }
}

impl Deadline {
    /// The deadline at an instant.
    pub fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// The deadline that is `timeout` away; one too far to be counted is [`TIMEOUT_MAX`] away.
    pub fn after(now: Instant, timeout: Duration) -> Self {
        Self(now.checked_add(timeout).unwrap_or(now + TIMEOUT_MAX))
    }

    /// The instant itself, for timers.
    pub fn instant(self) -> Instant {
        self.0
    }

    /// The earlier of the two: what a hop works with, given its caller's and its own.
    pub fn earliest(self, other: Self) -> Self {
        self.min(other)
    }

    /// The time left, zero when it has passed.
    pub fn remaining(self, now: Instant) -> Duration {
        self.0.saturating_duration_since(now)
    }

    /// Whether no time is left.
    pub fn is_past(self, now: Instant) -> bool {
        self.0 <= now
    }

    /// What to write into [`TIMEOUT_HEADER`]: whole milliseconds left, rounded down, at most 24 h.
    ///
    /// `0` means that less than a millisecond is left: better not sent at all.
    pub fn encode(self, now: Instant) -> u64 {
        let left = self.remaining(now).min(TIMEOUT_MAX);
        u64::try_from(left.as_millis()).expect("24 h in milliseconds fit")
    }

    /// Reads a [`TIMEOUT_HEADER`] that arrived at `now`.
    ///
    /// Only ASCII digits, at most 24 h; no sign, no space, no unit. `0` is a deadline that has
    /// passed already. Never later than what the caller wrote.
    ///
    /// # Errors
    /// [`Error`] when it cannot be used; the request is then best served as if it were absent.
    pub fn decode(value: &[u8], now: Instant) -> Result<Self, Error> {
        let is_number = (1..=8).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
        if !is_number {
            return Err(Error::NotDigits);
        }
        let millis = value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        let timeout = Duration::from_millis(millis);
        if timeout > TIMEOUT_MAX { Err(Error::TooLong) } else { Ok(Self::after(now, timeout)) }
    }

    /// Reads a [`GRPC_TIMEOUT_HEADER`] that arrived at `now`: 1 to 8 digits and a unit of `H`, `M`, `S`, `m`, `u` and
    /// `n`. Above [`TIMEOUT_MAX`] it grants that.
    ///
    /// Source: "gRPC over HTTP2", `Timeout`.
    ///
    /// # Errors
    /// [`Error::NotGrpc`] where it is something else; the request is then best served as if it were absent.
    pub fn decode_grpc(value: &[u8], now: Instant) -> Result<Self, Error> {
        let Some((unit, digits)) = value.split_last() else { return Err(Error::NotGrpc) };
        if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
            return Err(Error::NotGrpc);
        }
        let number = digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        let timeout = match unit {
            b'H' => Duration::from_secs(number * 3600),
            b'M' => Duration::from_secs(number * 60),
            b'S' => Duration::from_secs(number),
            b'm' => Duration::from_millis(number),
            b'u' => Duration::from_micros(number),
            b'n' => Duration::from_nanos(number),
            _ => return Err(Error::NotGrpc),
        };
        Ok(Self::after(now, timeout.min(TIMEOUT_MAX)))
    }

    /// What both headers say of a request that arrived at `now`: where it has both, the earlier counts, and one that
    /// cannot be used counts as absent.
    pub fn told(ours: Option<&[u8]>, grpc: Option<&[u8]>, now: Instant) -> Option<Self> {
        let ours = ours.and_then(|value| Self::decode(value, now).ok());
        let grpc = grpc.and_then(|value| Self::decode_grpc(value, now).ok());
        ours.into_iter().chain(grpc).min()
    }

    /// What to write into [`GRPC_TIMEOUT_HEADER`]: the time left, rounded down, in the smallest unit that has room for it.
    pub fn encode_grpc(self, now: Instant) -> GrpcTimeout {
        const DIGITS_END: u128 = 100_000_000;
        let left = self.remaining(now).min(TIMEOUT_MAX);
        let units = [(left.as_nanos(), 'n'), (left.as_micros(), 'u'), (left.as_millis(), 'm')];
        let (number, unit) = units.into_iter().find(|(number, _)| *number < DIGITS_END).expect("24 h in ms fit");
        GrpcTimeout { number: u32::try_from(number).expect("it has eight digits"), unit }
    }

    /// Runs a future up to this deadline: `None` when it passes first. The future is then dropped.
    ///
    /// The timer is armed when the future is first found pending, so that what is ready at once costs no timer. A future
    /// that is ready when the deadline has passed counts.
    ///
    /// # Cancel safety
    /// As the future's.
    #[inline]
    pub async fn within<F: Future>(self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut timer = pin!(None);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => self.poll_timer(timer.as_mut(), cx).map(|()| None),
        })
        .await
    }

    /// As [`Deadline::within`], of a future that was polled in this turn already and found pending.
    #[inline]
    pub(crate) async fn within_pending<F: Future>(self, mut future: Pin<&mut F>) -> Option<F::Output> {
        let mut timer = pin!(time::sleep_until(self.0));
        let mut is_polled = true;
        poll_fn(|cx| {
            if !mem::take(&mut is_polled)
                && let Poll::Ready(output) = future.as_mut().poll(cx)
            {
                return Poll::Ready(Some(output));
            }
            timer.as_mut().poll(cx).map(|()| None)
        })
        .await
    }

    fn poll_timer(self, mut timer: Pin<&mut Option<Sleep>>, cx: &mut Context<'_>) -> Poll<()> {
        if timer.is_none() {
            timer.set(Some(time::sleep_until(self.0)));
        }
        timer.as_pin_mut().expect("it was just set").poll(cx)
    }
}

/// A [`GRPC_TIMEOUT_HEADER`] to be written: `250m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrpcTimeout {
    number: u32,
    unit: char,
}

impl fmt::Display for GrpcTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.number, self.unit)
    }
}

#[cfg(test)]
mod tests {
    use bowline_runtime::time;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_digits_up_to_a_day_are_read() {
        let now = time::now();
        for bad in
            ["", " 1", "1 ", "+1", "-1", "1.5", "1s", "0x1", "1_0", "\u{0661}", "123456789", "999999999999999999999"]
        {
            assert_eq!(Deadline::decode(bad.as_bytes(), now), Err(Error::NotDigits), "{bad:?}");
        }
        assert_eq!(Deadline::decode(b"86400001", now), Err(Error::TooLong));
        let day = Deadline::decode(b"86400000", now).unwrap();
        assert_eq!(day.remaining(now), TIMEOUT_MAX);
        assert_eq!(Deadline::decode(b"00250", now).unwrap().remaining(now), Duration::from_millis(250));
        assert!(Deadline::decode(b"0", now).unwrap().is_past(now));
    }

    #[test]
    fn timeouts_of_grpc_are_read_with_their_units() {
        let now = time::now();
        let read = |text: &str| Deadline::decode_grpc(text.as_bytes(), now).map(|deadline| deadline.remaining(now));
        let cases = [
            ("1H", Duration::from_hours(1)),
            ("2M", Duration::from_mins(2)),
            ("30S", Duration::from_secs(30)),
            ("250m", Duration::from_millis(250)),
            ("99999999u", Duration::from_micros(99_999_999)),
            ("0n", Duration::ZERO),
            ("99999999H", TIMEOUT_MAX),
        ];
        for (text, expect) in cases {
            assert_eq!(read(text), Ok(expect), "{text}");
        }
        for bad in ["", "S", "1", "1s", "123456789S", "-1S", "1.5S", "1 S", "\u{661}S"] {
            assert_eq!(read(bad), Err(Error::NotGrpc), "{bad:?}");
        }
    }

    #[test]
    fn what_is_written_is_rounded_down_and_bounded() {
        let now = time::now();
        assert_eq!(Deadline::after(now, Duration::from_micros(1999)).encode(now), 1);
        assert_eq!(Deadline::after(now, Duration::from_micros(999)).encode(now), 0);
        assert_eq!(Deadline::after(now, Duration::from_hours(25)).encode(now), 86_400_000);
        assert_eq!(Deadline::after(now, Duration::MAX).remaining(now), TIMEOUT_MAX);
        assert_eq!(Deadline::at(now).encode(now + Duration::from_secs(1)), 0);
    }

    #[test]
    fn the_earlier_one_counts() {
        let now = time::now();
        let (near, far) = (Deadline::after(now, Duration::from_secs(1)), Deadline::after(now, Duration::from_secs(2)));
        assert_eq!(near.earliest(far), near);
        assert_eq!(far.earliest(near), near);
        assert!(!near.is_past(now));
        assert!(near.is_past(now + Duration::from_secs(1)));
    }

    #[test]
    fn of_both_headers_the_earlier_counts() {
        let now = time::now();
        let left = |ours: Option<&str>, grpc: Option<&str>| {
            let told = Deadline::told(ours.map(str::as_bytes), grpc.map(str::as_bytes), now);
            told.map(|deadline| deadline.remaining(now).as_millis())
        };
        assert_eq!(left(Some("250"), Some("1S")), Some(250));
        assert_eq!(left(Some("2500"), Some("1S")), Some(1000));
        assert_eq!((left(Some("x"), Some("1S")), left(Some("250"), Some("1s"))), (Some(1000), Some(250)));
        assert_eq!((left(None, None), left(Some(""), Some("S"))), (None, None));
    }

    #[test]
    fn a_timeout_of_grpc_is_written_as_finely_as_it_fits() {
        let now = time::now();
        let written = |left: Duration| Deadline::after(now, left).encode_grpc(now).to_string();
        assert_eq!(written(Duration::from_nanos(99_999_999)), "99999999n");
        assert_eq!(written(Duration::from_millis(100)), "100000u");
        assert_eq!(written(Duration::from_secs(100)), "100000m");
        assert_eq!(written(Duration::MAX), "86400000m");
        assert_eq!(Deadline::at(now).encode_grpc(now + Duration::from_secs(1)).to_string(), "0n");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_ready_in_time_is_dropped() {
        let now = time::now();
        let deadline = Deadline::after(now, Duration::from_secs(1));
        assert_eq!(deadline.within(std::future::ready(1)).await, Some(1));
        let late = deadline.within(time::sleep(Duration::from_millis(1001))).await;
        assert_eq!((late, time::now() - now), (None, Duration::from_secs(1)));
        assert_eq!(deadline.within(std::future::ready(2)).await, Some(2), "what is ready counts");
    }

    proptest! {
        #[test]
        fn the_next_hop_of_grpc_never_has_more_time(nanos in 0u64..100_000_000_000_000) {
            let now = time::now();
            let ours = Deadline::after(now, Duration::from_nanos(nanos));
            let theirs = Deadline::decode_grpc(ours.encode_grpc(now).to_string().as_bytes(), now).unwrap();
            prop_assert!(theirs <= ours);
        }

        #[test]
        fn the_next_hop_never_has_more_time(micros in 0u64..200_000_000_000) {
            let now = time::now();
            let ours = Deadline::after(now, Duration::from_micros(micros));
            let theirs = Deadline::decode(ours.encode(now).to_string().as_bytes(), now).unwrap();
            prop_assert!(theirs <= ours);
            if micros < 86_400_000_000 {
                prop_assert!(ours.remaining(now) < theirs.remaining(now) + Duration::from_millis(1));
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            Deadline::decode(&bytes, time::now()).ok();
        }
    }
}
