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
        if is_retained && self.retained.get(&message.topic).is_none_or(|old| old.payload != message.payload) {
            self.revoke(&message.topic, !is_kept);
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
        let (mut is_room, mut bytes, mut are_light) = (true, 0, true);
        let light_max = self.bounds.light_bytes_max();
        for target in targets.iter().filter(|target| target.qos != QoS::AtMostOnce) {
            let Some(session) = self.sessions.get_mut(&target.session).filter(|session| session.is_lasting()) else {
                continue;
            };
            bytes += message.bytes();
            are_light &= session.promised_bytes + message.bytes() <= light_max;
            if session.count() >= self.bounds.queue_messages_max {
                session.is_full = true;
                is_room = false;
            }
        }
        // However much waits for others, there is some room for whoever takes what is theirs.
        let bytes_max = self.bounds.queued_bytes_max - if are_light { 0 } else { light_max };
        if bytes > 0 && self.promised_bytes > 0 && self.promised_bytes + bytes > bytes_max {
            for target in targets {
                self.sessions.get_mut(&target.session).into_iter().for_each(|session| session.is_heavy = true);
            }
            self.is_full = true;
            is_room = false;
        }
        is_room
    }

    /// Gives a session a message; answers whether it is promised to it, and so in the journal.
    fn enqueue(&mut self, target: Target, id: MessageId, message: &Arc<Message>) -> bool {
        let Target { session: to, qos, says_retained } = target;
        let Some(session) = self.sessions.get(&to) else { return false };
        let is_promised = qos != QoS::AtMostOnce && session.is_lasting();
        let is_there = session.connection.as_ref().is_some_and(|connection| connection.cut.is_none());
        if !is_promised && !is_there {
            return false;
        }
        if !is_promised && !self.make_room(target, message) {
            self.metrics.dropped.full.increment();
            return false;
        }
        let id = if is_promised { id } else { 0 };
        *self.bytes_of(id) += message.bytes();
        let session = self.sessions.get_mut(&to).expect("it was there");
        session.promised_bytes += if is_promised { message.bytes() } else { 0 };
        session.queue.push_back(Queued {
            id,
            message: Arc::clone(message),
            qos,
            is_retained: says_retained,
            is_dup: false,
            pkid: 0,
        });
        session.wake();
        is_promised
    }

    /// Whether a session has room for a message that it is not promised. One of QoS 0 has to find it; for one of QoS 1 it
    /// is made: whoever would miss a message, or has most where all have too much, is cut off, and what it had is gone.
    fn make_room(&mut self, target: Target, message: &Message) -> bool {
        loop {
            let count = self.sessions.get(&target.session).map_or(0, Session::count);
            let is_long = count >= self.bounds.queue_messages_max;
            if !is_long && self.passing_bytes + message.bytes() <= self.bounds.queued_bytes_max {
                return true;
            }
            if target.qos == QoS::AtMostOnce {
                return false;
            }
            let most = (!is_long).then(|| self.has_most_passing()).flatten();
            let id = most.unwrap_or(target.session);
            if let Some(session) = self.sessions.get_mut(&id) {
                session.cut(DisconnectReasonCode::QuotaExceeded);
                self.passing_bytes -= session.forget_passing();
            }
            if id == target.session {
                return false;
            }
        }
    }

    /// The session with most of what nobody is promised.
    fn has_most_passing(&self) -> Option<SessionId> {
        let sessions = self.sessions.iter().map(|(id, session)| (session.passing_bytes(), *id));
        sessions.filter(|(bytes, _)| *bytes > 0).max().map(|(_, id)| id)
    }

    /// Where the bytes of a message of that number are counted while it waits.
    pub(crate) fn bytes_of(&mut self, id: MessageId) -> &mut usize {
        if id > 0 { &mut self.promised_bytes } else { &mut self.passing_bytes }
    }

    /// A message does not wait for a session any more.
    pub(crate) fn count_out(&mut self, session: SessionId, queued: &Queued) {
        if let Some(session) = self.sessions.get_mut(&session).filter(|_| queued.id > 0) {
            session.promised_bytes -= queued.message.bytes();
        }
        *self.bytes_of(queued.id) -= queued.message.bytes();
    }

    fn is_room_to_retain(&self, message: &Message) -> bool {
        // However much is retained, somebody can still be let in.
        let part = if self.admission.holder(&message.topic).is_some() { 0 } else { 8 };
        let of = |max: usize| max - max.checked_div(part).unwrap_or(0);
        let old = self.retained.get(&message.topic);
        let bytes = self.retained_bytes + message.bytes() - old.map_or(0, |old| old.bytes());
        (old.is_some() || self.retained.len() < of(self.bounds.retained_max))
            && bytes <= of(self.bounds.retained_bytes_max)
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
            self.revoke(&topic, true);
            self.forget(&topic);
        }
    }

    /// Whether a session has room for what is retained.
    pub(crate) fn has_room_for(&self, session: SessionId, options: Options, messages: &[Arc<Message>]) -> bool {
        let Some(session) = self.sessions.get(&session) else { return false };
        let is_promised = |message: &Message| {
            session.is_lasting() && options.qos != QoS::AtMostOnce && message.qos != QoS::AtMostOnce
        };
        let (mut promised, mut passing) = (0, 0);
        for message in messages {
            *(if is_promised(message) { &mut promised } else { &mut passing }) += message.bytes();
        }
        let fits = |bytes: usize, used: usize| bytes == 0 || used + bytes <= self.bounds.queued_bytes_max;
        (messages.is_empty() || session.count() + messages.len() <= self.bounds.queue_messages_max)
            && fits(promised, self.promised_bytes)
            && fits(passing, self.passing_bytes)
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
        self.count_out(session, queued);
        if queued.id > 0 {
            self.pending.add(&Record::Taken { session, id: queued.id });
        }
        self.look_for_room(session);
    }

    /// Whoever waits may try again once a quarter of what is full is free: not for each single message.
    pub(crate) fn look_for_room(&mut self, session: SessionId) {
        let has_room = |used: usize, max: usize| used <= max / 4 * 3 || used < max.min(4);
        if let Some(session) = self.sessions.get_mut(&session) {
            if session.is_full && has_room(session.count(), self.bounds.queue_messages_max) {
                session.is_full = false;
                self.has_room = true;
            }
            if session.is_heavy && has_room(session.promised_bytes, self.bounds.light_bytes_max()) {
                session.is_heavy = false;
                self.has_room = true;
            }
        }
        if self.is_full && has_room(self.promised_bytes, self.bounds.queued_bytes_max) {
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
