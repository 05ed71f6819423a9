//! The HTTP/2 client, on hyper's: one connection an endpoint, shared by its requests.

use std::{
    fmt,
    future::Future,
    mem,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bowline_model::Address;
use bowline_runtime::task;
use http::{
    HeaderValue, Request, Response, Uri, Version, header,
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};

use crate::{
    body::Body,
    endpoint::Endpoint,
    error::{Error, Kind},
    forward,
    http1::connect,
    pool::{Pool, PoolSettings},
    response::ResponseBody,
};

/// How often a connection with requests on it is pinged, and how long the answer may take.
const PING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(10));

/// What an endpoint's requests may have in flight towards us before we read it, each.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;

/// The one connection of an endpoint.
#[derive(Default)]
pub(crate) struct Shared {
    sender: Mutex<Option<SendRequest<Body>>>,
    /// Held while connecting, so that requests which come meanwhile wait for the same connection.
    connecting: tokio::sync::Mutex<()>,
}

/// Sends a request over the endpoint's connection, which is made first where there is none.
pub(crate) async fn send<P: Pool>(
    pool: &P,
    endpoint: &Endpoint,
    head: &Parts,
    body: &mut Body,
) -> Result<Response<ResponseBody<P>>, Error> {
    let settings = pool.settings();
    let shared = pool.with(|idle| idle.http2(endpoint, settings));
    let mut is_second = false;
    loop {
        let mut sender = shared.sender(endpoint, settings).await?;
        let request = request(head, endpoint, mem::take(body))?;
        match sender.try_send_request(request).await {
            Ok(response) => return Ok(response.map(ResponseBody::http2)),
            Err(mut failed) => match failed.take_message() {
                // The connection ended (a GOAWAY, say) before it took the request: nothing was sent.
                Some(request) if !is_second => {
                    settings.metrics.closed_stale.increment();
                    shared.forget();
                    is_second = true;
                    *body = request.into_body();
                }
                _ => return Err(Error::new(Kind::Reset, failed.into_error())),
            },
        }
    }
}

impl Shared {
    /// A handle to a live connection.
    async fn sender(&self, endpoint: &Endpoint, settings: &PoolSettings) -> Result<SendRequest<Body>, Error> {
        if let Some(sender) = self.live() {
            return Ok(sender);
        }
        let _connecting = self.connecting.lock().await;
        if let Some(sender) = self.live() {
            return Ok(sender);
        }
        let sender = handshake(endpoint, settings).await?;
        *self.lock() = Some(sender.clone());
        Ok(sender)
    }

    fn live(&self) -> Option<SendRequest<Body>> {
        self.lock().as_ref().filter(|sender| !sender.is_closed()).cloned()
    }

    fn forget(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<SendRequest<Body>>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects; the task that drives the connection ends with its last request once nobody holds a handle.
async fn handshake(endpoint: &Endpoint, settings: &PoolSettings) -> Result<SendRequest<Body>, Error> {
    let stream = connect(endpoint, settings).await?;
    let (sender, connection) = Builder::new(Spawn)
        .timer(TokioTimer::new())
        .keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(STREAM_WINDOW_BYTES * 4)
        .max_header_list_size(u32::try_from(settings.head_bytes_max).unwrap_or(u32::MAX))
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|source| Error::new(Kind::Connect, source))?;
    let address = endpoint.address.clone();
    task::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%address, error = %error, "connection ended");
        }
    });
    Ok(sender)
}

/// The request as HTTP/2 wants it: an absolute URI, no `Host`, nothing meant for one hop.
fn request(head: &Parts, endpoint: &Endpoint, body: Body) -> Result<Request<Body>, Error> {
    let unsupported = |source: http::Error| Error::new(Kind::Unsupported, source);
    let mut headers = head.headers.clone();
    forward::remove_hop_by_hop(&mut headers);
    headers.remove(header::CONTENT_LENGTH);
    if let Some(length) = body.len_hint().filter(|length| *length > 0) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    let host = headers.remove(header::HOST);
    let authority = match (&host, head.uri.authority()) {
        (Some(host), _) => Authority::try_from(host.as_bytes()),
        (None, Some(authority)) => Ok(authority.clone()),
        (None, None) => match &endpoint.address {
            Address::Tcp(addr) => Authority::try_from(addr.to_string()),
            Address::Unix(_) => Ok(Authority::from_static("localhost")),
        },
    };
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(authority.map_err(|source| unsupported(source.into()))?);
    uri.path_and_query = Some(head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = Uri::from_parts(uri).map_err(|source| unsupported(source.into()))?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Ok(request)
}

/// Spawns what hyper needs driven; all of it is `Send`, whatever the pool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spawn;

impl<F> hyper::rt::Executor<F> for Spawn
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        task::spawn(future);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("is_live", &self.live().is_some()).finish()
    }
}
