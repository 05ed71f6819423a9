//! Who is asked next: the search for an instance whose breaker grants.

use std::{sync::Arc, time::Duration};

use bowline_balance::{Balancer, Member as Entry, Snapshot};
use bowline_resilience::breaker::OwnedPermit;
use bowline_runtime::time::Instant;

use crate::{guard::Guard, member::Member};

/// An instance that may be asked now.
#[derive(Debug)]
pub(crate) struct Picked {
    pub(crate) member: Arc<Entry<Member>>,
    pub(crate) permit: Option<OwnedPermit>,
}

/// Whom a call asks next.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wish<'a> {
    /// Those that were asked before.
    pub(crate) tried: &'a [Tried],
    /// The hash of the request's key, where it has one.
    pub(crate) key: Option<u64>,
    /// The breaker that has to grant, where instances have none of their own.
    pub(crate) guard: Option<&'a Guard>,
    /// Whether it has to be one that was not tried.
    pub(crate) is_another: bool,
}

/// An instance that failed in this call.
#[derive(Debug, Clone)]
pub(crate) struct Tried {
    pub(crate) member: Arc<Entry<Member>>,
    /// Whether no connection could be made.
    pub(crate) is_unreachable: bool,
}

/// One search, which may look at several sets of instances.
#[derive(Debug)]
pub(crate) struct Search<'a> {
    pub(crate) now: Instant,
    pub(crate) tried: &'a [Tried],
    key: Option<u64>,
    is_another: bool,
    /// When the first of the breakers that rejected may grant.
    pub(crate) retry_after: Option<Duration>,
}

impl<'a> Search<'a> {
    pub(crate) fn new(now: Instant, wish: &Wish<'a>) -> Self {
        let Wish { tried, key, guard: _, is_another } = *wish;
        Self { now, tried, key, is_another, retry_after: None }
    }

    /// Looks for one that was not tried, else one that was reached, else any. `pick` is told which
    /// of the tried to leave out.
    #[inline]
    pub(crate) fn run(
        &mut self,
        mut pick: impl FnMut(&mut Self, fn(&Tried) -> bool) -> Option<Picked>,
    ) -> Option<Picked> {
        let picked = pick(self, |_| true);
        if picked.is_some() || self.tried.is_empty() || self.is_another {
            return picked;
        }
        pick(self, |tried| tried.is_unreachable).or_else(|| pick(self, |_| false))
    }

    /// One of a set whose breaker grants, but for the tried that are excluded.
    #[inline]
    pub(crate) fn pick(
        &mut self,
        balancer: &Balancer,
        set: &Snapshot<Member>,
        is_excluded: fn(&Tried) -> bool,
    ) -> Option<Picked> {
        let mut permit = None;
        let member = balancer.pick(set, self.now, self.key, |entry| {
            // The member itself may be another since: an update of its health or weight makes one.
            let is = |tried: &Tried| Arc::ptr_eq(&tried.member.state, &entry.state);
            if self.tried.iter().any(|tried| is(tried) && is_excluded(tried)) {
                return false;
            }
            let Some(guard) = &entry.state.breaker else { return true };
            match guard.breaker.acquire_owned(self.now) {
                Ok(granted) => permit = Some(granted),
                Err(rejected) => {
                    let other = self.retry_after.unwrap_or(rejected.retry_after);
                    self.retry_after = Some(rejected.retry_after.min(other));
                    return false;
                }
            }
            true
        });
        member.map(|member| Picked { member: Arc::clone(member), permit })
    }
}
