//! Calls whose answers are streams: bytes as they come, events and lines.

mod following;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bowline_model::ServiceName;
use bowline_runtime::time::{self, Sleep};
use bowline_telemetry::names;
use bowline_transport::{Body, SharedPool, lines::LineReader};
use bowline_upstream::ResponseBody;
use bytes::Bytes;
use futures_util::stream::Stream;
use http::Response;
use http_body::Body as _;
use http_body_util::{BodyExt as _, Limited};
use serde::de::DeserializeOwned;

use super::{ANSWER_BYTES_MAX, Call, Error, Inner};
use crate::stream::{Decoder, EVENT_BYTES_MAX, Event};

pub use following::Following;

/// How long a streaming answer may be silent, unless the caller says otherwise.
pub const SILENT_MAX_DEFAULT: Duration = Duration::from_secs(75);

/// An answer whose bytes are read as they come. What is not read is not sent: the connection holds it back.
pub struct Streaming {
    service: ServiceName,
    body: ResponseBody<SharedPool>,
    silent_max: Duration,
    /// Since it was asked for more, where it had nothing.
    silence: Option<Pin<Box<Sleep>>>,
    is_over: bool,
}

impl Call {
    /// Sends it and returns the answer as soon as its head is there: the call's deadline and its span are those of the
    /// head. Its body may be silent for [`SILENT_MAX_DEFAULT`].
    ///
    /// # Errors
    /// As [`Call::json`].
    ///
    /// # Cancel safety
    /// As [`Call::json`].
    pub async fn stream(self) -> Result<Response<Streaming>, Error> {
        let (inner, request) = self.into_request()?;
        inner.open(request).await
    }

    /// The server-sent events of the answer. When it ends or breaks it is asked for again, from the last event on
    /// (`Last-Event-ID`), after a wait: the one that the service asked for (`retry`, a minute at most), else up to
    /// 0.1 s. From time to time that there is no answer, or one that gives no event and ends within a second, the wait
    /// doubles, up to 30 s; why there is none is in the log.
    ///
    /// That goes on for as long as it is read: the stream ends when the service answers 204, and with an error when it
    /// answers what will not pass by itself, as 404, or what are no events, or when the deadline of the request that is
    /// served is over. Only a request that may be sent twice is: one of an idempotent method, or with an
    /// [idempotency key](Call::idempotency_key). Any other's events end with its first answer. Events come at least
    /// once.
    pub fn events(self) -> Following {
        Following::new(self)
    }
}

impl Inner {
    pub(super) async fn open(&self, mut request: http::Request<Body>) -> Result<Response<Streaming>, Error> {
        let begun = time::now();
        super::hand_on_priority(request.headers_mut());
        let mut span = self.start_span(&request);
        let deadline = self.deadline(begun);
        self.first_instances(deadline).await;
        let opened = match self.may_call() {
            Ok(()) => {
                let called = self.governed.upstream().call(&self.pool, request, &mut span, Some(deadline)).await;
                called.map_err(|source| Error::Call { service: self.service.clone(), source })
            }
            Err(error) => Err(error),
        };
        let code = match &opened {
            Ok(response) => response.status().as_u16(),
            Err(error) => error.code().http_status(),
        };
        span.set(names::HTTP_RESPONSE_STATUS_CODE, i64::from(code));
        self.count(code, time::now() - begun);
        let opened = match opened {
            Ok(response) if !response.status().is_success() => self.refused(response, deadline).await,
            Ok(response) => Ok(response.map(|body| Streaming::new(self.service.clone(), body))),
            Err(error) => Err(error),
        };
        opened.inspect_err(|error| span.fail(bowline_model::error::chain(error)))
    }

    /// Reads an answer that is no success, for what it says.
    async fn refused<T>(
        &self,
        response: Response<ResponseBody<SharedPool>>,
        deadline: time::Instant,
    ) -> Result<Response<T>, Error> {
        let (head, body) = response.into_parts();
        let body = time::timeout_at(deadline, Limited::new(body, ANSWER_BYTES_MAX).collect()).await;
        let body = body.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let judged = self.judge(Response::from_parts(head, body));
        Err(judged.expect_err("it is called for what is no success"))
    }
}

impl Streaming {
    fn new(service: ServiceName, body: ResponseBody<SharedPool>) -> Self {
        Self { service, body, silent_max: SILENT_MAX_DEFAULT, silence: None, is_over: false }
    }

    /// How long it may be silent, while it is asked for more; then it ends with an error.
    pub fn silent_max(mut self, silent_max: Duration) -> Self {
        self.silent_max = silent_max;
        self
    }

    /// Its server-sent events. Unlike [`Call::events`] they end with it.
    pub fn events(self) -> Events {
        Events { answer: self, decoder: Decoder::default() }
    }

    /// Its lines, each of which is JSON; lines of nothing but blanks are left out. A line that is no such value is an
    /// error, and the next may be read.
    pub fn lines<T: DeserializeOwned>(self) -> Lines<T> {
        Lines {
            answer: self,
            reader: LineReader::by_feed(EVENT_BYTES_MAX),
            is_read: false,
            value: std::marker::PhantomData,
        }
    }

    fn unread(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Answer { service: self.service.clone(), source: source.into() }
    }
}

impl Stream for Streaming {
    type Item = Result<Bytes, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        while !this.is_over {
            let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
                let silence = this.silence.get_or_insert_with(|| Box::pin(time::sleep(this.silent_max)));
                ready!(silence.as_mut().poll(cx));
                this.is_over = true;
                return Poll::Ready(Some(Err(Error::out_of_time(&this.service))));
            };
            this.silence = None;
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                }
                Some(Err(source)) => {
                    this.is_over = true;
                    let service = this.service.clone();
                    let source = bowline_upstream::Error::Transport { service: service.clone(), source };
                    return Poll::Ready(Some(Err(Error::Call { service, source })));
                }
                None => this.is_over = true,
            }
        }
        Poll::Ready(None)
    }
}

impl fmt::Debug for Streaming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streaming").field("service", &self.service).finish_non_exhaustive()
    }
}

/// See [`Streaming::events`]. Holds one event at most, of [`EVENT_BYTES_MAX`](crate::stream::EVENT_BYTES_MAX) bytes.
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct Events {
    answer: Streaming,
    decoder: Decoder,
}

impl Events {
    /// What was said of where to go on, and when, without an event.
    fn rest(&self) -> Event {
        self.decoder.rest()
    }
}

impl Stream for Events {
    type Item = Result<Event, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match this.decoder.next() {
                Ok(Some(event)) => return Poll::Ready(Some(Ok(event))),
                Ok(None) => {}
                Err(error) => {
                    (this.answer.is_over, this.decoder) = (true, Decoder::default());
                    return Poll::Ready(Some(Err(this.answer.unread(error))));
                }
            }
            match ready!(Pin::new(&mut this.answer).poll_next(cx)) {
                Some(Ok(bytes)) => this.decoder.push(&bytes),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

/// See [`Streaming::lines`]. Holds one line at most, of [`EVENT_BYTES_MAX`](crate::stream::EVENT_BYTES_MAX) bytes.
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct Lines<T> {
    answer: Streaming,
    reader: LineReader,
    is_read: bool,
    value: std::marker::PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Stream for Lines<T> {
    type Item = Result<T, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let is_blank = |line: &Bytes| line.iter().all(u8::is_ascii_whitespace);
        while !this.is_read {
            let line = match this.reader.next_line() {
                Ok(line) => line,
                Err(error) => {
                    this.is_read = true;
                    return Poll::Ready(Some(Err(this.answer.unread(error))));
                }
            };
            let line = match line {
                Some(line) => line,
                None => match ready!(Pin::new(&mut this.answer).poll_next(cx)) {
                    Some(Ok(bytes)) => {
                        this.reader.push(&bytes);
                        continue;
                    }
                    Some(Err(error)) => {
                        this.is_read = true;
                        return Poll::Ready(Some(Err(error)));
                    }
                    None => {
                        this.is_read = true;
                        this.reader.rest()
                    }
                },
            };
            if !is_blank(&line) {
                let value = serde_json::from_slice(&line).map_err(|error| this.answer.unread(error));
                return Poll::Ready(Some(value));
            }
        }
        Poll::Ready(None)
    }
}
