//! How a system watches itself: `[tracing]`, `[metrics]`, `[alerts]`, and where a service shows its metrics.

use std::time::Duration;

use super::{check_all, parse};
use crate::{
    monitor::{AlertPolicy, MetricsPath, MetricsPolicy, Receiver, SecretText, StaticTarget, TracingPolicy},
    problem::Position,
    units::Share,
};

#[test]
fn nothing_has_to_be_said() {
    let system = parse("name = \"t\"\n[tracing]\n[metrics]\n[alerts]").unwrap();
    assert_eq!(system.tracing, TracingPolicy::default());
    assert_eq!(system.metrics, MetricsPolicy::default());
    assert_eq!(system.alerts, AlertPolicy::default());
}

#[test]
fn everything_can_be_said() {
    let system = parse(
        r#"name = "t"
[tracing]
sample = "10%"
services = { gateway = "0.5%", a = "100%" }
export = { otlp = "http://c:4318", headers = { Authorization = "env:OTLP" } }
[metrics]
every = "10s"
retention = "2d"
targets = [{ job = "node", address = "127.0.0.1:9100", labels = { rack = "r1" } }]
[alerts]
rules = ["alerts.yaml", "more/rules.yml"]
group_by = []
group_wait = "5s"
[alerts.receivers.ops]
webhook = "env:HOOK"
match = ['severity="page"']
send_resolved = false
[service.a]
metrics = "/stats"
[service.b]
metrics = "off"
[service.c]
"#,
    )
    .unwrap();
    assert_eq!(system.tracing.sampling.of("a"), Share::ALL);
    assert_eq!(system.tracing.sampling.of("b"), Share::from_percent(10));
    let export = system.tracing.export.unwrap();
    assert_eq!((export.otlp.as_str(), export.headers.len()), ("http://c:4318", 1));
    let target = StaticTarget {
        job: "node".to_owned(),
        address: "127.0.0.1:9100".to_owned(),
        path: "/metrics".to_owned(),
        labels: [("rack".to_owned(), "r1".to_owned())].into(),
    };
    let day = Duration::from_hours(24);
    assert_eq!(
        system.metrics,
        MetricsPolicy { every: Duration::from_secs(10), retention: 2 * day, targets: vec![target] }
    );
    let files: Vec<&str> = system.alerts.rules.iter().map(|(file, _)| file.as_str()).collect();
    assert_eq!(files, ["alerts.yaml", "more/rules.yml"]);
    assert_eq!((system.alerts.group_by.len(), system.alerts.group_wait), (0, Duration::from_secs(5)));
    let receiver = Receiver {
        name: "ops".to_owned(),
        position: Position { line: 14, column: 19 },
        webhook: SecretText::parse("env:HOOK"),
        matchers: vec!["severity=\"page\"".to_owned()],
        send_resolved: false,
    };
    assert_eq!(system.alerts.receivers, [receiver]);
    let paths: Vec<&MetricsPath> = system.services.iter().map(|service| &service.metrics).collect();
    assert_eq!(paths, [&MetricsPath::At("/stats".to_owned()), &MetricsPath::Off, &MetricsPath::Usual]);
}

#[test]
fn what_is_not_right_is_told() {
    check_all(
        "name = \"t\"\n[service.order]\n[tracing]\n$",
        r#"
sample = "2"
  4:10+3 `sample` ("2") is not a share → write a percentage from 0% to 100%, with at most four decimals: "50%"

services = { oder = "1%" }
  4:14+4 unknown service `oder` → did you mean `order`?

export = { otlp = "collector:4318" }
  4:19+16 `otlp` ("collector:4318") is not the URL of a collector → write a URL with a host: "https://host.example/path"
"#,
    );
    check_all(
        "name = \"t\"\n[metrics]\n$",
        r#"
every = "10ms"
  3:9+6 `every` (10ms) is out of range → write a duration from 1s to 1h

targets = [{ address = "here" }]
  3:12+20 a target has no `job` → write `job = "node"`
  3:24+6 `address` ("here") is not a host and a port → write a host and a port: "127.0.0.1:9100"

targets = [{ job = "a", address = "b:1", labels = { job = "c" } }]
  3:53+3 `job` is not the name of a further label → use letters, digits and _, no digit first, 128 at most, and neither `job` nor `instance`
"#,
    );
    check_all(
        "name = \"t\"\n[alerts]\n$",
        r#"
rules = ["rules.txt"]
  3:10+11 `rules` ("rules.txt") is not a file of rules → its name ends in .yaml or .yml, which is what it is

receivers.ops = { webhook = "hunter2" }
  3:29+9 `webhook` is neither a URL nor the place of one → write "https://alerts.example/hook", or "env:NAME" where the URL is a secret

receivers.ops = {}
  3:17+2 a receiver has no `webhook` → write `webhook = "env:OPS_WEBHOOK"`
"#,
    );
}
