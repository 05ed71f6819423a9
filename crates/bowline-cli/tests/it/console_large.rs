//! The console with a thousand services and ten thousand instances: it can be used, and draws what is looked at.

use bowline_runtime::{task, time};
use bowline_transport::{Body, HttpClient};
use http::{Method, Request};
use serde_json::{Value, json};

use crate::{
    browser::{Browser, report},
    harness::{Home, PATIENCE, Running},
};

const SERVICES: usize = 1000;
const INSTANCES_EACH: usize = 10;
const WRITERS: usize = 32;

/// How many services each one calls.
const CALLED_EACH: usize = 4;

/// How long a page may take until it shows what it is for, in seconds: with other tests beside it, all of debug builds.
const SHOWN_WITHIN: f64 = 20.0;

/// The most elements of a page of all services: of a hundred rows, and not of a thousand.
const ELEMENTS_MAX: u64 = 6000;

/// Keeps in the page how long nothing else could be done: a reader's click waits as long.
const WATCH_WORK: &str = "
    window.longest = 0;
    new PerformanceObserver((list) => {
        longest = Math.max(longest, ...list.getEntries().map(({ duration }) => duration));
    }).observe({ type: 'longtask', buffered: true });";

#[tokio::test]
async fn a_thousand_services_stay_usable() {
    let home = Home::new("name = \"large\"\n");
    let mut server = home.server("127.0.0.1:0").await;
    let Some(browser) = Browser::of(&server).await else { return server.stop().await };
    let begun = time::now();
    register(&server).await;
    call(&server).await;
    report(&format!("registered and called after {:?}", begun.elapsed()));
    browser.before_each_page(WATCH_WORK).await;
    let is_mapped = format!("all('.map .node').length === {SERVICES}");
    let is_worst = "rows() >= 8 && has('service-')";
    shown(&browser, "", &format!("{is_mapped} && {is_worst}")).await;
    browser.picture("large-overview").await;
    shown(&browser, "services", "rows() === 100").await;
    let elements = browser.value("all('*').length").await.as_u64().unwrap();
    assert!(elements < ELEMENTS_MAX, "{elements} elements");
    browser.picture("large-services").await;
    one_is_found(&browser).await;
    browser.close().await;
    server.stop().await;
}

/// Opens a page; how long it takes until it shows that, by its own clock.
async fn shown(browser: &Browser, path: &str, expression: &str) {
    browser.open(&format!("/ui/{path}")).await;
    browser.until(&format!("all of `{path}`"), expression).await;
    let told = browser.value("[performance.now() / 1000, longest / 1000]").await;
    let (seconds, longest) = (told[0].as_f64().unwrap(), told[1].as_f64().unwrap());
    report(&format!("/ui/{path} is shown after {seconds:.2} s, the longest piece of work takes {longest:.2} s"));
    assert!(seconds < SHOWN_WITHIN, "/ui/{path} is shown after {seconds} s");
    browser.is_well(path).await;
}

/// By its name, and looked at.
async fn one_is_found(browser: &Browser) {
    browser.write("document.querySelector('main input[type=search]')", "service-0777").await;
    browser.until("one row", "rows() === 1 && has('service-0777')").await;
    browser.click("document.querySelector('main tbody a')").await;
    browser
        .until("its page", "document.querySelector('h1').textContent === 'service-0777' && has('service-0194')")
        .await;
    browser.settled().await;
    browser.is_well("services/service-0777").await;
}

fn name(index: usize) -> String {
    format!("service-{index:04}")
}

async fn register(server: &Running) {
    let client = HttpClient::new(server.api()).with_timeout(PATIENCE);
    let mut writers = task::JoinSet::new();
    for writer in 0..WRITERS {
        let client = client.clone();
        writers.spawn(async move {
            for number in (writer..SERVICES * INSTANCES_EACH).step_by(WRITERS) {
                let service = name(number / INSTANCES_EACH);
                let id = format!("{service}-{}", number % INSTANCES_EACH);
                let address = format!("127.0.{}.{}:{}", number / 250 % 250, number % 250, 10_000 + number);
                let body = json!({"service": service, "address": address, "ttl": "1h", "version": "1.0.0"});
                sent(&client, Method::PUT, &format!("/v1/instances/{id}"), body).await;
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
}

/// Each service but the first one is called once, by one of those before it.
async fn call(server: &Running) {
    let now = time::unix_nanos(time::system());
    let spans: Vec<Value> = (1..SERVICES).flat_map(|callee| pair(now, (callee - 1) / CALLED_EACH, callee)).collect();
    let client = HttpClient::new(server.api()).with_timeout(PATIENCE);
    for batch in spans.chunks(1000) {
        sent(&client, Method::POST, "/v1/spans", json!({ "spans": batch })).await;
    }
}

fn pair(now: u64, caller: usize, callee: usize) -> [Value; 2] {
    let span = |id: usize, parent: Option<usize>, service: usize| {
        let hex = |id: usize| format!("{id:016x}");
        json!({
            "trace_id": format!("{callee:032x}"), "span_id": hex(id), "parent_span_id": parent.map(hex),
            "service": name(service), "instance": format!("{}-0", name(service)), "name": "GET /", "kind": "server",
            "start_unix_nanos": now, "duration_nanos": 1_000_000 * (1 + service % 90), "status": {"code": "ok"},
            "attributes": {}, "events": [],
        })
    };
    [span(2 * callee, None, caller), span(2 * callee + 1, Some(2 * callee), callee)]
}

async fn sent(client: &HttpClient, method: Method, path: &str, body: Value) {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let answer = client.request(request.body(Body::full(body.to_string().into_bytes())).unwrap()).await.unwrap();
    assert!(answer.status().is_success(), "{path}: {:?}", answer.body());
}
