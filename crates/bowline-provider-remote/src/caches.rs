//! Caches over a server's API: what tools ask of them, and the level that processes share.

use std::{fmt, time::Duration};

use bowline_cache::{
    Applied, Feed, Found, Got, Mark, Outcome, PortError, SharedCache, Ticket, check_applied, check_batch, check_keep,
    check_key, check_marks, check_name, check_value,
};
use bowline_model::{Address, Code};
use bowline_runtime::BoxFuture;
use bowline_transport::{Body, ClientError, HttpClient, problem::Problem};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};

use crate::{
    Client, Link,
    client::{decode, encode, path},
    wire::{self, LEFT_HEADER, MARKS_HEADER, TICKET_HEADER},
};

/// How long an answer may take. Whoever asks usually waits for less.
const TIMEOUT: Duration = Duration::from_secs(1);

impl Client {
    /// Caches of all services, or of one, as each instance has them.
    pub async fn caches(&self, query: &wire::CachesQuery) -> Result<wire::CacheList, ClientError> {
        let pairs = query.service.clone().map(|service| ("service", service));
        self.0.get_json(&path("/v1/caches", pairs)).await
    }
}

/// What processes share, in the memory of the server at an address. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct RemoteCache {
    client: HttpClient,
}

impl RemoteCache {
    /// What is shared in that server. Nothing is asked yet.
    pub fn new(address: impl Into<Address>) -> Self {
        Self::over(HttpClient::new(address))
    }

    /// What is shared in the server at the end of that link.
    pub fn over(link: impl Into<Link>) -> Self {
        Self { client: link.into().asked.with_timeout(TIMEOUT) }
    }

    async fn get(&self, cache: &str, key: &str) -> Result<Got, PortError> {
        let request = Request::get(entry(cache, key)?).body(Body::empty()).map_err(PortError::unavailable)?;
        let (head, body) = self.client.request(request).await.map_err(failure)?.into_parts();
        let found = match head.status {
            StatusCode::OK => {
                let left = number(&head.headers, LEFT_HEADER, 10).ok_or_else(makes_no_sense)?;
                Found::Hit { value: body, left: Duration::from_millis(left) }
            }
            StatusCode::NOT_FOUND if head.headers.contains_key(TICKET_HEADER) => {
                Found::Empty(Ticket(number(&head.headers, TICKET_HEADER, 16).ok_or_else(makes_no_sense)?))
            }
            _ => return Err(refused(Response::from_parts(head, body))),
        };
        let marks = text(&head.headers, MARKS_HEADER).and_then(decode);
        let marks = marks.and_then(|json| serde_json::from_str(&json).ok()).ok_or_else(makes_no_sense)?;
        Ok(Got { found, marks })
    }

    async fn fill(
        &self,
        cache: &str,
        key: &str,
        ticket: Ticket,
        value: Bytes,
        keep: Duration,
    ) -> Result<bool, PortError> {
        check_value(&value)?;
        check_keep(keep)?;
        let target = path(&entry(cache, key)?, [("keep", bowline_model::units::format_duration(keep))]);
        let request = Request::put(target).header(TICKET_HEADER, format!("{:016x}", ticket.0)).body(Body::full(value));
        let answer = self.client.request(request.map_err(PortError::unavailable)?).await.map_err(failure)?;
        match answer.status() {
            StatusCode::NO_CONTENT => Ok(true),
            StatusCode::CONFLICT => Ok(false),
            _ => Err(refused(answer)),
        }
    }

    async fn invalidate(&self, cache: &str, keys: &[String], applied: Option<Applied>) -> Result<Outcome, PortError> {
        check_batch(keys)?;
        check_applied(applied.as_ref())?;
        let target = of_cache(cache, "invalidate")?;
        let invalidation = wire::SharedInvalidation { keys: keys.to_vec(), applied };
        let answer: Result<wire::SharedOutcome, _> = self.client.post_json(&target, &invalidation).await;
        answer.map(|answer| answer.outcome).map_err(failure)
    }

    async fn clear(&self, cache: &str, marks: &[(Feed, Mark)]) -> Result<(), PortError> {
        check_marks(marks)?;
        let target = of_cache(cache, "clear")?;
        self.client
            .send_json(Method::POST, &target, &wire::SharedMarks { marks: marks.to_vec() })
            .await
            .map_err(failure)
    }
}

impl SharedCache for RemoteCache {
    fn get<'a>(&'a self, cache: &'a str, key: &'a str) -> BoxFuture<'a, Result<Got, PortError>> {
        Box::pin(self.get(cache, key))
    }

    fn fill<'a>(
        &'a self,
        cache: &'a str,
        key: &'a str,
        ticket: Ticket,
        value: Bytes,
        keep: Duration,
    ) -> BoxFuture<'a, Result<bool, PortError>> {
        Box::pin(self.fill(cache, key, ticket, value, keep))
    }

    fn invalidate<'a>(
        &'a self,
        cache: &'a str,
        keys: &'a [String],
        applied: Option<Applied>,
    ) -> BoxFuture<'a, Result<Outcome, PortError>> {
        Box::pin(self.invalidate(cache, keys, applied))
    }

    fn clear<'a>(&'a self, cache: &'a str, marks: &'a [(Feed, Mark)]) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(self.clear(cache, marks))
    }
}

impl fmt::Debug for RemoteCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteCache").field("address", self.client.address()).finish_non_exhaustive()
    }
}

fn of_cache(cache: &str, what: &str) -> Result<String, PortError> {
    check_name(cache)?;
    Ok(format!("/v1/shared-caches/{cache}/{what}"))
}

fn entry(cache: &str, key: &str) -> Result<String, PortError> {
    check_key(key)?;
    Ok(format!("{}/{}", of_cache(cache, "entries")?, encode(key)))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn number(headers: &HeaderMap, name: &str, radix: u32) -> Option<u64> {
    u64::from_str_radix(text(headers, name)?, radix).ok()
}

/// A failure in the port's words.
fn failure(error: ClientError) -> PortError {
    match error {
        ClientError::Answer { problem, .. } => told(*problem),
        other => PortError::unavailable(other),
    }
}

fn refused(answer: Response<Bytes>) -> PortError {
    let (head, body) = answer.into_parts();
    match Problem::parse(head.status, &head.headers, &body) {
        Some(problem) => told(problem),
        None => PortError::Refused { code: Code::BadGateway, detail: format!("the server answered {}", head.status) },
    }
}

fn told(Problem { code, detail, .. }: Problem) -> PortError {
    PortError::Refused { code, detail }
}

fn makes_no_sense() -> PortError {
    PortError::unavailable("the server's answer has no sense")
}
