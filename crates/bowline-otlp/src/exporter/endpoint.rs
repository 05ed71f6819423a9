//! A collector's address.

use std::{fmt, str::FromStr, sync::Arc};

use bowline_model::Code;
use bowline_transport::web::Url;

/// Where OTLP/HTTP takes traces, below a URL that names no path.
const PATH: &str = "/v1/traces";

/// The address of a collector: `http://host:4318`, or `https://`, with or without a path.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Arc<Url>);

/// The text is no address of a collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a collector's address is written http://HOST:4318 or https://HOST, without user and password")]
#[non_exhaustive]
pub struct InvalidEndpoint;

#[expect(clippy::unused_self, clippy::trivially_copy_pass_by_ref, reason = "every error answers these")]
impl InvalidEndpoint {
    /// Always [`Code::InvalidArgument`].
    pub fn code(&self) -> Code {
        Code::InvalidArgument
    }

    /// Never: the same text stays wrong.
    pub fn retryable(&self) -> bool {
        false
    }
}

impl Endpoint {
    pub(super) fn url(&self) -> &Url {
        &self.0
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let url = Url::parse(text).ok_or(InvalidEndpoint)?;
        let whole = match url.path() {
            "/" => Url::parse(&format!("{}{PATH}", text.trim_end_matches('/'))).ok_or(InvalidEndpoint)?,
            _ => url,
        };
        Ok(Self(Arc::new(whole)))
    }
}

/// Without the query, which may hold a key.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_string().split('?').next().unwrap_or_default())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_path_is_that_of_the_traces() {
        for (text, shown) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("https://collector.example/", "https://collector.example/v1/traces"),
            ("https://[::1]:1/otlp/v1/traces?key=secret", "https://[::1]:1/otlp/v1/traces"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!((endpoint.to_string(), format!("{endpoint:?}")), (shown.to_owned(), shown.to_owned()));
        }
        for bad in ["", "collector:4318", "grpc://collector", "/v1/traces", "http://me:secret@collector"] {
            assert_eq!(bad.parse::<Endpoint>(), Err(InvalidEndpoint), "{bad}");
        }
    }
}
