//! The way of a message: from who publishes it into the queues of sessions, and out of them to who acknowledges it.

use std::sync::Arc;

use rumqttc_v5::mqttbytes::{
    QoS,
    v5::{DisconnectReasonCode, Publish},
};

use crate::{
    message::Message,
    record::Record,
    session::{MessageId, Options, Queued, Session, SessionId},
    state::{Gone, State, Ticket, Who},
};

/// What became of a message that was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is on its way; it may be acknowledged once this is durable.
    Taken(Ticket),
    /// A session that is to have it has no room: nothing was done.
    Full,
    /// It was to be retained, and there is no room for more: nothing was done.
    TooManyRetained,
}

/// Who is to have a message, and how.
#[derive(Debug, Clone, Copy)]
struct Target {
    session: SessionId,
    qos: QoS,
    says_retained: bool,
}

/// Packets for a connection.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) packets: Vec<Publish>,
    /// There is more that may be sent now.
    pub(crate) has_more: bool,
}

impl State {
    /// Publishes a message of that session's client, or of nobody's (0).
    pub(crate) fn publish(&mut self, origin: SessionId, message: &Arc<Message>, is_retained: bool) -> Fate {
        let targets = self.targets(origin, message, is_retained);
        if !self.is_room(&targets, message) {
            return Fate::Full;
        }
        // Nothing in it: what is retained of the topic is to be forgotten.
        let is_kept = is_retained && !message.payload.is_empty();
        if is_kept && !self.is_room_to_retain(message) {
            return Fate::TooManyRetained;
        }
        let id = self.next.message;
        self.next.message += 1;
        let mut to = Vec::new();
        for target in targets {
            if self.enqueue(target, id, message) {
                to.push((target.session, target.says_retained));
            }
        }
        let mut ticket = 0;
        if is_retained && !is_kept {
            ticket = self.forget(&message.topic);
        }
        if is_kept {
            self.retain(message);
        }
        if is_kept || !to.is_empty() {
            let record = Record::Message { id, message: Arc::clone(message), is_retained: is_kept, to };
            ticket = ticket.max(self.pending.add(&record));
        }
        self.metrics.published.increment();
        Fate::Taken(ticket)
    }

    fn targets(&self, origin: SessionId, message: &Message, is_retained: bool) -> Vec<Target> {
        let matching = self.filters.matching(&message.topic).into_iter();
        let wanted = matching.filter(|(session, options)| !(options.is_no_local && *session == origin));
        let target = |(session, options): (SessionId, Options)| {
            let qos = if options.qos == QoS::AtMostOnce { options.qos } else { message.qos };
            Target { session, qos, says_retained: is_retained && options.keeps_retain }
        };
        wanted.map(target).collect()
    }

    /// Whether every session that is promised the message has room for it; whoever waits is told when there is.
    fn is_room(&mut self, targets: &[Target], message: &Message) -> bool {
        let (mut is_room, mut bytes) = (true, 0);
        for target in targets.iter().filter(|target| target.qos != QoS::AtMostOnce) {
            let Some(session) = self.sessions.get_mut(&target.session).filter(|session| session.is_lasting()) else {
                continue;
            };
            bytes += message.bytes();
            if session.count() >= self.bounds.queue_messages_max {
                session.is_full = true;
                is_room = false;
            }
        }
        if bytes > 0 && self.queued_bytes > 0 && self.queued_bytes + bytes > self.bounds.queued_bytes_max {
            self.is_full = true;
            is_room = false;
        }
        is_room
    }

    /// Gives a session a message; answers whether it is promised to it, and so in the journal.
    fn enqueue(&mut self, target: Target, id: MessageId, message: &Arc<Message>) -> bool {
        let Target { session, qos, says_retained } = target;
        let is_all_full = self.queued_bytes + message.bytes() > self.bounds.queued_bytes_max;
        let Some(session) = self.sessions.get_mut(&session) else { return false };
        let is_promised = qos != QoS::AtMostOnce && session.is_lasting();
        if qos == QoS::AtMostOnce && session.connection.is_none() {
            return false;
        }
        if !is_promised && (is_all_full || session.count() >= self.bounds.queue_messages_max) {
            self.metrics.dropped.full.increment();
            if qos != QoS::AtMostOnce {
                // It would miss a message: it ends, and so does what it was promised.
                session.cut(DisconnectReasonCode::QuotaExceeded);
            }
            return false;
        }
        self.queued_bytes += message.bytes();
        session.queue.push_back(Queued {
            id: if is_promised { id } else { 0 },
            message: Arc::clone(message),
            qos,
            is_retained: says_retained,
            is_dup: false,
            pkid: 0,
        });
        session.wake();
        is_promised
    }

    fn is_room_to_retain(&self, message: &Message) -> bool {
        let old = self.retained.get(&message.topic);
        let bytes = self.retained_bytes + message.bytes() - old.map_or(0, |old| old.bytes());
        (old.is_some() || self.retained.len() < self.bounds.retained_max) && bytes <= self.bounds.retained_bytes_max
    }

    pub(crate) fn retain(&mut self, message: &Arc<Message>) {
        self.retained_bytes += message.bytes();
        if let Some(old) = self.retained.insert(message.topic.clone(), Arc::clone(message)) {
            self.retained_bytes -= old.bytes();
        }
    }

    /// Forgets what is retained of a topic.
    pub(crate) fn forget(&mut self, topic: &str) -> Ticket {
        let Some(old) = self.retained.remove(topic) else { return 0 };
        self.retained_bytes -= old.bytes();
        self.pending.add(&Record::Forgotten { topic: topic.into() })
    }

    /// Forgets what was retained and has expired.
    pub(crate) fn forget_expired(&mut self, now_ms: u64) {
        let expired = self.retained.iter().filter(|(_, message)| message.is_expired(now_ms));
        let expired: Vec<Box<str>> = expired.map(|(topic, _)| topic.clone()).collect();
        for topic in expired {
            self.forget(&topic);
        }
    }

    /// Whether a session has room for what is retained.
    pub(crate) fn has_room_for(&self, session: SessionId, messages: &[Arc<Message>]) -> bool {
        let count = self.sessions.get(&session).map_or(0, Session::count) + messages.len();
        let bytes = self.queued_bytes + messages.iter().map(|message| message.bytes()).sum::<usize>();
        messages.is_empty() || (count <= self.bounds.queue_messages_max && bytes <= self.bounds.queued_bytes_max)
    }

    /// Gives a session what was retained before it subscribed.
    pub(crate) fn give_retained(&mut self, session: SessionId, message: Arc<Message>, options: Options) -> Ticket {
        let qos = if options.qos == QoS::AtMostOnce { options.qos } else { message.qos };
        let id = self.next.message;
        self.next.message += 1;
        if !self.enqueue(Target { session, qos, says_retained: true }, id, &message) {
            return 0;
        }
        self.pending.add(&Record::Message { id, message, is_retained: false, to: vec![(session, true)] })
    }

    /// What may be sent over a connection now, until so many bytes are reached.
    pub(crate) fn take(&mut self, who: Who, bytes_max: usize, now_ms: u64) -> Result<Taken, Gone> {
        let (mut taken, mut bytes) = (Taken::default(), 0);
        loop {
            let session = self.session(who)?;
            let inflight_max = session.connection.as_ref().map_or(0, |connection| connection.inflight_max);
            let is_held = session.inflight.len() >= inflight_max;
            let Some(next) = session.queue.front() else { return Ok(taken) };
            if next.qos != QoS::AtMostOnce && is_held {
                return Ok(taken);
            }
            if bytes >= bytes_max {
                taken.has_more = true;
                return Ok(taken);
            }
            let Some(mut queued) = session.queue.pop_front() else { return Ok(taken) };
            if queued.message.is_expired(now_ms) {
                self.metrics.dropped.expired.increment();
                self.taken(who.session, &queued);
                continue;
            }
            bytes += queued.message.bytes();
            if queued.qos == QoS::AtMostOnce {
                taken.packets.push(queued.packet(now_ms));
                self.taken(who.session, &queued);
            } else {
                queued.pkid = if queued.pkid == 0 { session.next_pkid() } else { queued.pkid };
                taken.packets.push(queued.packet(now_ms));
                session.inflight.push_back(queued);
            }
            self.metrics.delivered.increment();
        }
    }

    /// A client has a message; answers whether another may be sent in its place.
    pub(crate) fn acknowledge(&mut self, who: Who, pkid: u16) -> Result<bool, Gone> {
        // Of what was not sent, or is acknowledged already, nothing is to be said.
        let Some(queued) = self.session(who)?.acknowledge(pkid) else { return Ok(false) };
        self.taken(who.session, &queued);
        Ok(!self.session(who)?.queue.is_empty())
    }

    /// A message is not a session's any more, which may make room for others.
    pub(crate) fn taken(&mut self, session: SessionId, queued: &Queued) {
        self.queued_bytes -= queued.message.bytes();
        if queued.id > 0 {
            self.pending.add(&Record::Taken { session, id: queued.id });
        }
        self.look_for_room(session);
    }

    /// Whoever waits may try again once a quarter of what is full is free: not for each single message.
    pub(crate) fn look_for_room(&mut self, session: SessionId) {
        let has_room = |used: usize, max: usize| used <= max / 4 * 3 || used < max.min(4);
        if let Some(session) = self.sessions.get_mut(&session)
            && session.is_full
            && has_room(session.count(), self.bounds.queue_messages_max)
        {
            session.is_full = false;
            self.has_room = true;
        }
        if self.is_full && has_room(self.queued_bytes, self.bounds.queued_bytes_max) {
            self.is_full = false;
            self.has_room = true;
        }
    }

    /// Publishes the wills that are due; those for which there is no room wait.
    pub(crate) fn publish_wills(&mut self, now_ms: u64) {
        let is_due = |due_ms: Option<u64>| due_ms.is_some_and(|due_ms| due_ms <= now_ms);
        let due: Vec<_> = self.wills.iter().filter(|(_, will)| is_due(will.due_ms)).map(|(id, _)| *id).collect();
        for id in due {
            let Some(will) = self.wills.get(&id) else { continue };
            let (message, is_retained) = (Arc::new(Message::clone(&will.message).begun(now_ms)), will.is_retained);
            match self.publish(0, &message, is_retained) {
                Fate::Taken(_) => {}
                Fate::Full if self.wills.len() <= 2 * self.bounds.connections_max => continue,
                Fate::Full | Fate::TooManyRetained => self.metrics.dropped.wills.increment(),
            }
            self.forget_will(id);
        }
    }
}

impl Queued {
    fn packet(&self, now_ms: u64) -> Publish {
        let Self { qos, is_retained, is_dup, pkid, .. } = *self;
        let dup = is_dup && qos != QoS::AtMostOnce;
        Publish { dup, retain: is_retained, pkid, ..self.message.publish(qos, now_ms) }
    }
}
