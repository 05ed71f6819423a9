//! Questions that tools ask a server.

use std::fmt::Write as _;

use bowline_model::Address;
use bowline_transport::{ClientError, HttpClient};

use crate::wire;

/// Asks a server's API. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client(HttpClient);

/// Which traces to find; what is absent does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TracesQuery {
    /// A service that took part.
    pub service: Option<String>,
    /// The name of a span.
    pub operation: Option<String>,
    /// The least duration, as `100ms`.
    pub min_duration: Option<String>,
    /// `key=value` of a span.
    pub attr: Option<String>,
    /// Only traces with an error, or only those without.
    pub error: Option<bool>,
    /// At most so many.
    pub limit: Option<usize>,
}

impl Client {
    /// A client of the server at that address, with 10 s for each answer.
    pub fn new(address: impl Into<Address>) -> Self {
        Self(HttpClient::new(address))
    }

    /// Who answers there.
    pub async fn server(&self) -> Result<wire::ServerInfo, ClientError> {
        self.0.get_json("/v1/server").await
    }

    /// Every service that has an instance, sorted by name.
    pub async fn services(&self) -> Result<wire::ServiceList, ClientError> {
        self.0.get_json("/v1/services").await
    }

    /// The instances of a service, or of all, sorted by id.
    pub async fn instances(&self, service: Option<&str>) -> Result<wire::InstanceList, ClientError> {
        let pairs = service.map(|service| ("service", service.to_owned()));
        self.0.get_json(&path("/v1/instances", pairs)).await
    }

    /// Searches traces, newest first.
    pub async fn traces(&self, query: &TracesQuery) -> Result<wire::TraceList, ClientError> {
        let TracesQuery { service, operation, min_duration, attr, error, limit } = query.clone();
        let pairs = [
            service.map(|value| ("service", value)),
            operation.map(|value| ("operation", value)),
            min_duration.map(|value| ("min_duration", value)),
            attr.map(|value| ("attr", value)),
            error.map(|value| ("error", value.to_string())),
            limit.map(|value| ("limit", value.to_string())),
        ];
        self.0.get_json(&path("/v1/traces", pairs.into_iter().flatten())).await
    }

    /// One trace with its spans.
    pub async fn trace(&self, id: &str) -> Result<wire::Trace, ClientError> {
        self.0.get_json(&format!("/v1/traces/{}", encode(id))).await
    }
}

/// A path with a query.
pub(crate) fn path<'a>(path: &str, pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut text = path.to_owned();
    for (at, (name, value)) in pairs.into_iter().enumerate() {
        let separator = if at == 0 { '?' } else { '&' };
        let _infallible = write!(text, "{separator}{name}={}", encode(&value));
    }
    text
}

/// Percent-encodes all but RFC 3986's unreserved characters.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _infallible = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded() {
        let pairs = [("attr", "a b=é&c".to_owned()), ("limit", "5".to_owned())];
        assert_eq!(path("/v1/traces", pairs), "/v1/traces?attr=a%20b%3D%C3%A9%26c&limit=5");
        assert_eq!(path("/v1/services", []), "/v1/services");
    }
}
