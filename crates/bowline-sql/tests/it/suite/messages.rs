//! Outbox and inbox.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{DB, Fixture};
use crate::{bus::Bus, eventually};
use bowline_messaging::{NewMessage, PAYLOAD_BYTES_MAX};
use bowline_runtime::{metric::Registry, rand, task, time};
use bowline_sql::{Inbox, Outbox, RelaySettings, publish};
use bowline_telemetry::{SpanContext, SpanId, TraceId, current};

fn message(key: Option<&str>, text: &str) -> NewMessage {
    NewMessage { key: key.map(ToOwned::to_owned), payload: text.to_owned().into(), ..NewMessage::default() }
}

fn settings() -> RelaySettings {
    RelaySettings { poll: Duration::from_millis(20), lease: Duration::from_millis(400) }
}

async fn post(outbox: &Outbox<DB>, topic: &str, message: NewMessage) {
    let mut tx = outbox.begin().await.unwrap();
    publish(&mut tx, topic, message).await.unwrap();
    outbox.commit(tx).await.unwrap();
}

async fn waiting(pool: &sqlx::Pool<DB>) -> i64 {
    sqlx::query_scalar("SELECT COUNT(*) FROM bowline_outbox WHERE set_aside_ms IS NULL").fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn what_is_committed_is_published_in_order_with_its_trace() {
    let Some(fixture) = Fixture::new().await else { return };
    let pool = fixture.pool().await;
    let (outbox, bus) = (Outbox::new(pool.clone()), Arc::new(Bus::default()));
    let context = SpanContext { trace_id: TraceId::generate(), span_id: SpanId::generate(), is_sampled: true };
    let numbers: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    let mut tx = outbox.begin().await.unwrap();
    publish(&mut tx, "orders", message(None, "never")).await.unwrap();
    tx.rollback().await.unwrap();
    let mut tx = outbox.begin().await.unwrap();
    for number in &numbers {
        let id = current::scope(context, publish(&mut tx, "orders", message(Some("a"), number))).await.unwrap();
        assert_eq!(id.len(), 32);
    }
    outbox.commit(tx).await.unwrap();
    let _relay = outbox.relay(bus.clone(), settings(), &Registry::default());
    eventually("all are published", async || bus.kept().len() == 20).await;
    assert_eq!(bus.texts(Some("a")), numbers);
    let (topic, first) = bus.kept().remove(0);
    assert_eq!(topic, "orders");
    let traceparent = format!("00-{}-{}-01", context.trace_id, context.span_id);
    assert_eq!(first.headers, [("traceparent".to_owned(), traceparent)]);
    eventually("nothing waits", async || waiting(&pool).await == 0).await;
}

#[tokio::test]
async fn what_was_refused_is_published_later_and_in_order() {
    let Some(fixture) = Fixture::new().await else { return };
    let outbox = Outbox::new(fixture.pool().await);
    let bus = Arc::new(Bus::default());
    bus.refuse(3);
    bus.set_full("full", true);
    let registry = Registry::default();
    let _relay = outbox.relay(bus.clone(), settings(), &registry);
    post(&outbox, "full", message(Some("b"), "first")).await;
    post(&outbox, "full", message(Some("b"), "second")).await;
    for number in 0..10 {
        post(&outbox, "orders", message(Some("a"), &number.to_string())).await;
    }
    eventually("the other topic goes on", async || bus.texts(Some("a")).len() == 10).await;
    assert!(bus.texts(Some("a")).is_sorted(), "{:?}", bus.texts(Some("a")));
    assert_eq!(bus.texts(Some("b")), [""; 0]);
    bus.set_full("full", false);
    eventually("the topic goes on", async || bus.texts(Some("b")) == ["first", "second"]).await;
    assert!(!registry.render().contains("bowline_outbox_refused_total 0"), "{}", registry.render());
}

#[tokio::test]
async fn what_can_never_be_published_holds_nobody_up() {
    let Some(fixture) = Fixture::new().await else { return };
    let pool = fixture.pool().await;
    let (outbox, bus) = (Outbox::new(pool.clone()), Arc::new(Bus::default()));
    bus.set_invalid("odd");
    let mut tx = outbox.begin().await.unwrap();
    let large = NewMessage { payload: vec![0; PAYLOAD_BYTES_MAX + 1].into(), ..NewMessage::default() };
    let error = publish(&mut tx, "orders", large).await.unwrap_err();
    assert_eq!(error.code(), bowline_model::Code::InvalidArgument);
    publish(&mut tx, "odd", message(Some("a"), "odd")).await.unwrap();
    publish(&mut tx, "orders", message(Some("a"), "good")).await.unwrap();
    let expired = NewMessage { expires_in: Some(Duration::ZERO), ..message(None, "late") };
    publish(&mut tx, "orders", expired).await.unwrap();
    outbox.commit(tx).await.unwrap();
    let _relay = outbox.relay(bus.clone(), settings(), &Registry::default());
    eventually("the others are published", async || bus.texts(Some("a")) == ["good"]).await;
    eventually("nothing waits", async || waiting(&pool).await == 0).await;
    let aside: Vec<String> = sqlx::query_scalar("SELECT failure FROM bowline_outbox").fetch_all(&pool).await.unwrap();
    assert_eq!(aside, ["payload: it is good"]);
    assert_eq!(bus.kept().len(), 1);
}

/// Dropped between the acknowledgement and the deletion, a relay leaves the message to the next one: the same id.
#[tokio::test]
async fn another_replica_takes_over_and_nothing_is_published_twice() {
    let Some(fixture) = Fixture::new().await else { return };
    let (one, other) = (Outbox::new(fixture.pool().await), Outbox::new(fixture.pool().await));
    let bus = Arc::new(Bus::default());
    bus.hangs.store(true, Ordering::SeqCst);
    let relay = one.relay(bus.clone(), settings(), &Registry::default());
    post(&one, "orders", message(Some("a"), "0")).await;
    eventually("it is published", async || bus.kept().len() == 1).await;
    drop(relay);
    bus.hangs.store(false, Ordering::SeqCst);
    let _relay = other.relay(bus.clone(), settings(), &Registry::default());
    post(&one, "orders", message(Some("a"), "1")).await;
    eventually("the next one is published", async || bus.texts(Some("a")) == ["0", "1"]).await;
    assert!(bus.calls.load(Ordering::SeqCst) >= 3, "the first one was handed over again");
}

/// Of large messages only some are read at once.
#[tokio::test]
async fn a_batch_is_bounded_by_bytes() {
    let Some(fixture) = Fixture::new().await else { return };
    let (outbox, bus) = (Outbox::new(fixture.pool().await), Arc::new(Bus::default()));
    for _ in 0..10 {
        let payload = vec![0; PAYLOAD_BYTES_MAX];
        post(&outbox, "orders", NewMessage { payload: payload.into(), ..NewMessage::default() }).await;
    }
    bus.hangs.store(true, Ordering::SeqCst);
    let lease = RelaySettings { lease: Duration::from_hours(1), ..settings() };
    let relay = outbox.relay(bus.clone(), lease, &Registry::default());
    eventually("a batch is handed over", async || bus.calls.load(Ordering::SeqCst) >= 3).await;
    // tidy: sleep: whoever hands more over at once does so now
    time::sleep(Duration::from_millis(200)).await;
    assert_eq!(bus.calls.load(Ordering::SeqCst), 3, "4 MiB are too many with what is around them");
    drop(relay);
    sqlx::query("DELETE FROM bowline_leases").execute(&fixture.pool().await).await.unwrap();
    bus.hangs.store(false, Ordering::SeqCst);
    let _relay = outbox.relay(bus.clone(), settings(), &Registry::default());
    eventually("all are published", async || bus.kept().len() == 10).await;
}

#[tokio::test]
async fn a_message_bus_that_panics_does_not_end_the_relay() {
    let Some(fixture) = Fixture::new().await else { return };
    let (outbox, bus) = (Outbox::new(fixture.pool().await), Arc::new(Bus::default()));
    bus.panics.store(true, Ordering::SeqCst);
    let _relay = outbox.relay(bus.clone(), settings(), &Registry::default());
    post(&outbox, "orders", message(None, "0")).await;
    eventually("it is published", async || bus.kept().len() == 1).await;
}

/// Relays come and go at random while messages are published: each arrives once, in order within its key.
#[tokio::test]
async fn crashes_at_random_lose_nothing_and_keep_the_order() {
    let Some(fixture) = Fixture::new().await else { return };
    bowline_testkit::seed();
    let pool = fixture.pool().await;
    let (outbox, bus) = (Outbox::new(fixture.pool().await), Arc::new(Bus::default()));
    let publisher = outbox.clone();
    let publishing = task::spawn(async move {
        for number in 0..60 {
            let key = format!("key-{}", number % 3);
            post(&publisher, "orders", message(Some(&key), &format!("{number:03}"))).await;
        }
    });
    while !publishing.is_finished() || waiting(&pool).await > 0 {
        let lease = RelaySettings { lease: Duration::from_millis(30), ..settings() };
        let relay = outbox.relay(bus.clone(), lease, &Registry::default());
        bus.refuse(rand::below(3));
        // tidy: sleep: the moment of the crash is random, there is nothing to wait for
        time::sleep(Duration::from_millis(rand::below(120) as u64)).await;
        drop(relay);
    }
    publishing.await.unwrap();
    assert_eq!(bus.kept().len(), 60);
    for key in ["key-0", "key-1", "key-2"] {
        let texts = bus.texts(Some(key));
        assert!(texts.len() == 20 && texts.is_sorted(), "{texts:?}");
    }
}

#[tokio::test]
async fn a_message_is_processed_once_and_forgotten_in_the_end() {
    let Some(fixture) = Fixture::new().await else { return };
    let pool = fixture.pool().await;
    let inbox = Inbox::default();
    let mut tx = bowline_sql::begin(&pool).await.unwrap();
    assert!(inbox.once(&mut tx, "notify", "m-1").await.unwrap());
    tx.rollback().await.unwrap();
    for (group, expect) in [("notify", true), ("notify", false), ("other", true)] {
        let mut tx = bowline_sql::begin(&pool).await.unwrap();
        assert_eq!(inbox.once(&mut tx, group, "m-1").await.unwrap(), expect, "{group}");
        tx.commit().await.unwrap();
    }
    // Two at once: one of them processes it.
    let both = [pool.clone(), fixture.pool().await].map(|pool| {
        let inbox = inbox.clone();
        task::spawn(async move {
            let mut tx = bowline_sql::begin(&pool).await.unwrap();
            let is_new = inbox.once(&mut tx, "notify", "m-2").await.unwrap();
            tx.commit().await.unwrap();
            is_new
        })
    });
    let mut news = 0;
    for one in both {
        news += usize::from(one.await.unwrap());
    }
    assert_eq!(news, 1);
    // The first look of an inbox forgets what is older than it keeps.
    eventually("what is old is forgotten", async || {
        let mut tx = bowline_sql::begin(&pool).await.unwrap();
        Inbox::keeping(Duration::ZERO).once(&mut tx, "notify", "m-3").await.unwrap();
        tx.commit().await.unwrap();
        let sql = "SELECT COUNT(*) FROM bowline_inbox WHERE id = 'm-1'";
        sqlx::query_scalar::<_, i64>(sql).fetch_one(&pool).await.unwrap() == 0
    })
    .await;
}

/// However many there are: a few messages later nothing old is left.
#[tokio::test]
async fn what_is_old_is_forgotten_faster_than_it_comes() {
    let Some(fixture) = Fixture::new().await else { return };
    let pool = fixture.pool().await;
    let old = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 4500) \
               INSERT INTO bowline_inbox SELECT 'notify', CAST(n AS TEXT), 1 FROM numbers";
    sqlx::query(old).execute(&pool).await.unwrap();
    let inbox = Inbox::default();
    for number in 0..5 {
        let mut tx = bowline_sql::begin(&pool).await.unwrap();
        assert!(inbox.once(&mut tx, "notify", &format!("m-{number}")).await.unwrap());
        tx.commit().await.unwrap();
    }
    let left: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM bowline_inbox").fetch_one(&pool).await.unwrap();
    assert_eq!(left, 5, "those that were processed now");
}

#[tokio::test]
async fn replicas_make_the_tables_at_once() {
    let Some(fixture) = Fixture::new().await else { return };
    let pool = fixture.pool().await;
    for table in ["outbox", "inbox", "leases", "sagas", "format", "additions"] {
        let drop = format!("DROP TABLE bowline_{table}");
        sqlx::query(sqlx::AssertSqlSafe(drop)).execute(&pool).await.unwrap();
    }
    let mut replicas = Vec::new();
    for _ in 0..6 {
        let pool = fixture.pool().await;
        replicas.push(task::spawn(async move { bowline_sql::migrate(&pool).await }));
    }
    for replica in replicas {
        replica.await.unwrap().unwrap();
    }
    let formats: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM bowline_format").fetch_one(&pool).await.unwrap();
    assert_eq!(formats, 1);
    // As the first release that had these tables left them.
    for sql in ["DROP TABLE bowline_additions", "DROP INDEX bowline_sagas_begun", "DROP INDEX bowline_sagas_stuck"] {
        sqlx::query(sql).execute(&pool).await.unwrap();
    }
    for _ in 0..2 {
        bowline_sql::migrate(&pool).await.unwrap();
    }
    // It is there.
    sqlx::query("DROP INDEX bowline_sagas_begun").execute(&pool).await.unwrap();
    sqlx::query("UPDATE bowline_format SET format = 99").execute(&pool).await.unwrap();
    let error = bowline_sql::migrate(&pool).await.unwrap_err();
    assert!(error.to_string().contains("format 99"), "{error}");
}
