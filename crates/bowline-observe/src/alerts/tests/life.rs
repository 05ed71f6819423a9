//! From an expression to a notification and its end, over restarts, other rules and a clock that goes back.

use std::time::Duration;

use bowline_runtime::time;

use super::fixture::{World, parse, seconds};
use crate::{labels::Labels, source::is_stale};

/// One rule that fires after 10 s, evaluated each 5 s; its receiver is told at once.
const CONFIG: &str = r#"
groups:
  - name: shop
    rules:
      - alert: Down
        expr: down
        for: 10s
        labels: { severity: page }
        annotations: { summary: "{{ $labels.service }} is at {{ $value }}" }
      - { record: "job:down", expr: down, labels: { team: a } }
group_wait: 0s
group_interval: 5s
repeat_interval: 1h
receivers: [{ name: hook, webhook: "http://hook.test/secret" }]
"#;

#[tokio::test(start_paused = true)]
async fn it_fires_after_for_and_resolves() {
    let world = World::new();
    let running = world.start(CONFIG).await;
    world.answer("down", &["payment"]);
    // One interval until it is seen, `for`, and nothing more.
    seconds(9).await;
    assert_eq!(world.told(), [""; 0]);
    assert_eq!(running.alerts.alerts()[0].state, "pending");
    assert!(world.metric("bowline_alerts{state=\"pending\"} 1"));
    seconds(7).await;
    assert_eq!(world.told(), ["+payment"]);
    assert_eq!(running.alerts.alerts()[0].state, "firing");
    seconds(600).await;
    assert_eq!(world.told().len(), 1, "it is not repeated before its time");
    world.answer("down", &[]);
    seconds(11).await;
    assert_eq!(world.told(), ["+payment", "-payment"]);
    assert!(running.alerts.alerts().is_empty());
    let states: Vec<_> = running.alerts.history().iter().rev().map(|change| (change.from, change.to)).collect();
    assert_eq!(states, [("inactive", "pending"), ("pending", "firing"), ("firing", "resolved")]);
    assert_eq!(running.decisions(), ["grouped", "sent news", "unchanged", "sent news"]);
    // Nothing is left of what is over but the ledger.
    running.stop().await;
    assert_eq!((world.store.keys("active/"), world.store.keys("deliveries/")), (0, 0));
    assert_eq!(world.store.keys("ledger/"), 4);
}

#[tokio::test(start_paused = true)]
async fn a_webhook_is_sent_what_alertmanager_sends() {
    let world = World::new();
    let _running = world.start(CONFIG).await;
    world.answer("down", &["payment", "order"]);
    seconds(20).await;
    let post = &world.posts()[0];
    assert_eq!(post.target, "http://hook.test/…");
    let mut body = post.body.clone();
    let starts_at = body["alerts"][0]["startsAt"].take();
    assert!(starts_at.as_str().unwrap().ends_with('Z'));
    body["alerts"][1]["startsAt"].take();
    let fingerprint = body["alerts"][0]["fingerprint"].take();
    assert_eq!(fingerprint.as_str().unwrap().len(), 16);
    body["alerts"][1]["fingerprint"].take();
    body["alerts"].as_array_mut().unwrap().sort_by_key(|alert| alert["labels"]["service"].to_string());
    let alert = |service: &str| {
        serde_json::json!({
            "status": "firing",
            "labels": {"alertname": "Down", "service": service, "severity": "page"},
            "annotations": {"summary": format!("{service} is at 1")},
            "startsAt": null,
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://bowline.test/api/v1/query?query=down",
            "fingerprint": null,
        })
    };
    let wanted = serde_json::json!({
        "version": "4",
        "groupKey": "{}/{receiver=\"hook\"}:{alertname=\"Down\"}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "hook",
        "groupLabels": {"alertname": "Down"},
        "commonLabels": {"alertname": "Down", "severity": "page"},
        "commonAnnotations": {},
        "externalURL": "http://bowline.test",
        "alerts": [alert("order"), alert("payment")],
    });
    assert_eq!(body, wanted);
}

#[tokio::test(start_paused = true)]
async fn a_restart_neither_loses_nor_repeats() {
    let world = World::new();
    let running = world.start(CONFIG).await;
    world.answer("down", &["payment"]);
    seconds(9).await;
    running.stop().await;
    seconds(3).await;
    // Pending keeps its time.
    let running = world.start(CONFIG).await;
    assert_eq!(running.alerts.alerts()[0].state, "pending");
    seconds(6).await;
    assert_eq!(world.told(), ["+payment"]);
    running.stop().await;
    seconds(100).await;
    // Firing fires on, and is not told again.
    let running = world.start(CONFIG).await;
    assert_eq!(running.alerts.alerts()[0].state, "firing");
    seconds(100).await;
    assert_eq!(world.told(), ["+payment"]);
    running.stop().await;
    // What resolved while nobody looked is found at the first evaluation.
    world.answer("down", &[]);
    seconds(100).await;
    let _running = world.start(CONFIG).await;
    seconds(11).await;
    assert_eq!(world.told(), ["+payment", "-payment"]);
}

#[tokio::test(start_paused = true)]
async fn rules_that_are_the_same_go_on_and_those_that_are_gone_are_over() {
    let world = World::new();
    let running = world.start(CONFIG).await;
    world.answer("down", &["payment"]);
    world.answer("down > 0", &["payment"]);
    seconds(20).await;
    running.alerts.set(parse(&CONFIG.replace("expr: down\n", "expr: down > 0\n"))).await.unwrap();
    assert_eq!(running.alerts.alerts()[0].state, "firing");
    seconds(20).await;
    assert_eq!(world.told(), ["+payment"]);
    running.alerts.set(parse(&CONFIG.replace("alert: Down", "alert: Gone"))).await.unwrap();
    assert!(running.alerts.alerts().is_empty());
    seconds(8).await;
    assert_eq!(world.told(), ["+payment", "-payment"]);
    seconds(20).await;
    assert_eq!(world.told(), ["+payment", "-payment", "+payment"], "the new rule's own");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_removed_rule_is_told_also_after_the_next_change() {
    const NONE: &str = r#"{"group_interval": "5s", "receivers": [{"name": "hook", "webhook": "http://hook.test/x"}]}"#;
    let world = World::new();
    let running = world.start(CONFIG).await;
    world.answer("down", &["payment"]);
    seconds(20).await;
    world.store.set_failing(true);
    // The notifier hears it, but nobody knows whether it survives.
    assert!(running.alerts.set(parse(NONE)).await.is_ok());
    seconds(1).await;
    running.alerts.set(parse(NONE)).await.ok();
    seconds(1).await;
    world.store.set_failing(false);
    seconds(60).await;
    assert_eq!(world.told(), ["+payment", "-payment"]);
    assert_eq!((world.store.keys("active/"), world.store.keys("deliveries/")), (0, 0), "nothing is left of it");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_goes_back_neither_fires_early_nor_never() {
    let world = World::new();
    let running = world.start(CONFIG).await;
    world.answer("down", &["payment"]);
    seconds(6).await;
    world.step_clock(-3_600_000);
    seconds(5).await;
    assert_eq!(running.alerts.alerts()[0].state, "pending");
    seconds(16).await;
    assert_eq!(world.told(), ["+payment"]);
    world.step_clock(-3_600_000);
    world.answer("down", &[]);
    seconds(16).await;
    assert_eq!(world.told(), ["+payment", "-payment"]);
}

#[tokio::test(start_paused = true)]
async fn an_evaluation_that_fails_keeps_what_there_is() {
    let world = World::new();
    let running = world.start(CONFIG).await;
    world.answer("down", &["payment"]);
    seconds(20).await;
    world.fail("down");
    seconds(60).await;
    let rules = serde_json::to_value(running.alerts.rules()).unwrap();
    let rule = &rules[0]["rules"][0];
    assert_eq!((rule["health"].as_str(), rule["state"].as_str()), (Some("err"), Some("firing")));
    assert_eq!((rule["lastError"].as_str(), rule["duration"].as_f64()), (Some("it is broken"), Some(10.0)));
    assert_eq!((rule["type"].as_str(), rules[0]["rules"][1]["type"].as_str()), (Some("alerting"), Some("recording")));
    assert_eq!(world.told(), ["+payment"]);
    world.answer("down", &["payment"]);
    seconds(6).await;
    assert_eq!(serde_json::to_value(running.alerts.rules()).unwrap()[0]["rules"][0]["health"], "ok");
    // Two series with the labels of one alert cannot be told apart.
    world.answer("down", &["payment", "payment"]);
    seconds(6).await;
    let rules = serde_json::to_value(running.alerts.rules()).unwrap();
    assert!(rules[0]["rules"][0]["lastError"].as_str().unwrap().contains("two series"));
}

#[tokio::test(start_paused = true)]
async fn a_tick_that_is_missed_is_counted_and_left_out() {
    let world = World::new();
    let _running = world.start(CONFIG).await;
    world.delay(Duration::from_secs(8));
    let before = time::now();
    while !world.metrics.render().contains("bowline_rule_evaluations_missed_total 4") {
        seconds(1).await;
        assert!(before.elapsed() < Duration::from_mins(1));
    }
    // Two rules of 8 s in a group of 5 s: each third tick is kept.
    assert!(world.metric("bowline_rule_evaluations_total{outcome=\"ok\"} 4"));
}

#[tokio::test(start_paused = true)]
async fn neither_an_end_nor_other_rules_wait_for_a_slow_expression() {
    let world = World::new();
    world.answer("down", &["payment"]);
    let running = world.start(CONFIG).await;
    seconds(20).await;
    world.delay(Duration::from_secs(25));
    seconds(10).await;
    let began = time::now();
    running.alerts.set(parse(CONFIG)).await.unwrap();
    assert_eq!(running.alerts.alerts()[0].state, "firing", "alerts go on");
    seconds(10).await;
    running.stop().await;
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn rules_record_series_and_their_ends() {
    let world = World::new();
    let _running = world.start(CONFIG).await;
    world.answer("down", &["payment"]);
    seconds(6).await;
    let series = Labels::new([("__name__", "job:down"), ("service", "payment"), ("team", "a")]);
    assert_eq!(world.samples("job:down"), [(series.clone(), 1.0)]);
    let alerts = world.samples("ALERTS");
    assert_eq!(alerts.len(), 1);
    assert_eq!((alerts[0].0.get("alertstate"), alerts[0].0.get("alertname")), (Some("pending"), Some("Down")));
    assert!(world.samples("ALERTS_FOR_STATE")[0].1 > 1e9);
    world.answer("down", &[]);
    seconds(5).await;
    let last = |name| world.samples(name).pop().unwrap();
    assert!(last("job:down").0 == series && is_stale(last("job:down").1));
    assert!(is_stale(last("ALERTS").1) && is_stale(last("ALERTS_FOR_STATE").1));
    let count = world.samples("job:down").len();
    seconds(20).await;
    assert_eq!(world.samples("job:down").len(), count, "an end is said once");
}

#[tokio::test(start_paused = true)]
async fn what_fires_is_not_over_because_nothing_was_scraped_yet() {
    let mut world = World::new();
    let running = world.start(CONFIG).await;
    world.answer("down", &["payment"]);
    seconds(20).await;
    running.stop().await;
    // After the start there is nothing to see, until targets were scraped.
    world.watches_from = time::now() + Duration::from_secs(10);
    world.answer("down", &[]);
    let running = world.start(CONFIG).await;
    seconds(9).await;
    world.answer("down", &["payment"]);
    seconds(100).await;
    assert_eq!(running.alerts.alerts()[0].state, "firing");
    assert_eq!(world.told(), ["+payment"]);
}
