//! Reading what comes, by position.

use std::{sync::Arc, time::Duration};

use bowline_runtime::{BoxFuture, time};

use crate::{Error, Message, TAIL_WAIT_MAX, Tail, delivery::Position};

/// How often is looked where nobody tells.
pub(crate) const EVERY: Duration = Duration::from_millis(100);

impl Tail {
    /// Of what was read from the position before `from` on, at most `limit` messages and that one.
    pub fn new(first: Position, next: Position, from: Position, mut messages: Vec<Arc<Message>>, limit: usize) -> Self {
        let is_before = messages.first().is_some_and(|message| message.position < from);
        let before = is_before.then(|| messages.remove(0).id.clone());
        messages.truncate(limit);
        // What was published after it was asked where the topic ends.
        let next = messages.last().map_or(next, |last| next.max(last.position + 1));
        Self { first, next, before, messages }
    }

    /// Whether it is to be told: there is something, or nothing will come.
    pub fn is_due(&self, from: Position) -> bool {
        !self.messages.is_empty() || !(self.first..=self.next).contains(&from)
    }
}

/// Looks every so often until there is something, for so long at most: for providers that are not told.
pub async fn poll<'a>(
    from: Position,
    wait: Duration,
    every: Duration,
    mut look: impl FnMut() -> BoxFuture<'a, Result<Tail, Error>> + Send,
) -> Result<Tail, Error> {
    let until = time::now() + wait.min(TAIL_WAIT_MAX);
    loop {
        let tail = look().await?;
        let left = until.saturating_duration_since(time::now());
        if tail.is_due(from) || left.is_zero() {
            return Ok(tail);
        }
        time::sleep(every.min(left)).await;
    }
}
