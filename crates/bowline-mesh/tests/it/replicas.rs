//! A replica that dies, or leaves, costs its callers nothing: whoever was not served is asked of another.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use bowline_model::{policy::Balance, system::Outbound};
use bowline_runtime::{task, time};
use bowline_testkit::{Answer, HttpServer};
use http::Request;

use crate::support::{BOUND, Running, Shop, ask_plain, shop, until};

/// Two payments, and an order that calls them.
struct Replicas {
    shop: Shop,
    stays: Running,
    leaves: Running,
    _order: Running,
    /// Where order's application calls payment.
    port: SocketAddr,
}

impl Replicas {
    async fn new() -> Self {
        // In turn: by latency, one of them might never be asked again.
        let mut system = shop();
        let order = system.services.iter_mut().find(|service| service.name.as_str() == "order").unwrap();
        order.calls.iter_mut().for_each(|call| call.policy.balance = Balance::RoundRobin.into());
        let shop = Shop::new(system).await;
        let paid = || HttpServer::start(|_| Answer::Status(200, "paid".to_owned()));
        let stays = shop.run_version("payment", "stays", paid()).await;
        let leaves = shop.run_version("payment", "leaves", paid()).await;
        let order = shop.run("order", Outbound::Sidecar).await;
        let port = port(&order, "BOWLINE_CALL_PAYMENT");
        let replicas = Self { shop, stays, leaves, _order: order, port };
        until("a call to either", async || {
            charge(replicas.port).await;
            let asked = [&replicas.stays, &replicas.leaves].map(|running| running.app.requests().len());
            asked.iter().all(|asked| *asked > 0).then_some(())
        })
        .await;
        replicas
    }
}

fn port(running: &Running, variable: &str) -> SocketAddr {
    running.sidecar.environment()[variable].strip_prefix("http://").unwrap().parse().unwrap()
}

/// What comes of a charge, which may not be made twice.
async fn charge(port: SocketAddr) -> u16 {
    ask_plain(port, Request::post("/charges").header("host", "payment")).await.unwrap().status
}

fn counted(shop: &Shop, line: &str) -> u64 {
    let rendered = shop.mesh.metrics.render();
    let count = rendered.lines().find_map(|each| each.strip_prefix(line)).map(|count| count.trim().parse());
    count.and_then(Result::ok).unwrap_or_else(|| panic!("{line}\n{rendered}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_application_behind_a_sidecar_costs_no_call() {
    let Replicas { shop, stays: _stays, leaves, _order, port } = Replicas::new().await;
    let Running { app, sidecar: _sidecar } = leaves;
    drop(app);
    // More than the budget pays for.
    for nth in 0..100 {
        assert_eq!(charge(port).await, 200, "{nth}");
    }
    // Each replica says its own version.
    let attempts = |outcome: &str| {
        let of = |version: &str| format!(r#"outcome="{outcome}",callee_version="{version}"}}"#);
        let line =
            |version: &str| format!(r#"bowline_attempts_total{{reporter="client",service="payment",{}"#, of(version));
        counted(&shop, &line("leaves")) + counted(&shop, &line("stays"))
    };
    assert!(attempts("connect") > 0);
    assert_eq!(attempts("server_error"), 0);
    let refused = r#"bowline_retries_total{reporter="client",service="payment",granted="false"}"#;
    assert_eq!(counted(&shop, refused), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_takes_nothing_new_loses_nothing_under_load() {
    const CLIENTS: usize = 8;
    let replicas = Replicas::new().await;
    let bank = replicas.shop.run("bank", Outbound::Sidecar).await;
    let (is_over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (is_over, answered, port) = (Arc::clone(&is_over), Arc::clone(&answered), replicas.port);
            task::spawn(async move {
                while !is_over.load(Relaxed) {
                    assert_eq!(charge(port).await, 200);
                    answered.fetch_add(1, Relaxed);
                }
            })
        })
        .collect();
    let more = async |count: usize| {
        let before = answered.load(Relaxed);
        until("answers", async || (answered.load(Relaxed) >= before + count).then_some(())).await;
    };
    more(50).await;
    // The registry is told nothing: nobody has heard of it.
    time::timeout(BOUND, replicas.leaves.sidecar.refuse_new()).await.expect("what was taken is answered");
    let served = replicas.leaves.app.requests().len();
    more(50).await;
    is_over.store(true, Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(replicas.leaves.app.requests().len(), served, "nothing new is taken");
    // The application's own calls go on.
    let transfer = Request::post("/transfers").header("host", "bank");
    let to_bank = port(&replicas.leaves, "BOWLINE_CALL_BANK");
    assert_eq!(ask_plain(to_bank, transfer).await.unwrap().status, 200);
    assert_eq!(bank.app.requests().len(), 1);
    assert!(!replicas.stays.app.requests().is_empty());
    let Running { app: _app, sidecar } = replicas.leaves;
    assert!(sidecar.drain(BOUND).await);
}
