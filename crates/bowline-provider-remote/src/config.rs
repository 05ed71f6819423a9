//! The configuration port over a server's API.

use std::{fmt, sync::Arc, time::Duration};

use bowline_config::{
    Acknowledgement, Author, ConfigManager, ConfigWatcher, Draft, Error, ExpectSchema, SCHEMA_BYTES_MAX, Status,
    Summary, Version, VersionSummary,
};
use bowline_model::{Address, Code, ConfigKey, instance::LEASE_TTL_RANGE};
use bowline_runtime::{BoxFuture, time};
use bowline_transport::{Body, ClientError, HttpClient, problem};
use http::{Method, Request, header};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Bearer, Link,
    client::path,
    lines::{Fault, Lines},
    wire::{
        ConfigAck, ConfigCheck, ConfigEvent, ConfigHistory, ConfigList, NO_SCHEMA, Publication, Rollback,
        decode_config_error as error_of, schema_tag,
    },
};

/// How long the head of a watch's answer may take.
const WATCH_HEAD_MAX: Duration = Duration::from_secs(10);

/// The most versions that a server tells at once: more than it keeps.
const HISTORY_MAX: usize = 1000;

/// The configuration of the server at an address. Cheap to clone.
///
/// Who is the author and that a version came through the API is for the server to say: a draft's
/// own `author` and `origin`, and the author of a rollback, are not sent.
#[derive(Debug, Clone)]
pub struct RemoteConfig(Link);

impl RemoteConfig {
    /// The configuration of that server. Nothing is asked yet.
    pub fn new(address: impl Into<Address>) -> Self {
        Self::over(HttpClient::new(address))
    }

    /// The configuration of the server at the end of that link.
    pub fn over(link: impl Into<Link>) -> Self {
        Self(link.into())
    }

    /// The same, asked with a token.
    pub fn with_bearer(self, bearer: Bearer) -> Self {
        Self(self.0.with_bearer(bearer))
    }

    async fn get<T: DeserializeOwned>(&self, key: &ConfigKey, path: &str) -> Result<Option<T>, Error> {
        found(self.0.asked.get_json(path).await.map_err(|error| failure(key, error)))
    }

    async fn send<T: DeserializeOwned>(
        &self,
        key: &ConfigKey,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        self.0.asked.send_json(method, path, body).await.map_err(|error| failure(key, error))
    }

    async fn publish(&self, key: ConfigKey, draft: Draft, schema: Option<String>) -> Result<Version, Error> {
        draft.check()?;
        schema.as_deref().map_or(Ok(()), check_schema)?;
        self.send(&key, Method::PUT, &target(&key, ""), &Publication::of(draft, schema)).await
    }

    /// The schema as it was written, which need not be what JSON makes of it.
    async fn schema(&self, key: ConfigKey) -> Result<Option<String>, Error> {
        let request = Request::get(target(&key, "/schema")).body(Body::empty());
        let text = self.text(&key, request.expect("a checked key makes a path")).await;
        found(text)
    }

    async fn replace_schema(&self, key: ConfigKey, schema: Option<String>, expect: ExpectSchema) -> Result<(), Error> {
        let expect = expected_schema(&expect).map(|expect| ("expect", expect));
        let request = Request::builder().uri(path(&target(&key, "/schema"), expect));
        let request = match schema {
            Some(schema) => {
                check_schema(&schema)?;
                let request = request.method(Method::PUT).header(header::CONTENT_TYPE, "application/schema+json");
                request.body(Body::full(schema))
            }
            None => request.method(Method::DELETE).body(Body::empty()),
        };
        let answer = self.text(&key, request.expect("a checked key makes a path")).await;
        found(answer).map(drop)
    }

    /// Sends a request and reads a text.
    async fn text(&self, key: &ConfigKey, request: Request<Body>) -> Result<String, Error> {
        let (head, body) = self.0.asked.request(request).await.map_err(|error| failure(key, error))?.into_parts();
        if !head.status.is_success() {
            let code = problem::code_of_status(head.status);
            let problem = problem::Problem::parse(head.status, &head.headers, &body);
            let problem = problem.unwrap_or_else(|| problem::Problem::new(code, head.status.to_string()));
            return Err(error_of(key, problem));
        }
        String::from_utf8(body.into()).map_err(|error| Error::Unavailable(Some(Arc::new(error))))
    }

    async fn acknowledge(&self, key: ConfigKey, ack: Acknowledgement, ttl: Duration) -> Result<(), Error> {
        ack.check()?;
        let (min, max) = LEASE_TTL_RANGE;
        if !(min..=max).contains(&ttl) {
            return Err(Error::Invalid { what: "ttl", rule: "it is 1s to 1h" });
        }
        let (instance, ack) = ConfigAck::of(ack, ttl);
        self.send(&key, Method::PUT, &target(&key, &format!("/status/{instance}")), &ack).await
    }
}

fn target(key: &ConfigKey, rest: &str) -> String {
    format!("/v1/config/{key}{rest}")
}

/// How a request says which schema it expects.
fn expected_schema(expect: &ExpectSchema) -> Option<String> {
    match expect {
        ExpectSchema::Any => None,
        ExpectSchema::Missing => Some(NO_SCHEMA.to_owned()),
        ExpectSchema::Is(schema) => Some(schema_tag(schema)),
    }
}

fn check_schema(schema: &str) -> Result<(), Error> {
    if schema.len() > SCHEMA_BYTES_MAX {
        return Err(Error::Invalid { what: "schema", rule: "it has at most 256 KiB" });
    }
    Ok(())
}

/// A failure in the port's words.
fn failure(key: &ConfigKey, error: ClientError) -> Error {
    match error {
        ClientError::Answer { problem, .. } => error_of(key, *problem),
        other => Error::Unavailable(Some(Arc::new(other))),
    }
}

/// Whether a document may be published is asked of any: where the server finds nothing, it does not know the question.
fn of_older(error: Error) -> Error {
    match error {
        Error::Refused { code: Code::NotFound, .. } => {
            let detail = "this server is too old to check a document without publishing it; nothing was published";
            Error::Refused { code: Code::NotFound, detail: detail.to_owned() }
        }
        error => error,
    }
}

/// None where the server says that there is none.
fn found<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(Error::NoDocument { .. } | Error::NoVersion { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

impl ConfigManager for RemoteConfig {
    fn get_config(&self, key: &ConfigKey) -> BoxFuture<'_, Result<Option<Version>, Error>> {
        let key = key.clone();
        Box::pin(async move { self.get(&key, &target(&key, "")).await })
    }

    fn get_version(&self, key: &ConfigKey, number: u64) -> BoxFuture<'_, Result<Option<Version>, Error>> {
        let key = key.clone();
        Box::pin(async move { self.get(&key, &path(&target(&key, ""), [("version", number.to_string())])).await })
    }

    fn set_config(&self, key: &ConfigKey, draft: Draft) -> BoxFuture<'_, Result<Version, Error>> {
        Box::pin(self.publish(key.clone(), draft, None))
    }

    fn check_config(&self, key: &ConfigKey, draft: Draft) -> BoxFuture<'_, Result<u64, Error>> {
        let key = key.clone();
        Box::pin(async move {
            draft.check()?;
            let asked = self.send(&key, Method::POST, &target(&key, "/check"), &Publication::of(draft, None)).await;
            asked.map(|ConfigCheck { number }| number).map_err(of_older)
        })
    }

    fn set_config_with_schema(
        &self,
        key: &ConfigKey,
        draft: Draft,
        schema: &str,
    ) -> BoxFuture<'_, Result<Version, Error>> {
        Box::pin(self.publish(key.clone(), draft, Some(schema.to_owned())))
    }

    fn delete_config(&self, key: &ConfigKey, expect: Option<u64>) -> BoxFuture<'_, Result<bool, Error>> {
        let key = key.clone();
        Box::pin(async move {
            let path = path(&target(&key, ""), expect.map(|expect| ("expect", expect.to_string())));
            let deleted = self.send::<()>(&key, Method::DELETE, &path, &()).await;
            Ok(found(deleted)?.is_some())
        })
    }

    fn rollback(
        &self,
        key: &ConfigKey,
        to: u64,
        expect: Option<u64>,
        _author: Author,
    ) -> BoxFuture<'_, Result<Version, Error>> {
        let (key, rollback) = (key.clone(), Rollback { to, expect });
        Box::pin(async move { self.send(&key, Method::POST, &target(&key, "/rollback"), &rollback).await })
    }

    fn watch_config(&self, key: &ConfigKey) -> BoxFuture<'_, Result<Box<dyn ConfigWatcher>, Error>> {
        let watcher = RemoteWatcher { config: self.clone(), key: key.clone(), lines: None, told: State::Unknown };
        Box::pin(async move { Ok(Box::new(watcher) as Box<dyn ConfigWatcher>) })
    }

    fn history(
        &self,
        key: &ConfigKey,
        before: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<VersionSummary>, Error>> {
        let key = key.clone();
        Box::pin(async move {
            if limit == 0 {
                return Ok(Vec::new());
            }
            let before = before.map(|before| ("before", before.to_string()));
            let pairs = before.into_iter().chain([("limit", limit.min(HISTORY_MAX).to_string())]);
            let history: Option<ConfigHistory> = self.get(&key, &path(&target(&key, "/history"), pairs)).await?;
            Ok(history.map_or_else(Vec::new, |history| history.versions))
        })
    }

    fn list(&self, namespace: Option<&str>) -> BoxFuture<'_, Result<Vec<Summary>, Error>> {
        let path = path("/v1/config", namespace.map(|namespace| ("namespace", namespace.to_owned())));
        Box::pin(async move {
            match self.0.asked.get_json::<ConfigList>(&path).await {
                Ok(list) => Ok(list.documents),
                Err(ClientError::Answer { problem, .. }) => {
                    Err(Error::Refused { code: problem.code, detail: problem.detail })
                }
                Err(other) => Err(Error::Unavailable(Some(Arc::new(other)))),
            }
        })
    }

    fn get_schema(&self, key: &ConfigKey) -> BoxFuture<'_, Result<Option<String>, Error>> {
        Box::pin(self.schema(key.clone()))
    }

    fn set_schema(
        &self,
        key: &ConfigKey,
        schema: Option<&str>,
        expect: ExpectSchema,
    ) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.replace_schema(key.clone(), schema.map(ToOwned::to_owned), expect))
    }

    fn acknowledge(&self, key: &ConfigKey, ack: Acknowledgement, ttl: Duration) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.acknowledge(key.clone(), ack, ttl))
    }

    fn status(&self, key: &ConfigKey) -> BoxFuture<'_, Result<Status, Error>> {
        let key = key.clone();
        Box::pin(async move {
            let status = self.0.asked.get_json(&target(&key, "/status")).await;
            status.map_err(|error| failure(&key, error))
        })
    }
}

/// Follows one document of a server, over one answer after the other.
struct RemoteWatcher {
    config: RemoteConfig,
    key: ConfigKey,
    lines: Option<Lines>,
    /// What was told last.
    told: State,
}

/// What is known of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Unknown,
    Known(Option<Version>),
}

impl RemoteWatcher {
    async fn state(&mut self) -> Result<Option<Version>, Error> {
        loop {
            let event = match self.event().await {
                Ok(event) => event,
                Err(error) => {
                    self.lines = None;
                    return Err(error);
                }
            };
            let version = match event {
                ConfigEvent::Put { version } => Some(version),
                ConfigEvent::Absent => None,
                ConfigEvent::Bookmark => continue,
                ConfigEvent::Error { code, detail } => {
                    self.lines = None;
                    return Err(Error::Refused { code, detail });
                }
            };
            // An answer begins with the state, which may be the one that the last answer told.
            if self.told != State::Known(version.clone()) {
                self.told = State::Known(version.clone());
                return Ok(version);
            }
        }
    }

    async fn event(&mut self) -> Result<ConfigEvent, Error> {
        let lines = match &mut self.lines {
            Some(lines) => lines,
            none => none.insert(open(&self.config, &self.key).await?),
        };
        let event = lines.next().await.map_err(|fault| fault_of(&self.key, fault))?;
        event.ok_or(Error::Unavailable(None))
    }
}

async fn open(config: &RemoteConfig, key: &ConfigKey) -> Result<Lines, Error> {
    let request = Request::get(path(&target(key, ""), [("watch", "true".to_owned())])).body(Body::empty());
    let answer = config.0.watched.stream(request.expect("a checked key makes a path"));
    let answer = time::timeout(WATCH_HEAD_MAX, answer).await;
    let answer = answer.map_err(|elapsed| Error::Unavailable(Some(Arc::new(elapsed))))?;
    let answer = answer.map_err(|error| failure(key, error))?;
    Lines::of(answer).await.map_err(|fault| fault_of(key, fault))
}

fn fault_of(key: &ConfigKey, fault: Fault) -> Error {
    match fault {
        Fault::Refused(problem) => error_of(key, *problem),
        Fault::Broken(cause) => Error::Unavailable(Some(cause)),
    }
}

impl fmt::Debug for RemoteWatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteWatcher").field("key", &self.key).finish_non_exhaustive()
    }
}

impl ConfigWatcher for RemoteWatcher {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Version>, Error>> {
        Box::pin(self.state())
    }
}
