//! Histories that end, stores that close, entries that nobody can read, judges that fail.

use std::{
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use bowline_config::{Document, Error, Schema, Violation};
use bowline_model::{Code, ConfigKey};
use bowline_runtime::task::{self, JoinSet};
use bowline_store::{Store as _, Txn};

use crate::support::{Fixture, draft, key, next};

/// More changes of others than the store remembers.
async fn churn(fixture: &Fixture) {
    for number in 0..20 {
        fixture.store.commit(Txn::default().put("other", format!("{number}"))).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_fell_behind_tells_the_state_and_no_deletion() {
    let fixture = Fixture::with(|settings| settings.history_max = 4).await;
    let key = key("shop/order");
    let first = fixture.publish(&key, "a = 1").await;
    let mut watch = fixture.watch(&key).await;
    assert_eq!(next(&mut watch).await.unwrap(), Some(first));
    // What it missed had no part in it, then had.
    churn(&fixture).await;
    let second = fixture.publish(&key, "a = 2").await;
    assert_eq!(next(&mut watch).await.unwrap(), Some(second));
    fixture.publish(&key, "a = 3").await;
    churn(&fixture).await;
    let fourth = fixture.publish(&key, "a = 4").await;
    churn(&fixture).await;
    assert_eq!(next(&mut watch).await.unwrap(), Some(fourth));
    fixture.config.delete_config(&key, None).await.unwrap();
    churn(&fixture).await;
    assert_eq!(next(&mut watch).await.unwrap(), None, "a deletion that is true is told");
    // Nothing more is told of what did not change.
    churn(&fixture).await;
    let fifth = fixture.publish(&key, "a = 5").await;
    assert_eq!(next(&mut watch).await.unwrap(), Some(fifth));
}

#[tokio::test(start_paused = true)]
async fn a_closed_store_is_no_deletion() {
    let fixture = Fixture::new().await;
    let key = key("shop/order");
    let first = fixture.publish(&key, "a = 1").await;
    let mut watch = fixture.watch(&key).await;
    assert_eq!(next(&mut watch).await.unwrap(), Some(first));
    fixture.store.close().await;
    for _ in 0..2 {
        let error = next(&mut watch).await.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable, "{error:?}");
    }
    let error = fixture.config.set_config(&key, draft("a = 2")).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable, "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_later_release_wrote_is_neither_read_nor_overwritten() {
    let fixture = Fixture::new().await;
    let (damaged, later) = (key("shop/damaged"), key("shop/later"));
    let txn = Txn::default().put("config/doc/shop/damaged", "{").put("config/doc/shop/later", r#"{"format":2}"#);
    fixture.store.commit(txn).await.unwrap();
    for key in [damaged, later] {
        let mut watch = fixture.watch(&key).await;
        for error in [
            fixture.config.get_config(&key).await.unwrap_err(),
            fixture.config.set_config(&key, draft("a = 1")).await.unwrap_err(),
            fixture.config.delete_config(&key, None).await.unwrap_err(),
            next(&mut watch).await.unwrap_err(),
        ] {
            assert!(matches!(&error, Error::Unreadable { entry } if entry.ends_with(key.as_str())), "{error:?}");
            assert_eq!((error.code(), error.retryable()), (Code::Internal, false));
        }
    }
}

/// Fails, or finds more than can be told.
struct Judge(usize);

impl Schema for Judge {
    fn check(&self, _: &ConfigKey, _: &Document, _: Option<&str>) -> Result<(), Vec<Violation>> {
        assert!(self.0 > 0, "this judge always fails");
        let violation = |at| Violation { path: format!("/{at}"), rule: "rule".to_owned(), detail: "bad".to_owned() };
        Err((0..self.0).map(violation).collect())
    }

    fn check_schema(&self, _: &ConfigKey, _: &str) -> Result<(), String> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_judge_that_fails_lets_nothing_through() {
    let fixture = Fixture::judged_by(Judge(0)).await;
    let key = key("shop/order");
    let error = fixture.config.set_config(&key, draft("a = 1")).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(Some(_))), "{error:?}");
    assert_eq!(fixture.config.get_config(&key).await.unwrap(), None);
}

/// Judges when it is told to.
struct Slow(Mutex<mpsc::Receiver<()>>);

impl Schema for Slow {
    fn check(&self, _: &ConfigKey, _: &Document, _: Option<&str>) -> Result<(), Vec<Violation>> {
        self.0.lock().unwrap().recv().ok();
        Ok(())
    }

    fn check_schema(&self, _: &ConfigKey, _: &str) -> Result<(), String> {
        Ok(())
    }
}

#[tokio::test]
async fn judges_that_take_too_long_are_not_waited_for_and_do_not_pile_up() {
    let (judge, told) = mpsc::channel();
    let fixture = Fixture::judged_by(Slow(Mutex::new(told))).await;
    let key = key("shop/order");
    let mut writers = JoinSet::new();
    for number in 0..4 {
        let (config, key) = (Arc::clone(&fixture.config), key.clone());
        writers.spawn(async move { config.set_config(&key, draft(&format!("a = {number}"))).await });
    }
    task::yield_now().await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    while let Some(refused) = writers.join_next().await {
        let error = refused.unwrap().unwrap_err();
        assert!(matches!(error, Error::Invalid { what: "schema", .. }), "{error:?}");
    }
    // All of them are still at it.
    let config = Arc::clone(&fixture.config);
    let fifth = task::spawn({
        let key = key.clone();
        async move { config.set_config(&key, draft("a = 5")).await }
    });
    task::yield_now().await;
    tokio::time::advance(Duration::from_secs(11)).await;
    let error = fifth.await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.retryable()), (Code::Unavailable, true), "{error:?}");
    tokio::time::resume();
    drop(judge);
    assert_eq!(fixture.publish(&key, "a = 6").await.number, 1);
}

#[tokio::test(start_paused = true)]
async fn of_many_violations_some_are_told() {
    let fixture = Fixture::judged_by(Judge(1000)).await;
    let error = fixture.config.set_config(&key("shop/order"), draft("a = 1")).await.unwrap_err();
    assert_eq!(error.to_string(), "the document breaks its rules: /0: bad (rule); and 31 more");
    assert!(matches!(error, Error::Rejected { violations } if violations.len() == 32));
}
