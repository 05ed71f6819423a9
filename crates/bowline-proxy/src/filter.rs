//! The hook for what is demanded of requests, and done to them and their answers. What that is, who
//! hands in the filters decides.

use std::{fmt, net::IpAddr, time::Duration};

use bowline_model::{Code, mesh::SpiffeId};
use bowline_runtime::BoxFuture;
use bowline_telemetry::Span;
use bytes::Bytes;
use http::{HeaderMap, Response, request, response};

/// What a listener or a route demands of requests and does to them.
///
/// A request passes, in this order: its route's [`Filter::begin`], the listener's [`Filter::admit`], and,
/// where a route was found, that route's [`Filter::admit`]. Its route is looked up before anything is
/// demanded, so that an answer of the listener's has what the route's answers have; by the
/// status and the reason whether there is one is told only to those whom the listener admits.
///
/// Filters see requests as they are forwarded: what is meant for one hop, and what only Bowline may say,
/// is taken away before. What a filter sets is therefore not taken away.
///
/// Shared by all workers.
pub trait Filter: fmt::Debug + Send + Sync + 'static {
    /// Begins with a request of its route: registers what the answer will pass, whatever it is.
    fn begin(&self, visit: &mut Visit<'_>) {
        let _ = visit;
    }

    /// Decides about a request, and changes its head.
    fn admit(&self, visit: &mut Visit<'_>) -> Verdict;

    /// Whether it answers preflights of the CORS protocol, with [`Verdict::Answer`].
    ///
    /// Such a request is matched by the method that it asks for.
    fn answers_preflights(&self) -> bool {
        false
    }
}

/// What a filter decides.
pub enum Verdict {
    /// It goes on.
    Pass,
    /// It ends here, with a problem.
    Refuse(Box<Refusal>),
    /// It ends here, with this answer.
    Answer(Box<Response<Bytes>>),
    /// It cannot be decided yet: the filter is asked again when this has ended, which it does in bounded
    /// time. Nothing has been counted or changed. A filter says so once for a request.
    Wait(BoxFuture<'static, ()>),
}

/// Why a request is refused: what its client is told.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// What kind of refusal it is; the status follows from it.
    pub code: Code,
    /// Which demand it did not meet: the value of `x-bowline-reason`.
    pub reason: &'static str,
    /// The same for people: lower case, no full stop, no credentials.
    pub detail: String,
    /// What the answer has besides, as `WWW-Authenticate`.
    pub headers: HeaderMap,
}

impl Refusal {
    /// A refusal without headers of its own.
    pub fn new(code: Code, reason: &'static str, detail: impl Into<String>) -> Self {
        Self { code, reason, detail: detail.into(), headers: HeaderMap::new() }
    }
}

/// One request as filters see it.
#[derive(Debug)]
pub struct Visit<'a> {
    /// Its head, as it will be forwarded.
    pub head: &'a mut request::Parts,
    /// Who sent it: the peer, or, where that is trusted, whom it named last. `None` over a Unix socket.
    pub client: Option<IpAddr>,
    /// Whose certificate the peer showed, where one was demanded: [`Settings::peer_id`](crate::Settings::peer_id).
    pub peer: Option<&'a SpiffeId>,
    /// The place of the listener it came by, in [`Settings::listeners`](crate::Settings::listeners).
    pub listener: usize,
    /// Whether it is a preflight for a route that [answers them](Filter::answers_preflights).
    pub is_preflight: bool,
    /// Whether it has waited for this filter already.
    pub has_waited: bool,
    /// Its span; one that is reported only if it is [kept](Span::keep) where spans are
    /// [eventful](crate::Spans::Eventful).
    pub span: &'a mut Span,
    pub(crate) exits: &'a mut Exits,
}

impl Visit<'_> {
    /// Has the answer pass this, whether it is the service's or a refusal. Those that were registered
    /// last are passed first.
    pub fn on_answer(&mut self, exit: impl FnOnce(&mut Leaving<'_>) + Send + 'static) {
        self.exits.0.push(Box::new(exit));
    }
}

type Exit = Box<dyn FnOnce(&mut Leaving<'_>) + Send>;

/// What an answer passes on its way back.
#[derive(Default)]
pub(crate) struct Exits(Vec<Exit>);

/// An answer as filters see it, without what is meant for one hop.
pub struct Leaving<'a> {
    /// Its head.
    pub head: &'a mut response::Parts,
    /// How long its body is; `None` where that is not known.
    pub length: Option<u64>,
    coder: Option<Box<dyn Recode>>,
}

impl Leaving<'_> {
    /// Has the body rewritten on its way. The head is the caller's to adapt, `Content-Length` included.
    ///
    /// A second one takes the place of the first.
    pub fn recode(&mut self, coder: impl Recode) {
        self.coder = Some(Box::new(coder));
    }
}

/// Rewrites a body as it streams.
pub trait Recode: Send + 'static {
    /// Takes the next part of the body; gives what is ready, which may be nothing.
    fn push(&mut self, data: &[u8]) -> Bytes;

    /// Gives what it has kept so far, as nothing comes for the moment and somebody waits.
    fn flush(&mut self) -> Bytes;

    /// Gives what is left at the end.
    fn finish(&mut self) -> Bytes;
}

impl Exits {
    /// Passes a head through all of them; gives what the body passes, if anything.
    pub(crate) fn run(&mut self, head: &mut response::Parts, length: Option<u64>) -> Option<Box<dyn Recode>> {
        let mut leaving = Leaving { head, length, coder: None };
        while let Some(exit) = self.0.pop() {
            exit(&mut leaving);
        }
        leaving.coder
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A time as `Retry-After` has it: whole seconds, rounded up, as coming back earlier is in vain.
pub fn whole_seconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(u64::MAX)
}

impl fmt::Debug for Exits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exits").field("count", &self.0.len()).finish()
    }
}

impl fmt::Debug for Leaving<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { head, length, coder } = self;
        let is_recoded = coder.is_some();
        f.debug_struct("Leaving").field("head", head).field("length", length).field("recoded", &is_recoded).finish()
    }
}

impl fmt::Debug for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => f.write_str("Pass"),
            Self::Refuse(refusal) => f.debug_tuple("Refuse").field(refusal).finish(),
            Self::Answer(answer) => f.debug_tuple("Answer").field(&answer.status()).finish(),
            Self::Wait(_) => f.write_str("Wait"),
        }
    }
}
