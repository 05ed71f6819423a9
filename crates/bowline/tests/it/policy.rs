//! A policy that is replaced while calls are made.

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};

use bowline::{
    Code,
    policy::{Backoff, BreakerPolicy, CallPolicy, RetryPolicy},
};
use bowline_testkit::{Answer, HttpServer};

use crate::{
    api::Api,
    support::{Caller, instance},
};

fn retry(attempts_max: u32) -> RetryPolicy {
    let backoff = Backoff { min: Duration::from_millis(1), max: Duration::from_millis(2) };
    RetryPolicy { attempts_max, backoff, ..RetryPolicy::default() }
}

/// An upstream whose every second answer is good.
async fn flaky() -> (Api, HttpServer, Caller) {
    let api = Api::start().await;
    let asked = AtomicUsize::new(0);
    let server = HttpServer::start(move |_| match asked.fetch_add(1, SeqCst) % 2 {
        0 => Answer::status(503),
        _ => Answer::Status(200, "1".to_owned()),
    });
    api.register(instance("callee-1", server.addr()));
    let caller = Caller::new(&api, r#"{"timeout":"10s"}"#);
    (api, server, caller)
}

#[tokio::test]
async fn a_retry_policy_is_live_for_every_clone() {
    let (_api, server, caller) = flaky().await;
    let clone = caller.client.clone();
    assert_eq!(clone.get("/").json::<u32>().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(clone.get("/").json::<u32>().await.unwrap(), 1);
    caller.client.set_retry(Some(retry(2))).unwrap();
    assert_eq!(clone.policy().retry, Some(retry(2)));
    assert_eq!(clone.get("/").json::<u32>().await.unwrap(), 1);
    assert_eq!(server.requests().len(), 4, "of which it took two");
    caller.client.set_retry(None).unwrap();
    assert_eq!(clone.get("/").json::<u32>().await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_timeout_is_live_too() {
    let (_api, server, caller) = flaky().await;
    let timeout_ms = async || {
        let _answered = caller.client.get("/").bytes().await;
        let requests = server.requests();
        requests.last().unwrap().headers["x-bowline-timeout-ms"].parse::<u64>().unwrap()
    };
    assert!(timeout_ms().await > 5000);
    caller.client.set_timeout(Duration::from_secs(3)).unwrap();
    assert!(timeout_ms().await <= 3000);
    caller.client.set_timeout(Duration::from_mins(1)).unwrap();
    assert!(timeout_ms().await > 30_000);
}

#[tokio::test]
async fn a_policy_that_makes_no_sense_changes_nothing() {
    let (_api, _server, caller) = flaky().await;
    let client = &caller.client;
    let before = client.policy();
    let long = RetryPolicy { per_try_timeout: Some(Duration::from_mins(1)), ..retry(2) };
    for (bad, field) in
        [(retry(0), "retry.attempts_max"), (retry(11), "retry.attempts_max"), (long, "retry.per_try_timeout")]
    {
        assert_eq!(client.check_retry(Some(&bad)).unwrap_err().field, field);
        assert_eq!(client.set_retry(Some(bad)).unwrap_err().field, field);
    }
    client.check_retry(Some(&retry(10))).unwrap();
    client.check_retry(None).unwrap();
    let breaker = BreakerPolicy { probes_max: 0, ..BreakerPolicy::default() };
    assert_eq!(client.set_breaker(Some(breaker)).unwrap_err().to_string(), "breaker.probes_max: it is 1 to 1000");
    assert_eq!(client.set_timeout(Duration::ZERO).unwrap_err().field, "timeout");
    assert_eq!(client.policy(), before);
    let after = CallPolicy { breaker: None, retry: None, ..before };
    client.set_policy(after.clone()).unwrap();
    client.set_breaker(None).unwrap();
    assert_eq!(client.policy(), after);
}
