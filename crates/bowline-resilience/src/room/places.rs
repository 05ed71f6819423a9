//! How many are in, how many wait, and how many there may be: one word, so that nothing comes between.

use bowline_model::policy::CONCURRENCY_MAX;

/// The three numbers, each of 20 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Places {
    /// Handed out, and not given back. Above the limit only after it was lowered.
    pub(super) in_flight: u32,
    /// In line.
    pub(super) waiting: u32,
    pub(super) limit: u32,
}

const BITS: u32 = 20;
const MASK: u64 = (1 << BITS) - 1;
const _: () = assert!((CONCURRENCY_MAX as u64) < MASK);

/// What gives a place back when it is taken away from the word.
pub(super) const ONE_IN_FLIGHT: u64 = 1;

impl Places {
    /// With nobody in it.
    pub(super) fn empty(limit: u32) -> Self {
        Self { in_flight: 0, waiting: 0, limit: limit.clamp(1, CONCURRENCY_MAX) }
    }

    #[inline]
    pub(super) fn pack(self) -> u64 {
        u64::from(self.limit) << (2 * BITS) | u64::from(self.waiting) << BITS | u64::from(self.in_flight)
    }

    #[inline]
    pub(super) fn unpack(word: u64) -> Self {
        let part = |at: u32| (word >> (at * BITS) & MASK) as u32;
        Self { in_flight: part(0), waiting: part(1), limit: part(2) }
    }

    /// With one more in it: where a place is free, and nobody waits for it.
    #[inline]
    pub(super) fn taken(self) -> Option<Self> {
        let is_free = self.waiting == 0 && self.in_flight < self.limit;
        is_free.then_some(Self { in_flight: self.in_flight + 1, ..self })
    }

    /// With one more in line.
    pub(super) fn queued(self) -> Self {
        Self { waiting: self.waiting + 1, ..self }
    }

    /// With one fewer in line, who got a place.
    pub(super) fn granted(self) -> Self {
        Self { in_flight: self.in_flight + 1, ..self.unqueued() }
    }

    /// With one fewer in line, who got none.
    pub(super) fn unqueued(self) -> Self {
        Self { waiting: self.waiting.checked_sub(1).expect("who leaves the line was in it"), ..self }
    }

    /// With another limit.
    pub(super) fn limited(self, limit: u32) -> Self {
        Self { limit: limit.clamp(1, CONCURRENCY_MAX), ..self }
    }

    /// Whether one of those in line could have a place.
    pub(super) fn has_room(self) -> bool {
        self.waiting > 0 && self.in_flight < self.limit
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_word_is_what_was_put_into_it(in_flight in 0..=CONCURRENCY_MAX, waiting in 0..=CONCURRENCY_MAX, limit in 1..=CONCURRENCY_MAX) {
            let places = Places { in_flight, waiting, limit };
            prop_assert_eq!(Places::unpack(places.pack()), places);
            if in_flight > 0 {
                let left = Places { in_flight: in_flight - 1, ..places };
                prop_assert_eq!(Places::unpack(places.pack() - ONE_IN_FLIGHT), left);
            }
        }
    }
}
