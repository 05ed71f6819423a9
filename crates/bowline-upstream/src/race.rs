//! Hedging: a call that is not answered yet is sent once more, to another instance.
//!
//! The first answer that is worth keeping counts; the others are given up, which tells their instances' breakers
//! nothing, and their load that they take at least so long. Each further attempt is paid by a budget of its own, so
//! that a callee that is slow as a whole is not asked twice for everything. Who wins is decided by the table of
//! [`bowline_resilience::hedge`].
//!
//! Sources: J. Dean, L. A. Barroso, "The Tail at Scale", CACM 56(2), 2013; gRPC's proposal A6, "hedging policy".

use std::sync::Arc;

use bowline_balance::Member as Entry;
use bowline_resilience::hedge::{Event, Step};
use bowline_runtime::time::{self, Instant};
use bowline_transport::{Body, Pool};
use futures_util::{Stream, StreamExt as _, stream::FuturesUnordered};
use http::request::Parts;

use crate::{
    attempt::{Attempt, Made},
    call::Call,
    member::Member,
    metrics::Outcome,
    pick::{Picked, Tried, Wish},
};

/// No further attempt is sent of this call.
const REFUSED: Event = Event::Due { is_granted: false };

/// An attempt that is under way.
struct Runner {
    number: u32,
    member: Arc<Entry<Member>>,
    started: Instant,
}

impl Call<'_> {
    /// Makes an attempt, and further ones beside it each time that none was answered for as long as the policy says:
    /// gives the first that is worth keeping, else the last.
    ///
    /// # Cancel safety
    /// Dropping the future gives up all of them.
    pub(crate) async fn race<P: Pool>(&mut self, pool: &P, first: Picked, now: Instant) -> Made<P> {
        let hedge = self.plan.hedge.clone().expect("only a hedged call races");
        let (upstream, plan) = (self.upstream, self.plan.clone());
        let run = async |number: u32, picked, started, mut head: Parts, mut body: Body| {
            let attempt = Attempt { upstream, plan: &plan, picked, started };
            (number, attempt.make(pool, &mut head, &mut body).await)
        };
        let mut race = hedge.begin(now);
        let mut racing = FuturesUnordered::new();
        let mut runners = Vec::new();
        let (mut next, mut due_at) = (Some((first, now)), now.checked_add(hedge.after()));
        loop {
            if let Some((picked, started)) = next.take() {
                self.attempt += 1;
                runners.push(Runner { number: self.attempt, member: Arc::clone(&picked.member), started });
                let body = self.body.as_replayable().expect("only a body that can be sent again races");
                racing.push(run(self.attempt, picked, started, self.head.clone(), body));
            }
            let until = due_at.filter(|_| race.is_open());
            let back = first_back(&mut racing, until).await;
            let now = time::now();
            let Some((number, made)) = back else {
                let picked = self.pick_another(&runners, now);
                // Where there is nobody else to ask there is nothing to pay for.
                let (after, step) = if picked.is_some() { hedge.due(race, now) } else { race.step(REFUSED) };
                race = after;
                self.upstream.metrics.count_hedge(step == Step::Send);
                next = picked.filter(|_| step == Step::Send).map(|picked| (picked, now));
                due_at = now.checked_add(hedge.after());
                continue;
            };
            runners.retain(|runner| runner.number != number);
            self.note(number, &made);
            let is_bad = made.outcome == Outcome::ServerError || self.is_worth_another(&made);
            let event = if is_bad { Event::Bad } else { Event::Good };
            let (after, step) = race.step(event);
            if matches!(step, Step::Won | Step::Lost) {
                self.supersede(&runners, now);
                return made;
            }
            race = after;
            let is_unreachable = made.outcome == Outcome::Connect;
            self.tried.push(Tried { member: made.member, is_unreachable });
        }
    }

    /// An instance that nobody is at, where there is one.
    fn pick_another(&self, runners: &[Runner], now: Instant) -> Option<Picked> {
        let at = |runner: &Runner| Tried { member: Arc::clone(&runner.member), is_unreachable: false };
        let tried: Vec<Tried> = self.tried.iter().cloned().chain(runners.iter().map(at)).collect();
        self.upstream.pick(now, &Wish { tried: &tried, is_another: true, ..self.wish() }).ok()
    }

    /// Notes those that are given up.
    fn supersede(&mut self, runners: &[Runner], now: Instant) {
        for Runner { number, member, started } in runners {
            member.state.attempts.count(Outcome::Superseded);
            self.note_outcome(*number, member, Outcome::Superseded, now.saturating_duration_since(*started));
        }
    }
}

/// The next that comes back, until then; `None` where none has come.
async fn first_back<S: Stream + Unpin>(racing: &mut S, until: Option<Instant>) -> Option<S::Item> {
    match until {
        Some(until) => time::timeout_at(until, racing.next()).await.ok().flatten(),
        None => racing.next().await,
    }
}
