//! The HTTP/2 client, on hyper's: one connection an endpoint, shared by its requests.

mod upload;

use std::{
    error::Error as StdError,
    fmt,
    future::Future,
    mem,
    sync::{Mutex, PoisonError},
};

use bowline_model::Address;
use bowline_runtime::{
    task,
    time::{self, Instant},
};
use http::{
    HeaderValue, Request, Response, Uri, Version, header,
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};

pub(crate) use self::upload::refuse_trailers;
use self::upload::{Failure, Upload};
use crate::{
    body::Body,
    endpoint::Endpoint,
    error::{Error, Kind},
    forward,
    http1::{connect, is_repeatable},
    pool::{Held, Place, Places, Pool, PoolMetrics, PoolSettings},
    response::ResponseBody,
    stream,
};

/// What the answers of one connection hold at most until they are read, in bytes.
const WINDOW_BYTES: u32 = 64 * 1024 * 1024;

/// What one answer holds of that at most, which is also what is on its way in a round trip: 1,024 that nobody reads hold up
/// no other.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;

/// The one connection of an endpoint.
pub(crate) struct Shared {
    current: Mutex<Current>,
    /// How many requests have a stream at once.
    places: Places,
    /// Held while connecting, so that requests which come meanwhile wait for the same connection.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Current {
    sender: Option<SendRequest<Upload>>,
    /// Until when it takes new requests; none: as long as it stands.
    until: Option<Instant>,
    /// Whether that is because it is as old as it may be.
    is_by_age: bool,
    /// How many connections there were up to this.
    number: u64,
    /// When the last attempt to connect failed, and why.
    failed: Option<(Instant, Kind)>,
}

/// A request under way, as far as others are concerned.
#[derive(Debug)]
pub(crate) struct Stream {
    _shown: Held,
    _place: Place,
}

/// Sends a request over the endpoint's connection, which is made first where there is none.
///
/// What a connection did not take, or its goodbye left out, goes over a new one, once; so does what may be repeated
/// where a connection that others had made turns out to be dead.
pub(crate) async fn send<P: Pool>(
    pool: &P,
    endpoint: &Endpoint,
    head: &Parts,
    body: &mut Body,
) -> Result<Response<ResponseBody<P>>, Error> {
    let settings = pool.settings();
    let (shared, closed) = pool.with(|idle| idle.http2(endpoint, settings));
    drop(closed);
    let place = shared.places.take(settings, body).await?;
    let stream = Stream { _shown: Held::new(&settings.metrics.streams), _place: place };
    // Why it was sent a first time in vain, and may have been seen.
    let mut lost = None;
    let mut is_second = false;
    loop {
        let live = shared.live();
        let was_there = live.is_some();
        let (mut sender, number) = match live {
            Some(live) => live,
            None => shared.sender(endpoint, settings).await.map_err(|error| lost.take().unwrap_or(error))?,
        };
        let again = if is_second { None } else { body.as_replayable() };
        let (upload, failure) = Upload::new(mem::take(body));
        let sending = sender.try_send_request(request(head, endpoint, upload)?);
        let watch = Watch { slot: body, failure: &failure };
        let sent = sending.await;
        drop(watch);
        *body = Body::empty();
        let mut failed = match sent {
            Ok(response) => return Ok(response.map(|body| ResponseBody::http2(body, shared, stream))),
            Err(failed) => failed,
        };
        let unsent = failed.take_message();
        let error = failed.into_error();
        if let Some(source) = failure.take() {
            return Err(Error::new(Kind::RequestBody, source));
        }
        let fate = if unsent.is_some() { Fate::Goodbye } else { Fate::of(&error) };
        let again = unsent.map(|request| request.into_body().into_body()).or(again);
        match (fate, again) {
            (fate, Some(again)) if !is_second && fate.may_repeat(was_there && is_repeatable(head)) => {
                // Of all that the one connection leaves out, the first to tell counts it.
                if shared.forget(number) {
                    settings.metrics.closed_stale.increment();
                }
                is_second = true;
                *body = again;
                lost = (fate == Fate::Lost).then(|| Error::new(Kind::Reset, error));
            }
            (Fate::Goodbye | Fate::Refused, _) => {
                return Err(lost.take().unwrap_or_else(|| Error::new(Kind::Refused, error)));
            }
            (Fate::Lost | Fate::Unknown, _) => return Err(Error::new(Kind::Reset, error)),
        }
    }
}

/// Makes the endpoint's connection, unless it is there.
pub(crate) async fn connect_ahead<P: Pool>(pool: &P, endpoint: &Endpoint) -> Result<(), Error> {
    let settings = pool.settings();
    let (shared, closed) = pool.with(|idle| idle.http2(endpoint, settings));
    drop(closed);
    shared.sender(endpoint, settings).await.map(drop)
}

/// Tells, where a request is given up, whether it was its body that was waited for.
struct Watch<'a> {
    slot: &'a mut Body,
    failure: &'a Failure,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        *self.slot = Body::taken(self.failure.is_starved());
    }
}

/// What became of a request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It may have had its effect.
    Unknown,
    /// The same; the connection broke before any of its answer came.
    Lost,
    /// The server did not look at it.
    Refused,
    /// The connection ended before it: the server may take it over another.
    Goodbye,
}

impl Fate {
    /// Reads it off the protocol's error (RFC 9113, 6.8 and 8.7): of the streams that a `GOAWAY`
    /// takes in, the protocol tells nothing yet, so that those it fails are those it leaves out.
    fn of(error: &hyper::Error) -> Self {
        let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(current) = cause {
            if let Some(error) = current.downcast_ref::<h2::Error>() {
                return match error.reason() {
                    _ if !error.is_remote() => Self::Unknown,
                    _ if error.is_go_away() => Self::Goodbye,
                    Some(h2::Reason::REFUSED_STREAM) => Self::Refused,
                    _ => Self::Unknown,
                };
            }
            if let Some(error) = current.downcast_ref() {
                return if stream::is_refused(error) { Self::Refused } else { Self::Lost };
            }
            cause = current.source();
        }
        Self::Unknown
    }

    /// Whether the request goes over another connection.
    fn may_repeat(self, is_repeatable: bool) -> bool {
        match self {
            Self::Goodbye => true,
            Self::Lost => is_repeatable,
            Self::Refused | Self::Unknown => false,
        }
    }
}

impl Current {
    /// Whether there is one whose time is over.
    fn is_over(&self) -> bool {
        let is_over = self.until.is_some_and(|until| time::now() >= until);
        is_over && self.sender.as_ref().is_some_and(|sender| !sender.is_closed())
    }
}

/// The earlier of the two, and whether it is the second.
fn earlier(until: Option<Instant>, old_at: Option<Instant>) -> (Option<Instant>, bool) {
    match (until, old_at) {
        (Some(until), Some(old_at)) if until <= old_at => (Some(until), false),
        (until, None) => (until, false),
        (_, old_at) => (old_at, true),
    }
}

impl Shared {
    pub(crate) fn new(settings: &PoolSettings) -> Self {
        let places = Places::new(settings.streams_per_endpoint_max);
        Self { current: Mutex::default(), places, connecting: tokio::sync::Mutex::default() }
    }

    /// A handle to a live connection, and the connection's number.
    async fn sender(&self, endpoint: &Endpoint, settings: &PoolSettings) -> Result<(SendRequest<Upload>, u64), Error> {
        if let Some(live) = self.live() {
            return Ok(live);
        }
        let came = time::now();
        let _connecting = self.connecting.lock().await;
        if let Some(live) = self.live() {
            return Ok(live);
        }
        // Who waited for an attempt that failed has been told as much as another would tell: the
        // waiters of a dead endpoint do not stand in line for a time limit each.
        if let Some((_, kind)) = self.lock().failed.filter(|(at, _)| *at >= came) {
            return Err(kind.into());
        }
        let connected = handshake(endpoint, settings).await;
        let mut current = self.lock();
        match connected {
            Ok((sender, until)) => {
                if current.is_over() {
                    let PoolMetrics { closed_age, closed_over, .. } = &settings.metrics;
                    if current.is_by_age { closed_age.increment() } else { closed_over.increment() }
                }
                let (until, is_by_age) = earlier(until, settings.old_at(time::now()));
                let number = current.number + 1;
                *current = Current { sender: Some(sender.clone()), until, is_by_age, number, failed: None };
                Ok((sender, number))
            }
            Err(error) => {
                current.failed = Some((time::now(), error.kind()));
                Err(error)
            }
        }
    }

    fn live(&self) -> Option<(SendRequest<Upload>, u64)> {
        let current = self.lock();
        let is_over = current.until.is_some_and(|until| time::now() >= until);
        let sender = current.sender.as_ref().filter(|sender| !is_over && !sender.is_closed())?;
        Some((sender.clone(), current.number))
    }

    /// Whether there is a connection that takes requests.
    pub(crate) fn is_live(&self) -> bool {
        self.live().is_some()
    }

    /// Forgets that connection, unless it was forgotten or there is another already; whether it did.
    fn forget(&self, number: u64) -> bool {
        let mut current = self.lock();
        current.number == number && current.sender.take().is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects, and says until when that serves; the task that drives the connection ends with its last request
/// once nobody holds a handle.
async fn handshake(
    endpoint: &Endpoint,
    settings: &PoolSettings,
) -> Result<(SendRequest<Upload>, Option<Instant>), Error> {
    let stream = connect(endpoint, settings).await?;
    let until = stream.until();
    let (sender, connection) = Builder::new(Spawn)
        .timer(TokioTimer::new())
        .keep_alive_interval(settings.http2_ping)
        .keep_alive_timeout(settings.http2_ping)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        // Of all that is given up on, what is on its way still may come: that is no fault of the server's.
        .max_concurrent_reset_streams(settings.streams_per_endpoint_max)
        .max_local_error_reset_streams(None)
        .max_header_list_size(u32::try_from(settings.head_bytes_max).unwrap_or(u32::MAX))
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|source| Error::new(Kind::Connect, source))?;
    let (address, open) = (endpoint.address.clone(), Held::new(&settings.metrics.open_http2));
    task::spawn(async move {
        let _open = open;
        if let Err(error) = connection.await {
            tracing::debug!(%address, error = %error, "connection ended");
        }
    });
    Ok((sender, until))
}

/// The request as HTTP/2 wants it: an absolute URI, no `Host`, nothing meant for one hop.
fn request(head: &Parts, endpoint: &Endpoint, body: Upload) -> Result<Request<Upload>, Error> {
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
