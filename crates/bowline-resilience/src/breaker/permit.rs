//! The right to make one call, which is given back once, whatever becomes of it.

use std::{mem, ops::Deref, sync::Arc};

use bowline_runtime::time::Instant;

use super::{Breaker, Outcome};

/// The right to make one call.
///
/// Dropped without [`PermitOf::record`], the call counts as cancelled: it tells nothing about the
/// callee. A call that the caller gave up because it took too long is a failure to be recorded.
#[derive(Debug)]
#[must_use = "a permit that is dropped counts as a cancelled call"]
pub struct PermitOf<B: Deref<Target = Breaker>> {
    breaker: B,
    ticket: Ticket,
}

/// The right to make one call, of a breaker that is borrowed.
pub type Permit<'a> = PermitOf<&'a Breaker>;

/// A [`Permit`] that owns its breaker, for what outlives a borrow.
pub type OwnedPermit = PermitOf<Arc<Breaker>>;

/// What a permit remembers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    pub(super) epoch: u64,
    /// Holds a probe's place, which must be given back.
    pub(super) is_probe: bool,
    pub(super) started: Instant,
}

impl<B: Deref<Target = Breaker>> PermitOf<B> {
    #[inline]
    pub(super) fn new(breaker: B, ticket: Ticket) -> Self {
        Self { breaker, ticket }
    }

    /// Whether it is one of the few of a half-open breaker.
    pub fn is_probe(&self) -> bool {
        self.ticket.is_probe
    }

    /// Gives the permit back with the call's outcome, and its duration up to `now`.
    #[inline]
    pub fn record(mut self, outcome: Outcome, now: Instant) {
        // Taken first: a listener that panics must not have the place given back twice.
        let ticket = self.ticket;
        self.ticket.is_probe = false;
        self.breaker.settle(&ticket, outcome, now);
    }
}

impl<B: Deref<Target = Breaker>> Drop for PermitOf<B> {
    #[inline]
    fn drop(&mut self) {
        if mem::take(&mut self.ticket.is_probe) {
            self.breaker.cancel(&self.ticket);
        }
    }
}
