//! A shop with a mesh, and a store that can fail.

use std::{sync::Arc, time::Duration};

use bowline_config::{ConfigManager, Document, Schema, StoreConfig, Violation};
use bowline_model::{ConfigKey, ServiceName, System, mesh::MeshPolicy, parse};
use bowline_runtime::{metric, time};
use bowline_store::{Embedded, Settings};
use bowline_testkit::TempDir;

/// Longer than anything here takes.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

/// Order calls payment and user; the gateway leads to order.
pub(crate) const SHOP: &str = r#"
name = "shop"
[service.user]
run = "user"
boundary.api = ["GET /users/{id}"]
[service.order]
run = "order"
boundary.api = ["POST /orders"]
[service.order.calls.user]
[service.order.calls.payment]
[service.payment]
run = "payment"
boundary.api = ["POST /charges", "GET /charges/{order}"]
[[route]]
name = "orders"
matches = [{ path = "/orders", methods = ["POST"] }]
backends = [{ service = "order" }]
"#;

pub(crate) fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

/// The shop, in a strict mesh.
pub(crate) fn shop() -> System {
    System { mesh: Some(MeshPolicy::default()), ..parse(SHOP).unwrap() }
}

/// Lets everything be published: what is wrong is for whoever acts by it to find.
struct Anything;

impl Schema for Anything {
    fn check(&self, _: &ConfigKey, _: &Document, _: Option<&str>) -> Result<(), Vec<Violation>> {
        Ok(())
    }

    fn check_schema(&self, _: &ConfigKey, _: &str) -> Result<(), String> {
        Ok(())
    }
}

/// A manager of configuration over a store of its own.
pub(crate) async fn config(dir: &TempDir) -> Arc<dyn ConfigManager> {
    let settings = Settings::new(dir.path().join("store.redb"));
    let store = Embedded::open(settings, &metric::Registry::default()).await.unwrap();
    Arc::new(StoreConfig::new(Arc::new(store), Arc::new(Anything)))
}

/// Asks again and again until there is an answer.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            bowline_runtime::task::yield_now().await;
        }
    };
    time::timeout(BOUND, asking).await.unwrap_or_else(|_| panic!("{what} does not come about"))
}
