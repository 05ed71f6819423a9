//! The console as its readers meet it: pages opened, waited for, clicked on, typed into, and what is wrong with them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::{
    harness::{PATIENCE, Running, bowline, eventually},
    webdriver::WebDriver,
};

/// What every script may call: elements by selector, and by what they say or are called.
const PRELUDE: &str = r"
    const all = (css) => [...document.querySelectorAll(css)];
    const nameOf = (element) => `${element.getAttribute('aria-label') ?? ''} ${element.textContent}`;
    const named = (css, text) => all(css).find((element) => nameOf(element).includes(text));
    const has = (...texts) => texts.every((text) => document.querySelector('main').textContent.includes(text));
    const rows = (css = 'main') => all(`${css} tbody tr`).length;
";

/// Which rules of axe-core pages are held against, WCAG 2.1 of the levels A and AA, and what breaks them, a line each.
///
/// The one that is off is an experiment: of a drawing it takes every word for the label.
const AXE: &str = r"
    const done = arguments[0];
    const why = ({ any, all, none }) => [...any, ...all, ...none].map(({ message }) => message).join('; ');
    const told = (id, node) => `${id} at ${node.target.join(' ')}: ${node.html.slice(0, 160)} (${why(node)})`;
    axe.run(document, {
        runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'],
        rules: { 'label-content-name-mismatch': { enabled: false } },
        resultTypes: ['violations'],
    }).then(
        ({ violations }) => done(violations.flatMap(({ id, nodes }) => nodes.map((node) => told(id, node)))),
        (error) => done([String(error)]));
";

/// Control and A, then neither: the driver begins behind what is there, whatever a script selected.
const SELECT_ALL: &str = "\u{e009}a\u{e000}";

/// The most of a page that a failed test shows, in characters.
const SHOWN_MAX: usize = 3000;

/// A browser, and the server whose console it shows.
#[derive(Debug)]
pub(crate) struct Browser {
    web: WebDriver,
    origin: String,
}

/// How a reader has the page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader {
    pub(crate) theme: &'static str,
    pub(crate) language: &'static str,
    /// The width of the window, in pixels.
    pub(crate) width: u32,
}

impl Reader {
    pub(crate) const USUAL: Self = Self { theme: "light", language: "en", width: 1440 };
}

impl Browser {
    /// The console of that server; none where there is no browser, which is said loudly.
    pub(crate) async fn of(running: &Running) -> Option<Self> {
        let web = WebDriver::start().await?;
        let browser = Self { web, origin: format!("http://{}", running.api()) };
        browser.web.go(&format!("{}/ui/", browser.origin)).await;
        browser.becomes(Reader::USUAL).await;
        Some(browser)
    }

    pub(crate) async fn close(self) {
        self.web.close().await;
    }

    /// Every page from now on is opened by this reader.
    pub(crate) async fn becomes(&self, reader: Reader) {
        let Reader { theme, language, width } = reader;
        let height = if width < 500 { 844 } else { 900 };
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.web.devtools("Emulation.setDeviceMetricsOverride", size).await;
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": theme}]});
        self.web.devtools("Emulation.setEmulatedMedia", features).await;
        self.run(&format!("localStorage.setItem('bowline.language', '{language}')")).await;
    }

    /// Runs a script before each page's own, from the next page on.
    pub(crate) async fn before_each_page(&self, script: &str) {
        self.web.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await;
    }

    /// Whatever is at addresses like that does not come from now on.
    pub(crate) async fn withhold(&self, addresses: &str) {
        self.web.devtools("Network.enable", json!({})).await;
        self.web.devtools("Network.setBlockedURLs", json!({ "urls": [addresses] })).await;
    }

    /// Loads a page, and waits until it shows what it asked for.
    pub(crate) async fn open(&self, path: &str) {
        self.web.go(&format!("{}{path}", self.origin)).await;
        self.settled().await;
    }

    /// Waits until nothing on the page is awaited.
    pub(crate) async fn settled(&self) {
        self.until("a page that is loaded", "document.querySelector('main h1') && all('main .waiting').length === 0")
            .await;
    }

    /// Runs a script; what it returns.
    pub(crate) async fn run(&self, script: &str) -> Value {
        let result = self.web.run(&format!("{PRELUDE}{script}")).await;
        result.unwrap_or_else(|refused| panic!("{script}: {refused}"))
    }

    /// The value of an expression now.
    pub(crate) async fn value(&self, expression: &str) -> Value {
        self.run(&format!("return {expression}")).await
    }

    /// Waits until an expression holds.
    pub(crate) async fn until(&self, what: &str, expression: &str) {
        // What is not there yet has no parts.
        let script = format!(
            "try {{ return Boolean({expression}) }}
            catch (error) {{ if (error instanceof TypeError) return false; throw error; }}"
        );
        let holds = eventually(PATIENCE, async || self.run(&script).await == true).await;
        if !holds {
            self.picture(&format!("failed-{}", what.replace(|c: char| !c.is_alphanumeric(), "-"))).await;
            panic!("no {what} ({expression}):\n{}", self.shown().await);
        }
    }

    /// Clicks on the element of an expression as soon as it can be clicked on.
    pub(crate) async fn click(&self, element: &str) {
        self.acts("click", element, async |found| self.web.click(&found).await.map_err(|refused| refused.to_string()))
            .await;
    }

    /// Types into the element of an expression, in place of what is there.
    pub(crate) async fn write(&self, element: &str, text: &str) {
        self.acts("write", element, async |found| {
            self.web.write(&found, &format!("{SELECT_ALL}{text}")).await.map_err(|refused| refused.to_string())
        })
        .await;
    }

    /// Pages are drawn again meanwhile: what was found may be another one by the time that it is acted on.
    async fn acts(&self, what: &str, element: &str, act: impl AsyncFn(Value) -> Result<(), String>) {
        let mut why = "it is not there".to_owned();
        let is_done = eventually(PATIENCE, async || {
            let found = self.value(&format!("{element} ?? null")).await;
            if found.is_null() {
                return false;
            }
            act(found).await.map_err(|error| why = error).is_ok()
        });
        if !is_done.await {
            self.picture(&format!("failed-{what}")).await;
            panic!("{what} {element}: {why}\n{}", self.shown().await);
        }
    }

    /// That the page is as it should be: no error told, none logged, no rule of the browser broken.
    pub(crate) async fn is_well(&self, page: &str) {
        let failures = self.value("all('.failure').map((element) => element.textContent)").await;
        assert_eq!(failures, json!([]), "{page}\n{}", self.shown().await);
        let wrong = self.wrongs().await;
        assert!(wrong.is_empty(), "{page}: the browser logged {wrong:#?}");
    }

    /// What the browser logged as wrong since this was asked last. That the API knows no such thing is an answer to it.
    pub(crate) async fn wrongs(&self) -> Vec<String> {
        let mut logged = self.web.logged().await;
        logged.retain(|entry| {
            let (level, message) = (&entry["level"], entry["message"].as_str().unwrap_or_default());
            let is_answer =
                entry["source"] == "network" && !message.contains("/ui/") && message.contains("status of 4");
            (level == "SEVERE" || level == "WARNING") && !is_answer
        });
        logged.iter().map(|entry| format!("{}: {}", entry["source"], entry["message"])).collect()
    }

    /// What of the page breaks a rule of accessibility, a line each.
    pub(crate) async fn broken_rules(&self) -> Vec<String> {
        if self.value("typeof axe").await == "undefined" {
            let axe = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/vendor/axe-core/axe.min.js");
            self.web.run(&std::fs::read_to_string(axe).unwrap()).await.unwrap();
        }
        let broken = self.web.run_async(AXE).await.unwrap();
        serde_json::from_value(broken).unwrap()
    }

    /// Keeps a picture of what is seen in `console/` of the target folder, for people to look at.
    pub(crate) async fn picture(&self, name: &str) {
        let dir = pictures();
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(name).with_extension("png"), self.web.picture().await).unwrap();
    }

    /// Where it is, and what there is to read, for who looks at a failed test.
    async fn shown(&self) -> String {
        let seen = self.value("`${location.href}\\n${document.body.innerText}`").await;
        let seen: String = seen.as_str().unwrap_or_default().chars().take(SHOWN_MAX).collect();
        format!("{seen}\nlogged: {:#?}", self.wrongs().await)
    }
}

fn pictures() -> PathBuf {
    Path::new(bowline()).parent().unwrap().parent().unwrap().join("console")
}

/// Says what was measured, in the output of the test.
#[expect(clippy::print_stdout, reason = "a test's output is its standard output")]
pub(crate) fn report(text: &str) {
    println!("{text}");
}
