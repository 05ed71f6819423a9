//! One connection to a collector, kept between requests.

use std::{io::Write as _, time::Duration};

use bowline_transport::web::{self, WebError};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::Endpoint;

/// The most that is read of an answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What the collector answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
}

pub(super) struct Connection {
    endpoint: Endpoint,
    headers: HeaderMap,
    open: Option<web::Connection>,
}

impl Connection {
    pub(super) fn new(endpoint: Endpoint, headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        let mut all = HeaderMap::new();
        all.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        all.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        all.extend(headers);
        Self { endpoint, headers: all, open: None }
    }

    /// Sends one request; connects before where it has to.
    ///
    /// # Cancel safety
    /// It has to be closed then.
    pub(super) async fn post(&mut self, body: &Bytes) -> Result<Answer, WebError> {
        let mut open = self.open.take();
        if let Some(connection) = &mut open
            && !connection.is_ready().await
        {
            open = None;
        }
        let connection = match open {
            Some(connection) => connection,
            None => self.endpoint.url().connect().await?,
        };
        let connection = self.open.insert(connection);
        let answer = connection.send(Method::POST, self.headers.clone(), body.clone(), ANSWER_BYTES_MAX).await?;
        let (head, body) = answer.into_parts();
        let seconds = head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Answer { status: head.status, retry_after: seconds.map(Duration::from_secs), body })
    }

    pub(super) fn close(&mut self) {
        self.open = None;
    }
}

pub(super) fn gzip(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).expect("memory takes it");
    encoder.finish().expect("memory takes it").into()
}
