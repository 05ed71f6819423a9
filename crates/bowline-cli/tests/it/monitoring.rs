//! Metrics from the targets to the answer: rates under load, the service graph, targets, and foreign clients.

use std::{process::Stdio, time::Duration};

use bowline_runtime::{
    task::{self, Guarded},
    time,
};
use http::Method;
use serde_json::{Value, json as value};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::Command,
    sync::watch,
};

use crate::{
    harness::{Home, PATIENCE, Running, ask, eventually, programs},
    stand_in,
    watching::{escaped, form, json, points, series, shows},
};

/// How far the rate may be from the load's own count.
const TOLERANCE: f64 = 0.05;

/// How many orders the load had placed in all at which time, in seconds since 1970.
type Counted = Vec<(f64, f64)>;

/// The load program, and what it has counted so far.
struct Load {
    child: tokio::process::Child,
    counted: watch::Receiver<Counted>,
    _reading: Guarded<()>,
}

impl Load {
    fn start(running: &Running, seconds: u64) -> Self {
        let mut load = Command::new(programs().join("shop-load"));
        let seconds = seconds.to_string();
        load.args(["--gateway", &running.gateway().to_string(), "--clients", "8", "--seconds", &seconds]);
        let mut child = load.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let (count, counted) = watch::channel(Counted::new());
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let reading = Guarded::new(task::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let words: Vec<&str> = line.split_whitespace().collect();
                let Some(at) = words.iter().position(|word| *word == "placed") else { continue };
                assert!(words.ends_with(&["0", "failed"]), "{line}");
                let placed = words[at - 1].parse().unwrap();
                count.send_modify(|counted| counted.push((now(), placed)));
            }
        }));
        Self { child, counted, _reading: reading }
    }

    /// Waits until it has run for so many seconds.
    async fn runs_for(&mut self, seconds: u64) {
        let lines = usize::try_from(seconds).unwrap();
        let lasts = Duration::from_secs(seconds) + PATIENCE;
        let has_run = time::timeout(lasts, self.counted.wait_for(|counted| counted.len() >= lines)).await;
        assert!(has_run.is_ok_and(|has_run| has_run.is_ok()), "the load does not run for {seconds} s");
    }

    /// How many orders it had placed at a time.
    fn placed_at(&self, at: f64) -> f64 {
        let counted = self.counted.borrow();
        let next = counted.partition_point(|(time, _)| *time < at);
        let ((from, before), (to, after)) = (counted[next - 1], counted[next]);
        before + (after - before) * (at - from) / (to - from)
    }

    /// What it prints at its end, which is a good one.
    async fn report(mut self) -> String {
        let mut report = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut report).await.unwrap();
        assert!(self.child.wait().await.unwrap().success(), "{report}");
        report
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to the year 285,000")]
fn now() -> f64 {
    time::unix_millis_now() as f64 / 1000.0
}

#[tokio::test]
async fn the_rate_that_is_answered_is_the_loads_own() {
    let home = Home::shop();
    let mut running = home.up().await;
    let (runs, window) = if std::env::var_os("BOWLINE_TEST_LONG").is_some() { (90, 60) } else { (25, 15) };
    let mut load = Load::start(&running, runs);
    load.runs_for(window + 6).await;
    // A moment ago: what was scraped until then is kept.
    let at = format!("{:.3}", now() - 1.0);
    load.runs_for(window + 7).await;

    let rate = format!(r#"sum(rate(bowline_requests_total{{reporter="server"}}[{window}s])) by (service)"#);
    let answer = json(&running, &["query", "--at", &at, &rate]).await;
    let of_order = answer["result"].as_array().unwrap().iter().find(|one| one["metric"]["service"] == "order");
    let rate: f64 = of_order.unwrap()["value"][1].as_str().unwrap().parse().unwrap();
    // Between the first and the last time of the window at which it was scraped: what the load does at the
    // ends of the window beyond these, on a machine that is busy, no rate can know.
    let counter = format!(r#"bowline_requests_total{{reporter="server",service="order"}}[{window}s]"#);
    let scraped = points(&running, &counter, Some(&at)).await;
    let (from, to) = (scraped[0].0, scraped[scraped.len() - 1].0);
    let own = (load.placed_at(to) - load.placed_at(from)) / (to - from);
    assert!(to - from >= 9.0, "{scraped:?}");
    assert!((rate / own - 1.0).abs() <= TOLERANCE, "{rate} by the metrics, {own} by the load, from {from} to {to}");

    let report = load.report().await;
    assert!(report.contains(" orders/s") && report.contains("5xx 0 "), "{report}");
    let drawn = running.command(&["query", "--since", "30s", "sum(up)"]).await;
    assert!(drawn.contains("OVER TIME"), "{drawn}");
    running.stop().await;
}

#[tokio::test]
async fn a_broken_expression_is_refused_where_it_is_broken() {
    let home = Home::new("name = \"s\"\n");
    let mut running = home.up().await;
    let broken = "sum(\n  rate(up[1m]) by (job)";
    let path = format!("/api/v1/query?query={}", escaped(broken));
    let answer = ask(running.api(), Method::GET, "localhost", &path, &[], b"").await;
    let body = answer.json();
    assert_eq!(
        (answer.status.as_u16(), &body["status"], &body["errorType"]),
        (400, &value!("error"), &value!("bad_data"))
    );
    let error = body["error"].as_str().unwrap();
    assert!(error.contains("2:16") && error.starts_with("invalid parameter \"query\": "), "{error}");
    let outcome = running.outcome(&["query", broken]).await;
    let told = String::from_utf8(outcome.stderr).unwrap();
    assert_eq!(outcome.status.code(), Some(1), "{told}");
    assert!(told.contains(error.trim_start_matches("invalid parameter \"query\": ")), "{told}\n{error}");
    running.stop().await;
}

/// The edges of the graph: `caller>callee count` each.
async fn edges(running: &Running) -> Vec<String> {
    let graph = json(running, &["graph"]).await;
    let edges = graph["edges"].as_array().unwrap().iter();
    let text = |edge: &Value, name: &str| edge[name].as_str().unwrap().to_owned();
    edges.map(|e| format!("{}>{} {}", text(e, "caller"), text(e, "callee"), e["figures"]["count"])).collect()
}

#[tokio::test]
async fn the_shop_is_seen_as_it_is() {
    let home = Home::shop();
    let mut running = home.up().await;
    let ada = running.sign_in("ada@example.com").await;
    let body = br#"{"user_id":"u-1","items":[{"sku":"book","quantity":2,"unit_price":1999}]}"#;
    let headers = [("content-type", "application/json"), ("authorization", ada.as_str())];
    for _ in 0..7 {
        let answer = running.ask(Method::POST, "shop.localhost", "/orders", &headers, body).await;
        assert_eq!(answer.status, 201, "{:?}", answer.body);
    }
    // The gateway asks `user` for its keys, too, and that is no part of a request. What `order` knows of a customer it
    // keeps.
    // Each order is told of twice: it is placed, and paid.
    let wanted =
        ["gateway>order 7", "gateway>user 1", "order>notify 14", "order>payment 7", "order>user 1", "payment>bank 7"];
    let (mut calls, mut data) = (Vec::new(), Vec::new());
    let is_seen = eventually(PATIENCE, async || {
        (data, calls) = edges(&running).await.into_iter().partition(|edge| edge.contains(':'));
        calls == wanted
    });
    assert!(is_seen.await, "{calls:?}\n{:#}", json(&running, &["graph"]).await);
    // And each touches its own data, and nobody else's.
    let owned = [
        "bank>sqlite:bank.db",
        "notify>sqlite:notify.db",
        "order>sqlite:order.db",
        "payment>sqlite:payment.db",
        "user>sqlite:user.db",
    ];
    let is_owned = eventually(PATIENCE, async || {
        data = edges(&running).await.into_iter().filter(|edge| edge.contains(':')).collect();
        data.iter().map(|edge| edge.split(' ').next().unwrap()).eq(owned)
    });
    assert!(is_owned.await, "{data:?}");

    // Through the mesh, in which nobody but the platform may ask for metrics.
    let mut targets = Value::Null;
    let are_up = eventually(PATIENCE, async || {
        targets = json(&running, &["targets"]).await;
        let targets = targets["activeTargets"].as_array().unwrap();
        targets.len() >= 7 && targets.iter().all(|target| target["health"] == "up" && target["samples"] != 0)
    });
    assert!(are_up.await, "{targets:#}\n{}", running.output());
    let targets = targets["activeTargets"].as_array().unwrap().iter();
    let mut names: Vec<&str> = targets.map(|target| target["labels"]["instance"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["bank-1", "bowline", "notify-1", "order-1", "payment-1", "payment-2", "user-1"]);
    let rows = running.command(&["targets"]).await;
    assert_eq!(rows.lines().count(), 8, "{rows}");
    running.stop().await;
}

/// What a target outside of the system shows.
const PAGE: &str = "# HELP books_on_shelf Books.\n# TYPE books_on_shelf gauge\n\
                    books_on_shelf{shelf=\"top\",job=\"library\"} 42\n";

/// A service that is not scraped, one that is, and a target beside them.
fn library() -> Home {
    let (shelf, run) = (shows(PAGE), stand_in::command(false, false));
    Home::new(&format!(
        r#"name = "s"
[metrics]
every = "1s"
targets = [{{ job = "shelves", address = "{shelf}", path = "/books", labels = {{ zone = "north" }} }}]
[service.quiet]
run = "{run}"
metrics = "off"
[service.told]
run = "STAND_IN_IS_KIND=1 {run}"
"#
    ))
}

#[tokio::test]
async fn targets_are_scraped_as_the_file_says_and_foreign_clients_are_answered() {
    let home = library();
    let mut running = home.up().await;
    let books = r#"books_on_shelf{zone="north"}"#;
    let mut targets = Value::Null;
    let is_scraped = eventually(PATIENCE, async || {
        targets = json(&running, &["targets"]).await;
        let known = targets["activeTargets"].as_array().unwrap();
        let of = |job: &str| known.iter().find(|target| target["labels"]["job"] == job);
        // Who comes to the registry comes to the targets a moment later, and each is asked at its own moment.
        let is_known = of("told").is_some() && of("shelves").is_some_and(|shelf| shelf["health"] == "up");
        let is_answered = async |selector| !series(&running, selector, None).await.is_empty();
        is_known && is_answered(books).await && is_answered(r#"up{job="bowline"}"#).await
    });
    assert!(is_scraped.await, "{targets:#}");
    let targets = targets["activeTargets"].as_array().unwrap().clone();
    let shelf = targets.iter().find(|target| target["labels"]["job"] == "shelves").unwrap();
    let labels = &series(&running, books, None).await[0]["metric"];
    let instance = &shelf["labels"]["instance"];
    let expect = value!({"__name__": "books_on_shelf", "job": "shelves", "exported_job": "library",
        "shelf": "top", "zone": "north", "instance": instance});
    assert_eq!(labels, &expect);
    assert_eq!((&shelf["health"], &shelf["samples"]), (&value!("up"), &value!(1)), "{shelf}");
    assert_eq!(shelf["scrapeUrl"], format!("http://{}/books", instance.as_str().unwrap()));
    let jobs: Vec<&Value> = targets.iter().map(|target| &target["labels"]["job"]).collect();
    assert!(jobs.contains(&&value!("told")) && !jobs.contains(&&value!("quiet")), "{jobs:?}");
    foreign_client(&running, instance.as_str().unwrap()).await;
    running.stop().await;
}

/// What Prometheus' API answers, in its shape.
async fn foreign_client(running: &Running, shelf: &str) {
    let data = async |path: &str| {
        let answer = running.api_json(path).await;
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].clone()
    };
    let texts =
        |list: &Value| list.as_array().unwrap().iter().map(|t| t.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let labels = texts(&data("/api/v1/labels").await);
    assert!(
        labels.is_sorted() && ["__name__", "instance", "job", "zone"].iter().all(|l| labels.contains(&(*l).to_owned()))
    );
    let jobs = texts(&data("/api/v1/label/job/values").await);
    assert!(
        jobs.is_sorted() && jobs.contains(&"bowline".to_owned()) && jobs.contains(&"shelves".to_owned()),
        "{jobs:?}"
    );
    let ups = data("/api/v1/series?match[]=up").await;
    let up = value!({"__name__": "up", "job": "shelves", "instance": shelf, "zone": "north"});
    assert!(ups.as_array().unwrap().contains(&up), "{ups:#}");
    let build = data("/api/v1/status/buildinfo").await;
    assert!(build["version"].as_str().unwrap().starts_with("3."), "{build}");
    let metadata = data("/api/v1/metadata?metric=books_on_shelf").await;
    assert_eq!(metadata["books_on_shelf"], value!([{"type": "gauge", "help": "Books.", "unit": ""}]));

    let end = now().floor();
    let range = [("start", format!("{}", end - 4.0)), ("end", format!("{end}")), ("step", "2s".to_owned())];
    let range = range.iter().map(|(name, value)| (*name, value.as_str()));
    let fields: Vec<_> = [("query", "vector(7)")].into_iter().chain(range).collect();
    let answer = form(running, "/api/v1/query_range", &fields).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    let matrix = &answer.json()["data"];
    assert_eq!(matrix["resultType"], "matrix");
    assert_eq!(matrix["result"][0]["values"][0][1], "7", "{matrix}");
    let times = matrix["result"][0]["values"].as_array().unwrap().iter().map(|point| point[0].as_f64().unwrap());
    assert!(times.eq([end - 4.0, end - 2.0, end]), "{matrix}");
    let no_step = form(running, "/api/v1/query_range", &fields[..3]).await;
    assert_eq!((no_step.status.as_u16(), &no_step.json()["errorType"]), (400, &value!("bad_data")));
}
