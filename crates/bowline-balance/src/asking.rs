//! The question to the caller, and to what is known of the members: may this one be picked?

use std::sync::Arc;

use bowline_runtime::rand;

use crate::{
    chunks::{Chunks, Slot},
    hash::{nth, reduce},
    load::Load,
    set::Member,
};

/// How often a strategy draws, refusals included, before the rest follow evenly.
pub(crate) const DRAWS_MAX: usize = 8;

/// Nobody's place.
pub(crate) const NOBODY: usize = usize::MAX;

/// Numbers for what is drawn by a key beside its place in a table.
const STRIDE: u64 = 1 << 32;
const LUCK: u64 = 2 << 32;

/// The list that is picked from, and who may be.
pub(crate) struct Asking<'s, 'f, T, F> {
    pub(crate) chunks: &'s Chunks<T>,
    pub(crate) slots: &'s [Slot],
    pub(crate) care: Care,
    pub(crate) key: Option<u64>,
    pub(crate) is_allowed: &'f mut F,
}

/// What is to be looked at beside the caller's say. Mostly there is nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Care {
    /// Leave out who is ejected at that time, in nanoseconds.
    pub(crate) ejected_at: Option<u64>,
    /// Leave out who is not healthy.
    pub(crate) only_healthy: bool,
    /// Some are in their slow start.
    pub(crate) warming: Option<Warming>,
}

/// Now and the length of a slow start, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Warming {
    pub(crate) now: u64,
    pub(crate) slow_start: u64,
}

impl<'s, T, F: FnMut(&Member<T>) -> bool> Asking<'s, '_, T, F> {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    #[inline]
    pub(crate) fn load(&self, at: usize) -> &'s Load {
        self.chunks.load(self.slots[at])
    }

    /// That one, if it may be.
    #[inline]
    pub(crate) fn ask(&mut self, at: usize) -> Option<&'s Arc<Member<T>>> {
        let slot = self.slots[at];
        if (self.care.ejected_at.is_some() || self.care.only_healthy) && self.is_out(slot) {
            return None;
        }
        let member = self.chunks.member(slot);
        (self.is_allowed)(member).then_some(member)
    }

    #[cold]
    fn is_out(&self, slot: Slot) -> bool {
        let is_ejected = |now| self.chunks.load(slot).record().is_ejected(now);
        let is_ill = || self.chunks.fact(slot).health != bowline_model::Health::Healthy;
        self.care.ejected_at.is_some_and(is_ejected) || self.care.only_healthy && is_ill()
    }

    /// Whether one that is in its slow start is passed over this time. A key is passed over the same until it is not.
    #[inline]
    pub(crate) fn is_passed_over(&self, at: usize) -> bool {
        self.care.warming.is_some() && self.luck() >= self.warmth(at)
    }

    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a chance")]
    fn luck(&self) -> f32 {
        match self.key {
            Some(key) => (nth(key, LUCK) >> 40) as f32 / (1_u64 << 24) as f32,
            None => rand::unit() as f32,
        }
    }

    /// What share of its due it gets.
    #[inline]
    pub(crate) fn warmth(&self, at: usize) -> f32 {
        self.care.warming.map_or(1.0, |warming| self.load(at).warmth(warming.now, warming.slow_start))
    }

    /// The one drawn, where it is refused a few more draws, then all others in a scattered order.
    #[inline]
    pub(crate) fn draw(&mut self, mut draw: impl FnMut(u64) -> usize) -> Option<&'s Arc<Member<T>>> {
        let first = draw(0);
        if self.is_passed_over(first) {
            return self.draw_others(NOBODY, draw);
        }
        self.ask(first).or_else(|| self.draw_others(first, draw))
    }

    #[cold]
    fn draw_others(&mut self, first: usize, mut draw: impl FnMut(u64) -> usize) -> Option<&'s Arc<Member<T>>> {
        let mut asked = [first; DRAWS_MAX];
        for step in 1..DRAWS_MAX {
            let at = draw(step as u64);
            if asked.contains(&at) || self.is_passed_over(at) {
                continue;
            }
            if let Some(member) = self.ask(at) {
                return Some(member);
            }
            asked[step] = at;
        }
        self.walk(&asked, |_| true)
    }

    /// All that `is_meant` in a scattered order, but for those that were asked already.
    ///
    /// The order is that of a random stride without a common divisor with the count, which meets
    /// each exactly once and remembers nothing. A key always has the same.
    #[cold]
    pub(crate) fn walk(&mut self, asked: &[usize], is_meant: impl Fn(usize) -> bool) -> Option<&'s Arc<Member<T>>> {
        let mut walk = Walk::new(self.len(), self.key.map_or_else(rand::u64, |key| nth(key, STRIDE)));
        (0..self.len()).find_map(|_| {
            let at = walk.next();
            if asked.contains(&at) || !is_meant(at) { None } else { self.ask(at) }
        })
    }
}

/// Steps over a circle that meet every place once before they meet one again.
pub(crate) struct Walk {
    at: usize,
    stride: usize,
    count: usize,
}

impl Walk {
    /// The walk of that number over so many places, at least one.
    pub(crate) fn new(count: usize, number: u64) -> Self {
        let mut stride = 1 + reduce(nth(number, 0), count.saturating_sub(1));
        while common_divisor(stride, count) != 1 {
            stride += 1;
        }
        Self { at: reduce(nth(number, 1), count), stride: stride % count.max(1), count }
    }

    pub(crate) fn next(&mut self) -> usize {
        self.at = (self.at + self.stride) % self.count;
        self.at
    }
}

fn common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { common_divisor(b, a % b) }
}
