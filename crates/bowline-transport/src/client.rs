//! A small client for tools and for control traffic: one address, JSON, a time limit.

use std::time::Duration;

use bowline_model::{Address, Code};
use bowline_runtime::time;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header, request::Builder};
use http_body_util::BodyExt as _;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    body::Body,
    endpoint::Endpoint,
    error::Error,
    pool::{PoolSettings, SharedPool},
    problem::{Problem, code_of_status},
    response::ResponseBody,
    send::send,
};

/// The most bytes of an answer that is read as a whole, unless another bound is asked for.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Asks one address, over HTTP/1.1 unless it is [multiplexed](HttpClient::multiplexed). Cheap to clone; clones share
/// their connections.
#[derive(Debug, Clone)]
pub struct HttpClient {
    pool: SharedPool,
    endpoint: Endpoint,
    timeout: Duration,
    answer_bytes_max: usize,
    headers: HeaderMap,
}

/// Why an answer cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The request cannot be made of what was given.
    #[error("request to {address} cannot be made")]
    Request {
        /// Whom we meant to ask.
        address: Address,
        /// Why.
        #[source]
        source: http::Error,
    },
    /// What was to be sent is not JSON.
    #[error("request to {address} cannot be written as JSON")]
    Encode {
        /// Whom we meant to ask.
        address: Address,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// There was no answer, or half of one.
    #[error("request to {address} failed")]
    Transport {
        /// Whom we asked.
        address: Address,
        /// Why.
        #[source]
        source: Error,
    },
    /// There was no answer in time.
    #[error("{address} did not answer in time")]
    Timeout {
        /// Whom we asked.
        address: Address,
    },
    /// The answer is longer than we read.
    #[error("answer of {address} is too large")]
    TooLarge {
        /// Whom we asked.
        address: Address,
    },
    /// What is read in several answers was another thing in the next one.
    #[error("what {address} tells changed while it was read")]
    Changed {
        /// Whom we asked.
        address: Address,
    },
    /// The answer is an error.
    #[error("{address} answered {}: {}", problem.status, problem.detail)]
    Answer {
        /// Whom we asked.
        address: Address,
        /// What it answered; made of the status where it was no problem document.
        problem: Box<Problem>,
    },
    /// The answer is not the JSON we expected.
    #[error("answer of {address} cannot be read")]
    Decode {
        /// Whom we asked.
        address: Address,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl ClientError {
    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        match self {
            Self::Request { .. } | Self::Encode { .. } => Code::InvalidArgument,
            Self::Transport { source, .. } => source.code(),
            Self::Timeout { .. } => Code::DeadlineExceeded,
            Self::TooLarge { .. } | Self::Decode { .. } => Code::BadGateway,
            Self::Changed { .. } => Code::Unavailable,
            Self::Answer { problem, .. } => problem.code,
        }
    }

    /// Whether asking again later may help.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Transport { source, .. } => source.retryable(),
            Self::Timeout { .. } | Self::Changed { .. } => true,
            Self::Answer { problem, .. } => matches!(problem.status, 429 | 502 | 503 | 504),
            Self::Request { .. } | Self::Encode { .. } | Self::TooLarge { .. } | Self::Decode { .. } => false,
        }
    }
}

impl HttpClient {
    /// A client of that address, with 10 s and 16 MiB for each answer.
    pub fn new(address: impl Into<Address>) -> Self {
        Self::of(Endpoint::http1(address), PoolSettings::default())
    }

    /// The same over HTTP/2 with prior knowledge: all clones ask over one connection, which is kept whatever its age.
    /// Where a ping finds it dead, for 6 s at most, another is made.
    pub fn multiplexed(address: impl Into<Address>) -> Self {
        let settings =
            PoolSettings { age_max: Duration::MAX, http2_ping: Duration::from_secs(3), ..PoolSettings::default() };
        Self::of(Endpoint::http2(address), settings)
    }

    fn of(endpoint: Endpoint, settings: PoolSettings) -> Self {
        Self {
            pool: SharedPool::new(settings),
            endpoint,
            timeout: Duration::from_secs(10),
            answer_bytes_max: ANSWER_BYTES_MAX,
            headers: HeaderMap::new(),
        }
    }

    /// The same with another time limit for a whole answer.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The same with another bound on the bytes of a whole answer.
    pub fn with_answer_bytes_max(self, answer_bytes_max: usize) -> Self {
        Self { answer_bytes_max, ..self }
    }

    /// The same with a header in each request that has none of that name, as a credential: debugging
    /// does not print its value.
    pub fn with_header(mut self, name: HeaderName, mut value: HeaderValue) -> Self {
        value.set_sensitive(true);
        self.headers.insert(name, value);
        self
    }

    /// The same over connections shared with others.
    pub fn with_pool(self, pool: SharedPool) -> Self {
        Self { pool, ..self }
    }

    /// Whom it asks.
    pub fn address(&self) -> &Address {
        &self.endpoint.address
    }

    /// `GET`s JSON. `path` begins with `/` and may have a query.
    ///
    /// # Errors
    /// Any [`ClientError`]; an answer that is no success is [`ClientError::Answer`].
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection, of HTTP/2 its stream.
    pub async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.json(Request::get(path), Body::empty()).await
    }

    /// Sends JSON by any method and reads JSON; an empty answer reads as `null`.
    ///
    /// # Errors
    /// As [`HttpClient::get_json`].
    ///
    /// # Cancel safety
    /// As [`HttpClient::get_json`]; the request may have been acted upon.
    pub async fn send_json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        value: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(value).map_err(|source| ClientError::Encode { address: self.addr(), source })?;
        let json = HeaderValue::from_static("application/json");
        self.json(Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, json), Body::full(body))
            .await
    }

    /// `POST`s JSON and reads JSON.
    ///
    /// # Errors
    /// As [`HttpClient::get_json`].
    ///
    /// # Cancel safety
    /// As [`HttpClient::send_json`].
    pub async fn post_json<T: DeserializeOwned>(&self, path: &str, value: &impl Serialize) -> Result<T, ClientError> {
        self.send_json(Method::POST, path, value).await
    }

    /// Sends any request and reads the whole answer, whatever its status.
    ///
    /// # Errors
    /// Any [`ClientError`] but [`ClientError::Answer`] and [`ClientError::Decode`].
    ///
    /// # Cancel safety
    /// As [`HttpClient::send_json`].
    pub async fn request(&self, request: Request<Body>) -> Result<Response<Bytes>, ClientError> {
        let whole = async {
            let (head, body) = self.stream(request).await?.into_parts();
            Ok(Response::from_parts(head, self.collect(body).await?))
        };
        time::timeout(self.timeout, whole).await.map_err(|_| ClientError::Timeout { address: self.addr() })?
    }

    /// Sends any request; only the head of its answer is awaited, without a time limit.
    ///
    /// # Errors
    /// [`ClientError::Transport`].
    ///
    /// # Cancel safety
    /// As [`HttpClient::send_json`].
    pub async fn stream(&self, mut request: Request<Body>) -> Result<Response<ResponseBody<SharedPool>>, ClientError> {
        for (name, value) in &self.headers {
            request.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
        let answer = send(&self.pool, &self.endpoint, request).await;
        answer.map_err(|source| ClientError::Transport { address: self.addr(), source })
    }

    async fn json<T: DeserializeOwned>(&self, request: Builder, body: Body) -> Result<T, ClientError> {
        let json = HeaderValue::from_static("application/json");
        let request = request.header(header::ACCEPT, json).body(body);
        let request = request.map_err(|source| ClientError::Request { address: self.addr(), source })?;
        let (head, body) = self.request(request).await?.into_parts();
        if !head.status.is_success() {
            let problem = Problem::parse(head.status, &head.headers, &body);
            let problem = Box::new(problem.unwrap_or_else(|| made_problem(head.status, &body)));
            return Err(ClientError::Answer { address: self.addr(), problem });
        }
        let body = if body.is_empty() { Bytes::from_static(b"null") } else { body };
        serde_json::from_slice(&body).map_err(|source| ClientError::Decode { address: self.addr(), source })
    }

    async fn collect(&self, mut body: ResponseBody<SharedPool>) -> Result<Bytes, ClientError> {
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|source| ClientError::Transport { address: self.addr(), source })?;
            let Ok(data) = frame.into_data() else { continue };
            if whole.len() + data.len() > self.answer_bytes_max {
                return Err(ClientError::TooLarge { address: self.addr() });
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    }

    fn addr(&self) -> Address {
        self.endpoint.address.clone()
    }
}

/// A problem made of an answer that is none: its status, and the beginning of its text.
fn made_problem(status: StatusCode, body: &[u8]) -> Problem {
    let text = String::from_utf8_lossy(&body[..body.len().min(256)]);
    let problem = Problem::new(code_of_status(status), text.trim());
    Problem { status: status.as_u16(), ..problem }
}
