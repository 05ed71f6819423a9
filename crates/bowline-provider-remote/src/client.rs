//! Questions that tools ask a server.

use std::{fmt::Write as _, time::Duration};

use bowline_model::{Address, percent};
use bowline_registry::INSTANCES_MAX;
use bowline_transport::{ClientError, HttpClient};
use http::Method;

use crate::{Bearer, wire};

/// How many instances are asked for at once.
const PAGE: usize = 1000;
/// How often a list is begun anew because the server's store was replaced while it was read.
const LISTS_MAX: usize = 3;
/// The most bytes of a trace's answer: the 64 MiB that a store reads of one, as JSON.
const TRACE_BYTES_MAX: usize = 256 << 20;
/// The most bytes of an observation's answer: edges and uses up to their bounds.
const OBSERVED_BYTES_MAX: usize = 64 << 20;
/// How long an observation's answer may take: a server reads its traces for 20 s at most.
const OBSERVED_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a trace's answer may take.
const TRACE_TIMEOUT: Duration = Duration::from_secs(30);

/// Asks a server's API. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client(pub(crate) HttpClient);

/// Which traces to find; what is absent does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TracesQuery {
    /// A service that took part.
    pub service: Option<String>,
    /// The name of a span.
    pub operation: Option<String>,
    /// The least duration, as `100ms`.
    pub min_duration: Option<String>,
    /// The greatest duration, as `2s`.
    pub max_duration: Option<String>,
    /// How long ago it began at most, as `15m`.
    pub since: Option<String>,
    /// `key=value` of a span, all of one.
    pub attr: Vec<String>,
    /// How a span ended: `ok`, `error` or `unset`.
    pub status: Option<String>,
    /// Only traces with an error, or only those without.
    pub error: Option<bool>,
    /// `newest` or `slowest` first.
    pub order: Option<String>,
    /// At most so many.
    pub limit: Option<usize>,
    /// Where an earlier answer ended.
    pub cursor: Option<String>,
}

/// Which entries of the audit to list; what is absent does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Only entries of this class.
    pub class: Option<wire::AuditClass>,
    /// Only entries older than the one of this id.
    pub before: Option<String>,
    /// At most so many.
    pub limit: Option<usize>,
}

impl Client {
    /// A client of the server at that address, with 10 s for each answer.
    pub fn new(address: impl Into<Address>) -> Self {
        Self(HttpClient::new(address))
    }

    /// The same, asking with a token.
    pub fn with_bearer(self, bearer: Bearer) -> Self {
        Self(bearer.on(self.0))
    }

    /// Who answers there, with a proof over the nonce that it is who holds the root token.
    pub async fn proven_server(&self, nonce: &str) -> Result<wire::ServerInfo, ClientError> {
        self.0.get_json(&path("/v1/server", [("nonce", nonce.to_owned())])).await
    }

    /// Makes a token, which is told this once.
    pub async fn create_token(&self, token: &wire::NewToken) -> Result<wire::CreatedToken, ClientError> {
        self.0.post_json("/v1/tokens", token).await
    }

    /// Every token, without its secret, sorted by id.
    pub async fn tokens(&self) -> Result<wire::TokenList, ClientError> {
        self.0.get_json("/v1/tokens").await
    }

    /// Ends a token at once.
    pub async fn revoke_token(&self, id: &str) -> Result<(), ClientError> {
        self.0.send_json(Method::DELETE, &format!("/v1/tokens/{}", encode(id)), &()).await
    }

    /// What was changed and by whom, newest first.
    pub async fn audit(&self, query: &AuditQuery) -> Result<wire::AuditList, ClientError> {
        let AuditQuery { class, before, limit } = query.clone();
        let pairs = [
            class.map(|class| ("class", class.as_str().to_owned())),
            before.map(|value| ("before", value)),
            limit.map(|value| ("limit", value.to_string())),
        ];
        self.0.get_json(&path("/v1/audit", pairs.into_iter().flatten())).await
    }

    /// Who answers there.
    pub async fn server(&self) -> Result<wire::ServerInfo, ClientError> {
        self.0.get_json("/v1/server").await
    }

    /// Every service that has an instance, sorted by name.
    pub async fn services(&self) -> Result<wire::ServiceList, ClientError> {
        self.0.get_json("/v1/services").await
    }

    /// How every service is that is declared or has an instance, sorted by name.
    pub async fn health(&self) -> Result<wire::HealthList, ClientError> {
        self.0.get_json("/v1/health").await
    }

    /// How one service is, with its instances and their history.
    pub async fn service_health(&self, service: &str) -> Result<wire::ServiceHealthDetail, ClientError> {
        self.0.get_json(&format!("/v1/health/{}", encode(service))).await
    }

    /// The instances of a service, or of all, sorted by id; asked for in as many pages as they take.
    ///
    /// # Errors
    /// Any of one answer, and [`ClientError::Changed`] when the server's store is replaced again
    /// and again meanwhile.
    pub async fn instances(&self, service: Option<&str>) -> Result<wire::InstanceList, ClientError> {
        let filter = service.map(|service| ("service", service.to_owned()));
        list(&self.0, filter.as_slice(), None, INSTANCES_MAX).await
    }

    /// Searches traces, newest first unless they are asked for in another order.
    pub async fn traces(&self, query: &TracesQuery) -> Result<wire::TraceList, ClientError> {
        let TracesQuery {
            service,
            operation,
            min_duration,
            max_duration,
            since,
            attr,
            status,
            error,
            order,
            limit,
            cursor,
        } = query.clone();
        let pairs = [
            service.map(|value| ("service", value)),
            operation.map(|value| ("operation", value)),
            min_duration.map(|value| ("min_duration", value)),
            max_duration.map(|value| ("max_duration", value)),
            since.map(|value| ("since", value)),
            status.map(|value| ("status", value)),
            error.map(|value| ("error", value.to_string())),
            order.map(|value| ("order", value)),
            limit.map(|value| ("limit", value.to_string())),
            cursor.map(|value| ("cursor", value)),
        ];
        let attributes = attr.into_iter().map(|value| ("attr", value));
        self.0.get_json(&path("/v1/traces", pairs.into_iter().flatten().chain(attributes))).await
    }

    /// Services and who calls whom, over a window as `15m` that ends now.
    pub async fn service_graph(&self, window: Option<&str>) -> Result<wire::ServiceGraph, ClientError> {
        let pairs = window.map(|value| ("window", value.to_owned()));
        self.0.get_json(&path("/v1/service-graph", pairs)).await
    }

    /// What the system was seen to do since so long ago, as `1h`; within 60 s.
    pub async fn observed(&self, since: Option<&str>) -> Result<bowline_model::observed::Observed, ClientError> {
        let client = self.0.clone().with_answer_bytes_max(OBSERVED_BYTES_MAX).with_timeout(OBSERVED_TIMEOUT);
        let pairs = since.map(|value| ("since", value.to_owned()));
        let wire::Observed(observed) = client.get_json(&path("/v1/observed", pairs)).await?;
        Ok(observed)
    }

    /// What would become of a request at the server's gateway.
    pub async fn explain(&self, request: &wire::ExplainRequest) -> Result<wire::Explanation, ClientError> {
        self.0.send_json(http::Method::POST, "/v1/explain", request).await
    }

    /// One trace with its spans; within 30 s and 256 MiB.
    pub async fn trace(&self, id: &str) -> Result<wire::Trace, ClientError> {
        let client = self.0.clone().with_answer_bytes_max(TRACE_BYTES_MAX).with_timeout(TRACE_TIMEOUT);
        client.get_json(&format!("/v1/traces/{}", encode(id))).await
    }
}

/// What matches, in pages: at most `max` after that id.
///
/// The answer's revision is the first page's: what changed meanwhile comes to who watches from it.
pub(crate) async fn list(
    client: &HttpClient,
    filter: &[(&'static str, String)],
    after: Option<String>,
    max: usize,
) -> Result<wire::InstanceList, ClientError> {
    for _ in 0..LISTS_MAX {
        if let Some(list) = try_list(client, filter, after.clone(), max).await? {
            return Ok(list);
        }
    }
    Err(ClientError::Changed { address: client.address().clone() })
}

/// Lists once; none if a later page is no continuation of the first.
async fn try_list(
    client: &HttpClient,
    filter: &[(&'static str, String)],
    mut after: Option<String>,
    max: usize,
) -> Result<Option<wire::InstanceList>, ClientError> {
    let mut whole: Option<wire::InstanceList> = None;
    loop {
        let had = whole.as_ref().map_or(0, |list| list.instances.len());
        // None at all is asked for to learn the revision: one then, which is left off.
        let limit = max.saturating_sub(had).clamp(1, PAGE);
        let pairs = filter.iter().cloned();
        let pairs = pairs.chain(after.clone().map(|id| ("after", id))).chain([("limit", limit.to_string())]);
        let mut page: wire::InstanceList = client.get_json(&path("/v1/instances", pairs)).await?;
        let last = page.instances.last().map(|instance| instance.id.to_string());
        if page.more && last <= after {
            return Ok(None);
        }
        let mut list = match whole {
            None => page,
            Some(first) if first.history != page.history => return Ok(None),
            Some(mut first) => {
                first.instances.append(&mut page.instances);
                wire::InstanceList { more: page.more, ..first }
            }
        };
        if !list.more || list.instances.len() >= max {
            list.more |= list.instances.len() > max;
            list.instances.truncate(max);
            return Ok(Some(list));
        }
        (whole, after) = (Some(list), last);
    }
}

/// A path with a query.
pub fn path<'a>(path: &str, pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut text = path.to_owned();
    for (at, (name, value)) in pairs.into_iter().enumerate() {
        let separator = if at == 0 { '?' } else { '&' };
        let _infallible = write!(text, "{separator}{name}={}", encode(&value));
    }
    text
}

/// Percent-encodes all but RFC 3986's unreserved characters.
pub fn encode(text: &str) -> String {
    percent::encode(text, b"")
}

/// What [`encode`] encoded; none where it cannot have been that.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (byte, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(byte, 16).ok()?);
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded() {
        let pairs = [("attr", "a b=é&c".to_owned()), ("limit", "5".to_owned())];
        assert_eq!(path("/v1/traces", pairs), "/v1/traces?attr=a%20b%3D%C3%A9%26c&limit=5");
        assert_eq!(path("/v1/services", []), "/v1/services");
        for text in ["", "a b=é&c%", "%41/..", "\"[]\""] {
            assert_eq!(decode(&encode(text)).as_deref(), Some(text));
        }
        assert_eq!([decode("%"), decode("%4"), decode("%é"), decode("%FF")], [const { None }; 4]);
    }
}
