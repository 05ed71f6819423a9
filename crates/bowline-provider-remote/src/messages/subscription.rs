//! A consumer's place in a group of a server, over one answer after the other, and how its deliveries are answered.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_messaging::{Delivery, DeliverySource, Error, Lease, Then, check_lease, check_then, delivery::Position};
use bowline_model::Code;
use bowline_runtime::{
    BoxFuture, rand, task,
    time::{self, Instant},
};
use bowline_transport::{Body, ClientError, HttpClient};
use http::{Request, header};
use tokio::sync::mpsc;

use super::{failure, told};
use crate::{
    Link,
    gather::Gather,
    lines::{Fault, Lines},
    wire::{DeliveryAnswer, DeliveryAnswers, DeliveryOutcomes, NewSubscription, NextTry, SubscriptionEvent},
};

/// How long the head and the first line of a subscription may take.
const JOIN_MAX: Duration = Duration::from_secs(10);

/// The longest line: the largest message in base64, with its headers.
const LINE_BYTES_MAX: usize = 2 << 20;

/// The first wait before joining again, and the longest; it doubles, and half of it is up to chance.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// After which time it is said again of a delivery that it was let go, where that did not arrive.
const AGAIN: Duration = Duration::from_secs(1);

/// Why a message is tried again that its consumer did not answer in time.
const ENDED: &str = "its lease ended without an answer";

/// The longest text of a failure that is sent.
const FAILURE_BYTES_MAX: usize = 4096;

/// What is answered of the deliveries of one session.
type Answering = Gather<DeliveryAnswer, ()>;

/// A consumer's place in a group.
pub(super) struct Source {
    link: Link,
    path: String,
    joining: NewSubscription,
    /// None while the server is away, and once it is over.
    session: Option<Session>,
    away: Option<Away>,
    is_over: bool,
}

/// What one answer of the server tells. It is read whether or not its consumer asks: a server cuts off who takes
/// nothing of an answer for long.
struct Session {
    events: mpsc::Receiver<Event>,
    answering: Answering,
    /// The last delivery that was taken from here, and when it is let go: its lease ends then.
    taken: Option<(u64, Instant)>,
    /// The last one of which the server has an answer for certain.
    answered: Arc<AtomicU64>,
    /// Whether it has told something.
    is_well: Arc<AtomicBool>,
    reading: task::Guarded<()>,
}

/// A delivery, and when it was read; or why there are no more.
type Event = Result<(Instant, SubscriptionEvent), Error>;

/// When to join again.
#[derive(Debug, Clone, Copy)]
struct Away {
    wait: Duration,
    until: Instant,
}

impl Source {
    /// Joins a group.
    pub(super) async fn join(link: &Link, path: String, joining: NewSubscription) -> Result<Self, Error> {
        let session = Session::open(link, &path, &joining).await?;
        Ok(Self { link: link.clone(), path, joining, session: Some(session), away: None, is_over: false })
    }

    async fn deliver(&mut self) -> Result<Delivery, Error> {
        loop {
            if self.is_over {
                return Err(Error::Closed);
            }
            let Some(session) = &mut self.session else {
                if let Err(error) = self.rejoin().await {
                    self.fail(error)?;
                }
                continue;
            };
            match session.next().await {
                Ok((read, SubscriptionEvent::Delivery { lease, attempt, left_ms, message })) => {
                    // By this clock: the server's may differ.
                    let until = read + Duration::from_millis(left_ms);
                    session.taken = Some((lease, until));
                    // What its consumer did not come to in time is others' meanwhile.
                    if until > time::now() {
                        let (answering, answered) = (session.answering.clone(), session.answered.clone());
                        let leased = Leased { answering, answered, lease, position: message.position };
                        return Ok(Delivery::new(Arc::new(message.into()), attempt, until, leased));
                    }
                }
                Ok(_) => {}
                Err(error) => self.fail(error)?,
            }
        }
    }

    /// Waits for its time and joins again.
    async fn rejoin(&mut self) -> Result<(), Error> {
        if let Some(away) = self.away {
            time::sleep_until(away.until).await;
        }
        self.session = Some(Session::open(&self.link, &self.path, &self.joining).await?);
        tracing::info!(path = self.path, "joined again");
        Ok(())
    }

    /// Has it join again after what passes; anything else ends the subscription.
    fn fail(&mut self, error: Error) -> Result<(), Error> {
        if self.session.take().is_some_and(|session| session.is_well.load(Relaxed)) {
            self.away = None;
        }
        if !error.retryable() {
            self.is_over = true;
            return Err(error);
        }
        let (first, last) = BACKOFF;
        let wait = self.away.map_or(first, |away| (away.wait * 2).min(last));
        let until = time::now() + wait / 2 + (wait / 2).mul_f64(rand::unit());
        if self.away.is_none() {
            tracing::warn!(path = self.path, error = bowline_model::error::chain(&error), "the server is away");
        }
        self.away = Some(Away { wait, until });
        Ok(())
    }
}

impl Session {
    async fn open(link: &Link, path: &str, joining: &NewSubscription) -> Result<Self, Error> {
        time::timeout(JOIN_MAX, Self::begin(link, path, joining))
            .await
            .unwrap_or(Err(Error::Unavailable { retry_after: None }))
    }

    async fn begin(link: &Link, path: &str, joining: &NewSubscription) -> Result<Self, Error> {
        let body = serde_json::to_vec(joining).expect("texts and numbers are JSON");
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json").body(Body::full(body));
        let answer = link.watched.stream(request.expect("checked names make a path")).await.map_err(failure)?;
        let mut lines = Lines::of(answer).await.map_err(fault_of)?.with_line_bytes_max(LINE_BYTES_MAX);
        let session = match lines.next().await.map_err(fault_of)? {
            Some(SubscriptionEvent::Joined { session }) => session,
            Some(SubscriptionEvent::Error(fault)) => return Err(fault.into_error()),
            _ => return Err(Error::Unavailable { retry_after: None }),
        };
        let (client, path) = (link.asked.clone(), format!("/v1/subscriptions/{session}/answers"));
        let answering = Gather::new(move |answers| {
            let (client, path) = (client.clone(), path.clone());
            Box::pin(async move { say(&client, &path, answers).await })
        });
        let (sender, events) = mpsc::channel(joining.credit.max(1));
        let is_well = Arc::new(AtomicBool::new(false));
        let reading = task::Guarded::new(task::spawn(read(lines, sender, Arc::clone(&is_well))));
        Ok(Self { events, answering, taken: None, answered: Arc::default(), is_well, reading })
    }

    async fn next(&mut self) -> Event {
        if self.reading.is_finished() {
            // With the answer, all that it delivered is lost: nobody need begin with it.
            while let Ok(event) = self.events.try_recv() {
                event?;
            }
        }
        loop {
            // Of what was not answered the server does not know whether it was read, and tells of no more than the credit.
            let unanswered = self.taken.filter(|(lease, _)| *lease > self.answered.load(Relaxed));
            let event = match unanswered {
                None => Ok(self.events.recv().await),
                Some((lease, until)) => time::timeout_at(until, self.events.recv()).await.map_err(|_| lease),
            };
            match event {
                Ok(event) => return event.unwrap_or(Err(Error::Unavailable { retry_after: None })),
                Err(lease) => self.let_go(lease).await,
            }
        }
    }

    /// Says of a delivery whose lease ended what its end says, again and again until the server has heard it.
    async fn let_go(&mut self, lease: u64) {
        let nack = DeliveryAnswer::Nack { lease, failure: ENDED.to_owned(), then: NextTry::Retry };
        let told = self.answering.ask(nack, ENDED.len()).await;
        if let Err(error) = &told {
            tracing::debug!(lease, error = bowline_model::error::chain(error), "a delivery was let go");
        }
        note(&self.answered, lease, &told);
        self.taken = Some((lease, time::now() + AGAIN));
    }
}

/// Reads deliveries until the answer ends.
async fn read(mut lines: Lines, events: mpsc::Sender<Event>, is_well: Arc<AtomicBool>) {
    loop {
        let event = match lines.next().await {
            Ok(Some(SubscriptionEvent::Error(fault))) => Err(fault.into_error()),
            Ok(Some(event)) => {
                is_well.store(true, Relaxed);
                if !matches!(event, SubscriptionEvent::Delivery { .. }) {
                    continue;
                }
                Ok((time::now(), event))
            }
            // An answer that ends without a word: the server does.
            Ok(None) => Err(Error::Unavailable { retry_after: None }),
            Err(fault) => Err(fault_of(fault)),
        };
        let is_end = event.is_err();
        if events.send(event).await.is_err() || is_end {
            return;
        }
    }
}

/// Notes that the server has heard of a delivery, if it has.
fn note(answered: &AtomicU64, lease: u64, told: &Result<(), Error>) {
    if matches!(told, Ok(()) | Err(Error::LeaseLost { .. })) {
        answered.fetch_max(lease, Relaxed);
    }
}

/// Answers many deliveries.
async fn say(client: &HttpClient, path: &str, answers: Vec<DeliveryAnswer>) -> Result<Vec<Result<(), Error>>, Error> {
    let answered: Result<DeliveryOutcomes, _> = client.post_json(path, &DeliveryAnswers { answers }).await;
    match answered {
        Ok(DeliveryOutcomes { outcomes }) => {
            let result = |fault: Option<_>| {
                fault.map_or(Ok(()), |fault: crate::wire::MessageFault| Err(super::ended(fault.into_error())))
            };
            Ok(outcomes.into_iter().map(result).collect())
        }
        // The server knows no such session any more: all of its leases have ended.
        Err(ClientError::Answer { problem, .. }) if problem.code == Code::NotFound => {
            Err(Error::LeaseLost { position: 0 })
        }
        Err(error) => Err(failure(error)),
    }
}

fn fault_of(fault: Fault) -> Error {
    match fault {
        Fault::Refused(problem) => told(*problem),
        Fault::Broken(cause) => Error::Io(cause),
    }
}

impl DeliverySource for Source {
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, Error>> {
        Box::pin(self.deliver())
    }
}

/// How a delivery is answered.
struct Leased {
    answering: Answering,
    answered: Arc<AtomicU64>,
    lease: u64,
    position: Position,
}

impl Leased {
    async fn ask(&self, answer: DeliveryAnswer, bytes: usize) -> Result<(), Error> {
        let told = self.answering.ask(answer, bytes + 64).await;
        note(&self.answered, self.lease, &told);
        told.map_err(|error| match error {
            Error::LeaseLost { .. } => Error::LeaseLost { position: self.position },
            error => error,
        })
    }
}

impl Lease for Leased {
    fn ack(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.ask(DeliveryAnswer::Ack { lease: self.lease }, 0))
    }

    fn nack(&self, failure: &str, then: Then) -> BoxFuture<'_, Result<(), Error>> {
        if let Err(error) = check_then(then) {
            return Box::pin(async { Err(error) });
        }
        let failure = failure[..failure.floor_char_boundary(FAILURE_BYTES_MAX)].to_owned();
        let bytes = failure.len();
        Box::pin(self.ask(DeliveryAnswer::Nack { lease: self.lease, failure, then: then.into() }, bytes))
    }

    fn extend(&self, by: Duration) -> BoxFuture<'_, Result<(), Error>> {
        if let Err(error) = check_lease(by) {
            return Box::pin(async { Err(error) });
        }
        Box::pin(self.ask(DeliveryAnswer::Extend { lease: self.lease, by }, 0))
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("path", &self.path).finish_non_exhaustive()
    }
}
