//! The port's suite, against the provider on Redis.

use std::sync::Arc;

use bowline_cache::{SharedCache, shared::conformance};
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
    conformance::a_ticket_ends(&(Arc::new(connect(&server)) as Arc<dyn SharedCache>)).await;
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
