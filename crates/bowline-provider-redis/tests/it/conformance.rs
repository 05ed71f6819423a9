//! The port's suite, against the provider on Redis.

use std::sync::Arc;

use bowline_cache::{SharedCache, TICKET_FOR, shared::conformance};
use bowline_runtime::BoxFuture;
use bowline_testkit::redis::Server;

use crate::connect;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_provider_on_redis_keeps_every_promise() {
    let Some(server) = Server::start() else { return };
    conformance::all(Arc::new(connect(&server))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_ends() {
    let Some(server) = Server::start() else { return };
    let shared: Arc<dyn SharedCache> = Arc::new(connect(&server));
    let is_over = async |cache: &str| {
        let of_cache = |command: &str, rest: &str| server.command(&format!("{command} {{bowline:{cache}}}:{rest}"));
        let run = of_cache("HGET", "meta run");
        let run = run.lines().nth(1).unwrap();
        let left: u128 = of_cache("PTTL", &format!("{run}:k"))[1..].trim().parse().unwrap();
        assert!((TICKET_FOR.as_millis() - 10_000..=TICKET_FOR.as_millis()).contains(&left), "{left} ms");
        // Its time is over.
        assert_eq!(of_cache("PEXPIRE", &format!("{run}:k 0")), ":1\r\n");
    };
    conformance::a_ticket_ends(&shared, is_over).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_leaves_it_empty_or_whole() {
    for configuration in ["", "appendonly yes\nappendfsync always"] {
        let Some(mut server) = Server::start_with(configuration) else { return };
        let shared: Arc<dyn SharedCache> = Arc::new(connect(&server));
        let restart = |shared: Arc<dyn SharedCache>| {
            server.kill();
            server.begin();
            Box::pin(async move { shared }) as BoxFuture<'static, _>
        };
        conformance::a_restart_leaves_it_empty_or_whole(shared, restart).await;
    }
}
