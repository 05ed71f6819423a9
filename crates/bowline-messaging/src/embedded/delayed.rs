//! How many messages of a topic are delayed, whether or not a group has seen them: they take memory of each group.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use crate::port::Message;

/// When those are due that are delayed.
#[derive(Debug)]
pub(super) struct Delayed {
    due: BinaryHeap<Reverse<i64>>,
    max: usize,
}

impl Delayed {
    pub(super) fn new(max: usize) -> Self {
        Self { due: BinaryHeap::new(), max }
    }

    /// How many there may be.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Messages that are in the topic now.
    pub(super) fn add(&mut self, messages: &[Arc<Message>]) {
        let delayed = messages.iter().filter(|message| message.due_ms > message.published_ms);
        self.due.extend(delayed.map(|message| Reverse(message.due_ms)));
    }

    /// How many more there may be.
    pub(super) fn left(&mut self, now: i64) -> usize {
        while self.due.peek().is_some_and(|Reverse(due)| *due <= now) {
            self.due.pop();
        }
        self.max.saturating_sub(self.due.len())
    }
}
