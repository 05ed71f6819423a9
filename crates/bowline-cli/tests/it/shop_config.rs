//! The shop's limits and routes, changed while it runs: refused by rule, live at once, undone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_runtime::task::{self, JoinHandle};
use http::Method;
use serde_json::Value;

use crate::harness::{Answer, Home, Running, ask, eventually};

const SHOP: &str = "shop.localhost";
/// A change is live within a second; here on a machine that builds and tests other things meanwhile.
const LIVE_WITHIN: Duration = Duration::from_secs(5);
const LIMITS: &str = "items_max = 100\nquantity_max = 1\nunit_price_max = 1000000000\ntotal_max = 100000000\n";

/// The shop with two instances of order, so that "every instance" means something.
fn shop() -> Home {
    let home = Home::shop();
    home.edit(|text| text.replacen("[service.order]\n", "[service.order]\nreplicas = 2\n", 1));
    home
}

fn file(home: &Home, name: &str, text: &str) -> String {
    let path = home.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

async fn order(running: &Running, signed: &str, quantity: u32) -> Answer {
    let body = format!(r#"{{"user_id":"u-1","items":[{{"sku":"book","quantity":{quantity},"unit_price":1999}}]}}"#);
    let headers = [("content-type", "application/json"), ("authorization", signed)];
    running.ask(Method::POST, SHOP, "/orders", &headers, body.as_bytes()).await
}

/// A command that must fail; what it says.
async fn refused(running: &Running, args: &[&str]) -> String {
    let outcome = running.outcome(args).await;
    let told = format!("{}{}", String::from_utf8_lossy(&outcome.stdout), String::from_utf8_lossy(&outcome.stderr));
    assert_eq!(outcome.status.code(), Some(1), "{args:?}: {told}");
    told
}

async fn json(running: &Running, args: &[&str]) -> Value {
    serde_json::from_str(&running.command(&[args, &["--output", "json"]].concat()).await).unwrap()
}

/// The versions that the instances of a document run, and what they say of the current one.
async fn runs(running: &Running, key: &str) -> Vec<(String, u64, String)> {
    let status = json(running, &["config", "status", key]).await;
    let one = |instance: &Value| {
        let text = |name: &str| instance[name].as_str().unwrap().to_owned();
        (text("instance"), instance["runs"].as_u64().unwrap_or(0), text("outcome"))
    };
    status["instances"].as_array().unwrap().iter().map(one).collect()
}

/// Requests that go on while something changes; each must be answered with 200, or 404.
struct Load {
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<u16>>>,
}

impl Load {
    fn start(running: &Running, signed: &str) -> Self {
        let (is_over, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (gateway, signed) = (running.gateway(), signed.to_owned());
        let client = || {
            let (is_over, answered, signed) = (is_over.clone(), answered.clone(), signed.clone());
            task::spawn(async move {
                let mut failed = Vec::new();
                while !is_over.load(Relaxed) {
                    let headers = [("authorization", &*signed)];
                    let status = ask(gateway, Method::GET, SHOP, "/orders/o-none", &headers, b"").await.status;
                    // The limit by subject is not what is tried here.
                    if ![404, 429].contains(&status.as_u16()) {
                        failed.push(status.as_u16());
                    }
                    answered.fetch_add(1, Relaxed);
                }
                failed
            })
        };
        let clients = (0..4).map(|_| client()).collect();
        Self { is_over, answered, clients }
    }

    /// Waits until so many more were answered.
    async fn goes_on(&self) {
        let until = self.answered.load(Relaxed) + 50;
        assert!(eventually(crate::harness::PATIENCE, async || self.answered.load(Relaxed) >= until).await);
    }

    async fn end(self) {
        self.is_over.store(true, Relaxed);
        for client in self.clients {
            assert_eq!(client.await.unwrap(), [0; 0], "requests failed");
        }
    }
}

#[tokio::test]
async fn limits_change_while_the_shop_runs() {
    let home = shop();
    let mut running = home.up().await;
    let ada = running.sign_in("ada@example.com").await;
    assert_eq!(order(&running, &ada, 2).await.status, 201);
    let load = Load::start(&running, &running.sign_in("bob@example.com").await);

    let told =
        refused(&running, &["config", "set", "shop/order", &file(&home, "bad.toml", "items_max = 0\nx = 1\n")]).await;
    for part in ["/items_max", "minimum", "additionalProperties", "bad.toml"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let told = refused(&running, &["config", "set", "shop/order", &file(&home, "no.toml", "items_max = = 1\n")]).await;
    assert!(told.contains("line 1"), "{told}");
    assert_eq!(order(&running, &ada, 2).await.status, 201, "nothing changed");

    let good = file(&home, "good.toml", LIMITS);
    running.command(&["config", "set", "shop/order", &good, "-m", "one each"]).await;
    let all_run = |version: u64| {
        let running = &running;
        async move || {
            let runs = runs(running, "shop/order").await;
            runs.len() == 2 && runs.iter().all(|(_, number, outcome)| *number == version && outcome == "applied")
        }
    };
    assert!(eventually(LIVE_WITHIN, all_run(2)).await, "{:?}", runs(&running, "shop/order").await);
    for _ in 0..4 {
        // Each instance takes its turn.
        assert_eq!(order(&running, &ada, 2).await.status, 422);
        assert_eq!(order(&running, &ada, 1).await.status, 201);
    }
    load.goes_on().await;
    let history = running.command(&["config", "history", "shop/order"]).await;
    assert!(history.contains("one each") && history.contains("root") && history.contains("bowline.toml"), "{history}");
    let diff = running.command(&["config", "diff", "shop/order"]).await;
    assert!(diff.contains("-quantity_max = 10000") && diff.contains("+quantity_max = 1"), "{diff}");

    let told = refused(&running, &["config", "set", "shop/order", &good, "--expect", "1"]).await;
    for part in ["+++ theirs: version 2, by root", "+++ yours", "version 2"] {
        assert!(told.contains(part), "{part}: {told}");
    }

    running.command(&["config", "rollback", "shop/order"]).await;
    assert!(eventually(LIVE_WITHIN, all_run(3)).await, "{:?}", runs(&running, "shop/order").await);
    assert_eq!(order(&running, &ada, 2).await.status, 201);
    load.goes_on().await;
    load.end().await;
    let audit = running.command(&["audit"]).await;
    assert!(audit.contains("PUT /v1/config/shop/order") && audit.contains("root"), "{audit}");
    running.stop().await;
}

#[tokio::test]
async fn what_payment_makes_of_its_configuration_is_told() {
    let home = Home::shop();
    let mut running = home.up().await;
    let current = running.command(&["config", "get", "shop/payment"]).await;
    // The schema cannot know that the least wait is not above the most: the instances do.
    let odd = file(&home, "odd.toml", &current.replace("20ms..300ms", "300ms..20ms"));
    running.command(&["config", "set", "shop/payment", &odd]).await;
    let is_refused = eventually(LIVE_WITHIN, async || {
        let runs = runs(&running, "shop/payment").await;
        runs.len() == 2 && runs.iter().all(|(_, number, outcome)| *number == 1 && outcome == "refused")
    });
    assert!(is_refused.await, "{:?}", runs(&running, "shop/payment").await);
    let status = running.command(&["config", "status", "shop/payment"]).await;
    assert!(status.contains("refused 2") && status.contains("the least is above zero"), "{status}");
    let new = file(&home, "new.toml", &current.replace("attempts_max = 3", "attempts_max = 5"));
    running.command(&["config", "set", "shop/payment", &new]).await;
    let is_live = eventually(LIVE_WITHIN, async || {
        let runs = runs(&running, "shop/payment").await;
        runs.len() == 2 && runs.iter().all(|(_, number, outcome)| *number == 3 && outcome == "applied")
    });
    assert!(is_live.await, "{:?}", runs(&running, "shop/payment").await);
    running.stop().await;
}

const HEALTH_ROUTE: &str = r#"
[[route]]
name = "health"
hosts = ["shop.localhost"]
matches = [{ path = "/readyz", methods = ["GET"] }]
backends = [{ service = "order" }]
"#;

#[tokio::test]
async fn routes_change_without_a_dropped_request_and_outlive_a_restart() {
    let home = shop();
    let mut running = home.up().await;
    let load = Load::start(&running, &running.sign_in("bob@example.com").await);
    let health = async |running: &Running| running.ask(Method::GET, SHOP, "/readyz", &[], b"").await.status.as_u16();
    assert_eq!(health(&running).await, 404);
    let routes = running.command(&["routes", "get"]).await;
    assert!(routes.contains("[auth.customers]") && routes.contains("by = \"subject\""), "{routes}");
    let more = file(&home, "more.toml", &format!("{routes}{HEALTH_ROUTE}"));
    let diff = running.command(&["routes", "diff", "--file", &more]).await;
    assert!(diff.contains("+name = \"health\""), "{diff}");
    running.command(&["routes", "set", &more]).await;
    assert!(eventually(LIVE_WITHIN, async || health(&running).await == 200).await);
    load.goes_on().await;
    let broken = file(&home, "broken.toml", &routes.replace("service = \"order\"", "service = \"ordr\""));
    let told = refused(&running, &["routes", "set", &broken]).await;
    assert!(told.contains("did you mean") && told.contains("line "), "{told}");
    running.command(&["routes", "rollback"]).await;
    assert!(eventually(LIVE_WITHIN, async || health(&running).await == 404).await);
    load.goes_on().await;
    load.end().await;
    let status = running.command(&["routes", "status"]).await;
    assert!(status.contains("gateway-1") && status.contains("current"), "{status}");
    // Not without a token: with routes, a rule could be weakened.
    let answer = ask(
        running.api(),
        Method::PUT,
        "localhost",
        "/v1/config/bowline/routes",
        &[("content-type", "application/json")],
        br#"{"document":{"format":"toml","text":""}}"#,
    )
    .await;
    assert_eq!(answer.status, 401, "{:?}", answer.body);

    running.command(&["routes", "set", &more]).await;
    assert!(eventually(LIVE_WITHIN, async || health(&running).await == 200).await);
    running.stop().await;
    // What was published stays over a restart, and that is said.
    let mut running = home.up().await;
    assert_eq!(health(&running).await, 200);
    assert!(running.output().contains("bowline/routes stays at version 4"), "{}", running.output());
    running.stop().await;
    // A file that changed since speaks again.
    home.edit(|text| format!("{text}{}", HEALTH_ROUTE.replace("/readyz", "/livez")));
    let mut running = home.up().await;
    assert_eq!(health(&running).await, 404);
    assert_eq!(running.ask(Method::GET, SHOP, "/livez", &[], b"").await.status, 200);
    running.stop().await;
}

#[tokio::test]
async fn what_explain_says_is_what_happens() {
    let home = Home::shop();
    let mut running = home.up().await;
    let ada = running.sign_in("ada@example.com").await;
    for (method, path, token, host) in [
        (Method::GET, "/orders/1", None, SHOP),
        (Method::GET, "/orders/1", Some("Bearer forged"), SHOP),
        (Method::GET, "/orders/1", Some(&*ada), SHOP),
        (Method::DELETE, "/orders/1", Some(&*ada), SHOP),
        (Method::GET, "/nothing", Some(&*ada), SHOP),
        (Method::GET, "/orders/1", Some(&*ada), "other.localhost"),
        (Method::GET, "/ledger", None, "bank.localhost"),
    ] {
        let url = format!("http://{host}{path}");
        let mut args = vec!["explain", method.as_str(), &url];
        let header = token.map(|token| format!("authorization: {token}"));
        args.extend(header.iter().flat_map(|header| ["--header", header]));
        let said = json(&running, &args).await;
        let headers: Vec<(&str, &str)> = token.iter().map(|token| ("authorization", *token)).collect();
        let answer = running.ask(method.clone(), host, path, &headers, b"").await;
        let case = format!("{method} {url} {}: {said}", token.is_some());
        if let Some(status) = said["status"].as_u64() {
            assert_eq!(u64::from(answer.status.as_u16()), status, "{case}");
            assert_eq!(answer.header("x-bowline-reason"), said["reason"].as_str().unwrap(), "{case}");
        } else {
            assert_eq!(answer.header("x-bowline-reason"), "", "{case}");
            assert!(said["service"].is_string(), "{case}");
        }
    }
    let said = json(&running, &["explain", "GET", "http://shop.localhost/orders/1"]).await;
    assert_eq!((said["route"].as_str(), said["service"].as_str()), (Some("orders"), Some("order")));
    assert_eq!(said["auth"]["provider"], "customers");
    assert_eq!(
        (&said["limit"]["by"], &said["limit"]["rate"], &said["limit"]["burst"]),
        (&"subject".into(), &"100/s".into(), &200.into())
    );
    // Nothing is taken by asking.
    let header = format!("authorization: {ada}");
    let left = async || {
        json(&running, &["explain", "GET", "http://shop.localhost/orders/1", "-H", &header]).await["limit"]["remaining"]
            .clone()
    };
    let full = eventually(crate::harness::PATIENCE, async || left().await == 200);
    assert!(full.await);
    assert_eq!(left().await, 200);
    let text = running.command(&["explain", "GET", "http://shop.localhost/orders/1"]).await;
    assert!(text.starts_with("refused with 401") && text.contains("100/s, burst 200, by subject"), "{text}");
    running.stop().await;
}
