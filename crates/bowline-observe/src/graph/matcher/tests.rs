//! Tests of the matcher.

use bowline_runtime::time;
use proptest::prelude::*;

use super::*;
use crate::traces::SpanStatus;

/// A span of the trace 1, as `1 <- 0 gateway server`: its id, its parent's (0: none), service, kind and
/// more words: `error`, `call` (it has a backend), `to=PEER`.
fn fact(text: &str) -> Fact {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [id, "<-", parent, service, kind, more @ ..] = &*words else { panic!("{text}") };
    let kind = match *kind {
        "server" => SpanKind::Server,
        "client" => SpanKind::Client,
        "producer" => SpanKind::Producer,
        "consumer" => SpanKind::Consumer,
        "internal" => SpanKind::Internal,
        other => panic!("{other}"),
    };
    let id: u64 = id.parse().unwrap();
    Fact {
        trace_id: TraceId::new(1).unwrap(),
        span_id: SpanId::new(id).unwrap(),
        parent: SpanId::new(parent.parse().unwrap()),
        service: (*service).into(),
        operation: "work".into(),
        kind,
        status: if more.contains(&"error") { SpanStatus::Error } else { SpanStatus::Unset },
        failure: None,
        peer: more.iter().find_map(|word| word.strip_prefix("to=")).map(Arc::from),
        is_call: kind == SpanKind::Client || more.contains(&"call"),
        is_live: true,
        duration_nanos: id,
        end_unix_nanos: id,
    }
}

/// What is learned of the spans in that order, by a minute later; as text, sorted.
fn learned(facts: impl IntoIterator<Item = Fact>) -> Vec<String> {
    let mut matcher = Matcher::new(1000);
    let mut learned = Vec::new();
    let mut learn = |what: Learned| {
        learned.push(match what {
            Learned::Answered(fact) => format!("{} {}", fact.service, fact.span_id.get()),
            Learned::Called { caller, callee, mode, measure } => {
                let failed = if measure.is_error() { " error" } else { "" };
                format!("{caller} -> {callee} {mode} {}{failed}", measure.span_id.get())
            }
        });
    };
    let now = time::now();
    for fact in facts {
        matcher.observe(fact, now, &mut learn);
    }
    matcher.pass(now + SETTLE, &mut learn);
    matcher.pass(now + REMEMBER, &mut learn);
    assert!(matcher.spans.is_empty() && matcher.waiting.is_empty() && matcher.order.is_empty());
    assert_eq!(matcher.settled, 0);
    learned.sort();
    learned
}

/// Spans, and what is learned of them.
const TABLE: &[(&[&str], &[&str])] = &[
    (&[], &[]),
    (&["1 <- 0 order server"], &["order 1"]),
    (&["1 <- 0 order internal"], &[]),
    // A client's span and the server's: measured by the client's.
    (&["1 <- 0 order client", "2 <- 1 payment server error"], &["order -> payment sync 1", "payment 2"]),
    // Two attempts are one call, whose outcome the caller knows.
    (
        &["1 <- 0 order client", "2 <- 1 payment server error", "3 <- 1 payment server"],
        &["order -> payment sync 1", "payment 2", "payment 3"],
    ),
    // Of several services, a call each.
    (
        &["1 <- 0 order client error", "2 <- 1 payment server", "3 <- 1 stock server"],
        &["order -> payment sync 1 error", "order -> stock sync 1 error", "payment 2", "stock 3"],
    ),
    // The gateway has one span for what it answers and what it asks.
    (
        &["1 <- 0 gateway server call to=order", "2 <- 1 order server", "3 <- 1 order server"],
        &["gateway -> order sync 1", "gateway 1", "order 2", "order 3"],
    ),
    // Without a client's span it is measured by each of the callee's.
    (
        &["1 <- 0 order server", "2 <- 1 payment server error", "3 <- 1 payment server"],
        &["order -> payment sync 2 error", "order -> payment sync 3", "order 1", "payment 2", "payment 3"],
    ),
    (&["1 <- 0 order internal", "2 <- 1 payment internal"], &["order -> payment sync 2"]),
    // Messages: each that is taken.
    (
        &["1 <- 0 order producer to=orders", "2 <- 1 mail consumer", "3 <- 1 mail consumer", "4 <- 1 stock consumer"],
        &["mail 2", "mail 3", "order -> mail async 2", "order -> mail async 3", "order -> stock async 4", "stock 4"],
    ),
    (&["1 <- 0 order producer to=orders"], &["order -> orders async 1"]),
    // The callee does not report.
    (&["1 <- 0 order client to=db error"], &["order -> db sync 1 error"]),
    (&["1 <- 0 order client"], &[]),
    (&["1 <- 0 order client to=order"], &[]),
    (&["1 <- 0 gateway server call to=order"], &["gateway -> order sync 1", "gateway 1"]),
    // Spans inside the client's do not make a callee of the same service.
    (&["1 <- 0 order client to=db", "2 <- 1 order internal"], &["order -> db sync 1"]),
    // A sidecar on the caller's side takes the call further, one on the callee's answers it.
    (
        &["1 <- 0 order client to=10.0.0.1", "2 <- 1 order client", "3 <- 2 payment server", "4 <- 3 payment server"],
        &["order -> payment sync 2", "payment 3"],
    ),
    // A service that calls itself answers twice, and that is no edge.
    (&["1 <- 0 order server", "2 <- 1 order client", "3 <- 2 order server"], &["order 1", "order 3"]),
    // The parent never comes.
    (
        &["2 <- 1 order server", "3 <- 1 order server", "4 <- 3 bank server"],
        &["bank 4", "order -> bank sync 4", "order 2", "order 3"],
    ),
    // The same span twice.
    (
        &["1 <- 0 order client", "2 <- 1 payment server", "1 <- 0 order client", "2 <- 1 payment server"],
        &["order -> payment sync 1", "payment 2"],
    ),
];

#[test]
fn spans_become_answers_and_calls_in_any_order() {
    for (spans, expect) in TABLE {
        let facts: Vec<Fact> = spans.iter().map(|text| fact(text)).collect();
        let mut expect: Vec<String> = expect.iter().map(|text| (*text).to_owned()).collect();
        expect.sort();
        assert_eq!(learned(facts.clone()), expect, "{spans:#?}");
        assert_eq!(learned(facts.into_iter().rev()), expect, "{spans:#?} reversed");
    }
}

fn tree() -> impl Strategy<Value = Vec<Fact>> {
    let span = (any::<prop::sample::Index>(), 0..4_usize, 0..5_usize, any::<(bool, bool, bool)>());
    prop::collection::vec(span, 1..25).prop_map(|spans| {
        let of = |(at, (parent, service, kind, (is_error, has_peer, is_call))): (usize, _)| {
            let parent = prop::sample::Index::index(&parent, at + 1);
            let service = ["gateway", "order", "payment", "bank"][service];
            let kind = ["server", "client", "producer", "consumer", "internal"][kind];
            let word = |is_there: bool, word| if is_there { word } else { "" };
            let more = [word(is_error, "error"), word(has_peer, "to=db"), word(is_call, "call")].join(" ");
            fact(&format!("{} <- {parent} {service} {kind} {more}", at + 1))
        };
        spans.into_iter().enumerate().map(of).collect()
    })
}

proptest! {
    #[test]
    fn the_order_of_arrival_does_not_matter(
        (facts, shuffled) in tree().prop_flat_map(|facts| (Just(facts.clone()), Just(facts).prop_shuffle())),
        again in any::<prop::sample::Index>(),
    ) {
        let again = shuffled[again.index(shuffled.len())].clone();
        prop_assert_eq!(learned(facts), learned(shuffled.into_iter().chain([again])));
    }
}

#[test]
fn a_span_waits_ten_seconds_for_its_child_and_not_longer() {
    let mut matcher = Matcher::new(10);
    let mut learned = Vec::new();
    let begun = time::now();
    matcher.observe(fact("1 <- 0 order client to=payment.local"), begun, &mut |what| learned.push(what));
    matcher.pass(begun + SETTLE - Duration::from_millis(1), &mut |what| learned.push(what));
    assert_eq!(learned, []);
    matcher.pass(begun + SETTLE, &mut |what| learned.push(what));
    assert!(matches!(&*learned, [Learned::Called { callee, .. }] if &**callee == "payment.local"));
    // Its child after all: the span is still known.
    matcher.observe(fact("2 <- 1 payment server"), begun + SETTLE * 2, &mut |what| learned.push(what));
    assert_eq!(learned.len(), 3);
    assert!(matches!(&learned[2], Learned::Called { callee, .. } if &**callee == "payment"));
}

#[test]
fn the_oldest_settle_early_where_there_are_too_many() {
    let mut matcher = Matcher::new(100);
    let (mut answers, mut calls) = (0, 0);
    let now = time::now();
    for id in 1..=1000_u64 {
        let text = format!("{} <- {} order server", id * 2, id * 2 + 1_000_000);
        let learn = &mut |what: Learned| match what {
            Learned::Answered(_) => answers += 1,
            Learned::Called { .. } => calls += 1,
        };
        matcher.observe(fact(&text), now, learn);
        matcher.observe(fact(&format!("{} <- 0 order client to=db", id * 2 + 1)), now, learn);
        assert!(matcher.spans.len() <= 100 && matcher.order.len() <= 100 && matcher.waiting.len() <= 100);
    }
    assert_eq!((answers, calls, matcher.hurried), (950, 950, 1900));
    matcher.pass(now + SETTLE, &mut |_| {});
    assert_eq!(matcher.hurried, 1900);
    // What has settled makes room without a word.
    matcher.observe(fact("5 <- 0 order server"), now + SETTLE, &mut |_| {});
    assert_eq!((matcher.hurried, matcher.len()), (1900, 100));
}
