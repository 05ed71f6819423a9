//! What many ask at once goes in one request, and nobody waits for company.
//!
//! An ask is sent at once, up to four requests at a time; those that come meanwhile go together in the next one. So asks
//! that nobody waited for between may arrive in another order. Nothing runs while nobody asks.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bowline_messaging::Error;
use bowline_runtime::{BoxFuture, task};
use tokio::sync::oneshot;

/// The most asks of one request.
pub(crate) const TOGETHER_MAX: usize = 256;

/// The most bytes of one request's asks, unless it is a single one: well below what a server reads of a body.
const BYTES_MAX: usize = 4 << 20;

/// The most requests under way at once.
const UNDER_WAY_MAX: usize = 4;

/// The most asks that wait to be sent, and the most bytes of them.
const WAITING_MAX: usize = 8192;
const WAITING_BYTES_MAX: usize = 64 << 20;

/// The answers to many asks, in their order.
type Answers<R> = Result<Vec<Result<R, Error>>, Error>;

/// Sends asks.
type Send<A, R> = Box<dyn Fn(Vec<A>) -> BoxFuture<'static, Answers<R>> + std::marker::Send + Sync>;

/// Gathers asks. Cheap to clone.
pub(crate) struct Gather<A, R>(Arc<Inner<A, R>>);

struct Inner<A, R> {
    send: Send<A, R>,
    state: Mutex<State<A, R>>,
}

struct State<A, R> {
    waiting: VecDeque<Waiting<A, R>>,
    /// Theirs.
    bytes: usize,
    under_way: usize,
}

/// A place among the requests under way; it is free again when this is dropped, also with its task.
struct Place<A, R> {
    inner: Arc<Inner<A, R>>,
    is_held: bool,
}

/// What became of it is not known.
#[derive(Debug, thiserror::Error)]
#[error("the request ended without an answer to this")]
struct Unanswered;

struct Waiting<A, R> {
    ask: A,
    bytes: usize,
    answer: oneshot::Sender<Result<R, Error>>,
}

impl<A: std::marker::Send + 'static, R: std::marker::Send + 'static> Gather<A, R> {
    pub(crate) fn new(
        send: impl Fn(Vec<A>) -> BoxFuture<'static, Answers<R>> + std::marker::Send + Sync + 'static,
    ) -> Self {
        let state = Mutex::new(State { waiting: VecDeque::new(), bytes: 0, under_way: 0 });
        Self(Arc::new(Inner { send: Box::new(send), state }))
    }

    /// Asks, with about so many bytes.
    ///
    /// Dropping the future leaves open whether it is asked.
    pub(crate) async fn ask(&self, ask: A, bytes: usize) -> Result<R, Error> {
        let (answer, answered) = oneshot::channel();
        let place = {
            let mut state = self.0.state();
            if state.waiting.len() >= WAITING_MAX {
                return Err(Error::TooMany { what: "messages that wait to be sent", max: WAITING_MAX });
            }
            if state.bytes + bytes > WAITING_BYTES_MAX {
                return Err(Error::TooMany { what: "bytes of messages that wait to be sent", max: WAITING_BYTES_MAX });
            }
            state.bytes += bytes;
            state.waiting.push_back(Waiting { ask, bytes, answer });
            let begins = state.under_way < UNDER_WAY_MAX;
            state.under_way += usize::from(begins);
            begins.then(|| Place { inner: Arc::clone(&self.0), is_held: true })
        };
        if let Some(place) = place {
            task::spawn(place.run());
        }
        answered.await.unwrap_or_else(|_| Err(unanswered()))
    }
}

fn unanswered() -> Error {
    Error::Io(Arc::new(Unanswered))
}

impl<A: std::marker::Send + 'static, R: std::marker::Send + 'static> Place<A, R> {
    /// Sends what waits, until nothing does.
    async fn run(mut self) {
        loop {
            // Whoever was answered a moment ago gets a chance to ask again before this is sent.
            task::yield_now().await;
            let Some(batch) = self.take() else { return };
            let (asks, answers): (Vec<A>, Vec<_>) =
                batch.into_iter().map(|waiting| (waiting.ask, waiting.answer)).unzip();
            match (self.inner.send)(asks).await {
                Ok(results) => {
                    let results = results.into_iter().chain(std::iter::repeat_with(|| Err(unanswered())));
                    for (answer, result) in answers.into_iter().zip(results) {
                        answer.send(result).ok();
                    }
                }
                Err(error) => {
                    for answer in answers {
                        answer.send(Err(error.clone())).ok();
                    }
                }
            }
        }
    }

    /// What goes together now; none: this one gives its place back.
    fn take(&mut self) -> Option<Vec<Waiting<A, R>>> {
        let mut state = self.inner.state();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(next) = state.waiting.front()
            && (batch.is_empty() || (batch.len() < TOGETHER_MAX && bytes + next.bytes <= BYTES_MAX))
        {
            bytes += next.bytes;
            batch.extend(state.waiting.pop_front());
        }
        state.bytes -= bytes;
        // At once: whoever asks next begins another one.
        self.is_held = !batch.is_empty();
        state.under_way -= usize::from(!self.is_held);
        self.is_held.then_some(batch)
    }
}

impl<A, R> Drop for Place<A, R> {
    fn drop(&mut self) {
        if !self.is_held {
            return;
        }
        let mut state = self.inner.state();
        state.under_way -= 1;
        if state.under_way > 0 {
            return;
        }
        // Its runtime ended, or it panicked: nobody sends what waits, and nothing of it was.
        state.bytes = 0;
        for waiting in state.waiting.drain(..) {
            waiting.answer.send(Err(Error::Unavailable { retry_after: None })).ok();
        }
    }
}

impl<A, R> Inner<A, R> {
    fn state(&self) -> MutexGuard<'_, State<A, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A, R> Clone for Gather<A, R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use bowline_runtime::task::JoinSet;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn what_is_asked_meanwhile_goes_together() {
        let (sent, gate) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Semaphore::new(0)));
        let (seen, opened) = (Arc::clone(&sent), Arc::clone(&gate));
        let gather = Gather::new(move |asks: Vec<usize>| {
            seen.lock().unwrap().push(asks.len());
            let opened = Arc::clone(&opened);
            Box::pin(async move {
                opened.acquire().await.unwrap().forget();
                Ok(asks.into_iter().map(|ask| if ask == 7 { Err(Error::Closed) } else { Ok(ask * 2) }).collect())
            })
        });
        let mut asked = JoinSet::new();
        for ask in 0..UNDER_WAY_MAX + 1000 {
            let gather = gather.clone();
            asked.spawn(async move { (ask, gather.ask(ask, if ask == 900 { BYTES_MAX } else { 10 }).await) });
            if ask < UNDER_WAY_MAX {
                while sent.lock().unwrap().len() <= ask {
                    task::yield_now().await;
                }
            }
        }
        for _ in 0..100 {
            task::yield_now().await;
        }
        assert_eq!(*sent.lock().unwrap(), [1; UNDER_WAY_MAX], "a lone one does not wait");
        gate.add_permits(1000);
        while let Some(answer) = asked.join_next().await {
            let (ask, answer) = answer.unwrap();
            assert!(if ask == 7 { answer.is_err() } else { answer.unwrap() == ask * 2 });
        }
        let sent = sent.lock().unwrap();
        assert_eq!(sent[UNDER_WAY_MAX..].iter().sum::<usize>(), 1000);
        assert!(sent.len() <= UNDER_WAY_MAX + 7 && sent.iter().all(|count| *count <= TOGETHER_MAX), "{sent:?}");
    }

    #[tokio::test]
    async fn what_waits_is_bounded_by_its_bytes() {
        let gather = Gather::new(|_: Vec<usize>| Box::pin(std::future::pending::<Answers<()>>()));
        let mut asked = JoinSet::new();
        for ask in 0..UNDER_WAY_MAX + 18 {
            let gather = gather.clone();
            asked.spawn(async move { gather.ask(ask, BYTES_MAX).await });
            task::yield_now().await;
        }
        let refused = asked.join_next().await.unwrap().unwrap();
        assert!(matches!(refused, Err(Error::TooMany { max: WAITING_BYTES_MAX, .. })), "{refused:?}");
    }

    #[tokio::test]
    async fn what_the_server_leaves_out_may_have_happened() {
        let gather = Gather::new(|_: Vec<usize>| Box::pin(async { Ok(Vec::<Result<(), Error>>::new()) }));
        assert!(matches!(gather.ask(1, 1).await, Err(Error::Io(_))));
    }

    #[test]
    fn a_request_whose_runtime_ends_gives_its_place_back() {
        let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (ended, other) = (runtime(), runtime());
        let is_away = Arc::new(AtomicBool::new(true));
        let seen = Arc::clone(&is_away);
        let gather = Gather::new(move |asks: Vec<usize>| {
            let is_away = seen.load(Ordering::SeqCst);
            Box::pin(async move {
                if is_away {
                    std::future::pending::<()>().await;
                }
                Ok(asks.into_iter().map(Ok).collect())
            })
        });
        let run_a_while = async || {
            for _ in 0..100 {
                task::yield_now().await;
            }
        };
        let ask = |ask| {
            let gather = gather.clone();
            async move { gather.ask(ask, 1).await }
        };
        for number in 0..UNDER_WAY_MAX {
            ended.spawn(ask(number));
            ended.block_on(run_a_while());
        }
        let waits = other.spawn(ask(99));
        other.block_on(run_a_while());
        assert!(!waits.is_finished());
        drop(ended);
        let waited = other.block_on(waits).unwrap();
        assert!(matches!(waited, Err(Error::Unavailable { .. })), "it was not sent: {waited:?}");
        is_away.store(false, Ordering::SeqCst);
        assert_eq!(other.block_on(ask(7)).unwrap(), 7);
    }
}
