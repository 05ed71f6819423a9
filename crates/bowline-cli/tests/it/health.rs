//! `bowline health` over a system whose service falls ill.

use crate::{
    harness::{Home, PATIENCE, Running, eventually},
    stand_in,
};

/// `shop` calls `ledger`, which is not ready while the file `unwell` exists.
fn home() -> Home {
    let command = stand_in::command(false, false);
    let check = r#"check = { http = "/readyz", every = "100ms", timeout = "10s", unhealthy_after = 3 }"#;
    let text = format!(
        "name = \"s\"\n\
         [service.ledger]\nrun = \"{command}\"\n{check}\n\
         [service.shop]\nrun = \"{command}\"\n{check}\n\
         [service.shop.calls.ledger]\n"
    );
    let home = Home::new(&text);
    let unwell = home.path().join("unwell");
    let env = format!("[service.ledger.env]\nSTAND_IN_UNWELL = \"{}\"\n[service.shop]\n", unwell.display());
    home.edit(|text| text.replace("[service.shop]\n", &env));
    home
}

/// Waits until the service is so, by its own instances and by whom it calls.
async fn becomes(running: &Running, service: &str, own: &str, rolled_up: &str) -> serde_json::Value {
    let mut detail = serde_json::Value::Null;
    let is_so = eventually(PATIENCE, async || {
        detail = running.api_json(&format!("/v1/health/{service}")).await;
        detail["service"]["own"] == own && detail["service"]["rolled_up"] == rolled_up
    });
    assert!(is_so.await, "{detail:#}\n{}", running.output());
    detail
}

/// `healthy>unhealthy: why` each, newest first.
fn told(detail: &serde_json::Value) -> Vec<String> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("?").to_owned();
    let line = |t: &serde_json::Value| format!("{}>{}: {}", text(&t["from"]), text(&t["to"]), text(&t["why"]));
    detail["transitions"].as_array().unwrap().iter().map(line).collect()
}

#[tokio::test]
async fn an_ill_service_degrades_its_caller_and_its_history_outlives_bowline() {
    let home = home();
    let mut running = home.up().await;
    becomes(&running, "shop", "all_healthy", "healthy").await;
    std::fs::write(home.path().join("unwell"), "").unwrap();
    becomes(&running, "ledger", "none_healthy", "unhealthy").await;
    let shop = becomes(&running, "shop", "all_healthy", "degraded").await;
    assert_eq!(shop["service"]["because"], serde_json::json!([["ledger"]]));
    let table = running.command(&["health"]).await;
    let row = |service: &str| table.lines().find(|line| line.starts_with(service)).unwrap_or_default().to_owned();
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words(&row("ledger")), "ledger none healthy unhealthy its own instances 0/1", "{table}");
    assert_eq!(words(&row("shop")), "shop all healthy degraded ledger 1/1", "{table}");
    let one = running.command(&["health", "ledger"]).await;
    assert!(one.contains("healthy → unhealthy") && one.contains("answered with status 503"), "{one}");

    std::fs::remove_file(home.path().join("unwell")).unwrap();
    becomes(&running, "ledger", "all_healthy", "healthy").await;
    becomes(&running, "shop", "all_healthy", "healthy").await;
    running.stop().await;

    let mut running = home.up().await;
    let ledger = becomes(&running, "ledger", "all_healthy", "healthy").await;
    let expect = [
        "unknown>healthy: its check succeeded",
        "draining>gone: it was stopped",
        "healthy>draining: it is being stopped",
        "unhealthy>healthy: its check succeeded",
        "healthy>unhealthy: answered with status 503",
        "unknown>healthy: its check succeeded",
    ];
    assert_eq!(told(&ledger), expect, "{ledger:#}");
    assert_eq!(ledger["instances"][0]["last_probe"]["failure"], serde_json::Value::Null);
    let refused = running.outcome(&["health", "nobody"]).await;
    assert_eq!(refused.status.code(), Some(1));
    running.stop().await;
}
