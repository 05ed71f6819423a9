//! A session: what a client has subscribed to, and the messages that it is to have.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use rumqttc_v5::mqttbytes::{QoS, v5::DisconnectReasonCode};
use tokio::sync::Notify;

use crate::message::Message;

/// Sessions by number, never used twice within a journal.
pub(crate) type SessionId = u64;

/// Messages by number, in the order in which they came; 0 for those that are in no journal.
pub(crate) type MessageId = u64;

/// Last wills by number.
pub(crate) type WillId = u64;

/// What a subscription asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Options {
    /// At most.
    pub(crate) qos: QoS,
    /// Not what the same client publishes.
    pub(crate) is_no_local: bool,
    /// Be told of a message that was published to be retained.
    pub(crate) keeps_retain: bool,
}

/// What one client is to have, connected or not.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Arc<str>,
    /// How long it is kept without a connection; 0: it ends with it.
    pub(crate) expiry_s: u32,
    /// The journal knows it.
    pub(crate) is_recorded: bool,
    pub(crate) filters: BTreeMap<String, Options>,
    /// What was not sent over this connection yet, oldest first.
    pub(crate) queue: VecDeque<Queued>,
    /// What was sent, and is not acknowledged, oldest first.
    pub(crate) inflight: VecDeque<Queued>,
    last_pkid: u16,
    pub(crate) connection: Option<Attached>,
    /// When its last connection ended; 0 before the first one did.
    pub(crate) left_ms: u64,
    /// Somebody waits for room in it.
    pub(crate) is_full: bool,
    /// Of messages that it is promised.
    pub(crate) promised_bytes: usize,
    /// Somebody waits until fewer bytes are promised to it.
    pub(crate) is_heavy: bool,
    pub(crate) will: Option<WillId>,
}

/// A message that a session is to have.
#[derive(Debug, Clone)]
pub(crate) struct Queued {
    pub(crate) id: MessageId,
    pub(crate) message: Arc<Message>,
    pub(crate) qos: QoS,
    /// It is told that the message was retained.
    pub(crate) is_retained: bool,
    /// It may have been sent before.
    pub(crate) is_dup: bool,
    /// Under which it was sent; 0 before.
    pub(crate) pkid: u16,
}

/// A session's connection.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) id: u64,
    /// Something waits for it here.
    pub(crate) wake: Arc<Notify>,
    /// Messages that may be on their way.
    pub(crate) inflight_max: usize,
    /// It is to close, and why.
    pub(crate) cut: Option<DisconnectReasonCode>,
}

impl Session {
    pub(crate) fn new(client: Arc<str>, expiry_s: u32) -> Self {
        Self {
            client,
            expiry_s,
            is_recorded: false,
            filters: BTreeMap::new(),
            queue: VecDeque::new(),
            inflight: VecDeque::new(),
            last_pkid: 0,
            connection: None,
            left_ms: 0,
            is_full: false,
            promised_bytes: 0,
            is_heavy: false,
            will: None,
        }
    }

    /// Whether it outlives its connection: what comes for it is in the journal.
    pub(crate) fn is_lasting(&self) -> bool {
        self.expiry_s > 0
    }

    /// All that it does not have yet.
    pub(crate) fn count(&self) -> usize {
        self.queue.len() + self.inflight.len()
    }

    /// All of it, oldest first.
    pub(crate) fn messages(&self) -> impl Iterator<Item = &Queued> {
        self.inflight.iter().chain(&self.queue)
    }

    pub(crate) fn wake(&self) {
        if let Some(connection) = &self.connection {
            connection.wake.notify_one();
        }
    }

    /// Has its connection closed, which ends the session unless it is a lasting one.
    pub(crate) fn cut(&mut self, reason: DisconnectReasonCode) {
        if let Some(connection) = &mut self.connection {
            connection.cut.get_or_insert(reason);
            connection.wake.notify_one();
        }
    }

    /// Forgets all that it is not promised; answers how many bytes that was.
    pub(crate) fn forget_passing(&mut self) -> usize {
        let bytes = self.passing_bytes();
        self.queue.retain(|queued| queued.id > 0);
        self.inflight.retain(|queued| queued.id > 0);
        bytes
    }

    /// How many bytes it is to have without having been promised them.
    pub(crate) fn passing_bytes(&self) -> usize {
        self.messages().filter(|queued| queued.id == 0).map(|queued| queued.message.bytes()).sum()
    }

    /// Sends all that was not acknowledged again, under the number that it had.
    pub(crate) fn rewind(&mut self) {
        while let Some(queued) = self.inflight.pop_back() {
            self.queue.push_front(Queued { is_dup: true, ..queued });
        }
    }

    /// A packet id that nothing on its way has. There is one: fewer are on their way than there are.
    pub(crate) fn next_pkid(&mut self) -> u16 {
        loop {
            self.last_pkid = self.last_pkid.checked_add(1).unwrap_or(1);
            // What was sent before and is to be sent again is in front.
            let again = self.queue.iter().take_while(|queued| queued.pkid != 0);
            let is_taken = self.inflight.iter().chain(again).any(|queued| queued.pkid == self.last_pkid);
            if !is_taken {
                return self.last_pkid;
            }
        }
    }

    /// Takes what was acknowledged off those that are on their way.
    pub(crate) fn acknowledge(&mut self, pkid: u16) -> Option<Queued> {
        let at = self.inflight.iter().position(|queued| queued.pkid == pkid)?;
        self.inflight.remove(at)
    }

    /// Takes a message out by its number.
    pub(crate) fn remove(&mut self, id: MessageId) -> Option<Queued> {
        for queue in [&mut self.inflight, &mut self.queue] {
            if let Some(at) = queue.iter().position(|queued| queued.id == id) {
                return queue.remove(at);
            }
        }
        None
    }
}

impl Options {
    /// The best of two subscriptions that match one message.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            qos: if self.qos == QoS::AtMostOnce { other.qos } else { self.qos },
            is_no_local: self.is_no_local && other.is_no_local,
            keeps_retain: self.keeps_retain || other.keeps_retain,
        }
    }

    pub(crate) fn to_byte(self) -> u8 {
        u8::from(self.qos != QoS::AtMostOnce) | u8::from(self.is_no_local) << 1 | u8::from(self.keeps_retain) << 2
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        let qos = if byte & 1 == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        (byte < 8).then_some(Self { qos, is_no_local: byte & 2 != 0, keeps_retain: byte & 4 != 0 })
    }
}
