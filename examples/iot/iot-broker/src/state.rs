//! All that the broker knows: sessions, subscriptions, retained messages, wills, and what of it waits to be written.
//!
//! Every change is made here, in one step under one lock, with its record for the journal. What a change answers is a
//! *ticket*: whoever is promised something is told so once the journal has come that far.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use rumqttc_v5::mqttbytes::{
    has_wildcards, matches,
    v5::{Disconnect, DisconnectReasonCode, RetainForwardRule, SubscribeReasonCode},
};
use tokio::sync::Notify;

use crate::{
    admission::Admission,
    filters::Filters,
    keeper::Pending,
    message::Message,
    metrics::Metrics,
    record::Record,
    session::{Attached, MessageId, Options, Queued, Session, SessionId, WillId},
    settings::Bounds,
};

/// When the journal has come this far, it is durable.
pub(crate) type Ticket = u64;

/// All that the broker knows.
pub(crate) struct State {
    pub(crate) bounds: Bounds,
    pub(crate) metrics: Metrics,
    pub(crate) admission: Arc<dyn Admission>,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    pub(crate) clients: BTreeMap<Arc<str>, SessionId>,
    pub(crate) filters: Filters,
    pub(crate) retained: BTreeMap<Box<str>, Arc<Message>>,
    pub(crate) retained_bytes: usize,
    /// Of messages that wait, and are promised to a session that lasts.
    pub(crate) promised_bytes: usize,
    /// Of all others that wait.
    pub(crate) passing_bytes: usize,
    pub(crate) wills: BTreeMap<WillId, Will>,
    pub(crate) next: Next,
    pub(crate) pending: Pending,
    /// Somebody waits until fewer bytes are promised to all sessions together.
    pub(crate) is_full: bool,
    /// Whoever waits for room may try again.
    pub(crate) has_room: bool,
}

/// The next numbers.
#[derive(Debug)]
pub(crate) struct Next {
    pub(crate) session: SessionId,
    pub(crate) message: MessageId,
    pub(crate) will: WillId,
    pub(crate) connection: u64,
}

/// What is published when a client is lost.
#[derive(Debug)]
pub(crate) struct Will {
    pub(crate) message: Arc<Message>,
    pub(crate) is_retained: bool,
    pub(crate) delay_s: u32,
    /// None while the client is connected.
    pub(crate) due_ms: Option<u64>,
}

/// A connection and its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) session: SessionId,
    pub(crate) connection: u64,
}

/// Why a connection has no session any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone(pub(crate) DisconnectReasonCode);

/// What a client connects with.
#[derive(Debug)]
pub(crate) struct Joining {
    pub(crate) client: Arc<str>,
    /// What there was before is forgotten.
    pub(crate) is_clean: bool,
    pub(crate) expiry_s: u32,
    pub(crate) inflight_max: usize,
    pub(crate) wake: Arc<Notify>,
    pub(crate) will: Option<Will>,
}

/// What became of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Joined {
    pub(crate) who: Who,
    /// There was a session, and it goes on.
    pub(crate) is_present: bool,
    pub(crate) ticket: Ticket,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// The client said goodbye, and maybe how long its session is to be kept.
    Politely { expiry_s: Option<u32> },
    /// Its last will is published; the rest is as above.
    Lost { expiry_s: Option<u32> },
}

impl Leaving {
    /// What a client says with its DISCONNECT.
    pub(crate) fn of(disconnect: &Disconnect) -> Self {
        let expiry_s = disconnect.properties.as_ref().and_then(|properties| properties.session_expiry_interval);
        match disconnect.reason_code {
            DisconnectReasonCode::NormalDisconnection => Self::Politely { expiry_s },
            _ => Self::Lost { expiry_s },
        }
    }
}

impl State {
    pub(crate) fn new(bounds: Bounds, metrics: Metrics, admission: Arc<dyn Admission>) -> Self {
        Self {
            bounds,
            metrics,
            admission,
            sessions: BTreeMap::new(),
            clients: BTreeMap::new(),
            filters: Filters::default(),
            retained: BTreeMap::new(),
            retained_bytes: 0,
            promised_bytes: 0,
            passing_bytes: 0,
            wills: BTreeMap::new(),
            next: Next { session: 1, message: 1, will: 1, connection: 1 },
            pending: Pending::default(),
            is_full: false,
            has_room: false,
        }
    }

    /// The session of a connection, as long as it is its.
    pub(crate) fn session(&mut self, who: Who) -> Result<&mut Session, Gone> {
        let taken_over = Gone(DisconnectReasonCode::SessionTakenOver);
        let session = self.sessions.get_mut(&who.session).ok_or(taken_over)?;
        match &session.connection {
            Some(Attached { id, cut: None, .. }) if *id == who.connection => Ok(session),
            Some(Attached { id, cut: Some(reason), .. }) if *id == who.connection => Err(Gone(*reason)),
            _ => Err(taken_over),
        }
    }

    #[cfg(test)]
    pub(crate) fn is_connected(&self, who: Who) -> bool {
        let connection = self.sessions.get(&who.session).and_then(|session| session.connection.as_ref());
        connection.is_some_and(|it| it.id == who.connection && it.cut.is_none())
    }

    /// A client connects; whoever is connected under its name is no longer. None where there are too many sessions.
    pub(crate) fn join(&mut self, joining: Joining, now_ms: u64) -> Option<Joined> {
        let Joining { client, is_clean, expiry_s, inflight_max, wake, will } = joining;
        let found = self.clients.get(&client).copied();
        let is_present = found.is_some_and(|id| self.take_over(id, is_clean, now_ms));
        let id = match found.filter(|_| is_present) {
            Some(id) => id,
            None if self.sessions.len() >= self.bounds.sessions_max => return None,
            None => self.begin_session(Arc::clone(&client), expiry_s),
        };
        let will = will.map(|will| self.add_will(will));
        let connection = self.next.connection;
        self.next.connection += 1;
        let session = self.sessions.get_mut(&id).expect("it was found or begun");
        session.expiry_s = expiry_s;
        session.left_ms = 0;
        session.will = will;
        session.connection = Some(Attached { id: connection, wake, inflight_max, cut: None });
        let ticket = self.record_session(id);
        self.publish_wills(now_ms);
        Some(Joined { who: Who { session: id, connection }, is_present, ticket })
    }

    /// Takes a session off its connection; answers whether it goes on.
    fn take_over(&mut self, id: SessionId, is_clean: bool, now_ms: u64) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        session.wake();
        session.rewind();
        if is_clean || !session.is_lasting() {
            self.end_session(id, now_ms);
            return false;
        }
        let (is_connected, will) = (session.connection.take().is_some(), session.will.take());
        if let Some(id) = will {
            // Whoever comes back in time has not been lost.
            if !is_connected || self.wills.get(&id).is_some_and(|will| will.delay_s > 0) {
                self.forget_will(id);
            } else if let Some(will) = self.wills.get_mut(&id) {
                will.due_ms = Some(now_ms);
            }
        }
        true
    }

    fn begin_session(&mut self, client: Arc<str>, expiry_s: u32) -> SessionId {
        let id = self.next.session;
        self.next.session += 1;
        self.clients.insert(Arc::clone(&client), id);
        self.sessions.insert(id, Session::new(client, expiry_s));
        id
    }

    /// What lets a client in has changed, or is gone: it is closed, and in the second case nothing of it is kept, nor does
    /// its last will say anything.
    pub(crate) fn revoke(&mut self, topic: &str, is_gone: bool) {
        let client = self.admission.holder(topic);
        let Some(id) = client.and_then(|client| self.clients.get(client)).copied() else { return };
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.cut(DisconnectReasonCode::NotAuthorized);
        if !is_gone {
            return;
        }
        let (is_connected, will) = (session.connection.is_some(), session.will.take());
        // It ends with its connection, which is told why.
        session.expiry_s = 0;
        if let Some(will) = will {
            self.forget_will(will);
        }
        if is_connected {
            self.record_session(id);
        } else {
            self.end_session(id, 0);
        }
    }

    /// Writes down what is known of a session, if it lasts, or if the journal knows it.
    fn record_session(&mut self, id: SessionId) -> Ticket {
        let Some(session) = self.sessions.get_mut(&id) else { return 0 };
        if !session.is_lasting() && !session.is_recorded {
            return 0;
        }
        session.is_recorded = true;
        let Session { client, expiry_s, left_ms, .. } = session;
        let record = Record::Session { id, expiry_s: *expiry_s, left_ms: *left_ms, client: Arc::clone(client) };
        self.pending.add(&record)
    }

    /// A connection ends.
    pub(crate) fn leave(&mut self, who: Who, leaving: Leaving, now_ms: u64) {
        let is_its = |session: &Session| session.connection.as_ref().is_some_and(|it| it.id == who.connection);
        let Some(session) = self.sessions.get_mut(&who.session).filter(|session| is_its(session)) else { return };
        session.connection = None;
        session.left_ms = now_ms;
        session.rewind();
        let (Leaving::Politely { expiry_s } | Leaving::Lost { expiry_s }) = leaving;
        // Whoever connected without a session cannot want one now: the protocol says so.
        if let (Some(expiry_s), true) = (expiry_s, session.is_lasting()) {
            session.expiry_s = expiry_s.min(self.bounds.session_expiry_max_s);
        }
        let (expiry_s, is_lasting) = (session.expiry_s, session.is_lasting());
        if let Some(id) = session.will {
            if matches!(leaving, Leaving::Politely { .. }) {
                session.will = None;
                self.forget_will(id);
            } else if let Some(will) = self.wills.get_mut(&id) {
                will.due_ms = Some(now_ms + 1000 * u64::from(will.delay_s.min(expiry_s)));
            }
        }
        if is_lasting {
            self.record_session(who.session);
        } else {
            self.end_session(who.session, now_ms);
        }
        self.publish_wills(now_ms);
    }

    /// A session ends, and what it was to have is not wanted any more.
    pub(crate) fn end_session(&mut self, id: SessionId, now_ms: u64) {
        let Some(session) = self.sessions.remove(&id) else { return };
        self.clients.remove(&session.client);
        session.filters.keys().for_each(|filter| self.filters.remove(filter, id));
        session.messages().for_each(|queued| self.count_out(id, queued));
        self.has_room |= session.is_full || session.is_heavy;
        self.look_for_room(id);
        if let Some(will) = session.will.and_then(|will| self.wills.get_mut(&will)) {
            will.due_ms = Some(now_ms);
        }
        if session.is_recorded {
            self.pending.add(&Record::Ended { id });
        }
    }

    /// A session subscribes, and is to have what is retained, unless the rule says otherwise.
    pub(crate) fn subscribe(
        &mut self,
        who: Who,
        (filter, options, rule): (&str, Options, RetainForwardRule),
        now_ms: u64,
    ) -> Result<Result<Ticket, SubscribeReasonCode>, Gone> {
        let filters_max = self.bounds.filters_max;
        let session = self.session(who)?;
        let is_new = !session.filters.contains_key(filter);
        if is_new && session.filters.len() >= filters_max {
            return Ok(Err(SubscribeReasonCode::QuotaExceeded));
        }
        let is_wanted = match rule {
            RetainForwardRule::OnEverySubscribe => true,
            RetainForwardRule::OnNewSubscribe => is_new,
            RetainForwardRule::Never => false,
        };
        let retained = if is_wanted { self.retained_for(filter, now_ms) } else { Vec::new() };
        if is_new && !self.has_room_for(who.session, options, &retained) {
            return Ok(Err(SubscribeReasonCode::QuotaExceeded));
        }
        let session = self.session(who)?;
        session.filters.insert(filter.to_owned(), options);
        let is_recorded = session.is_recorded;
        self.filters.insert(filter, who.session, options);
        let mut ticket = 0;
        if is_recorded {
            ticket = self.pending.add(&Record::Filter { id: who.session, options, filter: filter.to_owned() });
        }
        for message in retained {
            // It has what came since it subscribed first. Refused, it might never come to take it, and make room.
            if !self.has_room_for(who.session, options, std::slice::from_ref(&message)) {
                break;
            }
            ticket = ticket.max(self.give_retained(who.session, message, options));
        }
        Ok(Ok(ticket))
    }

    /// A session does not want that any more; answers whether it did.
    pub(crate) fn unsubscribe(&mut self, who: Who, filter: &str) -> Result<(bool, Ticket), Gone> {
        let session = self.session(who)?;
        let (was_there, is_recorded) = (session.filters.remove(filter).is_some(), session.is_recorded);
        if !was_there {
            return Ok((false, 0));
        }
        self.filters.remove(filter, who.session);
        if !is_recorded {
            return Ok((true, 0));
        }
        Ok((true, self.pending.add(&Record::FilterGone { id: who.session, filter: filter.to_owned() })))
    }

    /// What is retained and matches.
    fn retained_for(&self, filter: &str, now_ms: u64) -> Vec<Arc<Message>> {
        let is_alive = |message: &&Arc<Message>| !message.is_expired(now_ms);
        if !has_wildcards(filter) {
            return self.retained.get(filter).filter(is_alive).cloned().into_iter().collect();
        }
        // `a/#` matches `a`, too.
        let prefix = filter.split(['+', '#']).next().unwrap_or_default().trim_end_matches('/');
        let candidates = self
            .retained
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(topic, _)| topic.starts_with(prefix));
        candidates
            .filter(|(topic, _)| matches(topic, filter))
            .map(|(_, message)| message)
            .filter(is_alive)
            .cloned()
            .collect()
    }

    /// Adds a will whose client is connected.
    fn add_will(&mut self, will: Will) -> WillId {
        let id = self.next.will;
        self.next.will += 1;
        let record = Record::Will { id, message: Arc::clone(&will.message), is_retained: will.is_retained };
        self.pending.add(&record);
        self.wills.insert(id, will);
        id
    }

    pub(crate) fn forget_will(&mut self, id: WillId) {
        if self.wills.remove(&id).is_some() {
            self.pending.add(&Record::WillGone { id });
        }
    }

    /// What is due by now: sessions end, wills are published, what has expired makes room.
    pub(crate) fn tick(&mut self, now_ms: u64) {
        let is_over = |session: &Session| {
            session.connection.is_none() && now_ms >= session.left_ms + 1000 * u64::from(session.expiry_s)
        };
        let over: BTreeSet<SessionId> =
            self.sessions.iter().filter(|(_, session)| is_over(session)).map(|(id, _)| *id).collect();
        for id in over {
            self.end_session(id, now_ms);
        }
        let full: Vec<SessionId> =
            self.sessions.iter().filter(|(_, it)| it.is_full || self.is_full).map(|(id, _)| *id).collect();
        for id in full {
            self.drop_expired(id, now_ms);
        }
        self.forget_expired(now_ms);
        self.publish_wills(now_ms);
        self.metrics.sessions.set(i64::try_from(self.sessions.len()).unwrap_or(i64::MAX));
        self.metrics.retained.set(i64::try_from(self.retained.len()).unwrap_or(i64::MAX));
        let queued_bytes = self.promised_bytes + self.passing_bytes;
        self.metrics.queued_bytes.set(i64::try_from(queued_bytes).unwrap_or(i64::MAX));
    }

    /// Takes out of a queue what nobody wants any more.
    fn drop_expired(&mut self, id: SessionId, now_ms: u64) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let (expired, kept): (Vec<Queued>, Vec<Queued>) =
            session.queue.drain(..).partition(|queued| queued.message.is_expired(now_ms));
        session.queue = kept.into();
        for queued in expired {
            self.metrics.dropped.expired.increment();
            self.taken(id, &queued);
        }
    }
}
