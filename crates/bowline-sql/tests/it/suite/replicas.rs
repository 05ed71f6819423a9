//! Sagas while replicas come, go and differ, and while somebody has them retried.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bowline_runtime::{rand, task, time};
use bowline_sql::{Definition, Filter, Outcome, Phase, Sagas};
use sqlx::pool::PoolOptions;
use tokio::sync::Notify;

use super::{
    DB, Fixture,
    sagas::{
        Order, Replica, SOON, STOCK, charging, compensated, confirm, definition, effects, order, reserve, stock, tables,
    },
};
use crate::{
    eventually,
    remote::{Answers, Charge, Remote},
};

#[tokio::test]
async fn of_two_replicas_one_works_on_a_saga() {
    let Some(fixture) = Fixture::new().await else { return };
    tables(&fixture).await;
    let remote = Remote::default();
    let one = Replica::start(&fixture, definition(&remote)).await;
    let other = Replica::start(&fixture, definition(&remote)).await;
    let ids: Vec<String> = (0..20).map(|number| format!("o-{number}")).collect();
    for id in &ids {
        one.begin(id, &order(1)).await;
        assert!(!other.begin(id, &order(1)).await);
    }
    for id in &ids {
        let (mine, others) = (one.finish(id).await, other.finish(id).await);
        assert!(matches!(mine, Outcome::Done(_)) && mine == others, "{mine:?} {others:?}");
    }
    assert_eq!(remote.calls().len(), ids.len(), "each is charged by one of them");
    assert_eq!(stock(&one.pool).await, STOCK - 20);
}

#[tokio::test]
async fn another_replica_takes_over_from_one_that_is_gone() {
    let Some(fixture) = Fixture::new().await else { return };
    tables(&fixture).await;
    let remote = Remote::default();
    let one = Replica::start(&fixture, definition(&remote)).await;
    remote.answer(Answers::Never);
    one.begin("o-1", &order(1)).await;
    eventually("it is being charged", async || !remote.calls().is_empty()).await;
    let other = Replica::start(&fixture, definition(&remote)).await;
    drop(one);
    remote.answer(Answers::Well);
    assert!(matches!(other.finish("o-1").await, Outcome::Done(_)));
    assert_eq!(effects(&other.pool).await, ["confirm", "reserve"]);
    assert_eq!(remote.calls(), ["charge", "charge"], "the outcome of the first was unknown");
}

/// Whoever takes over cannot know whether the step under way has acted: it is undone, too.
#[tokio::test]
async fn what_a_replica_that_is_gone_may_have_done_is_undone() {
    let Some(fixture) = Fixture::new().await else { return };
    tables(&fixture).await;
    let remote = Remote::default();
    let definition = || definition(&remote).deadline(Duration::from_secs(1));
    let one = Replica::start(&fixture, definition()).await;
    remote.answer(Answers::Hangs);
    one.begin("o-1", &order(1)).await;
    eventually("it is charged", async || remote.charge_of("o-1").is_some()).await;
    drop(one);
    eventually("its time is over", async || {
        let sql = "SELECT COUNT(*) FROM bowline_sagas WHERE deadline_ms < $1";
        let now = i64::try_from(time::unix_millis_now()).unwrap();
        sqlx::query_scalar::<_, i64>(sql).bind(now).fetch_one(&fixture.pool().await).await.unwrap() == 1
    })
    .await;
    remote.answer(Answers::Well);
    let other = Replica::start(&fixture, definition()).await;
    compensated(other.finish("o-1").await);
    assert_eq!(remote.charge_of("o-1"), Some(Charge::Refunded));
    assert_eq!((remote.calls().join(" "), stock(&other.pool).await), ("charge refund".to_owned(), STOCK));
}

/// A replica that was away for longer than its lease comes back in the middle of a step that another has done since.
#[tokio::test]
async fn who_has_lost_a_saga_changes_nothing() {
    let Some(fixture) = Fixture::new().await else { return };
    tables(&fixture).await;
    let (gate, calls) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let definition = || {
        let (gate, calls) = (gate.clone(), calls.clone());
        let charge = move |_: &str, _: &mut Order| {
            let (gate, is_first) = (gate.clone(), calls.fetch_add(1, Ordering::SeqCst) == 0);
            async move {
                if is_first {
                    gate.notified().await;
                }
            }
        };
        Definition::new("order")
            .local("reserve", reserve)
            .remote("charge", move |id, order| {
                let charged = charge(id, order);
                Box::pin(async move {
                    charged.await;
                    Ok(())
                })
            })
            .local("confirm", confirm)
    };
    let pool = fixture.pool().await;
    let sagas = Sagas::builder(pool.clone()).saga(definition()).lease(Duration::from_hours(1)).start().unwrap();
    let one = Replica { sagas, pool };
    one.begin("o-1", &order(1)).await;
    eventually("it is being charged", async || calls.load(Ordering::SeqCst) == 1).await;
    sqlx::query("UPDATE bowline_sagas SET lease_ms = 0").execute(&one.pool).await.unwrap();
    let other = Replica::start(&fixture, definition()).await;
    assert!(matches!(other.finish("o-1").await, Outcome::Done(_)));
    gate.notify_one();
    assert!(matches!(one.finish("o-1").await, Outcome::Done(_)));
    assert_eq!(effects(&one.pool).await, ["confirm", "reserve"]);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

/// Of sagas that have ended, each charged where it is done and nowhere else, and with local steps that happened once:
/// how many there are, and how many are done.
async fn check_ends(replica: &Replica, remote: &Remote) -> (i64, i64) {
    let all = replica.sagas.list(&Filter::default(), 1000).await.unwrap();
    let mut done = 0;
    for info in &all {
        let is_done = info.phase == Phase::Done;
        done += i64::from(is_done);
        assert_eq!(remote.charge_of(&info.id) == Some(Charge::Made), is_done, "{info:?}");
    }
    let effects = effects(&replica.pool).await;
    let count = |what: &str| i64::try_from(effects.iter().filter(|effect| *effect == what).count()).unwrap();
    let begun = i64::try_from(all.len()).unwrap();
    assert_eq!((count("reserve"), count("confirm"), count("release")), (begun, done, begun - done));
    assert_eq!(stock(&replica.pool).await, STOCK - done);
    (begun, done)
}

/// Replicas come and go at random, and the service answers as it likes: every saga ends, local steps happened once,
/// the service has charged whose saga is done, and nobody else.
#[tokio::test]
async fn crashes_at_random_leave_every_saga_at_one_end() {
    let Some(fixture) = Fixture::new().await else { return };
    tables(&fixture).await;
    bowline_testkit::seed();
    let remote = Remote::default();
    remote.answer(Answers::AnyHow);
    let mut ids = Vec::new();
    for round in 0..25 {
        let replica = Replica::start(&fixture, definition(&remote)).await;
        for number in 0..2 {
            let id = format!("o-{round}-{number}");
            let begun = async {
                let mut tx = bowline_sql::begin(&replica.pool).await.unwrap();
                replica.sagas.begin(&mut tx, "order", &id, &order(1)).await.unwrap();
                replica.sagas.commit(tx).await.unwrap();
                replica.sagas.finish::<Order>(&id, SOON).await.unwrap();
            };
            time::timeout(Duration::from_millis(rand::below(25) as u64), begun).await.ok();
            ids.push(id);
        }
    }
    remote.answer(Answers::Well);
    let replica = Replica::start(&fixture, definition(&remote)).await;
    let running = async || {
        let all = replica.sagas.list(&Filter::default(), 1000).await.unwrap();
        all.iter().filter(|info| info.ended_ms.is_none()).count()
    };
    eventually("all have ended", async || running().await == 0).await;
    let (begun, done) = check_ends(&replica, &remote).await;
    println!("{begun} of {} begun, {done} done", ids.len());
    let sql = "SELECT COUNT(*) FROM bowline_outbox";
    let published: i64 = sqlx::query_scalar(sql).fetch_one(&replica.pool).await.unwrap();
    assert_eq!(published, done);
}

/// A step may need the connection that renewing waits for; the lease is renewed as soon as it can be.
#[tokio::test]
async fn a_step_goes_on_while_its_lease_cannot_be_renewed() {
    let Some(fixture) = Fixture::new().await else { return };
    tables(&fixture).await;
    let (lease, calls) = (Duration::from_secs(1), Arc::new(AtomicUsize::new(0)));
    let one = PoolOptions::new().max_connections(1).acquire_timeout(Duration::from_millis(100));
    let pool = fixture.pool_of(one).await;
    let (own, tried) = (pool.clone(), calls.clone());
    let definition = Definition::new("order").local("reserve", reserve).remote("charge", move |_, _: &mut Order| {
        let pool = own.clone();
        tried.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let connection = pool.acquire().await?;
            // tidy: sleep: the connection is held while the lease is to be renewed, after a third of it
            time::sleep(lease * 2 / 3).await;
            drop(connection);
            // tidy: sleep: until the lease would be over that was not renewed
            time::sleep(lease).await;
            Ok(())
        })
    });
    let sagas = Sagas::builder(pool.clone()).saga(definition).lease(lease).start().unwrap();
    let one = Replica { sagas, pool };
    let other = Replica::start(&fixture, self::definition(&Remote::default())).await;
    one.begin("o-1", &order(1)).await;
    assert!(matches!(other.finish("o-1").await, Outcome::Done(_)));
    assert_eq!(calls.load(Ordering::SeqCst), 1, "nobody took it over");
}

/// A charge that waits for a gate, and then is done.
fn gated(gate: &Arc<Notify>, calls: &Arc<AtomicUsize>) -> Definition<DB, Order> {
    let (gate, calls) = (gate.clone(), calls.clone());
    let charge = Definition::new("order").local("reserve", reserve).remote("charge", move |_, _: &mut Order| {
        let gate = gate.clone();
        calls.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            gate.notified().await;
            Ok(())
        })
    });
    charge.local("confirm", confirm)
}

#[tokio::test]
async fn a_drain_waits_for_what_is_worked_on_and_begins_nothing() {
    let Some(fixture) = Fixture::new().await else { return };
    tables(&fixture).await;
    let (gate, calls) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let pool = fixture.pool().await;
    let sagas = Sagas::builder(pool.clone()).saga(gated(&gate, &calls)).lease(Duration::from_hours(1)).start().unwrap();
    let one = Replica { sagas, pool };
    one.begin("o-1", &order(1)).await;
    eventually("it is being charged", async || calls.load(Ordering::SeqCst) == 1).await;
    one.sagas.begin_drain();
    one.begin("o-2", &order(1)).await;
    let sagas = one.sagas.clone();
    let drained = task::spawn(async move { sagas.drain(SOON).await });
    gate.notify_one();
    drained.await.unwrap();
    assert_eq!(one.sagas.get("o-1").await.unwrap().phase, Phase::Done);
    assert_eq!(one.sagas.finish::<Order>("o-2", Duration::ZERO).await.unwrap(), Outcome::StillRunning);
    assert_eq!(calls.load(Ordering::SeqCst), 1, "the other is not begun");
    // It is left to others, who need not wait for the end of its lease.
    let other = Replica::start(&fixture, definition(&Remote::default())).await;
    assert!(matches!(other.finish("o-2").await, Outcome::Done(_)));
}

#[tokio::test]
async fn what_a_drain_does_not_wait_for_goes_on_elsewhere_at_once() {
    let Some(fixture) = Fixture::new().await else { return };
    tables(&fixture).await;
    let (gate, calls) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let pool = fixture.pool().await;
    let sagas = Sagas::builder(pool.clone()).saga(gated(&gate, &calls)).lease(Duration::from_hours(1)).start().unwrap();
    let one = Replica { sagas, pool };
    one.begin("o-1", &order(1)).await;
    eventually("it is being charged", async || calls.load(Ordering::SeqCst) == 1).await;
    one.sagas.drain(Duration::from_millis(50)).await;
    let remote = Remote::default();
    let other = Replica::start(&fixture, definition(&remote)).await;
    assert!(matches!(other.finish("o-1").await, Outcome::Done(_)));
    assert_eq!(remote.calls(), ["charge"]);
}

/// During a canary: the saga of a new release waits at a step that the old one does not have.
#[tokio::test]
async fn a_saga_at_an_unknown_step_is_left_as_it_is() {
    let Some(fixture) = Fixture::new().await else { return };
    tables(&fixture).await;
    let remote = Remote::default();
    let later = |remote: &Remote| {
        let remote = remote.clone();
        let hour = Duration::from_hours(1);
        Definition::new("order")
            .local("reserve", reserve)
            .remote("pack", move |id, _: &mut Order| {
                let remote = remote.clone();
                Box::pin(async move { remote.charge(id).await })
            })
            .within(2 * hour)
            .retry(u32::MAX, Duration::from_millis(1), Duration::from_millis(1))
            .local("confirm", confirm)
    };
    remote.answer(Answers::Fails);
    let new = Replica::start(&fixture, later(&remote)).await;
    new.begin("o-1", &order(1)).await;
    eventually("it was tried", async || !remote.calls().is_empty()).await;
    new.sagas.drain(Duration::ZERO).await;
    drop(new);
    let row = async |pool: &sqlx::Pool<DB>| -> (i64, i64) {
        sqlx::query_as("SELECT version, due_ms FROM bowline_sagas").fetch_one(pool).await.unwrap()
    };
    remote.answer(Answers::Well);
    let old = Replica::start(&fixture, definition(&remote)).await;
    let before = row(&old.pool).await;
    old.begin("o-2", &order(1)).await;
    old.finish("o-2").await;
    assert_eq!(old.sagas.finish::<Order>("o-1", Duration::from_millis(200)).await.unwrap(), Outcome::StillRunning);
    let sql = "SELECT version, due_ms FROM bowline_sagas WHERE id = 'o-1'";
    let after: (i64, i64) = sqlx::query_as(sql).fetch_one(&old.pool).await.unwrap();
    assert_eq!(after, before);
    let new = Replica::start(&fixture, later(&remote)).await;
    assert!(matches!(new.finish("o-1").await, Outcome::Done(_)));
}

/// Charged once an hour.
fn seldom(remote: &Remote) -> Definition<DB, Order> {
    let hour = Duration::from_hours(1);
    charging(remote).within(2 * hour).retry(u32::MAX, hour, hour).local("confirm", confirm)
}

#[tokio::test]
async fn a_wait_is_kept_by_one_write_and_a_retry_ends_it() {
    let Some(fixture) = Fixture::new().await else { return };
    tables(&fixture).await;
    let remote = Remote::default();
    let replica = Replica::start(&fixture, seldom(&remote)).await;
    for sql in Fixture::NOTE_WRITES {
        sqlx::query(sql).execute(&replica.pool).await.unwrap();
    }
    let written = async || effects(&replica.pool).await.iter().filter(|what| *what == "written").count();
    remote.answer(Answers::Fails);
    replica.begin("o-1", &order(1)).await;
    let failed = async || replica.sagas.get("o-1").await.unwrap().attempts;
    eventually("it failed", async || failed().await == 1).await;
    assert!(replica.sagas.retry("o-1").await.unwrap());
    eventually("it failed again", async || failed().await == 2).await;
    // Begun; waits. Retried, taken; waits.
    assert_eq!(written().await, 5);
    remote.answer(Answers::Well);
    assert!(replica.sagas.retry("o-1").await.unwrap());
    assert!(matches!(replica.finish("o-1").await, Outcome::Done(_)));
    assert!(!replica.sagas.retry("o-1").await.unwrap(), "it ended");
    assert_eq!(remote.charge_of("o-1"), Some(Charge::Made));
}

#[tokio::test]
async fn a_saga_that_is_stuck_is_undone_by_a_retry() {
    let Some(fixture) = Fixture::new().await else { return };
    tables(&fixture).await;
    let remote = Remote::default();
    let replica = Replica::start(&fixture, definition(&remote).stuck_after(1)).await;
    remote.answer(Answers::Fails);
    replica.begin("o-1", &order(1)).await;
    // As after many tries: whoever has the row as it was loses it.
    let far = "UPDATE bowline_sagas SET due_ms = 9000000000000000, version = version + 1 \
               WHERE is_stuck = 1 AND lease_ms = 0";
    eventually("it is stuck and waits", async || {
        sqlx::query(far).execute(&replica.pool).await.unwrap().rows_affected() == 1
    })
    .await;
    remote.answer(Answers::Well);
    assert!(replica.sagas.retry("o-1").await.unwrap());
    compensated(replica.finish("o-1").await);
    assert_eq!(stock(&replica.pool).await, STOCK);
}

/// Whoever charged is gone, its time is over, and a retry is what finds it first.
#[tokio::test]
async fn a_retry_undoes_what_may_have_acted() {
    let Some(fixture) = Fixture::new().await else { return };
    tables(&fixture).await;
    let remote = Remote::default();
    let definition = || seldom(&remote).deadline(Duration::from_secs(1));
    let one = Replica::start(&fixture, definition()).await;
    remote.answer(Answers::Hangs);
    one.begin("o-1", &order(1)).await;
    eventually("it is charged", async || remote.charge_of("o-1").is_some()).await;
    // It looks once, while the saga is another's.
    let pool = fixture.pool().await;
    let sagas = Sagas::builder(pool.clone()).saga(definition()).poll(Duration::from_hours(1)).start().unwrap();
    let other = Replica { sagas, pool };
    other.begin("o-2", &order(1)).await;
    eventually("it has looked", async || remote.charge_of("o-2").is_some()).await;
    drop(one);
    remote.answer(Answers::Well);
    eventually("its time is over, and its lease", async || {
        let sql = "SELECT COUNT(*) FROM bowline_sagas WHERE id = 'o-1' AND deadline_ms < $1 AND lease_ms < $1";
        let now = i64::try_from(time::unix_millis_now()).unwrap();
        sqlx::query_scalar::<_, i64>(sql).bind(now).fetch_one(&other.pool).await.unwrap() == 1
    })
    .await;
    assert!(other.sagas.retry("o-1").await.unwrap());
    compensated(other.finish("o-1").await);
    assert_eq!(remote.charge_of("o-1"), Some(Charge::Refunded));
}

/// Two replicas work, and somebody has everything retried all the time: what holds without that holds.
#[tokio::test]
async fn retries_may_race_with_who_works() {
    let Some(fixture) = Fixture::new().await else { return };
    tables(&fixture).await;
    bowline_testkit::seed();
    let remote = Remote::default();
    remote.answer(Answers::AnyHow);
    let one = Replica::start(&fixture, definition(&remote)).await;
    let other = Replica::start(&fixture, definition(&remote)).await;
    let ids: Vec<String> = (0..20).map(|number| format!("o-{number}")).collect();
    for id in &ids {
        one.begin(id, &order(1)).await;
    }
    let mut retried = 0;
    eventually("all have ended", async || {
        for id in &ids {
            retried += usize::from(other.sagas.retry(id).await.unwrap());
        }
        let all = one.sagas.list(&Filter::default(), 100).await.unwrap();
        all.iter().all(|info| info.ended_ms.is_some())
    })
    .await;
    println!("{retried} were retried");
    assert_eq!(check_ends(&one, &remote).await.0, 20);
}

/// Here a pool's own hook panics, in whoever asks for a connection.
#[tokio::test]
async fn a_panic_does_not_end_the_work() {
    let Some(fixture) = Fixture::new().await else { return };
    tables(&fixture).await;
    let is_to_panic = Arc::new(AtomicBool::new(false));
    let panics = is_to_panic.clone();
    let hooked = PoolOptions::new().max_connections(2).before_acquire(move |_, _| {
        assert!(!panics.swap(false, Ordering::SeqCst), "on purpose");
        Box::pin(async { Ok(true) })
    });
    let pool = fixture.pool_of(hooked).await;
    let poll = Duration::from_millis(20);
    let sagas = Sagas::builder(pool.clone()).saga(definition(&Remote::default())).poll(poll).start().unwrap();
    is_to_panic.store(true, Ordering::SeqCst);
    eventually("it panicked", async || !is_to_panic.load(Ordering::SeqCst)).await;
    let replica = Replica { sagas, pool };
    replica.begin("o-1", &order(1)).await;
    eventually("it is done", async || replica.sagas.get("o-1").await.unwrap().phase == Phase::Done).await;
}
