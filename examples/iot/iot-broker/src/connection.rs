//! One connection: packets in, packets out, and what each of them does to the state.
//!
//! Answers leave in the order of what they answer, each once the journal has come as far as it promises. A message for
//! which there is no room waits here, and all of QoS 1 behind it; pings are answered all the same.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bowline_runtime::{
    drain::Drain,
    time::{self, Instant},
};
use bytes::BytesMut;
use rumqttc_v5::mqttbytes::{
    QoS,
    v5::{
        Disconnect, DisconnectReasonCode, Packet, PubAck, PubAckReason, Publish, SubAck, Subscribe, SubscribeFilter,
        SubscribeReasonCode, UnsubAck, UnsubAckReason, Unsubscribe,
    },
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::Notify,
};

use crate::{
    admission::Identity,
    handshake::{Link, READ_BYTES, Terms},
    keeper::Shared,
    message::{Message, at_most_one},
    publishing::Fate,
    session::Options,
    state::{Gone, Joined, Leaving, Ticket, Who},
    wire::{self, Version},
};

/// How much waits to be written before no more is taken out of the queue.
const OUTPUT_BYTES: usize = 64 * 1024;

/// How much of a publisher waits for room before it is not read any further, in its longest packets. Enough for a service
/// that has a hundred long messages on the way: what it says of those that it gets has to be heard meanwhile.
const HELD_PACKETS: usize = 4;

/// How long a client may take to read why it is closed.
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);

/// A client that was let in.
pub(crate) struct Connection<S> {
    shared: Arc<Shared>,
    link: Link<S>,
    who: Who,
    identity: Identity,
    /// The session has something for it.
    wake: Arc<Notify>,
    is_woken: bool,
    keep_alive: Option<Duration>,
    /// The longest packet that the client takes.
    packet_bytes_max: u32,
    /// The longest packet that is taken of it.
    sent_bytes_max: u32,
    /// What it was answered, and from when on it may be told so.
    replies: VecDeque<(Ticket, Packet)>,
    /// Messages of QoS 1 that it was not answered yet.
    unacknowledged: usize,
    /// Messages for which there was no room.
    held: VecDeque<Held>,
    held_bytes: usize,
    /// There may be room now.
    may_retry: bool,
    /// The last answer to a SUBSCRIBE: what is delivered for it comes behind it.
    subscribed: Ticket,
    heard: Instant,
    /// When something was written last, or there was nothing to write.
    written: Instant,
}

/// A message that is not published yet.
struct Held {
    message: Arc<Message>,
    is_retained: bool,
    pkid: u16,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The client said so.
    Said(Leaving),
    /// The client is gone.
    Closed,
    /// It is told why.
    Refused(DisconnectReasonCode),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(crate) fn new(
        shared: Arc<Shared>,
        link: Link<S>,
        (joined, identity, wake): (Joined, Identity, Arc<Notify>),
    ) -> Self {
        let now = time::now();
        shared.metrics.connections.add(1);
        Self {
            packet_bytes_max: u32::MAX,
            sent_bytes_max: shared.bounds.packet_bytes_max.min(identity.packet_bytes_max()),
            shared,
            link,
            who: joined.who,
            identity,
            wake,
            is_woken: true,
            keep_alive: None,
            replies: VecDeque::new(),
            unacknowledged: 0,
            held: VecDeque::new(),
            held_bytes: 0,
            may_retry: false,
            subscribed: joined.ticket,
            heard: now,
            written: now,
        }
    }

    /// With what it is told first, once its session is durable.
    pub(crate) fn begin(mut self, terms: Terms) -> Self {
        let Terms { connack, keep_alive, packet_bytes_max } = terms;
        self.replies.push_back((self.subscribed, Packet::ConnAck(connack)));
        (self.keep_alive, self.packet_bytes_max) = (keep_alive, packet_bytes_max);
        self
    }

    /// Serves it until it ends.
    pub(crate) async fn run(mut self, mut drain: Drain) {
        let end = self.serve(&mut drain).await;
        let leaving = match end {
            End::Said(leaving) => leaving,
            End::Closed | End::Refused(_) => Leaving::Lost { expiry_s: None },
        };
        self.shared.with(|state| state.leave(self.who, leaving, time::unix_millis_now()));
        if let End::Refused(reason) = end {
            self.count(reason);
            // Nothing comes before the CONNACK.
            if !matches!(self.replies.front(), Some((_, Packet::ConnAck(_)))) {
                self.link.push(Packet::Disconnect(Disconnect::new(reason)));
            }
            // Whoever does not read it is closed all the same.
            let _in_time = time::timeout(GOODBYE_WITHIN, self.link.flush()).await;
        }
        self.shared.metrics.held.add(-count(self.held.len()));
        self.shared.metrics.connections.add(-1);
    }

    fn count(&self, reason: DisconnectReasonCode) {
        let refused = &self.shared.metrics.refused;
        match reason {
            DisconnectReasonCode::ServerShuttingDown | DisconnectReasonCode::SessionTakenOver => {}
            DisconnectReasonCode::QuotaExceeded | DisconnectReasonCode::ServerBusy => refused.slow.increment(),
            _ => refused.protocol.increment(),
        }
    }

    async fn serve(&mut self, drain: &mut Drain) -> End {
        let (mut durable, mut room) = (self.shared.durable.subscribe(), self.shared.room.subscribe());
        loop {
            self.look_at_the_clock();
            let ticket = *durable.borrow_and_update();
            if let Err(end) = self.advance(ticket) {
                return end;
            }
            let deadline = self.deadline();
            let (may_read, has_output) = (self.may_read(), !self.link.output.is_empty());
            let (waits, holds) = (!self.replies.is_empty(), !self.held.is_empty());
            self.link.input.reserve(READ_BYTES);
            tokio::select! {
                read = self.link.reader.read_buf(&mut self.link.input), if may_read => {
                    if read.is_ok_and(|count| count > 0) {
                        self.heard = time::now();
                    } else {
                        return End::Closed;
                    }
                }
                written = self.link.writer.write_buf(&mut self.link.output), if has_output => {
                    if written.is_err() {
                        return self.hear_out(ticket).await;
                    }
                    self.written = time::now();
                }
                () = self.wake.notified() => self.is_woken = true,
                _ = durable.changed(), if waits => {}
                _ = room.changed(), if holds => self.may_retry = true,
                late = late(deadline) => return End::Refused(late),
                () = drain.draining() => return End::Refused(DisconnectReasonCode::ServerShuttingDown),
            }
        }
    }

    /// The client takes nothing any more; what it had said before is heard, since that may be goodbye.
    async fn hear_out(&mut self, durable: Ticket) -> End {
        let heard = async {
            loop {
                // Whatever there would be for it.
                (self.is_woken, self.link.output) = (false, BytesMut::new());
                if let Err(end) = self.advance(durable) {
                    return end;
                }
                if !self.may_read() {
                    return End::Closed;
                }
                self.link.input.reserve(READ_BYTES);
                let read = self.link.reader.read_buf(&mut self.link.input).await;
                if !read.is_ok_and(|count| count > 0) {
                    return End::Closed;
                }
            }
        };
        time::timeout(GOODBYE_WITHIN, heard).await.unwrap_or(End::Closed)
    }

    /// Notes up to when nobody was to do anything; before that changes.
    fn look_at_the_clock(&mut self) {
        let now = time::now();
        if self.link.output.is_empty() {
            self.written = now;
        }
        if !self.may_read() {
            // Silence is no fault of whoever is not read.
            self.heard = now;
        }
    }

    /// When it is closed if nothing happens, and why.
    fn deadline(&self) -> Option<(Instant, DisconnectReasonCode)> {
        let keep_alive = self.keep_alive.filter(|_| self.may_read());
        let silent = keep_alive.map(|keep_alive| (self.heard + keep_alive, DisconnectReasonCode::KeepAliveTimeout));
        let stalled = (self.written + self.shared.bounds.stalled_max, DisconnectReasonCode::ServerBusy);
        let stalled = (!self.link.output.is_empty()).then_some(stalled);
        [silent, stalled].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Whether more is taken of what the client sends. Whoever keeps to the bound is always read: what it says of the
    /// messages that it gets may be what others, or it itself, wait for.
    fn may_read(&self) -> bool {
        let max = usize::from(self.shared.bounds.unacknowledged_max);
        let is_within = self.unacknowledged <= max && self.replies.len() + self.held.len() <= 2 * max;
        let is_little = self.held_bytes <= HELD_PACKETS * self.sent_bytes_max as usize;
        is_within && is_little && self.link.output.len() < 2 * OUTPUT_BYTES
    }

    /// Does all that can be done now.
    fn advance(&mut self, durable: Ticket) -> Result<(), End> {
        if std::mem::take(&mut self.may_retry) {
            self.retry()?;
        }
        loop {
            self.reply(durable);
            if !self.may_read() {
                break;
            }
            let packet = wire::decode(self.link.version, &mut self.link.input, self.sent_bytes_max);
            match packet {
                Ok(Some(packet)) => self.handle(packet)?,
                Ok(None) => break,
                Err(error) => return Err(End::Refused(wire::reason_of(&error))),
            }
        }
        if self.is_woken && self.subscribed <= durable && self.link.output.len() < OUTPUT_BYTES {
            self.deliver()?;
        } else if self.is_woken {
            // Whoever takes nothing is cut off all the same.
            self.shared.with(|state| state.session(self.who).map(drop))?;
        }
        Ok(())
    }

    /// Answers what may be answered.
    fn reply(&mut self, durable: Ticket) {
        while self.replies.front().is_some_and(|(ticket, _)| *ticket <= durable) {
            if let Some((_, packet)) = self.replies.pop_front() {
                self.unacknowledged -= usize::from(matches!(packet, Packet::PubAck(_)));
                self.link.push(packet);
            }
        }
    }

    /// Sends what the session has.
    fn deliver(&mut self) -> Result<(), End> {
        let now_ms = time::unix_millis_now();
        let taken = self.shared.with(|state| state.take(self.who, OUTPUT_BYTES, now_ms))?;
        self.is_woken = taken.has_more;
        for publish in taken.packets {
            if self.link.version == Version::V5 && publish.size() > self.packet_bytes_max as usize {
                // The protocol has it taken for delivered.
                self.shared.metrics.dropped.too_large.increment();
                self.is_woken |= self.shared.with(|state| state.acknowledge(self.who, publish.pkid))?;
                continue;
            }
            self.link.push(Packet::Publish(publish));
        }
        Ok(())
    }

    fn handle(&mut self, packet: Packet) -> Result<(), End> {
        match packet {
            Packet::Publish(publish) => self.publish(publish),
            Packet::PubAck(ack) => {
                self.is_woken |= self.shared.with(|state| state.acknowledge(self.who, ack.pkid))?;
                Ok(())
            }
            Packet::Subscribe(subscribe) => self.subscribe(&subscribe),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(&unsubscribe),
            Packet::PingReq => {
                // Nothing comes before the CONNACK.
                if matches!(self.replies.front(), Some((_, Packet::ConnAck(_)))) {
                    self.replies.push_back((0, Packet::PingResp));
                } else {
                    self.link.push(Packet::PingResp);
                }
                Ok(())
            }
            Packet::Disconnect(disconnect) => Err(End::Said(Leaving::of(&disconnect))),
            _ => Err(End::Refused(DisconnectReasonCode::ProtocolError)),
        }
    }

    fn publish(&mut self, publish: Publish) -> Result<(), End> {
        if publish.qos == QoS::ExactlyOnce {
            return Err(End::Refused(DisconnectReasonCode::QoSNotSupported));
        }
        let has_alias = publish.properties.as_ref().is_some_and(|properties| properties.topic_alias.is_some());
        if has_alias {
            return Err(End::Refused(DisconnectReasonCode::TopicAliasInvalid));
        }
        if publish.qos == QoS::AtLeastOnce {
            let max = usize::from(self.shared.bounds.unacknowledged_max);
            if self.link.version == Version::V5 && self.unacknowledged >= max {
                // It was told.
                return Err(End::Refused(DisconnectReasonCode::ReceiveMaximumExceeded));
            }
            self.unacknowledged += 1;
        }
        let (is_retained, pkid) = (publish.retain, publish.pkid);
        let message = Arc::new(Message::published(publish, time::unix_millis_now()));
        let held = Held { message, is_retained, pkid };
        if self.held.is_empty() || held.message.qos == QoS::AtMostOnce {
            if let Some(held) = self.offer(held)? {
                self.hold(held, false);
            }
        } else {
            self.hold(held, false);
        }
        Ok(())
    }

    /// Keeps a message until there is room for it.
    fn hold(&mut self, held: Held, is_first: bool) {
        self.shared.metrics.held.add(1);
        self.held_bytes += held.message.bytes();
        if is_first { self.held.push_front(held) } else { self.held.push_back(held) }
    }

    /// What it has held longest.
    fn let_go(&mut self) -> Option<Held> {
        let held = self.held.pop_front()?;
        self.shared.metrics.held.add(-1);
        self.held_bytes -= held.message.bytes();
        Some(held)
    }

    /// Tries again what there was no room for.
    fn retry(&mut self) -> Result<(), End> {
        while let Some(held) = self.let_go() {
            if let Some(held) = self.offer(held)? {
                self.hold(held, true);
                break;
            }
        }
        Ok(())
    }

    /// Publishes a message, or gives it back where there is no room.
    fn offer(&mut self, held: Held) -> Result<Option<Held>, End> {
        let Held { message, is_retained, pkid } = &held;
        if !self.shared.bounds.is_topic(&message.topic) {
            return self.refuse(&held, PubAckReason::TopicNameInvalid, DisconnectReasonCode::TopicNameInvalid);
        }
        if !self.shared.admission.may_publish(&self.identity, &message.topic) {
            return self.refuse(&held, PubAckReason::NotAuthorized, DisconnectReasonCode::NotAuthorized);
        }
        let fate = self.shared.with(|state| {
            state.session(self.who)?;
            Ok::<_, Gone>(state.publish(self.who.session, message, *is_retained))
        })?;
        match fate {
            Fate::Taken(ticket) => {
                if message.qos != QoS::AtMostOnce {
                    self.replies.push_back((ticket, Packet::PubAck(PubAck::new(*pkid, None))));
                }
                Ok(None)
            }
            Fate::Full => Ok(Some(held)),
            Fate::TooManyRetained => {
                self.refuse(&held, PubAckReason::QuotaExceeded, DisconnectReasonCode::QuotaExceeded)
            }
        }
    }

    /// Says that a message was not taken. Version 3.1.1 can only close: what it acknowledges has to be kept.
    fn refuse(
        &mut self,
        held: &Held,
        reason: PubAckReason,
        otherwise: DisconnectReasonCode,
    ) -> Result<Option<Held>, End> {
        if self.link.version == Version::V4 {
            return Err(End::Refused(otherwise));
        }
        if held.message.qos != QoS::AtMostOnce {
            self.replies.push_back((0, Packet::PubAck(PubAck { pkid: held.pkid, reason, properties: None })));
        }
        Ok(None)
    }

    fn subscribe(&mut self, subscribe: &Subscribe) -> Result<(), End> {
        if subscribe.properties.as_ref().is_some_and(|properties| properties.id.is_some()) {
            return Err(End::Refused(DisconnectReasonCode::SubscriptionIdentifiersNotSupported));
        }
        let (mut return_codes, mut ticket) = (Vec::new(), 0);
        for filter in &subscribe.filters {
            return_codes.push(match self.subscribe_to(filter)? {
                Ok(granted) => {
                    ticket = ticket.max(granted);
                    SubscribeReasonCode::Success(at_most_one(filter.qos))
                }
                Err(code) => code,
            });
        }
        self.subscribed = self.subscribed.max(ticket);
        self.replies
            .push_back((ticket, Packet::SubAck(SubAck { pkid: subscribe.pkid, return_codes, properties: None })));
        Ok(())
    }

    fn subscribe_to(&self, filter: &SubscribeFilter) -> Result<Result<Ticket, SubscribeReasonCode>, End> {
        let SubscribeFilter { path, qos, nolocal, preserve_retain, retain_forward_rule } = filter;
        if path.starts_with("$share/") {
            return Ok(Err(SubscribeReasonCode::SharedSubscriptionsNotSupported));
        }
        if !self.shared.bounds.is_filter(path) {
            return Ok(Err(SubscribeReasonCode::TopicFilterInvalid));
        }
        if !self.shared.admission.may_subscribe(&self.identity, path) {
            return Ok(Err(SubscribeReasonCode::NotAuthorized));
        }
        let options = Options { qos: at_most_one(*qos), is_no_local: *nolocal, keeps_retain: *preserve_retain };
        let wanted = (path.as_str(), options, retain_forward_rule.clone());
        Ok(self.shared.with(|state| state.subscribe(self.who, wanted, time::unix_millis_now()))?)
    }

    fn unsubscribe(&mut self, unsubscribe: &Unsubscribe) -> Result<(), End> {
        if unsubscribe.filters.is_empty() {
            return Err(End::Refused(DisconnectReasonCode::ProtocolError));
        }
        let (mut reasons, mut ticket) = (Vec::new(), 0);
        for filter in &unsubscribe.filters {
            let (was_there, gone) = self.shared.with(|state| state.unsubscribe(self.who, filter))?;
            ticket = ticket.max(gone);
            reasons.push(if was_there { UnsubAckReason::Success } else { UnsubAckReason::NoSubscriptionExisted });
        }
        self.replies
            .push_back((ticket, Packet::UnsubAck(UnsubAck { pkid: unsubscribe.pkid, reasons, properties: None })));
        Ok(())
    }
}

impl From<Gone> for End {
    fn from(Gone(reason): Gone) -> Self {
        Self::Refused(reason)
    }
}

/// Waits until that time, for ever where there is none.
async fn late(deadline: Option<(Instant, DisconnectReasonCode)>) -> DisconnectReasonCode {
    match deadline {
        Some((at, reason)) => {
            time::sleep_until(at).await;
            reason
        }
        None => std::future::pending().await,
    }
}

fn count(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}
