//! What many ask at once goes in one request, and nobody waits for company.
//!
//! An ask that finds no request under way is sent at once; those that come while one is under way go together in the
//! next. Nothing runs while nobody asks.

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

/// The most asks that wait to be sent.
const WAITING_MAX: usize = 8192;

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
    under_way: usize,
}

struct Waiting<A, R> {
    ask: A,
    bytes: usize,
    answer: oneshot::Sender<Result<R, Error>>,
}

impl<A: std::marker::Send + 'static, R: std::marker::Send + 'static> Gather<A, R> {
    pub(crate) fn new(
        send: impl Fn(Vec<A>) -> BoxFuture<'static, Answers<R>> + std::marker::Send + Sync + 'static,
    ) -> Self {
        let state = Mutex::new(State { waiting: VecDeque::new(), under_way: 0 });
        Self(Arc::new(Inner { send: Box::new(send), state }))
    }

    /// Asks, with about so many bytes.
    ///
    /// Dropping the future leaves open whether it is asked.
    pub(crate) async fn ask(&self, ask: A, bytes: usize) -> Result<R, Error> {
        let (answer, answered) = oneshot::channel();
        let begins = {
            let mut state = self.0.state();
            if state.waiting.len() >= WAITING_MAX {
                return Err(Error::TooMany { what: "messages that wait to be sent", max: WAITING_MAX });
            }
            state.waiting.push_back(Waiting { ask, bytes, answer });
            let begins = state.under_way < UNDER_WAY_MAX;
            state.under_way += usize::from(begins);
            begins
        };
        if begins {
            task::spawn(Arc::clone(&self.0).run());
        }
        // The server left it without an answer, or the runtime ends.
        answered.await.unwrap_or(Err(Error::Unavailable { retry_after: None }))
    }
}

impl<A: std::marker::Send + 'static, R: std::marker::Send + 'static> Inner<A, R> {
    /// Sends what waits, until nothing does.
    async fn run(self: Arc<Self>) {
        loop {
            // Whoever was answered a moment ago gets a chance to ask again before this is sent.
            task::yield_now().await;
            let Some(batch) = self.take() else { return };
            let (asks, answers): (Vec<A>, Vec<_>) =
                batch.into_iter().map(|waiting| (waiting.ask, waiting.answer)).unzip();
            match (self.send)(asks).await {
                Ok(results) => {
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

    /// What goes together now; none: this one ends.
    fn take(&self) -> Option<Vec<Waiting<A, R>>> {
        let mut state = self.state();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(next) = state.waiting.front()
            && (batch.is_empty() || (batch.len() < TOGETHER_MAX && bytes + next.bytes <= BYTES_MAX))
        {
            bytes += next.bytes;
            batch.extend(state.waiting.pop_front());
        }
        if batch.is_empty() {
            state.under_way -= 1;
            return None;
        }
        Some(batch)
    }

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
}
