//! Pairs spans with their parents, in whatever order they come: pure, bounded, each span once.
//!
//! A span waits up to [`SETTLE`] for its parent and for its first child, then what is known of it
//! counts. It is remembered for [`REMEMBER`], so that a span that is reported twice counts once.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bowline_runtime::time::Instant;
use bowline_telemetry::{SpanId, SpanKind, TraceId};

use super::{fact::Fact, figures::Mode};

/// How long a span waits for those around it.
pub(super) const SETTLE: Duration = Duration::from_secs(10);
/// How long it is known that a span was seen.
pub(super) const REMEMBER: Duration = Duration::from_mins(1);

type Key = (TraceId, SpanId);

/// What is learned from spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Learned {
    /// A service answered something from outside of it.
    Answered(Fact),
    /// A service called another.
    Called {
        caller: Arc<str>,
        callee: Arc<str>,
        mode: Mode,
        /// The span that the call is measured by: the caller's where it stands for one call.
        measure: Fact,
    },
}

/// The spans that were seen lately.
#[derive(Debug)]
pub(super) struct Matcher {
    spans: HashMap<Key, Seen>,
    /// Children whose parents have not come, by parent.
    waiting: HashMap<Key, VecDeque<SpanId>>,
    /// By arrival; those before `settled` have settled.
    order: VecDeque<(Instant, Key)>,
    settled: usize,
    spans_max: usize,
    /// How many had to settle early, as there were too many.
    pub(super) hurried: u64,
    /// How many came that had come before.
    pub(super) duplicates: u64,
}

#[derive(Debug)]
struct Seen {
    fact: Fact,
    is_waiting: bool,
    /// Whether a span of the same service takes the call further.
    is_passed_on: bool,
    callees: Vec<(Arc<str>, Mode)>,
}

impl Matcher {
    pub(super) fn new(spans_max: usize) -> Self {
        Self {
            spans: HashMap::new(),
            waiting: HashMap::new(),
            order: VecDeque::new(),
            settled: 0,
            spans_max: spans_max.max(1),
            hurried: 0,
            duplicates: 0,
        }
    }

    /// How many spans are remembered.
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Takes a span in.
    pub(super) fn observe(&mut self, fact: Fact, now: Instant, learn: &mut impl FnMut(Learned)) {
        self.pass(now, learn);
        let key = fact.key();
        if self.spans.contains_key(&key) {
            self.duplicates += 1;
            return;
        }
        while self.spans.len() >= self.spans_max {
            self.forget_oldest(learn);
        }
        let mut seen = Seen { fact, is_waiting: false, is_passed_on: false, callees: Vec::new() };
        match seen.fact.parent.map(|parent| (key.0, parent)) {
            None => answered(&seen.fact, learn),
            Some(parent) => {
                if let Some(parent) = self.spans.get_mut(&parent) {
                    join(parent, &seen.fact, learn);
                } else {
                    seen.is_waiting = true;
                    self.waiting.entry(parent).or_default().push_back(key.1);
                }
            }
        }
        for child in self.waiting.remove(&key).unwrap_or_default() {
            let child = self.spans.get_mut(&(key.0, child)).expect("who waits is remembered");
            child.is_waiting = false;
            join(&mut seen, &child.fact, learn);
        }
        self.spans.insert(key, seen);
        self.order.push_back((now, key));
    }

    /// Settles and forgets what is old enough.
    pub(super) fn pass(&mut self, now: Instant, learn: &mut impl FnMut(Learned)) {
        while let Some((since, key)) = self.order.get(self.settled).copied()
            && since + SETTLE <= now
        {
            self.settle(key, learn);
            self.settled += 1;
        }
        while let Some((since, key)) = self.order.front().copied()
            && since + REMEMBER <= now
        {
            self.spans.remove(&key);
            self.order.pop_front();
            self.settled -= 1;
        }
    }

    fn forget_oldest(&mut self, learn: &mut impl FnMut(Learned)) {
        let Some((_, key)) = self.order.pop_front() else { return };
        if self.settled > 0 {
            self.settled -= 1;
        } else {
            self.hurried += 1;
            self.settle(key, learn);
        }
        self.spans.remove(&key);
    }

    /// Makes of a span what can be made without those that did not come.
    fn settle(&mut self, key: Key, learn: &mut impl FnMut(Learned)) {
        let seen = self.spans.get_mut(&key).expect("what is in the order is remembered");
        if seen.is_waiting {
            seen.is_waiting = false;
            answered(&seen.fact, learn);
            let parent = (key.0, seen.fact.parent.expect("only a child waits for its parent"));
            if let Some(children) = self.waiting.get_mut(&parent) {
                // They settle in the order they came in.
                let at = children.iter().position(|child| *child == key.1);
                at.map(|at| children.remove(at));
                if children.is_empty() {
                    self.waiting.remove(&parent);
                }
            }
        }
        let is_lonely = seen.callees.is_empty() && !seen.is_passed_on;
        let Some(callee) = seen.fact.peer.clone().filter(|peer| is_lonely && *peer != seen.fact.service) else {
            return;
        };
        let mode = if seen.fact.kind == SpanKind::Producer { Mode::Async } else { Mode::Sync };
        seen.callees.push((Arc::clone(&callee), mode));
        learn(Learned::Called { caller: Arc::clone(&seen.fact.service), callee, mode, measure: seen.fact.clone() });
    }
}

fn answered(fact: &Fact, learn: &mut impl FnMut(Learned)) {
    if fact.is_answer() {
        learn(Learned::Answered(fact.clone()));
    }
}

/// Makes of a parent and its child what they are to each other.
fn join(parent: &mut Seen, child: &Fact, learn: &mut impl FnMut(Learned)) {
    let caller = &parent.fact;
    if caller.service == child.service {
        parent.is_passed_on |= child.kind != SpanKind::Internal;
        // A sidecar and its application both answer the one request.
        if !caller.is_answer() {
            answered(child, learn);
        }
        return;
    }
    answered(child, learn);
    let is_async = child.kind == SpanKind::Consumer || caller.kind == SpanKind::Producer;
    let mode = if is_async { Mode::Async } else { Mode::Sync };
    let is_known = parent.callees.iter().any(|known| known.0 == child.service && known.1 == mode);
    if !is_known {
        parent.callees.push((Arc::clone(&child.service), mode));
    }
    // Of a call that was tried several times each attempt is a child: it is one call all the same.
    let is_callers = caller.is_call && mode == Mode::Sync;
    if is_callers && is_known {
        return;
    }
    let measure = if is_callers { caller } else { child };
    learn(Learned::Called {
        caller: Arc::clone(&caller.service),
        callee: Arc::clone(&child.service),
        mode,
        measure: measure.clone(),
    });
}

#[cfg(test)]
mod tests;
