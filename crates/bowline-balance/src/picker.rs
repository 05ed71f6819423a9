//! The strategies: which member gets the next attempt.
//!
//! All of them pick among the healthy members (where too few are well, among all but the draining) and ask the caller
//! of each whether it is allowed, until one is. Each is asked at most once in a pick; after the strategy's own choices
//! the rest follow in an order that spreads the load of a refused member over all others. Nothing is locked, and
//! nothing allocated but once after somebody was ejected or came back.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use bowline_model::policy::{Balance, BalancePolicy, Share};
use bowline_runtime::{metric::Padded, rand, time::Instant};

use crate::{
    asking::{Asking, Care, DRAWS_MAX, NOBODY, Walk, Warming},
    hash::nth,
    parts::Part,
    route::Leg,
    set::{Member, Snapshot, nanos_of},
    table::{Kind, Maglev, Ring, Table},
};

/// Picks members by one strategy. Shared by all cores.
#[derive(Debug)]
pub struct Balancer {
    strategy: Balance,
    headroom: Option<Share>,
    /// The turn of the strategies that go in turn.
    turn: Padded<AtomicU64>,
}

/// Up to so many members the fewest connections are looked for among all, above among as many at
/// random.
pub const LEAST_CONNECTIONS_SCAN_MAX: usize = 64;

/// How many points of a ring a pick looks at before the rest follow in another order.
const POINTS_MAX: usize = 256;

/// 2⁶⁴ divided by the golden ratio: steps of it fill the circle of the 64-bit numbers evenly.
const GOLDEN_STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// A number for the draw of a part by a key.
const PART: u64 = 3 << 32;

impl Balancer {
    /// A balancer by that policy, which begins at a random turn: many processes that start
    /// together do not all send their first request to the same instance.
    pub fn new(policy: &BalancePolicy) -> Self {
        let turn = Padded(AtomicU64::new(rand::u64() >> 32));
        Self { strategy: policy.by, headroom: policy.headroom, turn }
    }

    /// Picks a member that `is_allowed` lets pass; each is asked at most once.
    ///
    /// `None` when nobody may be picked or all were refused. `is_allowed` may take what it grants
    /// (a breaker's permit): it is asked of nobody after it has granted. The `key` is the [`hash`](crate::hash()) of
    /// what the policy names of the request; the strategies that hash pick at random without.
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
    /// - Maglev: the one to which the key's place in the table belongs; where it is refused, a second, third … hash of
    ///   the key says whose turn it is. O(1). Source: D. Eisenbud et al., "Maglev", NSDI 2016.
    /// - Ring: the one to which the key's next point belongs; where it is refused, the point after. With headroom, an
    ///   instance that has more in flight than (1 + headroom) × its part of all in flight is passed over. O(1). Source:
    ///   V. Mirrokni, M. Thorup, M. Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016.
    ///
    /// The set is to be shaped by the same policy. O(n) when all are refused, and once after somebody was ejected.
    #[inline]
    pub fn pick<'s, T>(
        &self,
        set: &'s Snapshot<T>,
        now: Instant,
        key: Option<u64>,
        mut is_allowed: impl FnMut(&Member<T>) -> bool,
    ) -> Option<&'s Arc<Member<T>>> {
        let is_plain = set.shared.hot.0.room.out() == 0 && !set.shared.is_warming(now);
        match &*set.legs {
            [leg, others @ ..] if is_plain && leg.takes_all() => {
                let mut pick = |leg: &Leg| self.pick_leg(set, *leg, now, key, Care::default(), &mut is_allowed);
                pick(leg).or_else(|| others.iter().find_map(pick))
            }
            _ => self.pick_with_care(set, now, key, &mut is_allowed),
        }
    }

    #[cold]
    fn pick_with_care<'s, T, F: FnMut(&Member<T>) -> bool>(
        &self,
        set: &'s Snapshot<T>,
        now: Instant,
        key: Option<u64>,
        is_allowed: &mut F,
    ) -> Option<&'s Arc<Member<T>>> {
        let nanos = set.shared.nanos(now);
        let swayed = (set.shared.hot.0.room.out() > 0).then(|| set.swayed(nanos));
        let legs = swayed.as_ref().and_then(|swayed| swayed.as_ref()).map_or(&set.legs, |swayed| &swayed.legs);
        let slow_start = set.shape.slow_start.filter(|_| set.shared.is_warming(now));
        let warming = slow_start.map(|time| Warming { now: nanos, slow_start: nanos_of(time) });
        let care = Care { ejected_at: swayed.as_ref().map(|_| nanos), only_healthy: false, warming };
        let draw = key.map_or_else(rand::u64, |key| nth(key, PART)) >> 32;
        let first = legs.iter().position(|leg| draw < leg.below)?;
        // Where all of it refuse, the others are asked in their order.
        let others = (0..legs.len()).filter(|at| *at != first);
        let mut places = std::iter::once(first).chain(others);
        places.find_map(|at| self.pick_leg(set, legs[at], now, key, care, is_allowed))
    }

    #[inline]
    fn pick_leg<'s, T, F: FnMut(&Member<T>) -> bool>(
        &self,
        set: &'s Snapshot<T>,
        leg: Leg,
        now: Instant,
        key: Option<u64>,
        mut care: Care,
        is_allowed: &mut F,
    ) -> Option<&'s Arc<Member<T>>> {
        let part = &set.parts[leg.part];
        let table = part.table.as_deref().zip(key);
        // A table is over all that are not draining, so that nothing moves for one that is ill for a while.
        let lot = part.lot(leg.panics || table.is_some());
        care.only_healthy = table.is_some() && part.has_ill() && !leg.panics;
        if leg.panics {
            care.ejected_at = None;
        }
        if lot.slots.is_empty() {
            return None;
        }
        let key = key.filter(|_| table.is_some());
        let mut asking = Asking { chunks: &set.chunks, slots: &lot.slots, care, key, is_allowed };
        match (self.strategy, table) {
            (_, Some((table, key))) => self.pick_by_key(part, table, key, &mut asking),
            (Balance::RoundRobin, _) => self.pick_in_turn(&mut asking),
            (Balance::Weighted, _) if !lot.weight_sums.is_empty() => self.pick_weighted(&lot.weight_sums, &mut asking),
            (Balance::LeastConnections, _) => pick_least(&mut asking),
            (Balance::P2cEwma, _) => pick_two(set.shared.nanos(now), &mut asking),
            (Balance::Random | Balance::Weighted | Balance::Maglev | Balance::Ring, _) => pick_random(&mut asking),
        }
    }

    #[inline]
    fn next_turn(&self) -> u64 {
        self.turn.0.fetch_add(1, Relaxed)
    }

    /// That turn, and where it is refused the next: the others stay exactly in turn.
    #[inline]
    fn pick_in_turn<'s, T, F: FnMut(&Member<T>) -> bool>(
        &self,
        asking: &mut Asking<'s, '_, T, F>,
    ) -> Option<&'s Arc<Member<T>>> {
        let count = asking.len() as u64;
        asking.draw(|_| index(self.next_turn() % count))
    }

    /// That turn, and where it is refused one at random: the turns that follow belong to others.
    fn pick_weighted<'s, T, F: FnMut(&Member<T>) -> bool>(
        &self,
        weight_sums: &[u64],
        asking: &mut Asking<'s, '_, T, F>,
    ) -> Option<&'s Arc<Member<T>>> {
        asking.draw(|step| {
            let point = if step == 0 { self.next_turn().wrapping_mul(GOLDEN_STEP) } else { rand::u64() };
            at_point(weight_sums, point)
        })
    }

    #[inline]
    fn pick_by_key<'s, T, F: FnMut(&Member<T>) -> bool>(
        &self,
        part: &Part,
        table: &Table,
        key: u64,
        asking: &mut Asking<'s, '_, T, F>,
    ) -> Option<&'s Arc<Member<T>>> {
        match table.kind() {
            Kind::Maglev(maglev) => pick_maglev(maglev, key, asking),
            Kind::Ring(ring) => {
                let bound =
                    self.headroom.filter(|_| part.is_counted()).map(|headroom| Bound::of(headroom, part, table));
                pick_ring(ring, key, bound.as_ref(), asking)
            }
        }
    }
}

/// How much an instance of a ring may have in flight.
struct Bound<'s> {
    table: &'s Table,
    /// The bound of a weight of `divisor`.
    load: u128,
    divisor: u128,
}

impl<'s> Bound<'s> {
    /// Counting in the request that is to come.
    fn of(headroom: Share, part: &Part, table: &'s Table) -> Self {
        let whole = u128::from(Share::ALL.millionths());
        let load = (whole + u128::from(headroom.millionths())) * (u128::from(part.in_flight()) + 1);
        Self { table, load, divisor: whole * u128::from(table.weight_sum()) }
    }

    /// Whether that one has less in flight than (1 + headroom) × its part of all, rounded up.
    fn has_room(&self, at: usize, in_flight: u64) -> bool {
        let bound = (self.load * u128::from(self.table.weight(at))).div_ceil(self.divisor);
        u128::from(in_flight) < bound
    }
}

/// The member whose arc holds the point, when the circle of 2⁶⁴ is shared out by weight.
#[inline]
fn at_point(weight_sums: &[u64], point: u64) -> usize {
    let total = weight_sums.last().copied().unwrap_or_default();
    let scaled = u64::try_from((u128::from(point) * u128::from(total)) >> 64).expect("below the total");
    weight_sums.partition_point(|sum| *sum <= scaled)
}

#[inline]
fn pick_random<'s, T, F: FnMut(&Member<T>) -> bool>(asking: &mut Asking<'s, '_, T, F>) -> Option<&'s Arc<Member<T>>> {
    let count = asking.len();
    asking.draw(|_| rand::below(count))
}

#[inline]
fn pick_maglev<'s, T, F: FnMut(&Member<T>) -> bool>(
    maglev: &Maglev,
    key: u64,
    asking: &mut Asking<'s, '_, T, F>,
) -> Option<&'s Arc<Member<T>>> {
    asking.draw(|step| maglev.find(key, step))
}

fn pick_ring<'s, T, F: FnMut(&Member<T>) -> bool>(
    ring: &Ring,
    key: u64,
    bound: Option<&Bound<'_>>,
    asking: &mut Asking<'s, '_, T, F>,
) -> Option<&'s Arc<Member<T>>> {
    let (chunks, slots) = (asking.chunks, asking.slots);
    let has_room = |at: usize| bound.is_none_or(|bound| bound.has_room(at, chunks.load(slots[at]).in_flight()));
    let (mut asked, mut count) = ([NOBODY; DRAWS_MAX], 0);
    let mut point = ring.find(key);
    for _ in 0..ring.len().min(POINTS_MAX) {
        let at = ring.owner(point);
        point = ring.next(point);
        if asked.contains(&at) || !has_room(at) || asking.is_passed_over(at) {
            continue;
        }
        if let Some(member) = asking.ask(at) {
            return Some(member);
        }
        asked[count] = at;
        count += 1;
        if count == asked.len() {
            break;
        }
    }
    // Better one that has more than its part than none.
    asking.walk(&asked, has_room).or_else(|| asking.walk(&asked, |at| !has_room(at)))
}

#[inline]
fn pick_two<'s, T, F: FnMut(&Member<T>) -> bool>(
    now: u64,
    asking: &mut Asking<'s, '_, T, F>,
) -> Option<&'s Arc<Member<T>>> {
    let count = asking.len();
    if count == 1 {
        return asking.ask(0);
    }
    let first = rand::below(count);
    // One of the others, each with the same chance.
    let second = rand::below(count - 1);
    let second = if second >= first { second + 1 } else { second };
    let cost = |at| match asking.care.warming {
        None => asking.load(at).cost(now),
        // Of two that cost nothing yet, the one that is not new is the better.
        Some(_) => (asking.load(at).cost(now) + 1.0) / asking.warmth(at),
    };
    let is_second_less = cost(second) < cost(first);
    let (better, worse) = if is_second_less { (second, first) } else { (first, second) };
    asking.ask(better).or_else(|| asking.ask(worse)).or_else(|| asking.walk(&[better, worse], |_| true))
}

fn pick_least<'s, T, F: FnMut(&Member<T>) -> bool>(asking: &mut Asking<'s, '_, T, F>) -> Option<&'s Arc<Member<T>>> {
    let count = asking.len();
    // In random order, so that the first of equals is any of them.
    let mut walk = Walk::new(count, rand::u64());
    let mut found = [(u64::MAX, NOBODY); LEAST_CONNECTIONS_SCAN_MAX];
    let found = &mut found[..count.min(LEAST_CONNECTIONS_SCAN_MAX)];
    for slot in found.iter_mut() {
        let at = walk.next();
        *slot = (crowding(asking, at), at);
    }
    let (_, least) = *found.iter().min_by_key(|(crowding, _)| crowding).expect("there is a member");
    if let Some(member) = asking.ask(least) {
        return Some(member);
    }
    found.sort_by_key(|(crowding, _)| *crowding);
    let next = found.iter().filter(|(_, at)| *at != least).find_map(|(_, at)| asking.ask(*at));
    next.or_else(|| (found.len()..count).find_map(|_| asking.ask(walk.next())))
}

/// Requests in flight; of who is in its slow start as many as it would be with its full share, one more counted in.
fn crowding<T, F: FnMut(&Member<T>) -> bool>(asking: &Asking<'_, '_, T, F>, at: usize) -> u64 {
    let in_flight = asking.load(at).in_flight();
    if asking.care.warming.is_none() {
        return in_flight;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "compared"
    )]
    let crowding = ((in_flight + 1) as f32 * 1000.0 / asking.warmth(at)) as u64;
    crowding
}

#[inline]
fn index(below_count: u64) -> usize {
    usize::try_from(below_count).expect("below a count of members")
}
