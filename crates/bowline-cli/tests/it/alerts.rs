//! Alerts from the rule to the webhook: in time, once, also over `kill -9`, and not where somebody wants none.

use std::time::Duration;

use bowline_observe::alerts::rfc3339;
use bowline_runtime::time;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    harness::{Home, PATIENCE, Running, eventually},
    stand_in,
    watching::{Hook, json as command_json, points},
};

/// `for` of the shop's rule, and how often targets are scraped and rules evaluated, in seconds.
const HOLD: f64 = 10.0;
const INTERVAL: f64 = 5.0;

/// How much later a sample may be kept than it is dated, on a machine that is busy, in seconds.
const SLACK: f64 = 1.0;

/// Waits until the webhook heard just that.
async fn hears(hook: &Hook, running: &Running, wanted: &[&str]) {
    let has_heard = eventually(PATIENCE, async || hook.in_short().len() >= wanted.len()).await;
    assert!(has_heard && hook.in_short() == wanted, "{:#?}\n{}", hook.heard(), running.output());
}

/// The ledger: `receiver decision status because` each, the oldest first.
async fn ledger(running: &Running) -> Vec<(String, Value)> {
    let list = command_json(running, &["alerts", "notifications"]).await;
    let mut entries = list["notifications"].as_array().unwrap().clone();
    entries.sort_by_key(|entry| entry["id"].as_u64());
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let line = |entry: Value| {
        let decision = &entry["decision"];
        let of = |name: &str| text(&decision[name]);
        (format!("{} {} {}", of("decision"), of("status"), of("because")), entry)
    };
    entries.into_iter().map(line).collect()
}

/// Waits until the ledger has such an entry; that one.
async fn is_entered(running: &Running, wanted: &str) -> Value {
    let mut entries = Vec::new();
    let is_there = eventually(PATIENCE, async || {
        entries = ledger(running).await;
        entries.iter().any(|(short, _)| short == wanted)
    });
    assert!(is_there.await, "{wanted}: {entries:#?}\n{}", running.output());
    entries.into_iter().find(|(short, _)| short == wanted).unwrap().1
}

/// When the rules were evaluated last, as RFC 3339: such texts are sorted as times are.
async fn evaluated_at(running: &Running) -> String {
    let rules = running.api_json("/api/v1/rules").await;
    rules["data"]["groups"][0]["lastEvaluation"].as_str().unwrap().to_owned()
}

/// Waits until the rules were evaluated at a later time, a while from now.
async fn is_evaluated_after(running: &Running, wait: Duration) {
    let after = rfc3339(i64::try_from(time::unix_millis_now()).unwrap() + i64::try_from(wait.as_millis()).unwrap());
    let is_later = eventually(PATIENCE, async || evaluated_at(running).await > after);
    assert!(is_later.await, "{}", running.output());
}

/// The processes below it of that name.
fn processes(running: &Running, name: &str) -> Vec<Pid> {
    let is_named = |pid: &Pid| {
        let comm = std::fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero()));
        comm.is_ok_and(|comm| comm.trim() == name)
    };
    running.descendants().into_iter().filter(is_named).collect()
}

async fn is_healthy(running: &Running, service: &str) {
    let is_healthy = eventually(PATIENCE, async || {
        running.api_json(&format!("/v1/health/{service}")).await["service"]["own"] == "all_healthy"
    });
    assert!(is_healthy.await, "{}", running.output());
}

#[tokio::test]
async fn a_dead_service_is_told_in_time_and_once_also_over_a_crash() {
    let (home, hook) = (Home::shop(), Hook::new());
    let url = hook.url();
    let start = || home.start_with(&[], &[("SHOP_ALERTS_WEBHOOK", url.as_str())]);
    let mut running = start();
    running.ready().await;
    is_healthy(&running, "payment").await;
    let payments = processes(&running, "shop-payment");
    assert_eq!(payments.len(), 2, "{}", running.output());
    // So that there is a time before, and the wait at the start is over.
    is_evaluated_after(&running, Duration::ZERO).await;
    for pid in payments {
        kill_process(pid, Signal::STOP).unwrap();
    }

    hears(&hook, &running, &["firing ServiceDown payment"]).await;
    let heard_at = time::unix_millis_now();
    told_in_time(&running, &hook.heard()[0], heard_at).await;
    let sent = is_entered(&running, "sent firing news").await;
    assert_eq!((&sent["receiver"], &sent["alert_count"]), (&json!("on-call"), &json!(1)), "{sent}");
    // What it does after that is on the disk then.
    is_evaluated_after(&running, Duration::ZERO).await;
    running.signal(Signal::KILL);
    running.ended().await;

    let mut running = start();
    running.ready().await;
    is_healthy(&running, "payment").await;
    hears(&hook, &running, &["firing ServiceDown payment", "resolved ServiceDown payment"]).await;
    let resolved = &hook.heard()[1];
    assert_eq!(resolved["alerts"][0]["startsAt"], hook.heard()[0]["alerts"][0]["startsAt"], "{resolved:#}");
    is_entered(&running, "sent resolved news").await;
    // Longer than the group waits between two notifications.
    is_evaluated_after(&running, Duration::from_secs(12)).await;
    assert_eq!(hook.in_short().len(), 2, "{:#?}", hook.heard());
    let entries = ledger(&running).await;
    let decided: Vec<&str> =
        entries.iter().map(|(short, _)| short.as_str()).filter(|e| !e.starts_with("unch")).collect();
    assert_eq!(decided, ["grouped - -", "sent firing news", "sent resolved news"], "{entries:#?}");
    let table = running.command(&["alerts", "notifications"]).await;
    assert!(table.contains("sent (at once, news, firing)") && table.contains("on-call"), "{table}");
    assert_eq!(running.command(&["alerts"]).await.trim(), "no alert is pending or fires");
    running.stop().await;
}

/// From the first sample that says that nobody is healthy, to the notification.
async fn told_in_time(running: &Running, told: &Value, heard_at_ms: u64) {
    let healthy = points(running, r#"bowline_instances{service="payment",health="healthy"}[10m]"#, None).await;
    let served = healthy.iter().position(|(_, count)| *count > 0.0).unwrap();
    let true_at = healthy[served..].iter().find(|(_, count)| *count == 0.0).unwrap().0;
    let first = async |state: &str| {
        let alerts = format!(r#"ALERTS{{alertname="ServiceDown",service="payment",alertstate="{state}"}}[10m]"#);
        let points = points(running, &alerts, None).await;
        points.first().unwrap_or_else(|| panic!("{state}: {points:?}")).0
    };
    let (pending, firing) = (first("pending").await, first("firing").await);
    assert!(firing - pending >= HOLD && firing - pending <= HOLD + INTERVAL, "{pending} {firing}");
    assert!(pending >= true_at && firing - true_at <= HOLD + INTERVAL + SLACK, "{true_at} {pending} {firing}");
    let ms = |seconds: f64| i64::try_from(Duration::from_secs_f64(seconds).as_millis()).unwrap();
    let heard_after_ms = i64::try_from(heard_at_ms).unwrap() - ms(firing);
    assert!((0..5000).contains(&heard_after_ms), "{heard_after_ms} ms after {firing}");

    let history = command_json(running, &["alerts", "history"]).await;
    let changes = history["transitions"].as_array().unwrap().iter();
    let changes: Vec<[&str; 3]> = changes.map(|c| ["at", "from", "to"].map(|name| c[name].as_str().unwrap())).collect();
    let (pending, firing) = (rfc3339(ms(pending)), rfc3339(ms(firing)));
    let expect = [[firing.as_str(), "pending", "firing"], [pending.as_str(), "inactive", "pending"]];
    assert_eq!(changes, expect, "the newest is the first");

    let alert = &told["alerts"][0];
    let labels = json!({"alertname": "ServiceDown", "service": "payment", "severity": "page"});
    assert_eq!((&told["version"], &told["receiver"], &alert["labels"]), (&json!("4"), &json!("on-call"), &labels));
    assert_eq!(alert["annotations"]["summary"], "No instance of payment is healthy");
    assert_eq!((alert["startsAt"].as_str(), &alert["endsAt"]), (Some(&*firing), &json!("0001-01-01T00:00:00Z")));
}

/// A service that falls ill when the file `unwell` is there, two rules about it, and two who are told.
fn home() -> Home {
    let home = Home::new(&format!(
        r#"name = "s"
[metrics]
every = "1s"
[alerts]
rules = ["alerts.yaml"]
group_by = ["alertname", "service"]
group_interval = "2s"
[alerts.receivers.on-call]
webhook = "env:TEST_ON_CALL"
match = ['severity="page"']
[alerts.receivers.nobody]
webhook = "env:TEST_NOBODY"
match = ['severity="ticket"']
[service.payment]
run = "{}"
metrics = "off"
check = {{ http = "/readyz", every = "100ms", timeout = "10s" }}
"#,
        stand_in::command(false, false)
    ));
    let unwell = home.path().join("unwell").display().to_string();
    home.edit(|text| format!("{text}[service.payment.env]\nSTAND_IN_UNWELL = \"{unwell}\"\n"));
    let expression = r#"sum by (service) (bowline_instances{health="healthy"}) == 0"#;
    let rule = |name: &str, severity: &str| {
        format!("  - alert: {name}\n    expr: {expression}\n    for: 1s\n    labels: {{severity: {severity}}}\n")
    };
    let rules = format!("groups:\n- name: g\n  rules:\n{}{}", rule("Down", "page"), rule("AlsoDown", "ticket"));
    std::fs::write(home.path().join("alerts.yaml"), rules).unwrap();
    home
}

#[tokio::test]
async fn what_is_silenced_is_not_told_and_who_cannot_be_told_is_said_so() {
    let (home, hook) = (home(), Hook::new());
    let url = hook.url();
    let mut running = home.start_with(&[], &[("TEST_ON_CALL", url.as_str())]);
    running.ready().await;
    is_healthy(&running, "payment").await;
    let silence = ["alerts", "silence", r#"service="payment""#, "--for", "1h", "--comment", "it moves", "--by", "ada"];
    let silence = command_json(&running, &silence).await;
    let id = silence["id"].as_str().unwrap();
    std::fs::write(home.path().join("unwell"), "").unwrap();
    let silenced = is_entered(&running, "silenced - -").await;
    assert_eq!(silenced["decision"]["silence"], id, "{silenced}");
    let active = running.command(&["alerts"]).await;
    assert!(active.contains("Down") && active.contains("firing"), "{active}");

    // Longer than the group waits, and nobody is told.
    is_evaluated_after(&running, Duration::from_secs(3)).await;
    assert_eq!(hook.in_short(), [""; 0]);
    let silences = running.command(&["alerts", "silences"]).await;
    assert!(silences.contains(id) && silences.contains("active") && silences.contains("it moves"), "{silences}");
    // From now on one is told, and the other in vain: nobody says where.
    running.command(&["alerts", "unsilence", id]).await;
    hears(&hook, &running, &["firing Down payment"]).await;
    let unset = is_entered(&running, "not_set - -").await;
    let error = unset["decision"]["error"].as_str().unwrap();
    assert!(unset["receiver"] == "nobody" && error.contains("TEST_NOBODY") && error.contains("not set"), "{unset}");
    assert_eq!(running.outcome(&["alerts", "test", "nobody"]).await.status.code(), Some(1));

    let told = running.command(&["alerts", "test", "on-call"]).await;
    assert_eq!(told.trim(), "on-call answered 200 ok");
    let tests = hook.heard();
    assert_eq!(tests.last().unwrap()["alerts"][0]["labels"]["alertname"], "BowlineTest", "{tests:#?}");
    let refused = running.outcome(&["alerts", "test", "somebody"]).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    std::fs::remove_file(home.path().join("unwell")).unwrap();
    hears(&hook, &running, &["firing Down payment", "firing BowlineTest -", "resolved Down payment"]).await;
    running.stop().await;
}
