//! Fetches one small document from a URL: no redirects, no cookies, bounded in time and size.

use std::{fmt, time::Duration};

use bowline_transport::web::{self, Bounds, WebError};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

/// The longest that a document may take, connecting included.
pub(super) const FETCH_MAX: Duration = Duration::from_secs(5);

/// Why a document was not fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error(transparent)]
    Web(#[from] WebError),
    #[error("{authority} answers with {status}, not with 200")]
    Status { authority: String, status: u16 },
}

/// A document's address, `http://` or `https://`.
pub(crate) struct Url(web::Url);

impl Url {
    /// Reads a URL; `None` where it is none, has another scheme, or holds credentials.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        web::Url::parse(text).map(Self)
    }

    /// Fetches the document, of at most `bytes_max` bytes.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub(super) async fn fetch(&self, bytes_max: usize) -> Result<Bytes, FetchError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let bounds = Bounds { timeout: FETCH_MAX, bytes_max };
        let (head, body) = self.0.request(Method::GET, headers, Bytes::new(), bounds).await?.into_parts();
        if head.status != StatusCode::OK {
            let (authority, status) = (self.0.authority().to_owned(), head.status.as_u16());
            return Err(FetchError::Status { authority, status });
        }
        Ok(body)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests;
