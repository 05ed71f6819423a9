//! An upstream that knows the instances that discovery knows.

use std::sync::Arc;

use bowline_model::Instance;
use bowline_registry::Discovery;
use bowline_runtime::task;
use bowline_upstream::Upstream;
use tokio::sync::watch;

/// An upstream and the task that keeps its instances current, as long as this is there.
#[derive(Debug)]
pub struct Fed {
    upstream: Arc<Upstream>,
    _feeding: task::Guarded<()>,
}

impl Fed {
    /// Keeps an upstream current from now on; what is known already it knows when this returns.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(upstream: Arc<Upstream>, discovery: &Discovery) -> Self {
        let mut instances = discovery.instances(upstream.service());
        upstream.set_instances(&instances.borrow_and_update());
        let feeding = task::spawn(feed(Arc::clone(&upstream), instances));
        Self { upstream, _feeding: task::Guarded::new(feeding) }
    }

    /// The upstream.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Waits until discovery knows the service, and passes on what it knows.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn settle(&self, discovery: &Discovery) {
        let service = self.upstream.service();
        discovery.settled(service).await;
        self.upstream.set_instances(&discovery.instances(service).borrow());
    }
}

/// Passes on every set of instances; that an empty one is proven is discovery's promise.
async fn feed(upstream: Arc<Upstream>, mut instances: watch::Receiver<Arc<[Instance]>>) {
    while instances.changed().await.is_ok() {
        let now = Arc::clone(&instances.borrow_and_update());
        upstream.set_instances(&now);
    }
}
