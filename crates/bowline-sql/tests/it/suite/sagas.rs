//! Sagas.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bowline_messaging::NewMessage;
use bowline_runtime::{BoxFuture, metric::Registry};
use bowline_sql::{
    Definition, Error, Filter, Outbox, Outcome, Phase, RelaySettings, Sagas, StepError, Tx, What, publish,
};
use bowline_telemetry::{Always, Reporter, SpanContext, SpanData, SpanId, TraceId, Tracer, current};
use serde::{Deserialize, Serialize};

use super::{DB, Fixture};
use crate::{
    bus::Bus,
    eventually,
    remote::{Answers, Charge, Remote},
};

pub(super) const SOON: Duration = Duration::from_secs(20);
pub(super) const STOCK: i64 = 100;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    quantity: i64,
    /// What its steps did.
    done: Vec<String>,
}

pub(super) fn order(quantity: i64) -> Order {
    Order { quantity, done: Vec::new() }
}

pub(super) async fn tables(fixture: &Fixture) {
    let pool = fixture.pool().await;
    for sql in [
        "CREATE TABLE stock (quantity BIGINT NOT NULL)",
        "CREATE TABLE effects (what TEXT NOT NULL)",
        "INSERT INTO stock VALUES (100)",
    ] {
        sqlx::query(sql).execute(&pool).await.unwrap();
    }
}

pub(super) async fn stock(pool: &sqlx::Pool<DB>) -> i64 {
    sqlx::query_scalar("SELECT quantity FROM stock").fetch_one(pool).await.unwrap()
}

pub(super) async fn effects(pool: &sqlx::Pool<DB>) -> Vec<String> {
    sqlx::query_scalar("SELECT what FROM effects ORDER BY what").fetch_all(pool).await.unwrap()
}

async fn note(tx: &mut Tx<DB>, what: &str) -> Result<(), StepError> {
    sqlx::query("INSERT INTO effects VALUES ($1)").bind(what).execute(&mut **tx).await?;
    Ok(())
}

pub(super) fn reserve<'a>(tx: &'a mut Tx<DB>, order: &'a mut Order) -> BoxFuture<'a, Result<(), StepError>> {
    Box::pin(async move {
        note(tx, "reserve").await?;
        let sql = "UPDATE stock SET quantity = quantity - $1 WHERE quantity >= $1";
        if sqlx::query(sql).bind(order.quantity).execute(&mut **tx).await?.rows_affected() == 0 {
            return Err(StepError::abort("out of stock"));
        }
        order.done.push("reserve".to_owned());
        Ok(())
    })
}

pub(super) fn release<'a>(tx: &'a mut Tx<DB>, order: &'a mut Order) -> BoxFuture<'a, Result<(), StepError>> {
    Box::pin(async move {
        note(tx, "release").await?;
        sqlx::query("UPDATE stock SET quantity = quantity + $1").bind(order.quantity).execute(&mut **tx).await?;
        order.done.push("release".to_owned());
        Ok(())
    })
}

pub(super) fn confirm<'a>(tx: &'a mut Tx<DB>, order: &'a mut Order) -> BoxFuture<'a, Result<(), StepError>> {
    Box::pin(async move {
        note(tx, "confirm").await?;
        publish(tx, "order.paid", NewMessage { payload: "paid".into(), ..NewMessage::default() }).await?;
        order.done.push("confirm".to_owned());
        Ok(())
    })
}

/// Reserve here, charge there.
pub(super) fn charging(remote: &Remote) -> Definition<DB, Order> {
    let (charger, refunder) = (remote.clone(), remote.clone());
    Definition::new("order")
        .local("reserve", reserve)
        .undo_local(release)
        .remote("charge", move |id, order: &mut Order| {
            let remote = charger.clone();
            Box::pin(async move {
                remote.charge(id).await?;
                order.done.push("charge".to_owned());
                Ok(())
            })
        })
        .undo_remote(move |id, _| {
            let remote = refunder.clone();
            Box::pin(async move { remote.refund(id).await })
        })
}

/// The same, and confirm here.
pub(super) fn definition(remote: &Remote) -> Definition<DB, Order> {
    charging(remote)
        .timeout(Duration::from_secs(2))
        .retry(4, Duration::from_millis(5), Duration::from_millis(20))
        .local("confirm", confirm)
}

pub(super) struct Replica {
    pub(super) sagas: Sagas<DB>,
    pub(super) pool: sqlx::Pool<DB>,
}

impl Replica {
    pub(super) async fn start(fixture: &Fixture, definition: Definition<DB, Order>) -> Self {
        let pool = fixture.pool().await;
        let (poll, lease) = (Duration::from_millis(20), Duration::from_millis(600));
        let sagas = Sagas::builder(pool.clone()).saga(definition).poll(poll).lease(lease).start().unwrap();
        Self { sagas, pool }
    }

    pub(super) async fn begin(&self, id: &str, order: &Order) -> bool {
        let mut tx = bowline_sql::begin(&self.pool).await.unwrap();
        let begun = self.sagas.begin(&mut tx, "order", id, order).await.unwrap();
        self.sagas.commit(tx).await.unwrap();
        begun.is_new
    }

    pub(super) async fn finish(&self, id: &str) -> Outcome<Order> {
        self.sagas.finish(id, SOON).await.unwrap()
    }

    pub(super) async fn history(&self, id: &str) -> Vec<(String, What)> {
        let info = self.sagas.get(id).await.unwrap();
        info.history.into_iter().map(|happened| (happened.step, happened.what)).collect()
    }
}

type Log = Arc<Mutex<Vec<&'static str>>>;

/// A remote step that writes down that it was tried.
fn noting(
    log: Log,
    what: &'static str,
    is_good: bool,
) -> impl for<'a> Fn(&'a str, &'a mut Order) -> BoxFuture<'a, Result<(), StepError>> + Send + Sync + 'static {
    move |_, _| {
        log.lock().unwrap().push(what);
        Box::pin(async move { if is_good { Ok(()) } else { Err(StepError::retry("unknown")) } })
    }
}

pub(super) fn compensated(outcome: Outcome<Order>) -> String {
    let Outcome::Compensated { reason, .. } = outcome else { panic!("{outcome:?}") };
    reason
}

#[tokio::test]
async fn a_saga_is_done_step_by_step_and_begun_once() {
    let Some(fixture) = Fixture::new().await else { return };
    tables(&fixture).await;
    let remote = Remote::default();
    let replica = Replica::start(&fixture, definition(&remote)).await;
    assert!(replica.begin("o-1", &order(3)).await);
    assert_eq!(stock(&replica.pool).await, STOCK - 3, "the first step is in the transaction that began it");
    let Outcome::Done(data) = replica.finish("o-1").await else { panic!("it is done") };
    assert_eq!(data.done, ["reserve", "charge", "confirm"]);
    assert_eq!(remote.charge_of("o-1"), Some(Charge::Made));
    assert!(!replica.begin("o-1", &order(7)).await, "it is there");
    assert_eq!(replica.finish("o-1").await, Outcome::Done(data));
    assert_eq!(stock(&replica.pool).await, STOCK - 3);
    let acted = |step: &str| (step.to_owned(), What::Acted);
    assert_eq!(replica.history("o-1").await, [acted("reserve"), acted("charge"), acted("confirm")]);
    let error = replica.sagas.finish::<Order>("o-2", SOON).await.unwrap_err();
    assert!(matches!(error, Error::NoSaga { .. }), "{error}");
}

/// What the row's version counts: begun with its first step, then one more transaction for charge and confirm.
#[tokio::test]
async fn a_saga_around_one_remote_step_costs_two_transactions() {
    let Some(fixture) = Fixture::new().await else { return };
    tables(&fixture).await;
    let replica = Replica::start(&fixture, definition(&Remote::default())).await;
    replica.begin("o-1", &order(1)).await;
    replica.finish("o-1").await;
    let version: i64 = sqlx::query_scalar("SELECT version FROM bowline_sagas").fetch_one(&replica.pool).await.unwrap();
    assert_eq!(version, 3, "inserted, stepped in the same transaction, ended in the other");
}

#[tokio::test]
async fn what_is_not_committed_never_happens() {
    let Some(fixture) = Fixture::new().await else { return };
    tables(&fixture).await;
    let remote = Remote::default();
    let replica = Replica::start(&fixture, definition(&remote)).await;
    let mut tx = bowline_sql::begin(&replica.pool).await.unwrap();
    replica.sagas.begin(&mut tx, "order", "o-1", &order(1)).await.unwrap();
    tx.rollback().await.unwrap();
    assert!(matches!(replica.sagas.get("o-1").await, Err(Error::NoSaga { .. })));
    assert!(replica.begin("o-1", &order(1)).await, "the id is free");
    assert!(matches!(replica.finish("o-1").await, Outcome::Done(_)));
    assert_eq!(effects(&replica.pool).await, ["confirm", "reserve"]);
}

#[tokio::test]
async fn a_no_undoes_what_was_done_before_it() {
    let Some(fixture) = Fixture::new().await else { return };
    tables(&fixture).await;
    let remote = Remote::default();
    let replica = Replica::start(&fixture, definition(&remote)).await;
    remote.answer(Answers::No);
    replica.begin("o-1", &order(3)).await;
    assert_eq!(compensated(replica.finish("o-1").await), "no money");
    assert_eq!(stock(&replica.pool).await, STOCK);
    assert_eq!(remote.calls(), ["charge"], "who said no is not asked to undo it");
    // The first step's own no: everything is over in the transaction that began it.
    replica.begin("o-2", &order(STOCK + 1)).await;
    assert_eq!(replica.sagas.get("o-2").await.unwrap().phase, Phase::Compensated);
    assert_eq!(compensated(replica.finish("o-2").await), "out of stock");
    assert_eq!(effects(&replica.pool).await, ["release", "reserve"], "what the refused step wrote is rolled back");
}

#[tokio::test]
async fn steps_are_undone_in_reverse_with_the_one_whose_outcome_is_unknown() {
    let Some(fixture) = Fixture::new().await else { return };
    tables(&fixture).await;
    let remote = Remote::default();
    let log = Log::default();
    let noting = |what, is_good| noting(log.clone(), what, is_good);
    let definition = Definition::new("order")
        .remote("a", noting("a", true))
        .undo_remote(noting("undo a", true))
        .local("b", confirm)
        .remote("c", noting("c", false))
        .undo_remote(noting("undo c", true))
        .retry(2, Duration::from_millis(1), Duration::from_millis(1))
        .remote("d", noting("d", true))
        .undo_remote(noting("undo d", true));
    let replica = Replica::start(&fixture, definition).await;
    replica.begin("o-1", &order(1)).await;
    assert_eq!(compensated(replica.finish("o-1").await), "`c` was not done in its time, at last: unknown");
    assert_eq!(*log.lock().unwrap(), ["a", "c", "c", "undo c", "undo a"]);
    assert_eq!(remote.calls(), [""; 0]);
    let history = replica.history("o-1").await;
    let what: Vec<What> = history.iter().map(|(_, what)| *what).collect();
    let expect = "[Acted, Acted, Failed, Failed, GaveUp, Undone, Undone, Undone]";
    assert_eq!(format!("{what:?}"), expect, "{history:?}");
}

#[tokio::test]
async fn steps_and_sagas_have_a_time() {
    let Some(fixture) = Fixture::new().await else { return };
    tables(&fixture).await;
    for answers in [Answers::Never, Answers::Lost, Answers::Panics] {
        let remote = Remote::default();
        let retry = (u32::MAX, Duration::from_millis(5), Duration::from_millis(20));
        let (step, timeout) = (Duration::from_millis(1500), Duration::from_millis(200));
        let deadline = if answers == Answers::Never { Duration::from_millis(1300) } else { SOON };
        let definition =
            charging(&remote).deadline(deadline).timeout(timeout).within(step).retry(retry.0, retry.1, retry.2);
        let replica = Replica::start(&fixture, definition).await;
        remote.answer(answers);
        let id = format!("{answers:?}");
        replica.begin(&id, &order(2)).await;
        eventually("it is given up", async || replica.sagas.get(&id).await.unwrap().phase != Phase::Acting).await;
        remote.answer(Answers::Well);
        let reason = compensated(replica.finish(&id).await);
        assert!(reason.starts_with("`charge` was not done in its time"), "{reason}");
        assert_eq!(remote.charge_of(&id), Some(Charge::Refunded), "{answers:?}");
        assert_eq!(stock(&replica.pool).await, STOCK);
    }
}

#[tokio::test]
async fn what_is_final_is_tried_until_it_is_done_and_so_is_what_follows() {
    let Some(fixture) = Fixture::new().await else { return };
    tables(&fixture).await;
    let remote = Remote::default();
    remote.answer(Answers::Lost);
    let (charger, failures) = (remote.clone(), Arc::new(Mutex::new(0)));
    let (soon, failed) = (Duration::from_millis(1), failures.clone());
    // Its time and its tries, and those of what is behind it, are over at once.
    let definition = Definition::new("order")
        .local("reserve", reserve)
        .undo_local(release)
        .remote("charge", move |id, _: &mut Order| {
            let remote = charger.clone();
            Box::pin(async move { remote.charge(id).await })
        })
        .forward()
        .within(soon)
        .retry(1, soon, soon)
        .local("settle", move |_, _| {
            let mut failures = failed.lock().unwrap();
            *failures += 1;
            let no = (*failures < 4).then(|| StepError::abort("not yet"));
            Box::pin(async move { no.map_or(Ok(()), Err) })
        })
        .within(soon)
        .retry(1, soon, soon);
    let registry = Registry::default();
    let pool = fixture.pool().await;
    let sagas = Sagas::builder(pool.clone()).saga(definition).poll(Duration::from_millis(20)).metrics(&registry);
    let replica = Replica { sagas: sagas.start().unwrap(), pool };
    replica.begin("o-1", &order(2)).await;
    eventually("it is tried", async || replica.sagas.get("o-1").await.unwrap().attempts > 2).await;
    assert_eq!(replica.sagas.get("o-1").await.unwrap().phase, Phase::Acting);
    let age = "bowline_sagas_oldest_age_seconds{saga=\"order\"}";
    assert!(registry.render().contains(age), "{}", registry.render());
    remote.answer(Answers::Well);
    assert!(matches!(replica.finish("o-1").await, Outcome::Done(_)));
    assert_eq!((*failures.lock().unwrap(), remote.charge_of("o-1")), (4, Some(Charge::Made)));
    assert_eq!(stock(&replica.pool).await, STOCK - 2);
}

#[tokio::test]
async fn who_gives_up_waiting_leaves_it_to_go_on() {
    let Some(fixture) = Fixture::new().await else { return };
    tables(&fixture).await;
    let remote = Remote::default();
    let replica = Replica::start(&fixture, definition(&remote)).await;
    remote.answer(Answers::Fails);
    replica.begin("o-1", &order(1)).await;
    let outcome = replica.sagas.finish::<Order>("o-1", Duration::ZERO).await.unwrap();
    assert_eq!(outcome, Outcome::StillRunning);
    remote.answer(Answers::Well);
    eventually("it ended", async || replica.sagas.get("o-1").await.unwrap().ended_ms.is_some()).await;
    assert_ne!(replica.finish("o-1").await, Outcome::StillRunning);
}

#[tokio::test]
async fn what_cannot_be_undone_is_stuck_listed_and_tried_on() {
    let Some(fixture) = Fixture::new().await else { return };
    tables(&fixture).await;
    let remote = Remote::default();
    let replica = Replica::start(&fixture, definition(&remote).stuck_after(2)).await;
    remote.answer(Answers::Fails);
    replica.begin("o-1", &order(1)).await;
    let stuck = Filter { phase: Some(Phase::Stuck), name: Some("order".to_owned()), ..Filter::default() };
    eventually("it is stuck", async || replica.sagas.list(&stuck, 10).await.unwrap().len() == 1).await;
    let info = replica.sagas.list(&stuck, 10).await.unwrap().remove(0);
    assert_eq!((info.id.as_str(), info.step.as_deref()), ("o-1", Some("charge")));
    assert_eq!(info.reason.as_deref(), Some("`charge` was not done in its time, at last: out of order"));
    remote.answer(Answers::Well);
    compensated(replica.finish("o-1").await);
    assert_eq!(replica.sagas.list(&stuck, 10).await.unwrap(), []);
    assert!(!replica.sagas.retry("o-1").await.unwrap(), "it ended");
    assert_eq!(stock(&replica.pool).await, STOCK);
}

#[tokio::test]
async fn thousands_of_sagas_are_listed_by_pages() {
    let Some(fixture) = Fixture::new().await else { return };
    let pool = fixture.pool().await;
    let sagas = Sagas::builder(pool.clone()).saga(definition(&Remote::default())).start().unwrap();
    let many = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 5000) \
        INSERT INTO bowline_sagas (id, name, phase, step, since_ms, attempts, due_ms, is_unsure, is_stuck, deadline_ms, \
        data, reason, history, traceparent, owner, lease_ms, version, begun_ms, ended_ms) \
        SELECT CAST(10000 + n AS TEXT), 'order', CASE WHEN n % 1000 = 7 THEN 'undoing' ELSE 'done' END, 'charge', 0, 0, \
        9000000000000000, 0, CASE WHEN n % 1000 = 7 THEN 1 ELSE 0 END, 0, 'x', 'why', 'x', NULL, NULL, 0, 1, n / 2, \
        9000000000000000 FROM numbers";
    sqlx::query(many).execute(&pool).await.unwrap();
    let stuck = Filter { phase: Some(Phase::Stuck), ..Filter::default() };
    let ids = async |filter: &Filter| -> Vec<String> {
        sagas.list(filter, 1000).await.unwrap().into_iter().map(|info| info.id).collect()
    };
    assert_eq!(ids(&stuck).await, ["14007", "13007", "12007", "11007", "10007"]);
    let (mut filter, mut all) = (Filter::default(), Vec::new());
    loop {
        let page = sagas.list(&filter, 1000).await.unwrap();
        let Some(last) = page.last() else { break };
        assert_eq!((last.reason.as_deref(), last.history.len()), (Some("why"), 0));
        filter.before = Some((last.begun_ms, last.id.clone()));
        all.extend(page.into_iter().map(|info| info.id));
    }
    assert!(all.len() == 5000 && all.is_sorted_by(|one, next| one > next), "{all:?}");
}

#[derive(Default)]
struct Spans(Mutex<Vec<SpanData>>);

impl Reporter for Spans {
    fn report(&self, span: SpanData) {
        self.0.lock().unwrap().push(span);
    }
}

#[tokio::test]
async fn each_step_has_a_span_in_the_trace_that_began_it_and_all_is_counted() {
    let Some(fixture) = Fixture::new().await else { return };
    tables(&fixture).await;
    let (pool, bus, spans) = (fixture.pool().await, Arc::new(Bus::default()), Arc::new(Spans::default()));
    let (outbox, registry) = (Outbox::new(pool.clone()), Registry::default());
    // Nobody but a commit of a step wakes this relay in time.
    let settings = RelaySettings { poll: Duration::from_hours(1), ..RelaySettings::default() };
    let _relay = outbox.relay(bus.clone(), settings, &registry);
    let sagas = Sagas::builder(pool.clone())
        .saga(definition(&Remote::default()))
        .outbox(&outbox)
        .tracer(Tracer::new("order", "order-1", Always, spans.clone()))
        .metrics(&registry)
        .start()
        .unwrap();
    let context = SpanContext { trace_id: TraceId::generate(), span_id: SpanId::generate(), is_sampled: true };
    let mut tx = bowline_sql::begin(&pool).await.unwrap();
    current::scope(context, sagas.begin(&mut tx, "order", "o-1", &order(1))).await.unwrap();
    sagas.commit(tx).await.unwrap();
    assert!(matches!(sagas.finish::<Order>("o-1", SOON).await.unwrap(), Outcome::Done(_)));
    eventually("its message is published", async || bus.kept().len() == 1).await;
    let trace_id = sagas.get("o-1").await.unwrap().trace_id;
    assert_eq!(trace_id, Some(context.trace_id.to_string()));
    let spans = spans.0.lock().unwrap();
    let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["saga order reserve", "saga order charge", "saga order confirm"]);
    assert!(spans.iter().all(|span| span.trace_id == context.trace_id && span.parent_span_id == Some(context.span_id)));
    let traceparent = &bus.kept()[0].1.headers[0].1;
    assert!(traceparent.contains(&spans[2].span_id.to_string()), "the message is of the step: {traceparent}");
    let text = registry.render();
    assert!(text.contains("bowline_sagas_ended_total{saga=\"order\",outcome=\"done\"} 1"), "{text}");
}

#[tokio::test]
async fn bad_definitions_and_ids_are_refused() {
    let Some(fixture) = Fixture::new().await else { return };
    let pool = fixture.pool().await;
    let refused =
        |definition: Definition<DB, Order>| Sagas::builder(pool.clone()).saga(definition).start().unwrap_err();
    assert!(refused(Definition::new("order")).to_string().contains("1 to 64"));
    assert!(refused(Definition::new("an order").local("a", reserve)).code() == bowline_model::Code::InvalidArgument);
    assert!(refused(Definition::new("order").local("a", reserve).local("a", release)).to_string().contains("own"));
    let taken_back = Definition::new("order").local("a", reserve).forward().local("b", reserve).undo_local(release);
    assert!(refused(taken_back).to_string().contains("only forward"));
    let other = Definition::new("other").local("a", release);
    let sagas = Sagas::builder(pool.clone()).saga(definition(&Remote::default())).saga(other).start().unwrap();
    tables(&fixture).await;
    let mut tx = bowline_sql::begin(&pool).await.unwrap();
    assert!(matches!(sagas.begin(&mut tx, "none", "x", &order(1)).await, Err(Error::NoDefinition { .. })));
    assert!(matches!(sagas.begin(&mut tx, "order", "", &order(1)).await, Err(Error::Invalid { .. })));
    sagas.begin(&mut tx, "order", "x", &order(1)).await.unwrap();
    let taken = sagas.begin(&mut tx, "other", "x", &order(1)).await.unwrap_err();
    assert_eq!(taken.to_string(), "`x` is a saga of `order`: an id is used once");
}
