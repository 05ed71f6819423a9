//! Whatever the console shows was written by others: markup in all of it stays text.

use std::time::Duration;

use bowline_messaging::{GroupSettings, MessageBus as _, NewMessage, Then, TopicSettings};
use bowline_model::percent;
use bowline_provider_remote::RemoteMessages;
use bowline_runtime::time;
use http::Method;
use serde_json::{Value, json};

use crate::{
    browser::Browser,
    harness::{Home, PATIENCE, Running, ask, eventually},
    stand_in,
};

/// Ways to make a page run what it should show. None of them holds a quotation mark that YAML or TOML would end at.
const IMAGE: &str = "<img src=x onerror=window.__hacked=1>";
const SCRIPT: &str = "</textarea></title>\"><script>window.__hacked=1</script>";
const LINK: &str = "javascript:window.__hacked=1";
const DRAWING: &str = "</svg><svg onload=window.__hacked=1>${window.__hacked=1}";

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// What holds of a page that made an element, or ran something, of what it shows.
const IS_HACKED: &str = "window.__hacked !== undefined
    || document.querySelector('[onerror], [onload], iframe, object, embed, svg script, main script, base') !== null
    || all('img').some((image) => !image.src.includes('/ui/assets/'))
    || all('script').some((script) => !script.src.includes('/ui/assets/'))
    || all('a[href], form[action]').some((link) => !/^https?:/.test(link.protocol ?? 'http:'))";

fn home() -> Home {
    let home = Home::new("");
    std::fs::write(home.path().join("said"), format!("{IMAGE}\n{SCRIPT}\n{LINK}\n{DRAWING}\n")).unwrap();
    let rule = format!(
        "groups:\n  - name: '{IMAGE}'\n    rules:\n      - alert: Hostile\n        expr: vector(1)\n        \
         labels: {{ severity: '{IMAGE}' }}\n        annotations: {{ summary: '{SCRIPT}', description: '{DRAWING}' }}\n"
    );
    std::fs::write(home.path().join("alerts.yaml"), rule).unwrap();
    let (said, run) = (home.path().join("said"), stand_in::command(false, false));
    home.edit(|_| {
        format!(
            "name = \"hostile\"\n[alerts]\nrules = [\"alerts.yaml\"]\n[service.talker]\nrun = \"cat {}; {run}\"\n",
            said.display()
        )
    });
    home
}

#[tokio::test]
async fn markup_in_whatever_the_console_shows_stays_text() {
    let home = home();
    let mut running = home.up().await;
    let Some(browser) = Browser::of(&running).await else { return running.stop().await };
    spans(&running).await;
    instance(&running).await;
    document(&running).await;
    messages(&running).await;
    silence(&running).await;
    let service = percent::encode(IMAGE, b"");
    for (path, texts) in [
        (String::new(), &[IMAGE][..]),
        ("services".to_owned(), &[IMAGE, "ledger"]),
        (format!("services/{service}"), &[IMAGE]),
        (format!("services/{service}?tab=operations"), &[SCRIPT]),
        ("services/ledger?tab=instances".to_owned(), &[IMAGE]),
        ("services/talker?tab=logs".to_owned(), &[IMAGE, SCRIPT, LINK, DRAWING]),
        ("traces".to_owned(), &[IMAGE, SCRIPT]),
        (format!("traces?service={service}&attr={service}%3D{service}"), &[IMAGE]),
        (format!("traces/{TRACE}?span=00f067aa0ba902b7"), &[IMAGE, SCRIPT, LINK, DRAWING]),
        ("metrics?query=bowline_span_requests_total".to_owned(), &[IMAGE]),
        ("alerts".to_owned(), &[IMAGE, SCRIPT]),
        ("alerts?tab=rules".to_owned(), &[IMAGE]),
        ("alerts?tab=silences".to_owned(), &[IMAGE, SCRIPT]),
        ("config/hostile/page".to_owned(), &[IMAGE]),
        ("config/hostile/page?tab=status".to_owned(), &[IMAGE]),
        ("config/hostile/page?tab=history".to_owned(), &[IMAGE]),
        ("messages/hostile".to_owned(), &[IMAGE]),
        ("messages/hostile?at=1".to_owned(), &[IMAGE]),
        ("messages/hostile?view=messages&at=1".to_owned(), &[IMAGE, SCRIPT]),
        (service.clone(), &[]),
    ] {
        is_text(&browser, &path, texts).await;
    }
    would_be_found(&browser).await;
    browser.close().await;
    running.stop().await;
}

/// What would come of markup that is markup: no script can make any of a text, and an element of it would be found.
async fn would_be_found(browser: &Browser) {
    let image = serde_json::to_string(IMAGE).unwrap();
    let made = format!(
        "const main = document.querySelector('main');
        try {{ main.insertAdjacentHTML('beforeend', {image}); return 'made' }} catch (error) {{ return error.name }}"
    );
    assert_eq!(browser.run(&made).await, "TypeError", "the page's policy demands trusted types");
    assert_eq!(browser.value(IS_HACKED).await, false);
    browser.run("document.querySelector('main').append(Object.assign(new Image(), { src: 'x' }))").await;
    assert_eq!(browser.value(IS_HACKED).await, true);
}

async fn is_text(browser: &Browser, path: &str, texts: &[&str]) {
    browser.open(&format!("/ui/{path}")).await;
    for text in texts {
        let text = serde_json::to_string(text).unwrap().replace("</", "<\\/");
        browser
            .until(
                &format!("{text} at {path}"),
                &format!(
                    "has({text}) || [...all('main textarea, main input')].some(({{ value }}) => value.includes({text}))"
                ),
            )
            .await;
    }
    assert_eq!(browser.value(IS_HACKED).await, false, "{path}");
    let wrongs = browser.wrongs().await;
    assert!(wrongs.is_empty(), "{path}: {wrongs:#?}");
}

async fn sent(running: &Running, method: Method, path: &str, body: Value) {
    let headers = [("content-type", "application/json")];
    let answer = ask(running.api(), method, "localhost", path, &headers, body.to_string().as_bytes()).await;
    assert!(answer.status.is_success(), "{path}: {:?}", answer.body);
}

/// A trace whose every name and value is markup.
async fn spans(running: &Running) {
    let now = time::unix_nanos(time::system());
    let attributes = json!({
        IMAGE: IMAGE, SCRIPT: DRAWING, "url.full": LINK, "http.route": IMAGE, "http.response.status_code": SCRIPT,
        "db.collection.name": IMAGE, "bowline.reason": IMAGE, "bowline.backend": IMAGE, "peer.service": LINK,
        "bowline.attempts": SCRIPT, "bowline.saga": IMAGE, "exception.stacktrace": DRAWING,
    });
    let event = json!({"at_unix_nanos": now, "name": SCRIPT, "attributes": {IMAGE: IMAGE, "link": LINK}});
    let attempt = json!({"at_unix_nanos": now, "name": "attempt", "attributes": {
        "bowline.attempt": 1, "bowline.instance": IMAGE, "bowline.address": LINK, "bowline.outcome": SCRIPT,
    }});
    let link = json!({"trace_id": TRACE, "span_id": "00f067aa0ba902b8", "attributes": {IMAGE: LINK}});
    let span = |id: &str, parent: Option<&str>, service: &str, name: &str, kind: &str| {
        json!({
            "trace_id": TRACE, "span_id": id, "parent_span_id": parent, "service": service, "instance": IMAGE,
            "name": name, "kind": kind, "start_unix_nanos": now, "duration_nanos": 5_000_000,
            "status": {"code": "error", "message": SCRIPT}, "attributes": attributes,
            "events": [event, attempt], "links": [link],
        })
    };
    let spans = [
        span("00f067aa0ba902b7", None, IMAGE, SCRIPT, "server"),
        span("00f067aa0ba902b8", Some("00f067aa0ba902b7"), SCRIPT, IMAGE, "server"),
        span("00f067aa0ba902b9", Some("00f067aa0ba902b8"), LINK, DRAWING, "consumer"),
        span("00f067aa0ba902ba", Some("00f067aa0ba902b9"), IMAGE, LINK, "client"),
    ];
    sent(running, Method::POST, "/v1/spans", json!({ "spans": spans })).await;
}

async fn instance(running: &Running) {
    let metadata = json!({IMAGE: SCRIPT, "link": LINK});
    let body = json!({
        "service": "ledger", "address": "127.0.0.1:9999", "version": IMAGE, "ttl": "1h", "metadata": metadata,
    });
    sent(running, Method::PUT, "/v1/instances/ledger-1", body).await;
}

/// Two versions, one of which an instance refuses.
async fn document(running: &Running) {
    for text in [json!({"a": IMAGE}), json!({"a": IMAGE, "b": SCRIPT, "c": LINK})] {
        let body = json!({"format": "json", "text": text.to_string(), "comment": IMAGE});
        sent(running, Method::PUT, "/v1/config/hostile/page", body).await;
    }
    let status = json!({
        "service": "ledger", "version": 2, "outcome": "refused", "reason": IMAGE, "ttl": "1h",
    });
    sent(running, Method::PUT, "/v1/config/hostile/page/status/ledger-1", status).await;
}

/// A message, dead.
async fn messages(running: &Running) {
    let bus = RemoteMessages::new(running.api());
    bus.declare("hostile", TopicSettings::default()).await.unwrap();
    let settings = GroupSettings { attempts_max: 1, backoff: Duration::ZERO, ..GroupSettings::default() };
    let mut group = bus.subscribe("hostile", "readers", settings, 1).await.unwrap();
    let message = NewMessage {
        key: Some(IMAGE.to_owned()),
        headers: vec![("about".to_owned(), SCRIPT.to_owned()), ("traceparent".to_owned(), LINK.to_owned())],
        payload: json!({"a": IMAGE, "b": SCRIPT}).to_string().into(),
        ..NewMessage::default()
    };
    bus.publish("hostile", message).await.unwrap();
    let delivery = time::timeout(PATIENCE, group.next()).await.expect("it comes").unwrap();
    delivery.nack(IMAGE, Then::Retry).await.unwrap();
    let is_dead = eventually(PATIENCE, async || running.api_json("/v1/topics").await["topics"][0]["dead"] == 1);
    assert!(is_dead.await);
}

async fn silence(running: &Running) {
    let body = json!({
        "matchers": [format!("severity=\"{IMAGE}\"")], "endsAt": "2100-01-01T00:00:00Z",
        "createdBy": IMAGE, "comment": SCRIPT,
    });
    sent(running, Method::POST, "/v1/alerts/silences", body).await;
}
