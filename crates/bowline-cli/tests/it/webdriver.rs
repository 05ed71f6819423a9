//! Chromium without a window, driven by the `WebDriver` protocol of W3C: its driver, and one session of it.
//!
//! Both end with the value. The ready-made client crates bring a second version of a dozen crates along, for what is
//! a few requests of JSON.

use std::{fmt, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bowline_transport::{Body, HttpClient};
use http::{Method, Request};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{PATIENCE, Running, eventually};

/// How `WebDriver` names a reference to an element in JSON.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// The longest that one command may take.
const COMMAND_MAX: Duration = Duration::from_mins(2);

/// No window, nothing of anybody's, and nothing asked of the network but what the page asks.
const FLAGS: [&str; 11] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--lang=en-GB",
];

/// A browser with one page.
#[derive(Debug)]
pub(crate) struct WebDriver {
    driver: Running,
    client: HttpClient,
    session: String,
    browser: Option<Pid>,
    /// All that either of them writes.
    dir: tempfile::TempDir,
}

/// What the driver refuses, by `WebDriver`'s own word for it.
#[derive(Debug)]
pub(crate) struct Refused {
    error: String,
    message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error, self.message)
    }
}

impl WebDriver {
    /// Starts one; none where it is not installed, which is said loudly.
    pub(crate) async fn start() -> Option<Self> {
        if !can_run() {
            return None;
        }
        // Port 0 it takes, and then often fails to have the same one of IPv6.
        let addr = bowline_testkit::free_addr();
        let mut command = Command::new("chromedriver");
        let dir = tempfile::tempdir().unwrap();
        command.arg(format!("--port={}", addr.port())).env("TMPDIR", dir.path());
        let driver = Running::of(command);
        let begins = eventually(PATIENCE, async || driver.output().contains("started successfully"));
        assert!(begins.await, "chromedriver does not begin:\n{}", driver.output());
        let client = HttpClient::new(addr).with_timeout(COMMAND_MAX);
        let mut driver = Self { driver, client, session: String::new(), browser: None, dir };
        driver.begin().await;
        Some(driver)
    }

    async fn begin(&mut self) {
        let profile = format!("--user-data-dir={}", self.dir.path().join("profile").display());
        let flags: Vec<&str> = FLAGS.into_iter().chain([&*profile]).collect();
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": flags},
            "goog:loggingPrefs": {"browser": "ALL"},
            "timeouts": {"script": 60_000, "pageLoad": 60_000},
        }}});
        let session = self.ask(Method::POST, "/session", &wanted).await;
        let session = session.unwrap_or_else(|refused| panic!("{refused}\n{}", self.driver.output()));
        session["sessionId"].as_str().unwrap().clone_into(&mut self.session);
        let pid = session["capabilities"]["goog:processID"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        self.browser = pid.and_then(Pid::from_raw);
    }

    /// Ends the browser, then its driver.
    pub(crate) async fn close(mut self) {
        self.command(Method::DELETE, "", &Value::Null).await.unwrap();
        self.browser = None;
    }

    /// One command of the session; `WebDriver`'s `value`.
    pub(crate) async fn command(&self, method: Method, path: &str, body: &Value) -> Result<Value, Refused> {
        self.ask(method, &format!("/session/{}{path}", self.session), body).await
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) -> Result<Value, Refused> {
        let bytes = if method == Method::POST { body.to_string().into_bytes() } else { Vec::new() };
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let request = request.header("content-type", "application/json").body(Body::full(bytes)).unwrap();
        let answer = self.client.request(request).await.unwrap_or_else(|error| panic!("{path}: {error:?}"));
        let (head, body) = answer.into_parts();
        let mut value = serde_json::from_slice::<Value>(&body).unwrap()["value"].take();
        if head.status.is_success() {
            return Ok(value);
        }
        let mut text = |name: &str| value[name].take().as_str().unwrap_or_default().to_owned();
        Err(Refused { error: text("error"), message: text("message") })
    }

    /// Goes to an address, and waits until what it names is loaded.
    pub(crate) async fn go(&self, url: &str) {
        self.command(Method::POST, "/url", &json!({ "url": url })).await.unwrap();
    }

    /// Runs a script as the page's own; what it returns.
    pub(crate) async fn run(&self, script: &str) -> Result<Value, Refused> {
        self.command(Method::POST, "/execute/sync", &json!({ "script": script, "args": [] })).await
    }

    /// The same for one that calls `arguments[0]` with what comes of it.
    pub(crate) async fn run_async(&self, script: &str) -> Result<Value, Refused> {
        self.command(Method::POST, "/execute/async", &json!({ "script": script, "args": [] })).await
    }

    /// A command of Chromium's own protocol.
    pub(crate) async fn devtools(&self, name: &str, params: Value) {
        let body = json!({"cmd": name, "params": params});
        self.command(Method::POST, "/goog/cdp/execute", &body).await.unwrap();
    }

    /// Clicks on what a script returned, as a mouse does: it must be seen, and nothing may lie over it.
    pub(crate) async fn click(&self, element: &Value) -> Result<(), Refused> {
        self.command(Method::POST, &format!("{}/click", path_of(element)), &json!({})).await.map(drop)
    }

    /// Types into what a script returned.
    pub(crate) async fn write(&self, element: &Value, text: &str) -> Result<(), Refused> {
        self.command(Method::POST, &format!("{}/value", path_of(element)), &json!({ "text": text })).await.map(drop)
    }

    /// What is seen of the page, as PNG.
    pub(crate) async fn picture(&self) -> Vec<u8> {
        let picture = self.command(Method::GET, "/screenshot", &Value::Null).await.unwrap();
        BASE64_STANDARD.decode(picture.as_str().unwrap()).unwrap()
    }

    /// What the browser logged since this was asked last.
    pub(crate) async fn logged(&self) -> Vec<Value> {
        let logged = self.command(Method::POST, "/se/log", &json!({"type": "browser"})).await.unwrap();
        logged.as_array().unwrap().clone()
    }
}

impl Drop for WebDriver {
    /// The driver ends with [`Running`]; its browser would stay.
    fn drop(&mut self) {
        if let Some(browser) = self.browser {
            kill_process(browser, Signal::KILL).ok();
        }
    }
}

fn path_of(element: &Value) -> String {
    let id = element[ELEMENT].as_str().unwrap_or_else(|| panic!("no element: {element}"));
    format!("/element/{id}")
}

/// Whether both programs are there; where tests have to be whole, they are.
#[expect(clippy::print_stderr, reason = "who skips a test says so")]
fn can_run() -> bool {
    let is_there = |program: &str| {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&paths).any(|dir| dir.join(program).is_file())
    };
    let missing: Vec<_> = ["chromium", "chromedriver"].into_iter().filter(|program| !is_there(program)).collect();
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(missing.is_empty() || !is_ci, "this machine lacks {missing:?} (Debian: chromium, chromium-driver)");
    if !missing.is_empty() {
        eprintln!(
            "SKIPPED: this machine lacks {missing:?} (Debian: chromium, chromium-driver): the console is not seen"
        );
    }
    missing.is_empty()
}
