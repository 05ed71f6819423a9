//! What is logged of requests that are denied: the rule, and not every one of them.

use std::sync::{Mutex, PoisonError};

use bowline_model::system::Outbound;
use bowline_testkit::logs::{self, Line};
use tracing::Level;

use crate::support::{Shop, shop};

static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());

fn keep(line: Line) {
    LINES.lock().unwrap_or_else(PoisonError::into_inner).push(line);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_names_its_rule_once_a_second() {
    // Others' lines come here, too, where tests share a process: their callers are others.
    logs::listen(Level::WARN, keep);
    let shop = Shop::new(shop()).await;
    let payment = shop.run("payment", Outbound::Sidecar).await;
    let curious = shop.client("service/stranger-0").await;
    for _ in 0..20 {
        assert_eq!(curious.ask("payment", &payment, "POST", "/charges?card=4711").await.status, 403);
    }
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let denied: Vec<_> =
        lines.iter().filter(|line| line.get("caller").is_some_and(|caller| caller == "service/stranger-0")).collect();
    assert!((1..20).contains(&denied.len()), "{denied:?}");
    let line = denied[0];
    assert_eq!((&*line["message"], &*line["reason"]), ("request denied", "mesh_not_declared"));
    assert_eq!((&*line["rule"], &*line["path"]), ("service.stranger-0.calls.payment", "/charges"));
    assert_eq!((&*line["service"], &*line["left_out"]), ("payment", "0"));
}
