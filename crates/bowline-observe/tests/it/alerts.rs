//! Alerts over a store on disk and a receiver over HTTP.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_observe::{
    alerts::{Alerts, Config, Evaluate, Record, Settings},
    labels::Labels,
};
use bowline_runtime::{BoxFuture, drain};
use bowline_store::{Embedded, Store};
use bowline_testkit::{Answer, HttpServer, eventually, temp_dir};

struct Switch(AtomicBool);

impl Evaluate for Switch {
    fn instant<'a>(&'a self, _expr: &'a str, _at_ms: i64) -> BoxFuture<'a, Result<Vec<(Labels, f64)>, String>> {
        let is_on = self.0.load(Relaxed);
        Box::pin(async move { Ok(if is_on { vec![(Labels::new([("service", "payment")]), 0.0)] } else { vec![] }) })
    }
}

impl Record for Switch {
    fn record(&self, _at_ms: i64, _samples: &[(Labels, f64)]) {}
}

const PATIENCE: Duration = Duration::from_secs(20);

async fn start(store: &Arc<dyn Store>, switch: &Arc<Switch>, server: &HttpServer) -> (Alerts, drain::Drainer) {
    let config = format!(
        r#"{{"groups": [{{"name": "a", "interval": "1s", "rules": [{{"alert": "Down", "expr": "down", "for": "1s"}}]}}],
            "group_wait": "0s", "group_interval": "1s",
            "receivers": [{{"name": "hook", "webhook": "http://localhost:{}/hook?key=1"}}]}}"#,
        server.addr().port()
    );
    let config = Config::parse(&config, &|_| Ok(())).unwrap();
    let (drainer, drain) = drain::channel();
    let settings = Settings::new(store.clone(), switch.clone(), switch.clone());
    (Alerts::start(settings, config, drain).await.unwrap(), drainer)
}

#[tokio::test]
async fn a_webhook_is_told_once_over_a_restart() {
    let tries = AtomicUsize::new(0);
    let server = HttpServer::start(move |_| match tries.fetch_add(1, Relaxed) {
        0 => Answer::status(500),
        1 => Answer::Close,
        _ => Answer::status(200),
    });
    let dir = temp_dir();
    let path = dir.path().join("store.redb");
    let open = || async {
        Arc::new(
            Embedded::open(bowline_store::Settings::new(&path), &bowline_runtime::metric::Registry::default())
                .await
                .unwrap(),
        )
    };
    let embedded = open().await;
    let store: Arc<dyn Store> = embedded.clone();
    let switch = Arc::new(Switch(AtomicBool::new(true)));
    let (alerts, mut drainer) = start(&store, &switch, &server).await;
    let is_sent = || format!("{:?}", alerts.ledger()[0].decision).starts_with("Sent");
    eventually(PATIENCE, || !alerts.ledger().is_empty() && is_sent()).await;
    assert_eq!(server.requests().len(), 3);
    let request = server.requests()[2].clone();
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/hook?key=1"));
    assert_eq!(request.headers["content-type"], "application/json");
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!((body["version"].as_str(), body["status"].as_str()), (Some("4"), Some("firing")));
    drainer.drain().await;
    drop((alerts, store));
    embedded.close().await;
    drop(embedded);
    let store: Arc<dyn Store> = open().await;
    let (alerts, _drainer) = start(&store, &switch, &server).await;
    assert_eq!(alerts.alerts()[0].state, "firing");
    switch.0.store(false, Relaxed);
    eventually(PATIENCE, || server.requests().len() > 3).await;
    let body: serde_json::Value = serde_json::from_slice(&server.requests()[3].body).unwrap();
    assert_eq!(body["status"], "resolved");
    eventually(PATIENCE, || format!("{:?}", alerts.ledger()[0].decision).starts_with("Sent")).await;
    assert_eq!(server.requests().len(), 4);
}
