//! Breakers as people see them, and what they order of them.

use bowline_balance::Snapshot;
use bowline_model::{
    InstanceId,
    mesh::{
        BREAKERS_TOLD_MAX, BreakerCommand, BreakerOrder, BreakerStatus, BreakerTransition, CallBreakers,
        TRANSITIONS_TOLD_MAX,
    },
};
use bowline_resilience::breaker::{Figures, Forced, State, Transition};
use bowline_runtime::time::{self, Duration, Instant};

use crate::{
    guard::{Guard, Shared},
    member::Member,
    upstream::Upstream,
};

impl Upstream {
    /// The breaker of each instance, or that of the route or of each key, of those whose calls have one, and what was ordered of them.
    pub fn breakers(&self) -> CallBreakers {
        let now = time::now();
        let (steering, members, shared, is_guarded) = self.guarded();
        let of_shared = shared.as_ref().map_or_else(Vec::new, |shared| shared.guards());
        let of_members = members.members().iter().filter_map(|entry| entry.state.breaker.as_ref());
        let guards: Vec<&Guard> = of_members.chain(of_shared.iter().map(|guard| &**guard)).collect();
        let told = guards.iter().take(BREAKERS_TOLD_MAX).map(|guard| status(guard, now)).collect();
        CallBreakers {
            callee: self.service().clone(),
            route: None,
            is_guarded,
            orders: steering.breakers,
            breakers: told,
            left_out: guards.len().saturating_sub(BREAKERS_TOLD_MAX) as u64,
        }
    }
}

/// In which state the breaker of an instance is held: by the narrowest order that is about it and is not over.
pub(crate) fn held(orders: &[BreakerOrder], instance: &InstanceId) -> Option<Forced> {
    if orders.is_empty() {
        return None;
    }
    let now = time::unix_millis_now();
    let about = orders.iter().filter(|order| order.is_of(instance) && !order.has_ended(now));
    let holding = about.filter_map(|order| Some((order.narrowness(), forced(order.order)?)));
    holding.max_by_key(|(narrowness, _)| *narrowness).map(|(_, forced)| forced)
}

/// Acts by orders, of which those before were acted by: a reset is done once.
///
/// An order for all of a call is for the breaker of its route or keys, too, where it has one.
pub(crate) fn obey(
    before: &[BreakerOrder],
    orders: &[BreakerOrder],
    members: &Snapshot<Member>,
    shared: Option<&Shared>,
) {
    if before == orders {
        return;
    }
    let (now, unix_now) = (time::now(), time::unix_millis_now());
    let is_new = |order: &&BreakerOrder| !before.contains(order) && !order.has_ended(unix_now);
    let resets: Vec<_> = orders.iter().filter(|order| order.order == BreakerCommand::Reset).filter(is_new).collect();
    let obey = |guard: &Guard| {
        let held = held(orders, &guard.name);
        // Who was held until now has begun anew already.
        if !guard.hold(held, now) && held.is_none() && resets.iter().any(|order| order.is_of(&guard.name)) {
            guard.reset(now);
        }
    };
    members.members().iter().filter_map(|member| member.state.breaker.as_ref()).for_each(obey);
    if let Some(shared) = shared {
        // First those that come from now on, so that none is overlooked.
        shared.expect(orders);
        shared.guards().iter().for_each(|guard| obey(guard));
    }
}

fn forced(order: BreakerCommand) -> Option<Forced> {
    match order {
        BreakerCommand::Open => Some(Forced::Open),
        BreakerCommand::Closed => Some(Forced::Closed),
        BreakerCommand::Disabled => Some(Forced::Disabled),
        BreakerCommand::Reset => None,
    }
}

fn status(guard: &Guard, now: Instant) -> BreakerStatus {
    let breaker = &guard.breaker;
    let Figures { calls, failures, slow } = breaker.figures(now);
    let state = breaker.state(now);
    let transitions = breaker.transitions();
    BreakerStatus {
        instance: guard.name.clone(),
        state: state.as_str().to_owned(),
        calls,
        failures,
        slow,
        failure_rate: rate(failures, calls),
        slow_rate: rate(slow, calls),
        retry_after_ms: (state == State::Open).then(|| breaker.retry_after(now).map(millis)).flatten(),
        transitions: transitions.iter().rev().take(TRANSITIONS_TOLD_MAX).map(|it| transition(it, now)).collect(),
    }
}

fn transition(transition: &Transition, now: Instant) -> BreakerTransition {
    let Transition { at, from, to, why, figures: Figures { calls, failures, slow } } = *transition;
    BreakerTransition {
        age_ms: millis(now.saturating_duration_since(at)),
        from: from.as_str().to_owned(),
        to: to.as_str().to_owned(),
        why: why.as_str().to_owned(),
        calls,
        failures,
        slow,
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people, and the window holds far fewer calls")]
fn rate(part: u64, calls: u64) -> Option<f64> {
    (calls > 0).then(|| part as f64 / calls as f64)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
