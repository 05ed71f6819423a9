//! Traces, and what they show.

use bowline_model::observed::ObservedOperation;
use bowline_telemetry::{Link, Status, Value};
use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;
const BEGIN: u64 = 1_700_000_000_000 * MS;

/// A span of trace 1 that lasts from the one to the other millisecond.
fn span(id: u64, parent: u64, service: &str, kind: SpanKind, (from, until): (u64, u64)) -> SpanData {
    SpanData {
        trace_id: TraceId::new(1).unwrap(),
        span_id: SpanId::new(id).unwrap(),
        parent_span_id: SpanId::new(parent),
        service: service.into(),
        instance: format!("{service}-1").into(),
        name: "work".into(),
        kind,
        start_unix_nanos: BEGIN + from * MS,
        duration_nanos: (until - from) * MS,
        status: Status::Unset,
        attributes: vec![],
        events: vec![],
        links: vec![],
    }
}

fn server(id: u64, parent: u64, service: &str, times: (u64, u64)) -> SpanData {
    span(id, parent, service, SpanKind::Server, times)
}

fn client(id: u64, parent: u64, service: &str, peer: &'static str, times: (u64, u64)) -> SpanData {
    with(span(id, parent, service, SpanKind::Client, times), "peer.service", peer)
}

fn with(mut span: SpanData, key: &'static str, value: impl Into<Value>) -> SpanData {
    span.attributes.push((key.into(), value.into()));
    span
}

/// What a sidecar says of who asks.
fn told(span: SpanData, caller: &'static str) -> SpanData {
    with(with(with(span, "bowline.caller", caller), "http.request.method", "POST"), "url.path", "/charges/7")
}

fn routed(span: SpanData) -> SpanData {
    let span = with(with(span, "http.request.method", "POST"), "url.path", "/charges/7");
    with(span, "http.route", "/charges/{order}")
}

fn folded(traces: &[&[SpanData]]) -> Observed {
    let mut folder = Folder::new(Path::new("/data/sqlite"));
    for spans in traces {
        folder.fold(spans);
    }
    folder.finish(0, 1)
}

/// Each edge as text: `order -sync-> payment ×1 /1 POST /charges`, with how many were waited for.
fn edges(observed: &Observed) -> Vec<String> {
    let one = |edge: &ObservedEdge| {
        let caller = edge.caller.as_deref().unwrap_or("?");
        let (mode, callee, count, waited) = (edge.mode.as_str(), &edge.callee, edge.count, edge.waited);
        let operations =
            edge.operations.iter().map(|ObservedOperation { method, path, .. }| format!(" {method} {path}"));
        let topics = edge.topics.iter().map(|topic| format!(" topic:{topic}"));
        let denied = if edge.is_denied { " denied" } else { "" };
        let what: String = operations.chain(topics).collect();
        format!("{caller} -{mode}-> {callee} ×{count}/{waited}{what}{denied}")
    };
    observed.edges.iter().map(one).collect()
}

#[track_caller]
fn check(spans: &[SpanData], expect: &[&str]) {
    let mut backwards = spans.to_vec();
    backwards.reverse();
    for spans in [spans, &backwards] {
        let observed = folded(&[spans]);
        assert_eq!(edges(&observed), expect);
        assert!(observed.is_complete() && observed.breaches.is_empty(), "{observed:?}");
    }
}

#[test]
fn a_call_is_counted_once_whoever_tells_of_it() {
    // The gateway's is no edge; the sidecar's span is beside the application's, or around it.
    let gateway = with(server(1, 0, "gateway", (0, 100)), "bowline.backend", "order");
    let order = [gateway, server(2, 1, "order", (2, 98)), client(3, 2, "order", "payment", (5, 90))];
    let beside = [told(server(4, 3, "payment", (8, 88)), "service/order"), routed(server(5, 3, "payment", (10, 85)))];
    let around = [told(server(4, 3, "payment", (8, 88)), "service/order"), routed(server(5, 4, "payment", (10, 85)))];
    let alone = [routed(server(5, 3, "payment", (10, 85)))];
    for payment in [&beside[..], &around, &alone] {
        check(&[&order[..], payment].concat(), &["order -sync-> payment ×1/1 POST /charges/{order}"]);
    }
    // Through the sidecar of the caller, whose one span is for what it answers and asks.
    let outbound = with(server(4, 3, "order", (6, 89)), "bowline.backend", "payment");
    let payment = routed(server(5, 4, "payment", (10, 85)));
    check(&[&order[..], &[outbound, payment]].concat(), &["order -sync-> payment ×1/1 POST /charges/{order}"]);
}

#[test]
fn who_called_is_whom_the_certificate_names() {
    let denied = with(told(server(1, 0, "payment", (0, 1)), "service/user"), "bowline.reason", "mesh_not_declared");
    let denied = with(denied, "http.response.status_code", 403);
    check(&[denied], &["user -sync-> payment ×1/0 POST /charges/7 denied"]);
    // The trace of another that was passed on is not believed.
    let passed_on = [client(2, 0, "order", "user", (0, 9)), told(server(3, 2, "payment", (1, 8)), "service/user")];
    check(&passed_on, &["user -sync-> payment ×1/0 POST /charges/7"]);
    for own in ["gateway", "bowline", "service/payment"] {
        check(&[told(server(1, 0, "payment", (0, 1)), own)], &[]);
    }
    let foreign = "spiffe://bank/service/x";
    check(
        &[told(server(1, 0, "payment", (0, 1)), foreign)],
        &["spiffe://bank/service/x -sync-> payment ×1/0 POST /charges/7"],
    );
}

#[test]
fn who_has_no_certificate_is_whom_the_trace_names() {
    // A plain request of an application that passes the header on, let in by a permissive sidecar.
    let sidecar = told(server(2, 1, "payment", (1, 8)), "unknown");
    let application = routed(server(3, 1, "payment", (2, 7)));
    let plain = [server(1, 0, "user", (0, 9)), sidecar.clone(), application];
    check(&plain, &["user -sync-> payment ×1/0 POST /charges/{order}"]);
    check(std::slice::from_ref(&sidecar), &["? -sync-> payment ×1/0 POST /charges/7"]);
    // The gateway has one: somebody behind it passes on its trace.
    check(&[server(1, 0, "gateway", (0, 9)), sidecar], &["? -sync-> payment ×1/0 POST /charges/7"]);
    // Without a mesh, whoever comes from outside is nobody's edge.
    check(&[server(1, 0, "payment", (0, 1))], &[]);
}

#[test]
fn a_callee_that_tells_nothing_is_known_by_its_caller() {
    let asked =
        with(with(client(2, 1, "payment", "bank", (1, 9)), "http.request.method", "POST"), "url.path", "/transfers");
    // Nothing shows whether bank went on after it.
    check(&[server(1, 0, "payment", (0, 10)), asked], &["payment -sync-> bank ×1/0 POST /transfers"]);
    let published = with(client(2, 1, "payment", "broker", (1, 2)), "messaging.destination.name", "order.placed");
    check(&[server(1, 0, "payment", (0, 10)), published], &[]);
    let database =
        with(with(span(2, 1, "payment", SpanKind::Client, (1, 2)), "db.system.name", "sqlite"), "peer.service", "x");
    check(&[server(1, 0, "payment", (0, 10)), database], &[]);
}

#[test]
fn attempts_and_copies_are_one_call() {
    let tried = with(client(1, 0, "order", "payment", (0, 100)), "bowline.attempts", 2);
    let slow = SpanData { instance: "payment-2".into(), ..server(3, 1, "payment", (5, 900)) };
    let answers = [server(2, 1, "payment", (60, 95)), slow];
    check(&[&[tried][..], &answers].concat(), &["order -sync-> payment ×1/1"]);
    // A mirror's copy goes on after the answer.
    check(&[&[client(1, 0, "order", "payment", (0, 100))][..], &answers].concat(), &["order -sync-> payment ×1/1"]);
    // One instance that goes on is another thing.
    let goes_on = [client(1, 0, "order", "payment", (0, 100)), server(2, 1, "payment", (5, 900))];
    check(&goes_on, &["order -async-> payment ×1/0"]);
}

#[test]
fn a_request_that_was_dropped_is_given_up() {
    let asked = with(client(1, 0, "order", "payment", (0, 100)), "http.request.method", "POST");
    let goes_on = server(2, 1, "payment", (5, 900));
    // Without a status nobody took an answer; with one, the caller had it before the callee was through.
    check(&[asked.clone(), goes_on.clone()], &["order -sync-> payment ×1/1"]);
    check(&[with(asked, "http.response.status_code", 202), goes_on], &["order -async-> payment ×1/0"]);
}

fn sent(id: u64, times: (u64, u64)) -> SpanData {
    with(span(id, 0, "order", SpanKind::Producer, times), "messaging.destination.name", "order.placed")
}

#[test]
fn a_call_of_which_the_caller_tells_nothing_is_counted_once() {
    // Sidecar and application both say who asked; the trace begins at the sidecar.
    let sidecar = with(told(server(1, 0, "payment", (0, 9)), "service/user"), "bowline.dry_run", "denied");
    let application = told(server(2, 1, "payment", (1, 8)), "service/user");
    check(&[sidecar, application], &["user -sync-> payment ×1/0 POST /charges/7"]);
    // They are beside each other below a span of their own service, whose trace the caller passed on.
    let passed_on = client(1, 0, "payment", "order", (0, 20));
    let beside = [
        told(server(2, 1, "payment", (3, 9)), "service/order"),
        told(server(3, 1, "payment", (4, 8)), "service/order"),
    ];
    let [sidecar, application] = beside;
    check(
        &[passed_on, server(4, 1, "order", (2, 19)), sidecar, application],
        &["order -sync-> payment ×1/0 POST /charges/7", "payment -sync-> order ×1/1"],
    );
    // Below a span that was asked by another, it is another call.
    let first = told(server(1, 0, "payment", (0, 9)), "service/user");
    let second = told(server(2, 1, "payment", (1, 8)), "service/order");
    check(
        &[first, second],
        &["order -sync-> payment ×1/0 POST /charges/7", "user -sync-> payment ×1/0 POST /charges/7"],
    );
}

#[test]
fn operations_are_counted_each_for_itself() {
    let asked = |path: &'static str| {
        let span = with(server(1, 0, "payment", (0, 1)), "bowline.caller", "service/user");
        [with(with(span, "http.request.method", "GET"), "url.path", path)]
    };
    let observed = folded(&[&asked("/b"), &asked("/a"), &asked("/b")]);
    let [edge] = &*observed.edges else { panic!("{observed:?}") };
    let told: Vec<_> = edge.operations.iter().map(|asked| (&*asked.path, asked.count)).collect();
    assert_eq!((told, edge.count), (vec![("/a", 1), ("/b", 2)], 3));
}

#[test]
fn messages_are_edges_by_parent_and_by_link() {
    let taken = |parent| span(9, parent, "mailer", SpanKind::Consumer, (500, 700));
    check(&[sent(1, (0, 2)), taken(1)], &["order -message-> mailer ×1/0 topic:order.placed"]);
    let link = Link { trace_id: TraceId::new(1).unwrap(), span_id: SpanId::new(1).unwrap(), attributes: vec![] };
    let linked = SpanData { links: vec![link], ..taken(0) };
    check(&[sent(1, (0, 2)), linked.clone()], &["order -message-> mailer ×1/0 topic:order.placed"]);
    // Of another trace, which comes after: traces are read newest first.
    let later = SpanData { trace_id: TraceId::new(2).unwrap(), ..linked };
    let observed = folded(&[&[later], &[sent(1, (0, 2))]]);
    assert_eq!(edges(&observed), ["order -message-> mailer ×1/0 topic:order.placed"]);
    let plain = with(span(1, 0, "order", SpanKind::Producer, (0, 2)), "peer.service", "mailer");
    check(&[plain, taken(1)], &["order -async-> mailer ×1/0"]);
}

#[test]
fn a_request_that_was_handed_over_is_not_waited_for() {
    let sent = with(span(1, 0, "order", SpanKind::Producer, (0, 2)), "peer.service", "payment");
    let carried_out = client(2, 1, "order", "payment", (500, 700));
    let answered = server(3, 2, "payment", (510, 690));
    check(&[sent.clone(), carried_out.clone(), answered], &["order -async-> payment ×1/0"]);
    // Tried twice: it is still one.
    let again = [client(4, 1, "order", "payment", (900, 950)), server(5, 4, "payment", (910, 940))];
    let first = [sent.clone(), carried_out.clone(), server(3, 2, "payment", (510, 690))];
    check(&[&first[..], &again].concat(), &["order -async-> payment ×1/0"]);
    check(&[sent, carried_out], &["order -async-> payment ×1/0"]);
}

#[test]
fn a_broken_order_is_a_breach_of_its_formula() {
    let early = [client(1, 0, "order", "payment", (500, 600)), server(2, 1, "payment", (0, 50))];
    let waits = [sent(1, (0, 800)), span(2, 1, "mailer", SpanKind::Consumer, (10, 700))];
    let observed = folded(&[&early, &waits]);
    let told: Vec<_> = observed.breaches.iter().map(|breach| (breach.mode, breach.expected, breach.got)).collect();
    assert_eq!(
        told,
        [(CallMode::Message, Some(Event::Deliver), Event::Wait), (CallMode::Sync, Some(Event::Send), Event::Receive),]
    );
    assert_eq!(observed.edges.iter().map(|edge| edge.waited).sum::<u64>(), 2);
}

#[test]
fn data_and_topics_are_told_by_their_names() {
    let database = |table: &'static str, operation: &'static str, namespace: &'static str| {
        let span = span(2, 1, "order", SpanKind::Client, (1, 2));
        let span = with(with(span, "db.system.name", "sqlite"), "db.namespace", namespace);
        with(with(span, "db.collection.name", table), "db.operation.name", operation)
    };
    let spans = [
        database("orders", "SELECT", "order.db"),
        database("main.\"Orders\"", "insert", "/data/sqlite/order.db"),
        database("x", "SELECT", ":memory:"),
        sent(3, (0, 1)),
        with(span(4, 0, "mailer", SpanKind::Consumer, (0, 1)), "messaging.destination.name", "order.placed"),
    ];
    let observed = folded(&[&spans]);
    let told: Vec<_> = observed
        .uses
        .iter()
        .map(|using| {
            (&*using.service, &*using.kind, &*using.name, using.table.as_deref(), using.is_written, using.count)
        })
        .collect();
    assert_eq!(
        told,
        [
            ("mailer", "topic", "order.placed", None, false, 1),
            ("order", "sqlite", "order.db", Some("orders"), true, 2),
            ("order", "topic", "order.placed", None, true, 1),
        ]
    );
}

#[test]
fn a_table_has_its_schema_and_a_file_its_folder() {
    let touched = |system: &'static str, namespace: &'static str, table: &'static str| {
        let span = with(span(2, 1, "order", SpanKind::Client, (1, 2)), "db.system.name", system);
        let span = with(with(span, "db.namespace", namespace), "db.collection.name", table);
        let observed = folded(&[&[span]]);
        observed.uses.first().map(|using| format!("{} {}", using.name, using.table.as_deref().unwrap_or_default()))
    };
    for (system, namespace, table, expect) in [
        ("postgresql", "shop", "sales.Orders", "shop sales.orders"),
        ("postgresql", "shop", "\"Sales\".\"Orders\"", "shop sales.orders"),
        ("microsoft.sql_server", "shop", "[shop].[sales].[Orders]", "shop sales.orders"),
        ("postgresql", "shop", "orders", "shop orders"),
        ("postgresql", "shop/b", ".orders", "shop/b orders"),
        ("sqlite", "order.db", "main.orders", "order.db orders"),
        ("sqlite", "./order.db", "other.orders", "order.db other.orders"),
        ("sqlite", "/data/sqlite/order.db", "orders", "order.db orders"),
        ("sqlite", "/srv/a/order.db", "orders", "/srv/a/order.db orders"),
        ("sqlite", "b/order.db", "orders", "b/order.db orders"),
    ] {
        assert_eq!(touched(system, namespace, table).as_deref(), Some(expect), "{namespace} {table}");
    }
    for nowhere in [":memory:", "/", "..", "/srv/a/"] {
        assert_eq!(touched("sqlite", nowhere, "orders"), None, "{nowhere}");
    }
}

#[test]
fn what_spans_invent_is_bounded_and_said() {
    let mut folder = Folder::new(Path::new("/data/sqlite"));
    for at in 0..EDGES_MAX as u64 + 10 {
        let service = format!("s{at}");
        let asked = told(server(2, 0, &service, (0, 1)), "service/user");
        let using = with(with(span(3, 0, &service, SpanKind::Client, (0, 1)), "db.system", "x"), "db.name", "y");
        folder.fold(&[asked, using]);
    }
    let observed = folder.finish(0, 1);
    assert_eq!((observed.edges.len(), observed.uses.len(), observed.is_complete()), (EDGES_MAX, USES_MAX, false));

    let mut folder = Folder::new(Path::new("/data/sqlite"));
    for at in 0..=OPERATIONS_MAX as u64 {
        let asked =
            with(with(server(1, 0, "payment", (0, 1)), "bowline.caller", "service/user"), "http.request.method", "GET");
        folder.fold(&[with(asked, "url.path", format!("/{at}"))]);
    }
    let observed = folder.finish(0, 1);
    assert_eq!((observed.edges[0].operations.len(), observed.is_complete()), (OPERATIONS_MAX, false));
}

#[test]
fn what_all_edges_name_together_is_bounded() {
    let mut folder = Folder::new(Path::new("/data/sqlite"));
    let each = OPERATIONS_MAX as u64;
    for at in 0..=TOLD_MAX as u64 {
        let asked = told(server(1, 0, &format!("s{}", at / each), (0, 1)), "service/user");
        folder.fold(&[with(asked, "http.route", format!("/{}", at % each))]);
    }
    let observed = folder.finish(0, 1);
    let count: usize = observed.edges.iter().map(|edge| edge.operations.len()).sum();
    assert_eq!(
        (count, observed.edges.len() as u64, observed.is_complete()),
        (TOLD_MAX, TOLD_MAX as u64 / each + 1, false)
    );
}

/// Spans as somebody may send them: parents that are missing or make a circle, any names, any times.
fn any_span() -> impl Strategy<Value = SpanData> {
    let kinds = [SpanKind::Internal, SpanKind::Server, SpanKind::Client, SpanKind::Producer, SpanKind::Consumer];
    let names = prop_oneof![Just("a"), Just("b"), Just("gateway"), Just("")];
    let attributes = proptest::collection::vec(
        (
            prop_oneof![
                Just("bowline.caller"),
                Just("bowline.backend"),
                Just("peer.service"),
                Just("messaging.destination.name"),
                Just("db.system.name"),
                Just("db.namespace"),
                Just("http.route"),
                Just("bowline.attempts"),
            ],
            prop_oneof![Just("service/a"), Just("unknown"), Just("a"), Just("b"), Just("gateway"), Just("1")],
        ),
        0..4,
    );
    (1..6_u64, 0..6_u64, names, 0..kinds.len(), any::<u64>(), any::<u64>(), attributes).prop_map(
        move |(id, parent, service, kind, start, duration, attributes)| SpanData {
            start_unix_nanos: start,
            duration_nanos: duration,
            attributes: attributes.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
            ..span(id, parent, service, kinds[kind], (0, 0))
        },
    )
}

proptest! {
    #[test]
    fn any_spans_are_folded(spans in proptest::collection::vec(any_span(), 0..8)) {
        let observed = folded(&[&spans]);
        prop_assert!(observed.edges.iter().all(|edge| edge.caller.as_deref() != Some(&*edge.callee)));
        prop_assert!(observed.edges.iter().all(|edge| edge.count > 0 && edge.waited <= edge.count));
        prop_assert!(observed.edges.iter().all(|edge| edge.caller.as_deref() != Some("gateway")));
        prop_assert_eq!(observed.spans, spans.len() as u64);
    }
}
