//! The HTTP/1 client: written, read and parsed in the caller's own task.
//!
//! A connection holds buffers only while bytes are in them. The steps: [`upload`] writes the head
//! and the body, [`head`] parses what comes back, [`decode`] undoes its framing, [`download`] is
//! the body that the caller reads.

mod connection;
mod decode;
mod download;
mod encode;
mod head;
mod upload;

use std::{
    future::poll_fn,
    io, mem,
    sync::Arc,
    task::{Context, Poll},
};

use bowline_runtime::time::Instant;
use http::{Method, Response, request::Parts};

pub(crate) use self::{
    connection::{Connection, connect},
    download::Download,
};
use self::{
    head::Answer,
    upload::{Upload, UploadError},
};
use crate::{
    body::Body,
    endpoint::Endpoint,
    error::{Error, Kind},
    pool::{Place, Pool, Taken},
    response::ResponseBody,
    stream,
};

/// Interim answers (1xx) before the final one, at most.
const INTERIM_MAX: usize = 16;

/// An exchange that brought no answer.
struct Failed {
    error: Error,
    /// The connection's place, where not a byte came back over it.
    untouched: Option<Place>,
}

/// A connection that waited, and died as a request was written.
struct Lost {
    endpoint: Arc<Endpoint>,
    /// Since when it had waited.
    since: Instant,
    place: Place,
    error: Error,
}

/// Sends a request over a pooled connection, or a new one.
pub(crate) async fn send<P: Pool>(
    pool: &P,
    endpoint: &Endpoint,
    head: &Parts,
    body: &mut Body,
) -> Result<Response<ResponseBody<P>>, Error> {
    let settings = pool.settings();
    let mut taken = take(pool, endpoint, None);
    if let Taken::Full(places) = taken {
        let place = places.take(settings, body).await?;
        taken = take(pool, endpoint, Some(place));
    }
    let connection = match taken {
        Taken::Full(_) => return Err(Kind::PoolFull.into()),
        Taken::None(endpoint, place) => Connection::connect(endpoint, settings, place).await?,
        Taken::Connection(connection, since) => {
            let again = if is_repeatable(head) { body.as_replayable() } else { None };
            let endpoint = Arc::clone(&connection.endpoint);
            return match (exchange(pool, connection, head, body).await, again) {
                (Ok(response), _) => Ok(response),
                // The server closed it just as we wrote.
                (Err(Failed { error, untouched: Some(place) }), Some(again)) => {
                    *body = again;
                    send_again(pool, Lost { endpoint, since, place, error }, head, body).await
                }
                (Err(failed), _) => Err(failed.error),
            };
        }
    };
    exchange(pool, connection, head, body).await.map_err(|failed| failed.error)
}

/// Sends a request over a new connection.
async fn send_again<P: Pool>(
    pool: &P,
    lost: Lost,
    head: &Parts,
    body: &mut Body,
) -> Result<Response<ResponseBody<P>>, Error> {
    let Lost { endpoint, since, place, error } = lost;
    let settings = pool.settings();
    let sent = match Connection::connect(Arc::clone(&endpoint), settings, place).await {
        Ok(connection) => exchange(pool, connection, head, body).await,
        Err(error) => Err(Failed { error, untouched: None }),
    };
    // What a new one dies of, too, is the request.
    if !matches!(sent, Err(Failed { untouched: Some(_), .. })) {
        drop(pool.with(|idle| idle.distrust(&endpoint, since, settings)));
    }
    // It may have been seen at first: that nobody takes it now does not undo it.
    sent.map_err(|failed| if failed.error.is_unprocessed() { error } else { failed.error })
}

fn take<P: Pool>(pool: &P, endpoint: &Endpoint, place: Option<Place>) -> Taken {
    let (taken, closed) = pool.with(|idle| idle.take(endpoint, pool.settings(), place));
    drop(closed);
    taken
}

/// Has a connection wait there, unless one does, or as many are open as may be.
pub(crate) async fn connect_ahead<P: Pool>(pool: &P, endpoint: &Endpoint) -> Result<(), Error> {
    let settings = pool.settings();
    match take(pool, endpoint, None) {
        Taken::Full(_) => {}
        Taken::Connection(connection, _) => connection.park(pool),
        Taken::None(endpoint, place) => Connection::connect(endpoint, settings, place).await?.park(pool),
    }
    Ok(())
}

/// Whether the request may reach the server twice.
pub(crate) fn is_repeatable(head: &Parts) -> bool {
    head.method.is_idempotent() || head.headers.contains_key("idempotency-key")
}

async fn exchange<P: Pool>(
    pool: &P,
    connection: Connection,
    head: &Parts,
    slot: &mut Body,
) -> Result<Response<ResponseBody<P>>, Failed> {
    let upload = Upload::new(head, &connection.endpoint, mem::take(slot));
    let upload = upload.map_err(|error| Failed { error, untouched: None })?;
    let head_bytes_max = pool.settings().head_bytes_max;
    let mut exchange = Exchange::new(connection, upload, &head.method, head_bytes_max);
    let answer = poll_fn(|cx| {
        let answer = exchange.poll_answer(cx);
        let is_starved = answer.is_pending() && exchange.upload.is_starved();
        if slot.is_starved() != is_starved {
            *slot = Body::taken(is_starved);
        }
        answer
    })
    .await;
    let answer = answer.map_err(|error| {
        let untouched = exchange.connection.place.take().filter(|_| !exchange.is_touched);
        Failed { error, untouched }
    })?;
    let body = Download::begin(pool, exchange.connection, answer.framing, exchange.upload, answer.is_keep_alive);
    let body = body.map_err(|error| Failed { error, untouched: None })?;
    Ok(answer.head.map(|()| body))
}

/// A request on its way, until the head of its answer is there.
struct Exchange {
    connection: Connection,
    /// What is still to be sent.
    upload: Upload,
    is_head_method: bool,
    head_bytes_max: usize,
    interim_count: usize,
    /// Bytes that are known not to hold a whole head.
    scanned: usize,
    /// Whether a byte came back.
    is_touched: bool,
}

impl Exchange {
    fn new(connection: Connection, upload: Upload, method: &Method, head_bytes_max: usize) -> Self {
        let is_head_method = *method == Method::HEAD;
        Self { connection, upload, is_head_method, head_bytes_max, interim_count: 0, scanned: 0, is_touched: false }
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, Error>> {
        // A server may answer and close before it has read everything: when writing fails, what it
        // has to say is read all the same.
        if let Poll::Ready(Err(UploadError::Body(source))) = self.upload.poll(&mut self.connection.stream, cx) {
            return Poll::Ready(Err(Error::new(Kind::RequestBody, source)));
        }
        loop {
            if let Some(answer) = self.parse()? {
                return Poll::Ready(Ok(answer));
            }
            match self.connection.poll_read(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(1..)) => self.is_touched = true,
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.broken(io::ErrorKind::UnexpectedEof.into()))),
                Poll::Ready(Err(source)) => return Poll::Ready(Err(self.broken(source))),
            }
        }
    }

    /// The head, if all of it is there; interim ones are skipped.
    fn parse(&mut self) -> Result<Option<Answer>, Error> {
        loop {
            let read = &mut self.connection.read;
            if read.is_empty() || !head::may_be_whole(read, self.scanned) {
                self.scanned = read.len();
                return if read.len() > self.head_bytes_max { Err(Kind::HeadTooLarge.into()) } else { Ok(None) };
            }
            let Some(answer) = head::parse(read, self.is_head_method, self.head_bytes_max)? else {
                self.scanned = read.len();
                return Ok(None);
            };
            self.scanned = 0;
            if !answer.head.status().is_informational() {
                return Ok(Some(answer));
            }
            self.interim_count += 1;
            if answer.head.status() == 101 || self.interim_count > INTERIM_MAX {
                return Err(Error::new(Kind::Malformed, "interim answer that was not asked for"));
            }
        }
    }

    /// The connection broke: the first failure, on either side of it, is the cause.
    fn broken(&mut self, source: io::Error) -> Error {
        if stream::is_refused(&source) {
            return Error::new(Kind::Refused, source);
        }
        Error::new(Kind::Reset, self.upload.take_failure().unwrap_or(source))
    }
}
