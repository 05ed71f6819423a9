//! Answers that are streams: events and lines, made as fast as the client takes them.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};
use bowline_runtime::{
    BoxFuture,
    time::{self, Sleep},
    watchdog,
};
use bowline_telemetry::{SpanContext, current};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{Fuse, Stream, StreamExt as _};
use pin_project_lite::pin_project;
use serde::Serialize;
use tokio::sync::watch;

use super::Event;

/// How often a client that gets no event is told that there is still somebody.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Marks an answer that may never end: it does when the service stops.
#[derive(Debug, Clone, Copy)]
struct Endless;

/// An answer of server-sent events (`text/event-stream`).
///
/// The next event is asked for when the socket takes more: a client that stops reading stops the source. After each
/// [`KEEP_ALIVE`] without an event a comment is sent, so that a client that is gone is noticed. A client that takes
/// nothing for a minute is cut off. When the service begins to stop, the answer ends; clients come again, to another
/// instance.
///
/// The events are made in the trace of the request, but not under its deadline.
///
/// ```
/// # use std::time::Duration;
/// # use bowline::stream::{self, Event, StreamExt};
/// # async fn handler() -> axum::response::Response {
/// let ticks = stream::IntervalStream::new(bowline::runtime::time::interval(Duration::from_secs(1)));
/// stream::sse(ticks.enumerate().map(|(number, _)| Event::new("tick").id(number.to_string())))
/// # }
/// ```
pub fn sse<S>(events: S) -> Response
where
    S: Stream<Item = Event> + Send + 'static,
{
    let events = KeptAlive { events: events.fuse(), quiet: time::sleep(KEEP_ALIVE) };
    let mut response = answer("text/event-stream", events.map(Ok::<_, Infallible>));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An answer of JSON values, one a line (`application/x-ndjson`).
///
/// The next value is asked for when the socket takes more: a client that stops reading stops the source, and is cut off
/// when it takes nothing for a minute. When the service begins to stop, the answer breaks off, so that the client does
/// not take it for whole. It also does where a value cannot be written as JSON.
///
/// The values are made in the trace of the request, but not under its deadline.
pub fn ndjson<S>(values: S) -> Response
where
    S: Stream<Item: Serialize> + Send + 'static,
{
    let line = |value: S::Item| {
        let mut line = BytesMut::new();
        let written = serde_json::to_writer(bytes::BufMut::writer(&mut line), &value);
        written.inspect_err(|error| tracing::error!(%error, "a value of a stream cannot be written"))?;
        line.extend_from_slice(b"\n");
        Ok::<_, serde_json::Error>(line.freeze())
    };
    answer("application/x-ndjson", values.map(line))
}

fn answer<S, E>(content_type: &'static str, bytes: S) -> Response
where
    S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    E: std::error::Error + Send + Sync + 'static,
{
    let mut response = Response::new(Body::from_stream(bytes));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.extensions_mut().insert(Endless);
    response
}

/// Has an answer that is a stream be made in the context of its request, under that name where it holds its thread, and
/// end when the service stops.
pub(crate) fn end_at_drain(
    response: Response,
    mut draining: watch::Receiver<bool>,
    context: SpanContext,
    task: watchdog::Name,
) -> Response {
    if response.extensions().get::<Endless>().is_none() {
        return response;
    }
    let is_whole_anyway = response.headers().get(header::CONTENT_TYPE).is_some_and(|it| it == "text/event-stream");
    let draining = Box::pin(async move {
        let _draining_or_gone = draining.wait_for(|is_draining| *is_draining).await;
    });
    response.map(|body| {
        let draining = Some(draining as BoxFuture<'static, ()>);
        Body::from_stream(UntilDrain { bytes: body.into_data_stream(), draining, is_whole_anyway, context, task })
    })
}

/// Why an answer breaks off.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the service stops")]
    Stops,
    #[error("the answer broke")]
    Source(#[source] axum::Error),
}

struct UntilDrain {
    bytes: axum::body::BodyDataStream,
    /// None: it is over.
    draining: Option<BoxFuture<'static, ()>>,
    /// Whether the client expects no end.
    is_whole_anyway: bool,
    context: SpanContext,
    task: watchdog::Name,
}

impl Stream for UntilDrain {
    type Item = Result<Bytes, Broken>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { bytes, draining: until, is_whole_anyway, context, task } = self.get_mut();
        let Some(draining) = until else { return Poll::Ready(None) };
        if draining.as_mut().poll(cx).is_ready() {
            *until = None;
            return Poll::Ready(if *is_whole_anyway { None } else { Some(Err(Broken::Stops)) });
        }
        let next = task.watch(bytes.next());
        pin!(current::scope(*context, next)).poll(cx).map_err(Broken::Source)
    }
}

pin_project! {
    /// Events as bytes, and a comment where there is none for long.
    struct KeptAlive<S> {
        #[pin]
        events: Fuse<S>,
        #[pin]
        quiet: Sleep,
    }
}

impl<S: Stream<Item = Event>> Stream for KeptAlive<S> {
    type Item = Bytes;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut this = self.project();
        let bytes = match this.events.poll_next(cx) {
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(event)) => event.encode(),
            Poll::Pending => {
                std::task::ready!(this.quiet.as_mut().poll(cx));
                Bytes::from_static(b":\n\n")
            }
        };
        this.quiet.reset(time::now() + KEEP_ALIVE);
        Poll::Ready(Some(bytes))
    }
}
