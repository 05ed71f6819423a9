//! The provider on Redis: what the port promises, and servers that stop, die and forget, against a real
//! `redis-server`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod away;
mod conformance;
mod stopped;

use std::time::Duration;

use bowline_cache::{Found, SharedCache as _, Ticket};
use bowline_provider_redis::{RedisCache, Settings};
use bowline_runtime::time;
use bowline_testkit::redis::Server;

fn connect(server: &Server) -> RedisCache {
    RedisCache::new(&Settings::new(server.url())).unwrap()
}

/// What an empty slot is called.
async fn ticket(shared: &RedisCache, key: &str) -> Ticket {
    match shared.get("c", key).await.unwrap().found {
        Found::Empty(ticket) => ticket,
        hit @ Found::Hit { .. } => panic!("{key} is there: {hit:?}"),
    }
}

/// The value of a slot, if it has one.
async fn value(shared: &RedisCache, key: &str) -> Option<String> {
    match shared.get("c", key).await.unwrap().found {
        Found::Hit { value, .. } => Some(String::from_utf8(value.to_vec()).unwrap()),
        Found::Empty(_) => None,
    }
}

/// Asks until it answers so, for 10 s at most.
async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    time::timeout(Duration::from_secs(10), asking).await.expect("it answers so in the end")
}
