//! What is evaluated and who is told: the content of the document `bowline/alerts`.

use std::{
    collections::BTreeSet,
    fmt,
    io::{self, Read as _},
    time::Duration,
};

use bowline_model::{Problem, Secret, gateway::SecretSource};
use bowline_runtime::{fs, task};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{
    matching::Matching,
    rules::{CheckExpr, Group, RawGroup, Reader, is_label_name, read_groups, structure_problem},
};
use crate::labels::Labels;

/// The most receivers.
pub const RECEIVERS_MAX: usize = 50;

/// The most matchers of a receiver or a silence.
pub const MATCHERS_MAX: usize = 20;

/// The most bytes of the document.
pub const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;

/// The most labels that alerts are grouped by.
const GROUP_BY_MAX: usize = 20;

/// The longest URL that a file holds, in bytes.
const URL_BYTES_MAX: u64 = 16 * 1024;

/// The longest of the times of grouping.
const WAIT_MAX: Duration = Duration::from_hours(24 * 30);

/// The shortest time between two notifications of a group: whoever is told has to be given time.
const GROUP_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// What is evaluated, and who is told.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// What is evaluated.
    pub groups: Vec<Group>,
    /// Who is told, and when.
    pub route: Route,
}

/// Who is told, and when.
#[derive(Debug, Clone)]
pub struct Route {
    /// Alerts with the same values of these labels are told together; `...` means all labels.
    pub group_by: Vec<String>,
    /// How long the first alert of a group waits for others. 0 s.
    pub group_wait: Duration,
    /// The time between two notifications of a group that changes, at least 1 s. 1 min.
    pub group_interval: Duration,
    /// After which people are reminded of what has not changed. 4 h.
    pub repeat_interval: Duration,
    /// The first whose matchers all match is told; where there is none, the first without matchers.
    pub receivers: Vec<Receiver>,
}

/// Who can be told.
#[derive(Debug, Clone)]
pub struct Receiver {
    name: String,
    webhook: Target,
    matchers: Vec<Matching>,
    send_resolved: bool,
}

/// Where a webhook is: a URL, or where that stands. Shows no secret.
#[derive(Clone)]
pub enum Target {
    /// In the open; its path and query may be a secret all the same.
    Url(Secret),
    /// Elsewhere.
    At(SecretSource),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    #[serde(default)]
    groups: Vec<RawGroup>,
    group_by: Option<Vec<Spanned<String>>>,
    group_wait: Option<Spanned<String>>,
    group_interval: Option<Spanned<String>>,
    repeat_interval: Option<Spanned<String>>,
    #[serde(default)]
    receivers: Vec<Spanned<RawReceiver>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawReceiver {
    name: String,
    webhook: String,
    #[serde(default)]
    matchers: Vec<String>,
    #[serde(default = "yes")]
    send_resolved: bool,
}

fn yes() -> bool {
    true
}

impl Config {
    /// Reads the document: JSON, or the same as YAML. `groups` are as in Prometheus' rule files.
    ///
    /// # Errors
    /// All that is wrong; where it has another structure, the first such place.
    pub fn parse(text: &str, check: CheckExpr<'_>) -> Result<Self, Vec<Problem>> {
        if text.len() > DOCUMENT_BYTES_MAX {
            let message = format!("the document has {} bytes", text.len());
            return Err(vec![Problem::of_file(message, format!("write at most {DOCUMENT_BYTES_MAX}"))]);
        }
        let raw: RawConfig = serde_saphyr::from_str(text).map_err(|error| vec![structure_problem(&error)])?;
        let RawConfig { groups, group_by, group_wait, group_interval, repeat_interval, receivers } = raw;
        let mut reader = Reader::new(check);
        let groups = read_groups(&mut reader, "bowline/alerts", groups);
        let mut route = Route::default();
        if let Some(labels) = group_by {
            for label in labels.iter().filter(|label| label.value != "..." && !is_label_name(&label.value)) {
                reader.problem(label, format!("`{}` is no label", label.value), "");
            }
            route.group_by = labels.into_iter().map(|label| label.value).collect();
        }
        let times = [
            ("group_wait", group_wait, &mut route.group_wait),
            ("group_interval", group_interval, &mut route.group_interval),
            ("repeat_interval", repeat_interval, &mut route.repeat_interval),
        ];
        for (key, text, time) in times {
            if let Some(text) = text {
                *time = reader.duration(key, &text);
            }
        }
        for raw in &receivers {
            let RawReceiver { name, webhook, matchers, send_resolved } = &raw.value;
            match Receiver::new(name, webhook, matchers, *send_resolved) {
                Ok(receiver) => route.receivers.push(receiver),
                Err(reason) => reader.problem(raw, reason, ""),
            }
        }
        if let Err(reason) = route.check() {
            reader.push(Problem::of_file(reason, ""));
        }
        reader.finish(Self { groups, route })
    }
}

impl Route {
    /// Checks the bounds, and that each receiver has a name of its own.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), String> {
        if self.group_interval < GROUP_INTERVAL_MIN {
            return Err("`group_interval` is at least 1s".to_owned());
        }
        if [self.group_wait, self.group_interval, self.repeat_interval].iter().any(|time| *time > WAIT_MAX) {
            return Err("`group_wait`, `group_interval` and `repeat_interval` are at most 30d".to_owned());
        }
        if self.receivers.len() > RECEIVERS_MAX || self.group_by.len() > GROUP_BY_MAX {
            return Err(format!("there are at most {RECEIVERS_MAX} receivers, and {GROUP_BY_MAX} labels to group by"));
        }
        let mut names = BTreeSet::new();
        match self.receivers.iter().find(|receiver| !names.insert(&receiver.name)) {
            Some(twice) => Err(format!("there are two receivers `{}`", twice.name)),
            None => Ok(()),
        }
    }

    /// Who is told of an alert of those labels.
    pub(crate) fn receiver(&self, labels: &Labels) -> Option<&Receiver> {
        let is_matching = |receiver: &&Receiver| receiver.matchers.iter().all(|matcher| matcher.is_matching(labels));
        let (default, choosy): (Vec<_>, Vec<_>) = self.receivers.iter().partition(|r| r.matchers.is_empty());
        choosy.into_iter().find(is_matching).or_else(|| default.into_iter().next())
    }

    /// The labels that an alert is grouped by.
    pub(crate) fn group_labels(&self, labels: &Labels) -> Labels {
        if self.group_by.iter().any(|label| label == "...") {
            return labels.clone();
        }
        labels.filtered(|name| self.group_by.iter().any(|label| label == name))
    }
}

impl Default for Route {
    fn default() -> Self {
        Self {
            group_by: vec!["alertname".to_owned()],
            group_wait: Duration::ZERO,
            group_interval: Duration::from_mins(1),
            repeat_interval: Duration::from_hours(4),
            receivers: Vec::new(),
        }
    }
}

impl Receiver {
    /// A receiver of that name (1 to 64 letters, digits, `_`, `-` and `.`) at `http://…`, `https://…`,
    /// `env:NAME` or `file:PATH`, which hold such a URL.
    ///
    /// # Errors
    /// What is wrong; it does not tell the URL.
    pub fn new(name: &str, webhook: &str, matchers: &[String], send_resolved: bool) -> Result<Self, String> {
        let is_named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if !(1..=64).contains(&name.len()) || !name.bytes().all(is_named) {
            return Err(format!("`{name}` cannot be a receiver's name: 1 to 64 letters, digits, `_`, `-` and `.`"));
        }
        if matchers.len() > MATCHERS_MAX {
            return Err(format!("the receiver `{name}` has more than {MATCHERS_MAX} matchers"));
        }
        let webhook = Target::parse(webhook).ok_or_else(|| {
            format!("the webhook of `{name}` is none: write http://…, https://…, env:NAME or file:PATH")
        })?;
        let matchers = matchers.iter().map(|text| Matching::parse(text)).collect::<Result<_, _>>()?;
        Ok(Self { name: name.to_owned(), webhook, matchers, send_resolved })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    pub fn webhook(&self) -> &Target {
        &self.webhook
    }

    /// What it takes, as it was written.
    pub fn matchers(&self) -> &[Matching] {
        &self.matchers
    }

    /// Whether it is told that an alert is over.
    pub fn send_resolved(&self) -> bool {
        self.send_resolved
    }
}

impl Target {
    fn parse(text: &str) -> Option<Self> {
        if let Ok(source) = SecretSource::parse(text) {
            return Some(Self::At(source));
        }
        bowline_transport::web::Url::parse(text).map(|_| Self::Url(Secret::new(text)))
    }

    /// The URL, as it is now.
    ///
    /// # Errors
    /// Where it cannot be read, or is none.
    pub(crate) async fn find(&self) -> Result<bowline_transport::web::Url, String> {
        if !matches!(self, Self::At(SecretSource::File(_))) {
            return self.url();
        }
        let target = self.clone();
        task::spawn_blocking(move || target.url()).await.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// The same; blocks where it is in a file.
    fn url(&self) -> Result<bowline_transport::web::Url, String> {
        let text = match self {
            Self::Url(text) => text.clone(),
            Self::At(SecretSource::Env(name)) => Secret::new(
                std::env::var(name).map_err(|_| format!("`{self}` is not set: set it where the server starts"))?,
            ),
            Self::At(SecretSource::File(path)) => {
                Secret::new(read_file(path).map_err(|error| format!("`{self}` cannot be read: {error}"))?)
            }
        };
        bowline_transport::web::Url::parse(text.expose().trim()).ok_or_else(|| format!("`{self}` holds no URL"))
    }
}

/// The text of a file, as long as a URL may be. What is no file, as a pipe, could be waited for for ever.
fn read_file(path: &str) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    let mut text = String::new();
    fs::File::open(path)?.take(URL_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > URL_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {URL_BYTES_MAX} bytes")));
    }
    Ok(text)
}

impl fmt::Display for Target {
    /// Scheme and host only, or where it stands.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(source) => source.fmt(f),
            Self::Url(text) => {
                let (scheme, rest) = text.expose().split_once("://").unwrap_or_default();
                let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
                write!(f, "{scheme}://{host}/…")
            }
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"{
        "groups": [{"name": "a", "rules": [{"alert": "A", "expr": "up == 0", "for": "5s"}]}],
        "group_by": ["alertname", "service"],
        "group_wait": "1s",
        "receivers": [
            {"name": "chat", "webhook": "https://chat.test/hooks/T0P?s=1", "send_resolved": false},
            {"name": "oncall", "webhook": "env:ONCALL", "matchers": ["severity=\"page\""]}
        ]
    }"#;

    #[test]
    fn the_document_is_read_and_shows_no_secret() {
        let config = Config::parse(DOCUMENT, &|_| Ok(())).unwrap();
        assert_eq!(config.groups[0].rules.len(), 1);
        assert_eq!((config.route.group_wait.as_secs(), config.route.group_interval.as_secs()), (1, 60));
        let of = |severity| config.route.receiver(&Labels::new([("severity", severity)])).map(Receiver::name);
        assert_eq!((of("page"), of("info")), (Some("oncall"), Some("chat")));
        let shown = format!("{config:?}");
        assert!(shown.contains("https://chat.test/…") && !shown.contains("T0P"), "{shown}");
        assert!(Config::parse("{}", &|_| Ok(())).is_ok());
    }

    #[test]
    fn a_url_in_a_file_is_read_within_bounds() {
        let dir = bowline_testkit::temp_dir();
        let url = |name: &str| Target::parse(&format!("file:{}", dir.path().join(name).display())).unwrap().url();
        std::fs::write(dir.path().join("good"), "https://chat.test/hooks/T0P\n").unwrap();
        assert_eq!(url("good").unwrap().path(), "/hooks/T0P");
        std::fs::write(dir.path().join("long"), "x".repeat(20_000)).unwrap();
        assert!(url("long").unwrap_err().contains("more than"));
        assert!(url(".").unwrap_err().contains("it is no file"));
        assert!(Target::parse("file:/dev/zero").unwrap().url().unwrap_err().contains("it is no file"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let text = "group_by: [a-b]\ngroup_wait: soon\nreceivers:\n- {name: a, webhook: 'ftp://x/secret'}\n";
        let problems = Config::parse(text, &|_| Ok(())).unwrap_err();
        let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert!(texts[0].starts_with("1:12: error: `a-b`"), "{texts:?}");
        assert!(texts[1].starts_with("2:13: error: `group_wait`"), "{texts:?}");
        assert!(texts[2].starts_with("4:3: error: the webhook of `a`") && !texts[2].contains("secret"), "{texts:?}");
        let unknown = Config::parse("receiver: []", &|_| Ok(())).unwrap_err();
        assert!(unknown[0].message.contains("receiver"));
    }
}
