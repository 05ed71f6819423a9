//! What a topic is asked for.

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::group::Ready;
use crate::{
    Error,
    delivery::{Position, Verdict},
    port::{DeadLetter, GroupSettings, NewMessage, Published, Start, Tail, TopicInfo, TopicSettings, Which},
};

/// Where an answer goes.
pub(super) type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// What a topic is asked for.
#[derive(Debug)]
pub(super) enum Command {
    Declare {
        settings: TopicSettings,
        answer: Answer<()>,
    },
    Publish(Publish),
    Join {
        group: String,
        settings: GroupSettings,
        credit: usize,
        answer: Answer<Joined>,
    },
    /// About a message that is with a consumer.
    Lease {
        group: String,
        position: Position,
        attempt: u32,
        epoch: u64,
        asks: Asks,
        answer: Answer<()>,
    },
    Seek {
        group: String,
        to: Start,
        answer: Answer<()>,
    },
    Remove {
        group: String,
        answer: Answer<()>,
    },
    Info {
        answer: Answer<TopicInfo>,
    },
    Read {
        from: Position,
        limit: usize,
        answer: Answer<Vec<std::sync::Arc<crate::Message>>>,
    },
    /// The same, with where the topic begins and ends.
    Tail {
        from: Position,
        limit: usize,
        answer: Answer<Tail>,
    },
    Dead {
        after: Position,
        limit: usize,
        answer: Answer<Vec<DeadLetter>>,
    },
    Redrive {
        which: Which,
        answer: Answer<usize>,
    },
    Purge {
        which: Which,
        answer: Answer<usize>,
    },
    Close {
        answer: Answer<()>,
    },
}

/// A message to be published.
#[derive(Debug)]
pub(super) struct Publish {
    pub(super) message: NewMessage,
    /// The only group that gets it.
    pub(super) only: Option<String>,
    /// Its part of the bytes that may wait; none where they are counted otherwise.
    pub(super) room: Option<OwnedSemaphorePermit>,
    pub(super) answer: Answer<Published>,
}

/// What a consumer says of its message.
#[derive(Debug)]
pub(super) enum Asks {
    Ack,
    Nack { failure: String, verdict: Verdict },
    Extend { by: std::time::Duration },
}

/// A consumer's place in a group.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) ready: mpsc::Receiver<Ready>,
}
