//! What every path to an upstream must show, as data, and what runs it.
//!
//! A [`Vector`] is a policy, instances that follow scripts, calls, and what must come of them. A
//! [`Path`] is a way of making calls: this crate directly over either pool, the gateway, the
//! application's client, a sidecar. [`run`] holds a path against a vector; all paths must pass
//! [`all`].

#[cfg(test)]
mod guard;
mod list;
mod stage;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    thread,
    time::Duration,
};

use bowline_model::{Health, Instance, mesh::Steering, policy::CallPolicy, units};
use bowline_transport::Body;
use bytes::Bytes;
use http::Request;
use http_body::{Body as HttpBody, Frame};
use serde::Deserialize;

use self::stage::Stage;

/// The service that is called.
pub const SERVICE: &str = "callee";

/// How often it is looked whether copies of requests have come: for at least five seconds.
const MIRRORED_LOOKS_MAX: usize = 1000;

/// One behaviour: what is there, what is done, what must come of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    /// Its file's name.
    #[serde(skip)]
    pub name: &'static str,
    /// Why it must be so.
    pub why: String,
    /// The policy of the calls.
    pub policy: CallPolicy,
    /// How the calls are steered.
    #[serde(default)]
    pub steering: Steering,
    /// The instances, by their ids.
    pub instances: BTreeMap<String, Script>,
    /// The calls, in order.
    pub steps: Vec<Step>,
    /// The requests that each instance got in the end; an instance that is not named got none.
    #[serde(default)]
    pub served: Option<BTreeMap<String, u64>>,
    /// The least and the most requests that all instances got together in the end.
    #[serde(default)]
    pub served_between: Option<(u64, u64)>,
    /// The states of breakers in the end, where the path can tell.
    #[serde(default)]
    pub breakers: BTreeMap<String, String>,
}

/// What an instance does.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The release it runs.
    #[serde(default)]
    pub version: String,
    /// The verdict of its checks.
    #[serde(default)]
    pub health: Health,
    /// Whether nobody listens at its address.
    #[serde(default)]
    pub refuses: bool,
    /// What it does with each request; the last goes for all further ones.
    #[serde(default)]
    pub does: Vec<Behaviour>,
}

/// What an instance does with one request.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Behaviour {
    /// Answers with that status.
    Answer(u16),
    /// Answers with that status after a while.
    Late {
        /// The status.
        status: u16,
        /// The while.
        #[serde(with = "units::duration")]
        after: Duration,
    },
    /// Answers with that status and these headers.
    Told {
        /// The status.
        status: u16,
        /// The headers, by their names.
        headers: BTreeMap<String, String>,
    },
    /// Closes the connection without an answer.
    Reset,
    /// Does nothing.
    Hang,
    /// Answers with what is not HTTP.
    Malformed,
}

/// Some equal calls, and what must come of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What is waited for first.
    #[serde(default, with = "units::duration::option")]
    pub after: Option<Duration>,
    /// The calls' number.
    #[serde(default = "one")]
    pub times: usize,
    /// Whether they are made at once, or one after the other.
    #[serde(default)]
    pub at_once: bool,
    /// The calls.
    #[serde(default)]
    pub ask: Ask,
    /// What must come of them: a status, or a status and a reason, and how often.
    pub expect: BTreeMap<String, usize>,
}

fn one() -> usize {
    1
}

/// One call: a `GET` without a body, unless told otherwise.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ask {
    /// The method.
    pub method: String,
    /// The body; empty when there is none.
    pub body: String,
    /// Whether the body's length is not told.
    pub is_streamed: bool,
    /// Whether it has an `Idempotency-Key`.
    pub has_key: bool,
    /// Further headers, by their names.
    pub headers: BTreeMap<String, String>,
    /// How long the caller waits.
    #[serde(with = "units::duration::option")]
    pub deadline: Option<Duration>,
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            method: "GET".to_owned(),
            body: String::new(),
            is_streamed: false,
            has_key: false,
            headers: BTreeMap::new(),
            deadline: None,
        }
    }
}

impl Ask {
    /// The request, but for how long its caller waits.
    ///
    /// # Panics
    /// Where the vector's method is none.
    pub fn request(&self) -> Request<Body> {
        let bytes = Bytes::from(self.body.clone());
        let body = if self.is_streamed { Body::stream(Streamed(Some(bytes))) } else { Body::full(bytes) };
        let request = Request::builder().method(self.method.as_str()).uri("/");
        let request = if self.has_key { request.header("idempotency-key", "k") } else { request };
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        request.body(body).expect("the vector's method is one")
    }
}

/// A body that does not say how long it is.
struct Streamed(Option<Bytes>);

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// What came of a call, as its caller sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The status; of an error, its code's.
    pub status: u16,
    /// The reason, where it was no instance's answer.
    pub reason: Option<String>,
}

/// A way of making calls.
pub trait Path: Sync {
    /// Makes a call and waits for what comes of it. Calls come from many threads; equal ones are
    /// numbered from 0, so that they can be dealt to workers.
    fn call(&self, number: usize, ask: &Ask) -> Seen;

    /// Steers the calls that follow; false where the path cannot: a vector that demands it is left out.
    fn steer(&self, steering: &Steering) -> bool {
        let _ = steering;
        false
    }

    /// The states of the instances' breakers, by id: `closed`, `open`, `half_open`. Empty where
    /// the path cannot tell.
    fn breakers(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
}

/// All vectors there are.
///
/// # Panics
/// When one cannot be read.
pub fn all() -> Vec<Vector> {
    let read = |(name, text): &(&'static str, &str)| {
        let vector: Vector = serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        Vector { name, ..vector }
    };
    list::FILES.iter().map(read).collect()
}

/// Holds a path against all vectors as they read at its layer, which `at_layer` says; see [`run`].
///
/// # Panics
/// With all vectors that fail, and how.
pub fn run_all<P: Path>(at_layer: impl Fn(Vector) -> Vector, make: impl Fn(&CallPolicy, &[Instance]) -> P) {
    let told = |vector: Vector| Some(format!("{}: {}", vector.name, run(&vector, &make).err()?));
    let failed: Vec<String> = all().into_iter().map(at_layer).filter_map(told).collect();
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

/// Holds a path against a vector: starts the instances, lets `make` build the path to them, makes
/// the calls.
///
/// # Errors
/// What came otherwise than it must.
pub fn run<P: Path>(vector: &Vector, make: impl FnOnce(&CallPolicy, &[Instance]) -> P) -> Result<(), String> {
    let stage = Stage::start(&vector.instances);
    let path = make(&vector.policy, stage.instances());
    if !vector.steering.is_empty() && !path.steer(&vector.steering) {
        return Ok(());
    }
    for (number, step) in vector.steps.iter().enumerate() {
        check(&format!("step {}", number + 1), &tally(&path, step), &step.expect)?;
    }
    let served = settled(&stage, vector);
    if let Some(expect) = &vector.served {
        check("requests served", &served, expect)?;
    }
    if let Some((least, most)) = vector.served_between {
        let total: u64 = served.values().sum();
        if !(least..=most).contains(&total) {
            return Err(format!("{total} requests served, not {least} to {most}"));
        }
    }
    let breakers = path.breakers();
    if breakers.is_empty() {
        return Ok(());
    }
    let named = breakers.into_iter().filter(|(id, _)| vector.breakers.contains_key(id)).collect();
    check("breakers", &named, &vector.breakers)
}

/// The requests that each instance got; copies of requests, for which no caller waits, are waited for.
fn settled(stage: &Stage, vector: &Vector) -> BTreeMap<String, u64> {
    for _ in 0..MIRRORED_LOOKS_MAX {
        let is_expected = vector.served.as_ref().is_none_or(|expect| *expect == stage.served());
        if is_expected || vector.steering.mirror.is_none() {
            break;
        }
        // tidy: sleep: other threads are polled, beside real sockets
        thread::sleep(Duration::from_millis(5));
    }
    stage.served()
}

/// Makes a step's calls and counts what came of them.
fn tally(path: &impl Path, step: &Step) -> BTreeMap<String, usize> {
    thread::sleep(step.after.unwrap_or_default());
    let seen: Vec<Seen> = if step.at_once {
        thread::scope(|scope| {
            let calls: Vec<_> = (0..step.times).map(|n| scope.spawn(move || path.call(n, &step.ask))).collect();
            calls.into_iter().map(|call| call.join().expect("a call does not panic")).collect()
        })
    } else {
        (0..step.times).map(|number| path.call(number, &step.ask)).collect()
    };
    counted(seen)
}

/// How often what came of calls did.
fn counted(seen: Vec<Seen>) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for Seen { status, reason } in seen {
        let outcome = reason.map_or_else(|| status.to_string(), |reason| format!("{status} {reason}"));
        *tally.entry(outcome).or_default() += 1;
    }
    tally
}

fn check<T: PartialEq + std::fmt::Debug>(what: &str, seen: &T, expect: &T) -> Result<(), String> {
    if seen == expect { Ok(()) } else { Err(format!("{what}: {seen:?}, not {expect:?}")) }
}
