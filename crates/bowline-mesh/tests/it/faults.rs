//! Faults befall whom they are for, for as long as they are to, and end by themselves.

use std::time::Duration;

use bowline_model::{
    mesh::{Fault, Traffic},
    system::Outbound,
    units::Share,
};
use bowline_runtime::time;
use bowline_telemetry::{SpanData, Value};

use crate::support::{Client, Running, Shop, name, shop, until};

fn fault(id: &str) -> Fault {
    Fault {
        id: id.to_owned(),
        service: name("payment"),
        from: None,
        share: Share::ALL,
        delay: None,
        abort: None,
        until_unix_ms: time::unix_millis_now() + 3_600_000,
    }
}

/// A shop whose payments are faulty.
struct Faulty {
    shop: Shop,
    payment: Running,
    order: Client,
}

impl Faulty {
    async fn new(outbound: Outbound, faults: Vec<Fault>) -> Self {
        let shop = Shop::new(shop()).await;
        let payment = shop.run("payment", outbound).await;
        let order = shop.client("service/order").await;
        let faulty = Self { shop, payment, order };
        faulty.set(faults).await;
        faulty
    }

    async fn set(&self, faults: Vec<Fault>) {
        self.shop.set_traffic(&Traffic { faults: faults.clone(), ..Traffic::default() }).await;
        self.shop.acted_by("payment", |snapshot| snapshot.faults == faults).await;
    }

    async fn charge(&self) -> (u16, String, Duration) {
        let begin = time::now();
        let seen = self.order.ask("payment", &self.payment, "POST", "/charges").await;
        (seen.status, seen.reason().to_owned(), begin.elapsed())
    }

    fn spans(&self) -> Vec<SpanData> {
        self.shop.spans_of("payment")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_answers_in_the_place_of_the_service_and_is_told() {
    let faulty = Faulty::new(Outbound::Sidecar, vec![Fault { abort: Some(418), ..fault("tea") }]).await;
    let seen = faulty.order.ask("payment", &faulty.payment, "POST", "/charges").await;
    assert_eq!((seen.status, seen.reason()), (418, "fault"));
    assert!(seen.body.contains("`tea`") && seen.headers.contains_key("x-trace-id"), "{seen:?}");
    assert!(faulty.payment.app.requests().is_empty());
    let rendered = faulty.shop.mesh.metrics.render();
    let line = r#"bowline_faults_injected_total{service="payment",fault="tea",kind="abort"} 1"#;
    assert!(rendered.contains(line), "{rendered}");
    let spans = faulty.spans();
    assert_eq!(spans[0].attribute("bowline.fault"), Some(&Value::from("tea")));
    assert_eq!(spans[0].attribute("bowline.fault.abort"), Some(&Value::from(418_i64)));
    assert_eq!(spans[0].events[0].name, "fault");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delay_holds_up_and_then_passes_or_aborts() {
    let slow = Fault { delay: Some(Duration::from_millis(120)), ..fault("slow") };
    let faulty = Faulty::new(Outbound::Application, vec![slow.clone()]).await;
    let (status, _, elapsed) = faulty.charge().await;
    assert!(status == 200 && elapsed >= Duration::from_millis(120), "{status} after {elapsed:?}");
    let spans = faulty.spans();
    assert_eq!(
        spans[0].attribute("bowline.fault.delay_ms"),
        Some(&Value::from(120_i64)),
        "kept beside the application's"
    );
    faulty.set(vec![slow.clone(), Fault { id: "slower".to_owned(), abort: Some(503), ..slow }]).await;
    let (status, reason, elapsed) = faulty.charge().await;
    assert!(elapsed >= Duration::from_millis(240), "delays add up: {elapsed:?}");
    assert_eq!((status, &*reason), (503, "fault"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_ends_by_itself_though_nobody_says_so() {
    let faulty = Faulty::new(Outbound::Sidecar, Vec::new()).await;
    let until_unix_ms = time::unix_millis_now() + 2500;
    faulty.set(vec![Fault { abort: Some(500), until_unix_ms, ..fault("short") }]).await;
    // Nobody publishes any more.
    let Faulty { shop, payment, order } = faulty;
    let shop = shop.without_control();
    let charge = async || order.ask("payment", &payment, "POST", "/charges").await.status;
    let status = charge().await;
    assert!(status == 500 || time::unix_millis_now() >= until_unix_ms, "{status}");
    until("the end of the fault", async || (charge().await == 200).then_some(())).await;
    assert!(time::unix_millis_now() >= until_unix_ms);
    shop.acted_by("payment", |snapshot| snapshot.faults.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_is_for_one_caller_or_for_all_but_bowline() {
    let abort = |id: &str, from: &str| Fault { abort: Some(500), from: Some(from.parse().unwrap()), ..fault(id) };
    let faulty = Faulty::new(Outbound::Sidecar, vec![abort("other", "service/user")]).await;
    assert_eq!(faulty.charge().await.0, 200);
    faulty.set(vec![abort("order", "service/order")]).await;
    assert_eq!(faulty.charge().await.0, 500);
    let platform = faulty.shop.client("bowline").await;
    let check = async || platform.ask("payment", &faulty.payment, "GET", "/readyz").await.status;
    faulty.set(vec![Fault { abort: Some(500), ..fault("all") }]).await;
    assert_eq!((faulty.charge().await.0, check().await), (500, 200));
    faulty.set(vec![abort("sick", "bowline")]).await;
    assert_eq!((faulty.charge().await.0, check().await), (200, 500));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_befalls_its_share() {
    let half = Fault { abort: Some(500), share: Share::from_percent(50), ..fault("half") };
    let faulty = Faulty::new(Outbound::Sidecar, vec![half]).await;
    let mut aborted = 0;
    for _ in 0..200 {
        aborted += u32::from(faulty.charge().await.0 == 500);
    }
    // Beyond eight standard deviations something is wrong.
    assert!((44..=156).contains(&aborted), "{aborted} of 200");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_denied_meets_no_fault() {
    let faulty = Faulty::new(Outbound::Sidecar, vec![Fault { abort: Some(500), ..fault("all") }]).await;
    let user = faulty.shop.client("service/user").await;
    assert_eq!(user.ask("payment", &faulty.payment, "POST", "/charges").await.status, 403);
}
