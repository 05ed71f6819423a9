//! The port's suite, against the embedded provider.

use std::{path::Path, sync::Arc};

use bowline_messaging::{Embedded, MessageBus, Settings, conformance};
use bowline_runtime::metric;

async fn open(dir: &Path) -> Embedded {
    Embedded::open(Settings::new(dir, metric::Registry::default())).await.expect("opens")
}

#[tokio::test(start_paused = true)]
async fn the_embedded_provider_keeps_every_promise() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let bus = open(&path).await;
    let mut first = Some(bus.clone());
    let reopen: conformance::Reopen = Box::new(move |old| {
        let (path, first) = (path.clone(), first.take().expect("it is opened again once"));
        drop(old);
        Box::pin(async move {
            first.close().await;
            drop(first);
            Arc::new(open(&path).await) as Arc<dyn MessageBus>
        })
    });
    conformance::all(Arc::new(bus), reopen).await;
}
