//! What of the registry is scraped, and how its instances are counted.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bowline_model::{
    Health, Instance, InstanceId, ServiceName,
    instance::{METADATA_METRICS, METADATA_METRICS_OFF},
};
use bowline_observe::{
    labels::Labels,
    scrape::{self, MetricsCollector as _, Sink, SinkError, Target},
    source::{Appended, SeriesRef},
};
use bowline_runtime::metric;
use bowline_server::{CollectSettings, Collecting};
use bowline_testkit::{Answer, HttpServer, eventually};
use bowline_transport::Endpoint;

use crate::support::{BOUND, Fixture};

/// Knows which series there are.
#[derive(Debug, Default)]
struct Series(Mutex<BTreeMap<Labels, u64>>);

impl Sink for Series {
    fn intern(&self, labels: &Labels) -> Result<SeriesRef, SinkError> {
        let mut series = self.0.lock().unwrap();
        let next = u64::try_from(series.len()).unwrap();
        Ok(SeriesRef(*series.entry(labels.clone()).or_insert(next)))
    }

    fn append(&self, _: i64, samples: &[(SeriesRef, f64)]) -> Appended {
        Appended { kept: samples.len(), ..Appended::default() }
    }
}

impl Series {
    fn has(&self, series: &str) -> bool {
        self.0.lock().unwrap().keys().any(|labels| labels.to_string() == series)
    }
}

fn instance(service: &str, id: &str, server: &HttpServer, metrics: Option<&str>) -> Instance {
    let (id, service) = (InstanceId::new(id).unwrap(), ServiceName::new(service).unwrap());
    let mut instance = Instance::new(id, service, server.addr().into());
    instance.metadata.extend(metrics.map(|path| (METADATA_METRICS.to_owned(), path.to_owned())));
    instance
}

#[tokio::test]
async fn instances_are_scraped_as_they_come_and_counted_by_health() {
    let fixture = Fixture::start().await;
    let registry = fixture.node.registry();
    let server = HttpServer::start(|request| match request.path.as_str() {
        "/metrics" => Answer::Status(200, "a 1\n".to_owned()),
        "/own" => Answer::Status(200, "b 1\n".to_owned()),
        _ => Answer::status(404),
    });
    registry.register(instance("order", "order-1", &server, None), None).await.unwrap();
    let metrics = metric::Registry::default();
    let (sink, scrape) = (Arc::<Series>::default(), scrape::Settings::default());
    let settings = CollectSettings {
        fixed: vec![
            Target::process("bowline", "self"),
            Target::http("static", "there", Endpoint::http1(server.addr()), "/own"),
        ],
        declared: vec![ServiceName::new("payment").unwrap()],
        ..CollectSettings::new(scrape::Settings {
            interval: Duration::from_millis(100),
            metrics: metrics.clone(),
            ..scrape
        })
    };
    let collecting = Collecting::start(settings, Arc::clone(&registry), sink.clone());
    let counted = |text: &str| metrics.render().lines().any(|line| line == text);
    eventually(BOUND, || sink.has("a{instance=\"order-1\", job=\"order\"}")).await;
    eventually(BOUND, || sink.has("b{instance=\"there\", job=\"static\"}")).await;
    eventually(BOUND, || counted("bowline_instances{service=\"order\",health=\"healthy\"} 1")).await;
    assert!(counted("bowline_instances{service=\"payment\",health=\"healthy\"} 0"));
    // The process is a target too.
    let own = "bowline_instances{health=\"healthy\", instance=\"self\", job=\"bowline\", service=\"payment\"}";
    eventually(BOUND, || sink.has(own)).await;

    registry.register(instance("payment", "payment-1", &server, Some("/own")), None).await.unwrap();
    let off =
        Instance { health: Health::Draining, ..instance("payment", "payment-2", &server, Some(METADATA_METRICS_OFF)) };
    registry.register(off, None).await.unwrap();
    eventually(BOUND, || sink.has("b{instance=\"payment-1\", job=\"payment\"}")).await;
    eventually(BOUND, || counted("bowline_instances{service=\"payment\",health=\"draining\"} 1")).await;
    let targets =
        || collecting.collector().targets().iter().map(|target| target.instance.to_string()).collect::<Vec<_>>();
    assert_eq!(targets(), ["self", "order-1", "payment-1", "there"]);

    registry.deregister(&InstanceId::new("order-1").unwrap()).await.unwrap();
    eventually(BOUND, || targets().len() == 3).await;
    assert!(counted("bowline_instances{service=\"order\",health=\"healthy\"} 0"));
    collecting.stop().await;
}

#[tokio::test]
async fn an_instance_may_say_where_its_metrics_are() {
    let fixture = Fixture::start().await;
    let root = fixture.root();
    let put = async |metrics: &str| {
        let body = format!(r#"{{"service":"a","address":"127.0.0.1:9","metadata":{{"bowline.metrics":"{metrics}"}}}}"#);
        fixture.ask_as(&root, "PUT", "/v1/instances/a-1", body).await.status
    };
    assert_eq!([put("/m").await, put("off").await, put("m").await], [200, 200, 422]);
}
