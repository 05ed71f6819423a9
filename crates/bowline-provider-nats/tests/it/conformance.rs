//! The port's suite, against the provider on NATS.

use std::sync::Arc;

use bowline_messaging::{MessageBus, conformance};
use bowline_testkit::nats::Server;

use crate::connect;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_provider_on_nats_keeps_every_promise() {
    let Some(server) = Server::start() else { return };
    let url = server.url();
    let bus = connect(&url).await;
    let mut first = Some(bus.clone());
    let reopen: conformance::Reopen = Box::new(move |old| {
        let (url, first) = (url.clone(), first.take().expect("it is opened again once"));
        drop(old);
        Box::pin(async move {
            first.close().await;
            drop(first);
            Arc::new(connect(&url).await) as Arc<dyn MessageBus>
        })
    });
    conformance::all(Arc::new(bus), reopen).await;
}
