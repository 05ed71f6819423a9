//! Topics as sources and sinks: what is taken is answered when it is done with, at the far end of the stream.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bowline_model::error::chain;
use bowline_runtime::BoxFuture;
use bowline_telemetry::{SpanContext, current};
use futures_util::stream::{Stream, StreamExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot, watch};

use super::Flow as _;
use crate::messages::{self, Consumer, Failure, Incoming, Outgoing, port};

/// How long a message that a stream took may stay unanswered; its lease is extended until then.
pub const UNANSWERED_MAX: Duration = Duration::from_hours(24);
/// How many messages [`publish_each`](Publish::publish_each) has under way.
const PUBLISHED_AT_ONCE_MAX: usize = 16;

/// The messages of a topic; see [`Consumer::stream`].
pub struct Source<T> {
    taken: mpsc::Receiver<Delivered<T>>,
    draining: Option<BoxFuture<'static, ()>>,
}

/// A message of a stream, to be answered. Dropped unanswered it is let go of: it is tried again, as one that failed.
#[derive(Debug)]
pub struct Delivered<T> {
    /// What was published.
    pub value: T,
    /// The message.
    pub message: Arc<port::Message>,
    /// The number of the try; the first is 1.
    pub attempt: u32,
    receipt: Receipt,
}

/// What answers a message, or a share in that: a message is done when all shares are acknowledged. Dropped it lets go
/// of the message.
#[derive(Debug)]
#[must_use = "a message that is not answered is tried again"]
pub struct Receipt {
    shared: Arc<Shared>,
    /// Whether dropping it is no matter.
    is_answered: AtomicBool,
    context: Option<SpanContext>,
}

/// What the shares of a receipt share: gone when all of them are.
#[derive(Debug)]
struct Shared(Mutex<Option<Answer>>);

type Answer = oneshot::Sender<Result<(), Failure>>;

impl Shared {
    /// Whether nobody waits for the answer any more: the message was taken away, and comes again.
    fn is_lost(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(Answer::is_closed)
    }

    fn take(&self) -> Option<Answer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(answer) = self.take() {
            answer.send(Ok(())).ok();
        }
    }
}

/// What answers several messages together: those of a window, for example. At most as many as the consumer takes at a
/// time. Dropped it lets go of them.
#[derive(Debug, Default)]
#[must_use = "messages that are not answered are tried again"]
pub struct Receipts(Vec<Receipt>);

impl Consumer<'_> {
    /// The messages as a stream, from when the service [serves](crate::Microservice::serve) until it stops.
    ///
    /// Each is answered by whoever holds it; it is at least once that each is handed out. At most
    /// [`Consumer::at_a_time`] are unanswered: that is the bound of whatever stands behind the stream, and more are not
    /// asked of the bus. The limit of [`Consumer::time_max`] does not hold: a message may wait [`UNANSWERED_MAX`].
    /// A message that is no such value is a dead letter at once. When the service begins to stop, the stream ends;
    /// what it gave can still be answered.
    ///
    /// When the stream is dropped, this process leaves the group, and says so in the log: what the stream gave can be
    /// answered for a further 30 s, what it did not give is delivered to others, as a try that failed. A lease may be
    /// lost, because the server was away for longer, for example: what is not given yet is left out then, what is
    /// counts no more among those that are unanswered.
    ///
    /// A message's consumer span lasts until it is answered; what is [published](Publish::publish_each) for it, is
    /// below that.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use bowline::stream::{Flow, StreamExt};
    /// # #[derive(serde::Deserialize)] struct OrderPlaced { id: String }
    /// # async fn store(orders: &[OrderPlaced]) {}
    /// # fn run(service: &mut bowline::Microservice) {
    /// let mut batches = Box::pin(service.consumer("order.placed").at_a_time(100).stream::<OrderPlaced>()
    ///     .batch(50, Duration::from_secs(1)));
    /// bowline::runtime::task::spawn(async move {
    ///     while let Some(batch) = batches.next().await {
    ///         let (orders, receipts): (Vec<_>, Vec<_>) = batch.into_iter().map(|it| it.split()).unzip();
    ///         store(&orders).await;
    ///         receipts.into_iter().for_each(|receipt| receipt.ack());
    ///     }
    /// });
    /// # }
    /// ```
    pub fn stream<T: DeserializeOwned + Send + 'static>(self) -> Source<T> {
        let (give, taken) = mpsc::channel(self.credit().max(1));
        let mut draining = self.draining();
        let is_gone = gone(give.clone(), draining.clone(), self.topic().to_owned());
        self.time_max(UNANSWERED_MAX).each_until(is_gone, move |incoming: Incoming<T>| {
            let give = give.clone();
            async move {
                let Incoming { value, message, attempt } = incoming;
                let (answer, answered) = oneshot::channel();
                let shared = Arc::new(Shared(Mutex::new(Some(answer))));
                let receipt = Receipt { shared, is_answered: AtomicBool::new(false), context: current::context() };
                let given = give.send(Delivered { value, message, attempt, receipt }).await;
                given.map_err(|_| Failure::retry("nobody reads the stream any more"))?;
                answered.await.unwrap_or_else(|_| Err(Failure::retry("the stream let go of it")))
            }
        });
        let draining = async move {
            let _draining_or_gone = draining.wait_for(|is_draining| *is_draining).await;
        };
        Source { taken, draining: Some(Box::pin(draining)) }
    }
}

/// Waits until nobody reads a stream of that topic any more.
async fn gone<T>(give: mpsc::Sender<Delivered<T>>, draining: watch::Receiver<bool>, topic: String) {
    give.closed().await;
    if !*draining.borrow() {
        tracing::warn!(topic, "nobody reads the stream of the topic any more: no message is taken");
    }
}

impl<T> Stream for Source<T> {
    type Item = Delivered<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.draining.as_mut().is_some_and(|draining| draining.as_mut().poll(cx).is_ready()) {
            this.draining = None;
            // What is here already is given out.
            this.taken.close();
        }
        loop {
            match ready!(this.taken.poll_recv(cx)) {
                // It comes again, here or elsewhere.
                Some(delivered) if delivered.receipt.shared.is_lost() => drop(delivered),
                next => return Poll::Ready(next),
            }
        }
    }
}

impl<T> fmt::Debug for Source<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}

impl<T> Delivered<T> {
    /// Says that it is done: it does not come again.
    pub fn ack(self) {
        self.receipt.ack();
    }

    /// Says that it is not done, and what is to become of it.
    pub fn fail(self, failure: Failure) {
        self.receipt.fail(failure);
    }

    /// The same message with what is made of its value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Delivered<U> {
        let Self { value, message, attempt, receipt } = self;
        Delivered { value: f(value), message, attempt, receipt }
    }

    /// A share in answering it, for what has no more than a look at it, as a window has. From then on the shares
    /// answer the message, and dropping this is no matter.
    ///
    /// Messages of one ordering key come one after the other: the next when this one is answered.
    pub fn share(&self) -> Receipt {
        let Receipt { shared, is_answered, context } = &self.receipt;
        is_answered.store(true, Relaxed);
        Receipt { shared: shared.clone(), is_answered: AtomicBool::new(false), context: *context }
    }

    /// The value, and what answers the message.
    pub fn split(self) -> (T, Receipt) {
        (self.value, self.receipt)
    }
}

impl Receipt {
    /// Says that the message is done, as far as this share goes. Where its lease was lost, that changes nothing: it
    /// comes again.
    pub fn ack(self) {
        self.is_answered.store(true, Relaxed);
    }

    /// Says that the message is not done, and what is to become of it: whoever of its shares says so first.
    pub fn fail(self, failure: Failure) {
        if let Some(answer) = self.shared.take() {
            answer.send(Err(failure)).ok();
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if !self.is_answered.load(Relaxed) {
            drop(self.shared.take());
        }
    }
}

impl Receipts {
    /// Adds one.
    pub fn push(&mut self, receipt: Receipt) {
        self.0.push(receipt);
    }

    /// Adds all of the others.
    pub fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    /// Says that all of them are done.
    pub fn ack(self) {
        self.0.into_iter().for_each(Receipt::ack);
    }

    /// Says that none of them is done.
    pub fn fail(self, failure: &Failure) {
        self.0.into_iter().for_each(|receipt| receipt.fail(failure.clone()));
    }
}

impl From<Receipt> for Receipts {
    fn from(receipt: Receipt) -> Self {
        Self(vec![receipt])
    }
}

/// A message to publish, and what to answer when it is durable.
#[derive(Debug)]
pub struct Answering {
    outgoing: Outgoing,
    receipts: Receipts,
}

impl From<Outgoing> for Answering {
    fn from(outgoing: Outgoing) -> Self {
        Self { outgoing, receipts: Receipts::default() }
    }
}

impl<R: Into<Receipts>> From<(Outgoing, R)> for Answering {
    fn from((outgoing, receipts): (Outgoing, R)) -> Self {
        Self { outgoing, receipts: receipts.into() }
    }
}

impl Answering {
    async fn publish(self) -> Result<port::Published, messages::Error> {
        let Self { outgoing, receipts } = self;
        let context = receipts.0.first().and_then(|receipt| receipt.context);
        let published = current::within(context, outgoing.publish()).await;
        match &published {
            Ok(_) => receipts.ack(),
            Err(error) => receipts.fail(&Failure::retry(chain(error))),
        }
        published
    }
}

/// Whose turn a message waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Key(String),
    /// Nobody's.
    Own(u64),
}

/// Topics as sinks; every stream has it.
pub trait Publish: Stream + Sized {
    /// Publishes what `make` makes of each item, and tells of each when it is durable. At most 16 are under way, those
    /// of one ordering key one after the other; so a bus that is slow, or away, holds back the source.
    ///
    /// `make` may give a [`Receipt`] or [`Receipts`] with the message: they are answered when it is durable, and failed
    /// when it is not, which sends them to be tried again.
    ///
    /// ```no_run
    /// # use bowline::stream::{Publish, StreamExt};
    /// # #[derive(serde::Deserialize, serde::Serialize)] struct Order { id: String }
    /// # fn run(service: &mut bowline::Microservice) {
    /// let accepted = service.topic("order.accepted");
    /// let relayed = service.consumer("order.placed").stream::<Order>().publish_each(move |placed| {
    ///     let (order, receipt) = placed.split();
    ///     // The same id each time: published again it is there once.
    ///     (accepted.message(&order).id(format!("accepted/{}", order.id)).key(&order.id), receipt)
    /// });
    /// # }
    /// ```
    fn publish_each<F, M>(self, mut make: F) -> impl Stream<Item = Result<port::Published, messages::Error>>
    where
        F: FnMut(Self::Item) -> M,
        M: Into<Answering>,
    {
        let mut number = 0;
        let turn = move |answering: &Answering| {
            number += 1;
            answering.outgoing.ordering_key().map_or(Turn::Own(number), |key| Turn::Key(key.to_owned()))
        };
        self.map(move |item| make(item).into()).by_key(turn, PUBLISHED_AT_ONCE_MAX, Answering::publish)
    }
}

impl<S: Stream> Publish for S {}
