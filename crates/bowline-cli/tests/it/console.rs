//! The console in a real browser, beside the shop under load: its pages, the search for a fault, who may do what.

use std::process::Stdio;

use bowline_runtime::time;
use http::Method;
use serde_json::json;

use crate::{
    browser::{Browser, Reader, report},
    harness::{Answer, Home, Running, ask, programs},
};

/// A page: its path, its heading, and what holds once it shows something of the shop.
type Expected = (&'static str, &'static str, &'static str);

/// Every page but those of one trace and of signing in.
const PAGES: [Expected; 11] = [
    ("", "Overview", "all('.map .node').length >= 6 && named('.map .node', 'payment') && named('.map .edge', '/s')"),
    ("services", "Services", "rows() >= 5 && has('order', 'payment', 'bank', 'user', 'notify') && has('/s')"),
    ("services/order", "order", "all('main canvas').length >= 3 && has('gateway', 'payment') && rows() >= 5"),
    ("services/order?tab=logs", "order", "all('.tabs [aria-selected=true]').length === 1"),
    ("traces", "Traces", "rows() >= 5 && all('main svg circle').length >= 5 && has('gateway')"),
    ("metrics?query=sum%20by%20(service)(rate(bowline_requests_total[1m]))", "Metrics", "has('order', 'payment')"),
    ("alerts?tab=rules", "Alerts", "has('ServiceDown', 'SlowRequests')"),
    ("config", "Configuration", "has('shop', 'order')"),
    ("messages", "Messages", "rows() >= 3 && has('order.placed', 'order.paid')"),
    ("mesh", "Mesh", "has('order', 'payment', 'bank')"),
    ("deployments", "Deployments", "has('order')"),
];

/// Those that are held against the rules in every theme and language.
const IN_ALL_WAYS: [&str; 2] = ["", "services/order"];

/// Customers who order until the value is gone.
#[derive(Debug)]
struct Load(#[expect(dead_code, reason = "it ends with the value")] tokio::process::Child);

impl Load {
    fn on(running: &Running) -> Self {
        let mut load = tokio::process::Command::new(programs().join("shop-load"));
        load.args(["--gateway", &running.gateway().to_string(), "--clients", "2", "--users", "2", "--seconds", "3600"]);
        load.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        Self(load.spawn().unwrap())
    }
}

/// What the administrator of a folder signs in with.
fn root_token(home: &Home) -> String {
    std::fs::read_to_string(home.data_dir().join("root.token")).unwrap().trim_end().to_owned()
}

async fn sign_in(browser: &Browser, token: &str) {
    browser.open("/ui/sign-in").await;
    browser.write("document.querySelector('input[name=token]')", token).await;
    browser.click("named('main button', 'Sign in')").await;
    browser
        .until("who signed in", "named('.who', 'root') && document.querySelector('h1').textContent === 'Overview'")
        .await;
}

#[tokio::test]
async fn each_page_shows_the_shop_to_everybody() {
    let home = Home::shop();
    let mut running = home.up().await;
    let Some(browser) = Browser::of(&running).await else { return running.stop().await };
    let load = Load::on(&running);
    for page in PAGES {
        shows(&browser, page).await;
    }
    one_trace(&browser).await;
    browser.open("/ui/sign-in").await;
    looks_well(&browser, "sign-in", "Sign in").await;
    for page in PAGES.iter().filter(|(path, ..)| IN_ALL_WAYS.contains(path)) {
        is_for_everybody(&browser, page).await;
    }
    pauses(&browser).await;
    drop(load);
    browser.close().await;
    running.stop().await;
}

/// The page with what it has to show.
async fn shows(browser: &Browser, (path, heading, shown): Expected) {
    browser.open(&format!("/ui/{path}")).await;
    browser.until(&format!("data at `{path}`"), shown).await;
    looks_well(browser, path, heading).await;
}

/// What holds of the page that is open: heading, no error, rules kept, and nothing beyond the edge of a telephone.
async fn looks_well(browser: &Browser, path: &str, heading: &str) {
    browser.settled().await;
    assert_eq!(browser.value("document.querySelector('h1').textContent").await, heading, "{path}");
    assert_eq!(browser.value("all('h1').length").await, 1, "{path}");
    browser.is_well(path).await;
    let broken = browser.broken_rules().await;
    assert!(broken.is_empty(), "{path} breaks rules of accessibility: {broken:#?}");
    let name = path.split('?').next().unwrap().replace('/', "-");
    let name = if name.is_empty() { "overview" } else { &name };
    browser.picture(name).await;
    browser.becomes(Reader { width: 390, ..Reader::USUAL }).await;
    browser.until(&format!("room for `{path}` at 390 px"), "document.documentElement.scrollWidth <= innerWidth").await;
    browser.picture(&format!("{name}-390")).await;
    browser.becomes(Reader::USUAL).await;
}

/// The newest trace of an order, span by span.
async fn one_trace(browser: &Browser) {
    browser.open("/ui/traces?service=payment&operation=POST%20/charges").await;
    browser.until("traces of payment", "rows() >= 1").await;
    let path = browser.value("document.querySelector('main tbody a').pathname").await;
    let path = path.as_str().unwrap().to_owned();
    browser.open(&path).await;
    browser.until("spans", "has('gateway', 'order', 'payment', 'bank') && has('POST /charges')").await;
    browser.settled().await;
    browser.is_well(&path).await;
    let broken = browser.broken_rules().await;
    assert!(broken.is_empty(), "a trace breaks rules of accessibility: {broken:#?}");
    browser.picture("trace").await;
    browser.becomes(Reader { width: 390, ..Reader::USUAL }).await;
    browser.until("room for a trace at 390 px", "document.documentElement.scrollWidth <= innerWidth").await;
    browser.picture("trace-390").await;
    browser.becomes(Reader::USUAL).await;
}

/// Dark and light, English and Chinese.
async fn is_for_everybody(browser: &Browser, (path, _, shown): &Expected) {
    for (theme, language) in [("dark", "en"), ("light", "zh"), ("dark", "zh")] {
        browser.becomes(Reader { theme, language, ..Reader::USUAL }).await;
        browser.open(&format!("/ui/{path}")).await;
        browser.until(&format!("data at `{path}`"), shown).await;
        let told = browser.value("[document.documentElement.dataset.theme, document.documentElement.lang]").await;
        assert_eq!(told, json!([theme, language]));
        let has_chinese = browser
            .value(
                "/[\\u4e00-\\u9fff]/.test(document.querySelector('h1').parentNode.parentNode.parentNode.textContent)",
            )
            .await;
        assert_eq!(has_chinese, language == "zh", "{path}");
        browser.is_well(path).await;
        let broken = browser.broken_rules().await;
        assert!(broken.is_empty(), "{path}, {theme}, {language}, breaks rules of accessibility: {broken:#?}");
        let name = path.replace('/', "-");
        browser.picture(&format!("{}-{theme}-{language}", if name.is_empty() { "overview" } else { &name })).await;
    }
    browser.becomes(Reader::USUAL).await;
}

/// Keeps in the page which streams of events it reads, and whether somebody sees it.
const WATCH_STREAMS: &str = "
    window.streams = new Set();
    const ask = window.fetch;
    window.fetch = (address, options) => {
        if (!String(address).startsWith('/v1/events')) return ask(address, options);
        streams.add(options.signal);
        options.signal.addEventListener('abort', () => streams.delete(options.signal));
        return ask(address, options);
    };
    Object.defineProperty(document, 'hidden', { get: () => window.isHidden ?? false });";

const IS_LIVE: &str = "streams.size === 1 && named('.liveness', 'Live')";
const IS_AT_REST: &str = "streams.size === 0 && named('.liveness', 'Paused')";

/// A page that nobody sees, or that shall stand still, asks for nothing.
async fn pauses(browser: &Browser) {
    browser.before_each_page(WATCH_STREAMS).await;
    browser.open("/ui/services").await;
    browser.until("a stream", IS_LIVE).await;
    for (what, pause, go_on) in [
        (
            "hidden",
            "isHidden = true; document.dispatchEvent(new Event('visibilitychange'))",
            "isHidden = false; document.dispatchEvent(new Event('visibilitychange'))",
        ),
        ("paused", "document.querySelector('.liveness').click()", "document.querySelector('.liveness').click()"),
    ] {
        browser.run(pause).await;
        browser.until(&format!("rest while {what}"), IS_AT_REST).await;
        browser.run(go_on).await;
        browser.until(&format!("a stream after {what}"), IS_LIVE).await;
    }
}

#[tokio::test]
async fn a_page_that_was_asked_for_in_vain_comes_with_the_server() {
    let home = Home::shop_as_declared();
    let mut running = home.server("127.0.0.1:0").await;
    let Some(browser) = Browser::of(&running).await else { return running.stop().await };
    let api = running.api().to_string();
    browser.open("/ui/services").await;
    browser.until("a stream", "named('.liveness', 'Live')").await;
    running.stop().await;
    browser
        .until("that nobody answers", "named('.liveness', 'No connection') && document.querySelector('.lost')")
        .await;
    browser.click("named('nav a', 'Configuration')").await;
    let heading = |text: &str| format!("document.querySelector('main h1').textContent === '{text}'");
    browser.until("that it did not come", &heading("This page could not be loaded")).await;
    let mut running = home.server(&api).await;
    browser.until("the page", &heading("Configuration")).await;
    browser.until("no word of what is over", "!document.querySelector('.lost') && all('.failure').length === 0").await;
    browser.close().await;
    running.stop().await;
}

#[tokio::test]
async fn a_page_whose_script_never_comes_is_loaded_again_once() {
    let home = Home::shop_as_declared();
    let mut running = home.server("127.0.0.1:0").await;
    let Some(browser) = Browser::of(&running).await else { return running.stop().await };
    let api = running.api().to_string();
    browser.open("/ui/services").await;
    browser.withhold("*/page-config.js").await;
    browser.until("a stream", "named('.liveness', 'Live')").await;
    browser.click("named('nav a', 'Configuration')").await;
    let in_vain = "named('.liveness', 'Live') && named('.failure', 'though Bowline answers')";
    browser.until("that it did not come", in_vain).await;
    for is_anew in [true, false] {
        browser.run("window.isBefore = true").await;
        running.stop().await;
        browser.until("that nobody answers", "named('.liveness', 'No connection')").await;
        running = home.server(&api).await;
        browser.until("the same again", &format!("{in_vain} && Boolean(window.isBefore) !== {is_anew}")).await;
    }
    browser.close().await;
    running.stop().await;
}

#[tokio::test]
async fn a_slow_service_is_found_within_a_minute_and_mended() {
    let home = Home::shop();
    let mut running = home.up().await;
    let Some(browser) = Browser::of(&running).await else { return running.stop().await };
    let load = Load::on(&running);
    sign_in(&browser, &root_token(&home)).await;
    refuses_others(&browser, &running).await;
    make_slow(&browser).await;
    let begun = time::now();
    find(&browser).await;
    report(&format!("from the overview to the span: {:?}", begun.elapsed()));
    mend(&browser).await;
    let audit = running.command(&["audit", "--limit", "200"]).await;
    let changes = audit.lines().filter(|line| line.contains("root (admin)") && line.contains("config/bowline/traffic"));
    assert_eq!(changes.count(), 2, "{audit}");
    browser.is_well("the story").await;
    drop(load);
    browser.close().await;
    running.stop().await;
}

/// What a page of somebody else could make this browser send is refused, though its cookie goes along.
async fn refuses_others(browser: &Browser, running: &Running) {
    assert_eq!(browser.value("document.cookie").await, "", "no script can read the session");
    let asked = "fetch('/v1/config/shop/mine', {
        method: 'PUT', headers: { 'content-type': 'application/json' }, body: '{}',
    }).then(({ status, headers }) => [status, headers.get('x-bowline-reason')])";
    assert_eq!(browser.value(asked).await, json!([403, "csrf"]));
    // It is in the browser's log, as it has to be.
    browser.wrongs().await;
    let page = ask(running.api(), Method::GET, "localhost", "/ui/services", &[], b"").await;
    has_its_headers(&page);
}

fn has_its_headers(page: &Answer) {
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    let rules: Vec<&str> = policy.split("; ").collect();
    for rule in
        ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"]
    {
        assert!(rules.contains(&rule), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!((page.header("x-frame-options"), page.header("referrer-policy")), ("DENY", "no-referrer"));
}

/// Payment waits four seconds with each request, by the act on its page: longer than logins take on a busy machine.
async fn make_slow(browser: &Browser) {
    browser.open("/ui/services/payment").await;
    browser.click("named('main button', 'Make it slow or fail')").await;
    browser.until("who is touched", "named('dialog .touches li', 'order')").await;
    browser.write("named('dialog label', 'How long').querySelector('input')", "4").await;
    browser.click("named('dialog button', 'Begin')").await;
    browser.until("the fault", "!document.querySelector('dialog') && named('main section', 'Fault in force')").await;
}

/// From the overview to the span that takes so long, by what the pages say and nothing else.
async fn find(browser: &Browser) {
    browser.click("named('nav a', 'Overview')").await;
    browser
        .until(
            "payment as the worst",
            "document.querySelector('main h1').textContent === 'Overview' &&
             named('.card', 'Worst first')?.querySelector('tbody tr th a')?.textContent === 'payment'",
        )
        .await;
    browser.picture("story-1-overview").await;
    browser.click("named('.card', 'Worst first').querySelector('tbody tr th a')").await;
    browser
        .until("slow traces of payment", "named('.card h2', 'Traces')?.closest('.card').querySelector('tbody th a')")
        .await;
    browser.picture("story-2-service").await;
    browser.click("named('.card h2', 'Traces').closest('.card').querySelector('tbody th a')").await;
    browser
        .until("where the time went", "document.querySelector('.trace-parts li')?.textContent.includes('payment')")
        .await;
    let longest = browser.value("document.querySelector('.trace-parts li .number').textContent").await;
    let longest = longest.as_str().unwrap();
    assert!(longest.starts_with('4') && longest.ends_with(" s"), "{longest}");
    let has_reason = "some(({ textContent: line }) => line.includes('payment') && line.includes('fault'))";
    browser.until("the reason", &format!("all('.waterfall .wf-line').{has_reason}")).await;
    browser.picture("story-3-trace").await;
}

/// Takes the fault away, on the page of whom it concerns.
async fn mend(browser: &Browser) {
    browser.click("named('nav a', 'Services')").await;
    browser.click("named('main tbody a', 'payment')").await;
    browser.click("named('main button', 'Remove fault')").await;
    browser.until("the question", "named('dialog button', 'Remove')").await;
    browser.click("named('dialog button', 'Remove')").await;
    browser.until("no fault", "!document.querySelector('dialog') && !named('main section', 'Fault in force')").await;
    browser.click("named('nav a', 'Overview')").await;
    let changes = "[...named('.card', 'Recent changes')?.querySelectorAll('tbody tr') ?? []]";
    let are_named = "filter(({ textContent: row }) => row.includes('fault') && row.includes('root')).length >= 2";
    browser.until("who did it", &format!("{changes}.{are_named}")).await;
    browser.picture("story-4-mended").await;
}

/// The document that the console edits, its text, and what it may hold.
const DOCUMENT: &str = "/v1/config/shop/order";
const SCHEMA: &str = r#"{"properties": {"items_max": {"type": "integer", "maximum": 100}}}"#;
const TEXT: &str = "document.querySelector('main textarea')";
const REVIEW: &str = "named('main button', 'Review the change')";
const PUBLISH: &str = "all('main button').find(({ textContent: word }) => word === 'Publish')";

#[tokio::test]
async fn a_document_that_would_be_refused_is_told_so_before_it_is_published() {
    let home = Home::new("name = \"documents\"\n");
    let mut running = home.up().await;
    let Some(browser) = Browser::of(&running).await else { return running.stop().await };
    put(&running, "/schema", SCHEMA).await;
    publish(&running, 1).await;
    sign_in(&browser, &root_token(&home)).await;
    browser.open("/ui/config/shop/order?edit=1").await;
    for (number, text, told) in [(1, "items_max = 101", "/items_max"), (2, "items_max = ", "line 1, column")] {
        browser.write(TEXT, text).await;
        browser.click(REVIEW).await;
        let is_marked = "document.querySelector('.editor-mark') && document.activeElement.tagName === 'TEXTAREA'";
        browser.until("what is wrong with it", &format!("named('#faults li', '{told}') && {is_marked}")).await;
        assert_eq!(browser.value(&format!("{PUBLISH} ?? null")).await, json!(null), "{text}");
        browser.picture(&format!("config-refused-{number}")).await;
    }
    browser.write(TEXT, "items_max = 7").await;
    publish(&running, 2).await;
    browser.click(REVIEW).await;
    browser.until("both sides", "has('Somebody else was faster')").await;
    browser.click("named('main button', 'Mine')").await;
    browser.until("the review", &format!("has('What changes from version 2') && {PUBLISH}")).await;
    assert_eq!(running.api_json(DOCUMENT).await["number"], 2, "it was only asked");
    browser.is_well("the review").await;
    browser.click(PUBLISH).await;
    browser.until("what was published", "named('.config-stands', 'Version 3')").await;
    assert_eq!(running.api_json(DOCUMENT).await["document"]["text"], "items_max = 7");
    browser.close().await;
    running.stop().await;
}

/// Publishes as somebody else.
async fn publish(running: &Running, items_max: u32) {
    put(running, "", &json!({"format": "toml", "text": format!("items_max = {items_max}")}).to_string()).await;
}

async fn put(running: &Running, part: &str, body: &str) {
    let path = format!("{DOCUMENT}{part}");
    let header = [("content-type", "application/json")];
    let answer = ask(running.api(), Method::PUT, "localhost", &path, &header, body.as_bytes()).await;
    assert!(answer.status.is_success(), "{path}: {:?}", answer.body);
}
