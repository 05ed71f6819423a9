//! Asks over HTTP as Prometheus does: TCP, Unix sockets and TLS, packed where the target packs.

use std::io::Read as _;

use bowline_runtime::{
    BoxFuture,
    metric::Registry,
    task,
    time::{self, Duration},
};
use bowline_transport::{Body, ResponseBody, SharedPool, send};
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, Request, header};
use http_body_util::BodyExt as _;

use super::{Fetch, FetchError, Page};
use crate::scrape::{Place, Target, exposition::Format};

/// The most bytes of a page, packed or not.
const PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What is read, as Prometheus asks for it; names that are no plain words come with underscores.
const ACCEPT: &str = "application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.5,\
    text/plain;version=0.0.4;escaping=underscores;q=0.3,*/*;q=0.1";

/// Who asks.
const USER_AGENT: &str = concat!("bowline/", env!("CARGO_PKG_VERSION"));

/// Asks servers over connections that are kept, and this process without any.
#[derive(Debug, Clone)]
pub struct HttpFetch {
    pool: SharedPool,
    process: Registry,
    page_bytes_max: usize,
}

impl HttpFetch {
    /// Asks over that pool, whose TLS is shown to targets that demand it; `process` is what
    /// [`Place::Process`] exposes.
    pub fn new(pool: SharedPool, process: Registry) -> Self {
        Self { pool, process, page_bytes_max: PAGE_BYTES_MAX }
    }

    /// The same with another bound than 16 MiB for a page, packed and unpacked.
    pub fn with_page_bytes_max(self, page_bytes_max: usize) -> Self {
        Self { page_bytes_max, ..self }
    }

    async fn ask(&self, target: &Target, timeout: Duration) -> Result<Page, FetchError> {
        let Place::Http { endpoint, host, path } = &target.place else {
            return Ok(Page { format: Format::Text, body: self.process.render().into() });
        };
        let mut request = Request::get(path)
            .header(header::ACCEPT, ACCEPT)
            .header(header::ACCEPT_ENCODING, "gzip")
            .header(header::USER_AGENT, USER_AGENT)
            .header("x-prometheus-scrape-timeout-seconds", timeout.as_secs_f64().to_string());
        if let Some(host) = host {
            request = request.header(header::HOST, host);
        }
        let request = request.body(Body::empty()).map_err(|source| FetchError::Request { source })?;
        let answer = send(&self.pool, endpoint, request).await.map_err(|source| FetchError::Transport { source })?;
        let (head, body) = answer.into_parts();
        if head.status != http::StatusCode::OK {
            return Err(FetchError::Status { status: head.status.as_u16() });
        }
        let format = format_of(&head.headers)?;
        let is_packed = is_gzip(&head.headers)?;
        let body = self.collect(body).await?;
        let body = if is_packed { self.unpack(body).await? } else { body };
        Ok(Page { format, body })
    }

    async fn collect(&self, mut body: ResponseBody<SharedPool>) -> Result<Bytes, FetchError> {
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|source| FetchError::Transport { source })?;
            let Ok(data) = frame.into_data() else { continue };
            if whole.len() + data.len() > self.page_bytes_max {
                return Err(self.too_large());
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    }

    async fn unpack(&self, packed: Bytes) -> Result<Bytes, FetchError> {
        let bytes_max = self.page_bytes_max;
        let unpacked = task::spawn_blocking(move || {
            let mut plain = Vec::new();
            MultiGzDecoder::new(&*packed).take(bytes_max as u64 + 1).read_to_end(&mut plain).map(|_| plain)
        });
        let plain = unpacked.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let plain = plain.map_err(|source| FetchError::Unpack { source })?;
        if plain.len() > bytes_max { Err(self.too_large()) } else { Ok(plain.into()) }
    }

    fn too_large(&self) -> FetchError {
        FetchError::TooLarge { bytes_max: self.page_bytes_max }
    }
}

impl Fetch for HttpFetch {
    fn fetch<'a>(&'a self, target: &'a Target, timeout: Duration) -> BoxFuture<'a, Result<Page, FetchError>> {
        Box::pin(async move {
            match time::timeout(timeout, self.ask(target, timeout)).await {
                Ok(page) => page,
                Err(_) => Err(FetchError::Timeout { timeout }),
            }
        })
    }
}

fn format_of(headers: &HeaderMap) -> Result<Format, FetchError> {
    let content_type = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    Format::of(content_type.as_deref())
        .ok_or_else(|| FetchError::ContentType { content_type: cut(content_type.as_deref()) })
}

/// Whether the body is packed.
fn is_gzip(headers: &HeaderMap) -> Result<bool, FetchError> {
    match headers.get(header::CONTENT_ENCODING).map(|value| String::from_utf8_lossy(value.as_bytes())) {
        None => Ok(false),
        Some(encoding) if encoding.eq_ignore_ascii_case("identity") => Ok(false),
        Some(encoding) if encoding.eq_ignore_ascii_case("gzip") => Ok(true),
        Some(encoding) => Err(FetchError::Encoding { encoding: cut(Some(&encoding)) }),
    }
}

fn cut(text: Option<&str>) -> String {
    text.unwrap_or_default().chars().take(100).collect()
}
