//! Words that the spans of both ends make.

use proptest::prelude::*;

use crate::{
    observed::{Event, Exchange, Interval, Means, Monitor, SKEW_MAX, Unexpected},
    system::CallMode,
};

const MS: u64 = 1_000_000;
const BEGIN: u64 = 1_000_000 * MS;

/// Of times in milliseconds.
fn exchange(means: Means, caller: (i64, i64), callee: (i64, i64)) -> Exchange {
    let at = |ms: i64| BEGIN.checked_add_signed(ms * 1_000_000).unwrap();
    let interval = |(start, end)| Interval { start: at(start), end: at(end) };
    Exchange { means, caller: interval(caller), callee: interval(callee), is_given_up: false }
}

#[track_caller]
fn check(exchange: Exchange, mode: CallMode, is_waited_for: bool, breach: Option<(Event, Event)>) {
    assert_eq!((exchange.mode(), exchange.is_waited_for()), (mode, is_waited_for), "{exchange:?}");
    let judged = exchange.judge();
    let expect = breach.map(|(expected, got)| Unexpected { expected: Some(expected), got });
    assert_eq!(judged.err(), expect, "{:?}", exchange.events());
}

#[test]
fn a_request_is_synchronous_while_its_caller_is_there_to_be_answered() {
    let (request, sync) = (Means::Request, CallMode::Sync);
    check(exchange(request, (0, 100), (10, 90)), sync, true, None);
    // Clocks that differ by the bound, both ways.
    for skew in [-50, 50] {
        check(exchange(request, (0, 100), (skew, 100 + skew)), sync, true, None);
    }
    // Received before it was sent, by more than that.
    check(exchange(request, (0, 100), (-51, 40)), sync, true, Some((Event::Send, Event::Receive)));
    // The callee goes on while the caller has its answer: nobody waited.
    check(exchange(request, (0, 10), (5, 200)), CallMode::Async, false, None);
    let given_up = Exchange { is_given_up: true, ..exchange(request, (0, 10), (5, 200)) };
    check(given_up, sync, true, None);
    assert!(!given_up.judge().unwrap().is_done(), "there was no answer");
}

#[test]
fn a_message_is_not_waited_for() {
    for (means, mode) in [(Means::Message, CallMode::Async), (Means::Topic, CallMode::Message)] {
        check(exchange(means, (0, 2), (1, 300)), mode, false, None);
        check(exchange(means, (0, 2), (5000, 5300)), mode, false, None);
        // What is shorter than clocks differ shows nothing.
        check(exchange(means, (0, 90), (10, 60)), mode, false, None);
        let next = if means == Means::Topic { Event::Deliver } else { Event::Continue };
        check(exchange(means, (0, 300), (10, 290)), mode, true, Some((next, Event::Wait)));
        let begin = if means == Means::Topic { (Event::Queue, Event::Deliver) } else { (Event::Send, Event::Receive) };
        check(exchange(means, (0, 2), (-60, 300)), mode, false, Some(begin));
    }
}

/// What happened in truth, and two clocks that differ by no more than the bound.
fn truth() -> impl Strategy<Value = (Means, [u64; 4], i64)> {
    let skew = i64::try_from(SKEW_MAX.as_nanos()).unwrap();
    let means = prop_oneof![Just(Means::Request), Just(Means::Message), Just(Means::Topic)];
    let steps = proptest::array::uniform4(0..400 * MS);
    (means, steps, -skew..=skew)
}

proptest! {
    /// Whatever the clocks: who kept to the formula is not accused.
    #[test]
    fn an_honest_exchange_is_never_a_breach((means, [begin, travel, work, back], skew) in truth()) {
        let start = BEGIN + begin;
        let (received, done) = (start + travel, start + travel + work);
        // A request ends after its answer, a message before its receiver is through.
        let end = if means == Means::Request { done + back } else { start + back.min(travel) };
        let shift = |at: u64| at.checked_add_signed(skew).unwrap();
        let callee = Interval { start: shift(received), end: shift(done) };
        let exchange = Exchange { means, caller: Interval { start, end }, callee, is_given_up: false };
        let is_request = means == Means::Request;
        let judged = exchange.judge();
        prop_assert!(judged.is_ok_and(Monitor::is_done), "{exchange:?}: {:?}", exchange.events());
        prop_assert_eq!(exchange.is_waited_for(), is_request, "{:?}", exchange);
    }

    /// Whatever spans say, the events are those of one word, and nothing overflows.
    #[test]
    fn any_spans_are_judged(times in proptest::array::uniform4(any::<u64>()), is_given_up: bool) {
        for means in [Means::Request, Means::Message, Means::Topic] {
            let [a, b, c, d] = times;
            let exchange = Exchange {
                means,
                caller: Interval { start: a.min(b), end: a.max(b) },
                callee: Interval { start: c.min(d), end: c.max(d) },
                is_given_up,
            };
            prop_assert!((3..=5).contains(&exchange.events().len()));
            let _either = exchange.judge();
        }
    }
}
