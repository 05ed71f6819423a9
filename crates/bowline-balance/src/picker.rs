//! The strategies: which member gets the next attempt.
//!
//! All of them pick among the healthy members (the unhealthy where none is healthy, the draining
//! never) and ask the caller of each whether it is allowed, until one is. Each is asked at most
//! once in a pick; after the strategy's own choices the rest follow in an order that spreads the
//! load of a refused member over all others. Nothing is locked or allocated.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use bowline_model::policy::Balance;
use bowline_runtime::{metric::Padded, rand, time::Instant};

use crate::{
    load::Load,
    set::{Member, Snapshot},
};

/// Picks members by one strategy. Shared by all cores.
#[derive(Debug)]
pub struct Balancer {
    strategy: Balance,
    /// The turn of the strategies that go in turn.
    turn: Padded<AtomicU64>,
}

/// Up to so many members the fewest connections are looked for among all, above among as many at
/// random.
pub const LEAST_CONNECTIONS_SCAN_MAX: usize = 64;

/// How often a strategy that goes in turn draws, refusals included, before the rest follow evenly.
const DRAWS_MAX: usize = 8;

/// 2⁶⁴ divided by the golden ratio: steps of it fill the circle of the 64-bit numbers evenly.
const GOLDEN_STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl Balancer {
    /// A balancer of that strategy, which begins at a random turn: many processes that start
    /// together do not all send their first request to the same instance.
    pub fn new(strategy: Balance) -> Self {
        Self { strategy, turn: Padded(AtomicU64::new(rand::u64() >> 32)) }
    }

    /// Picks a member that `is_allowed` lets pass; each is asked at most once.
    ///
    /// `None` when nobody may be picked or all were refused. `is_allowed` may take what it grants
    /// (a breaker's permit): it is asked of nobody after it has granted.
    ///
    /// - Round robin: exactly in turn, over all threads. O(1).
    /// - Random: each with the same chance. O(1).
    /// - Weighted: in turn by weight. The turn moves over a circle by the golden ratio, on which
    ///   each member holds an arc as long as its weight: no member is ever more than a few picks off
    ///   its share, and the gaps between its picks are of at most three lengths. O(log n). Source:
    ///   N. B. Slater, "Gaps and steps for the sequence nθ mod 1", Math. Proc. Camb. 63, 1967.
    /// - Least connections: the one with the fewest requests in flight of all, or of
    ///   [`LEAST_CONNECTIONS_SCAN_MAX`] at random; equals at random. O(min(n, 64)).
    /// - P2C EWMA: of two at random the one that costs less, cost being the peak-sensitive average
    ///   latency × (requests in flight + 1). O(1). Sources: M. Mitzenmacher, "The Power of Two
    ///   Choices in Randomized Load Balancing", IEEE TPDS 12(10), 2001; Finagle's `PeakEwma`.
    ///
    /// O(n) when all are refused.
    #[inline]
    pub fn pick<'s, T>(
        &self,
        set: &'s Snapshot<T>,
        now: Instant,
        is_allowed: impl FnMut(&Member<T>) -> bool,
    ) -> Option<&'s Arc<Member<T>>> {
        let eligible = &set.eligible;
        let count = eligible.members.len();
        if count == 0 {
            return None;
        }
        let mut asking = Asking { members: &eligible.members, is_allowed };
        match self.strategy {
            Balance::RoundRobin => self.pick_in_turn(&mut asking),
            Balance::Random => pick_random(&mut asking),
            Balance::Weighted => self.pick_weighted(&eligible.weight_sums, &mut asking),
            Balance::LeastConnections => pick_least(&eligible.loads, &mut asking),
            Balance::P2cEwma | Balance::Maglev | Balance::Ring => pick_two(&eligible.loads, now, &mut asking),
        }
    }

    #[inline]
    fn next_turn(&self) -> u64 {
        self.turn.0.fetch_add(1, Relaxed)
    }

    /// That turn, and where it is refused the next: the others stay exactly in turn.
    fn pick_in_turn<'s, T, F: FnMut(&Member<T>) -> bool>(
        &self,
        asking: &mut Asking<'s, T, F>,
    ) -> Option<&'s Arc<Member<T>>> {
        let count = asking.members.len() as u64;
        asking.draw(|_| index(self.next_turn() % count))
    }

    /// That turn, and where it is refused one at random: the turns that follow belong to others.
    fn pick_weighted<'s, T, F: FnMut(&Member<T>) -> bool>(
        &self,
        weight_sums: &[u64],
        asking: &mut Asking<'s, T, F>,
    ) -> Option<&'s Arc<Member<T>>> {
        asking.draw(|is_first| {
            let point = if is_first { self.next_turn().wrapping_mul(GOLDEN_STEP) } else { rand::u64() };
            at_point(weight_sums, point)
        })
    }
}

/// The caller's say, and the members it is asked of.
struct Asking<'s, T, F> {
    members: &'s [Arc<Member<T>>],
    is_allowed: F,
}

impl<'s, T, F: FnMut(&Member<T>) -> bool> Asking<'s, T, F> {
    #[inline]
    fn ask(&mut self, at: usize) -> Option<&'s Arc<Member<T>>> {
        let member = &self.members[at];
        (self.is_allowed)(member).then_some(member)
    }

    /// The one drawn, where it is refused a few more draws, then all others in a random order.
    #[inline]
    fn draw(&mut self, mut draw: impl FnMut(bool) -> usize) -> Option<&'s Arc<Member<T>>> {
        let first = draw(true);
        self.ask(first).or_else(|| self.draw_others(first, || draw(false)))
    }

    #[cold]
    fn draw_others(&mut self, first: usize, mut draw: impl FnMut() -> usize) -> Option<&'s Arc<Member<T>>> {
        let mut asked = [first; DRAWS_MAX];
        for turn in 1..DRAWS_MAX {
            let at = draw();
            if asked.contains(&at) {
                continue;
            }
            if let Some(member) = self.ask(at) {
                return Some(member);
            }
            asked[turn] = at;
        }
        self.walk_others(first, &asked)
    }

    /// All but that one in a random order, but for those that were asked already.
    ///
    /// The order is that of a random stride without a common divisor with the count, which meets
    /// each exactly once and remembers nothing.
    #[cold]
    fn walk_others(&mut self, first: usize, asked: &[usize]) -> Option<&'s Arc<Member<T>>> {
        let mut walk = Walk::new(first, self.members.len());
        (1..self.members.len()).find_map(|_| {
            let at = walk.next();
            if asked.contains(&at) { None } else { self.ask(at) }
        })
    }
}

/// Steps over a circle that meet every place once before they meet one again.
struct Walk {
    at: usize,
    stride: usize,
    count: usize,
}

impl Walk {
    fn new(at: usize, count: usize) -> Self {
        let mut stride = 1 + rand::below(count.saturating_sub(1));
        while common_divisor(stride, count) != 1 {
            stride += 1;
        }
        Self { at, stride: stride % count.max(1), count }
    }

    fn next(&mut self) -> usize {
        self.at = (self.at + self.stride) % self.count;
        self.at
    }
}

/// The member whose arc holds the point, when the circle of 2⁶⁴ is shared out by weight.
#[inline]
fn at_point(weight_sums: &[u64], point: u64) -> usize {
    let total = weight_sums.last().copied().unwrap_or_default();
    let scaled = u64::try_from((u128::from(point) * u128::from(total)) >> 64).expect("below the total");
    weight_sums.partition_point(|sum| *sum <= scaled)
}

fn pick_random<'s, T, F: FnMut(&Member<T>) -> bool>(asking: &mut Asking<'s, T, F>) -> Option<&'s Arc<Member<T>>> {
    let first = rand::below(asking.members.len());
    asking.ask(first).or_else(|| asking.walk_others(first, &[]))
}

fn pick_two<'s, T, F: FnMut(&Member<T>) -> bool>(
    loads: &[Arc<Load>],
    now: Instant,
    asking: &mut Asking<'s, T, F>,
) -> Option<&'s Arc<Member<T>>> {
    let count = loads.len();
    if count == 1 {
        return asking.ask(0);
    }
    let first = rand::below(count);
    // One of the others, each with the same chance.
    let second = rand::below(count - 1);
    let second = if second >= first { second + 1 } else { second };
    let is_second_less = loads[second].cost(now) < loads[first].cost(now);
    let (better, worse) = if is_second_less { (second, first) } else { (first, second) };
    asking.ask(better).or_else(|| asking.ask(worse)).or_else(|| asking.walk_others(better, &[better, worse]))
}

fn pick_least<'s, T, F: FnMut(&Member<T>) -> bool>(
    loads: &[Arc<Load>],
    asking: &mut Asking<'s, T, F>,
) -> Option<&'s Arc<Member<T>>> {
    let count = loads.len();
    // In random order, so that the first of equals is any of them.
    let mut walk = Walk::new(rand::below(count), count);
    let mut found = [(u64::MAX, usize::MAX); LEAST_CONNECTIONS_SCAN_MAX];
    let found = &mut found[..count.min(LEAST_CONNECTIONS_SCAN_MAX)];
    for slot in found.iter_mut() {
        let at = walk.next();
        *slot = (loads[at].in_flight(), at);
    }
    let (_, least) = *found.iter().min_by_key(|(in_flight, _)| in_flight).expect("there is a member");
    if let Some(member) = asking.ask(least) {
        return Some(member);
    }
    found.sort_by_key(|(in_flight, _)| *in_flight);
    let next = found.iter().filter(|(_, at)| *at != least).find_map(|(_, at)| asking.ask(*at));
    next.or_else(|| (found.len()..count).find_map(|_| asking.ask(walk.next())))
}

fn common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

#[inline]
fn index(below_count: u64) -> usize {
    usize::try_from(below_count).expect("below a count of members")
}
