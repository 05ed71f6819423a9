//! The beginning of a connection: which version it speaks, who it is, and what it is told of the broker's bounds.

use std::{io, sync::Arc, time::Duration};

use bowline_runtime::{rand, time};
use bytes::BytesMut;
use rumqttc_v5::mqttbytes::{
    QoS,
    v5::{ConnAck, ConnAckProperties, Connect, ConnectAuth, ConnectProperties, ConnectReturnCode, LastWill, Packet},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf},
    sync::Notify,
};

use crate::{
    admission::Identity,
    connection::Connection,
    keeper::Shared,
    message::Message,
    settings::Bounds,
    state::{Joined, Joining, Leaving, Will},
    wire::{self, Opening, Version},
};

/// Bytes that are asked of a socket at once.
pub(crate) const READ_BYTES: usize = 4096;

/// A socket, and what was read of it and is to be written.
#[derive(Debug)]
pub(crate) struct Link<S> {
    pub(crate) reader: ReadHalf<S>,
    pub(crate) writer: WriteHalf<S>,
    pub(crate) input: BytesMut,
    pub(crate) output: BytesMut,
    pub(crate) version: Version,
}

/// A CONNECT.
type Asked = (Connect, Option<LastWill>, ConnectAuth);

/// Who was let in.
struct Admitted {
    identity: Identity,
    client: String,
    /// The broker chose the id.
    is_assigned: bool,
    will: Option<Will>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Link<S> {
    pub(crate) fn new(stream: S) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self { reader, writer, input: BytesMut::new(), output: BytesMut::new(), version: Version::V5 }
    }

    /// Reads some more.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    async fn read(&mut self) -> io::Result<()> {
        self.input.reserve(READ_BYTES);
        if self.reader.read_buf(&mut self.input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    pub(crate) fn push(&mut self, packet: Packet) {
        if let Err(error) = wire::encode(self.version, packet, &mut self.output) {
            tracing::warn!(error = &error as &dyn std::error::Error, "a packet could not be written");
        }
    }

    /// Writes all there is to write.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        self.writer.write_all_buf(&mut self.output).await
    }

    /// The CONNECT, which comes first; none where something else does.
    async fn connect(&mut self, bounds: &Bounds) -> io::Result<Option<Asked>> {
        loop {
            match wire::opening(&self.input) {
                Opening::Short => {}
                Opening::Foreign => return Ok(None),
                Opening::Unknown => {
                    self.output.extend_from_slice(&wire::UNKNOWN_VERSION);
                    self.flush().await?;
                    return Ok(None);
                }
                Opening::Version(version) => {
                    self.version = version;
                    match wire::decode(version, &mut self.input, bounds.packet_bytes_max)? {
                        Some(Packet::Connect(connect, will, auth)) => return Ok(Some((connect, will, auth))),
                        Some(_) => return Ok(None),
                        None => {}
                    }
                }
            }
            self.read().await?;
        }
    }
}

/// Waits for a client to say who it is, and lets it in; none where it does not, or may not.
pub(crate) async fn shake_hands<S>(shared: &Arc<Shared>, stream: S) -> Option<Connection<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut link = Link::new(stream);
    let bounds = &shared.bounds;
    let asked = time::timeout(bounds.connect_within, link.connect(bounds)).await;
    let Ok(Ok(Some((connect, will, auth)))) = asked else {
        shared.metrics.refused.protocol.increment();
        return None;
    };
    let admitted = admit(shared, link.version, &connect, will, &auth);
    let joined = admitted.and_then(|admitted| join(shared, &connect, &auth, admitted));
    match joined {
        Ok((joined, admitted, wake)) => {
            let connack = connack(bounds, link.version, &connect, (&admitted, joined));
            let connection = Connection::new(Arc::clone(shared), link, (joined, admitted.identity, wake));
            Some(connection.begin(terms(&connect, connack)))
        }
        Err(code) => {
            let counters = &shared.metrics.refused;
            let is_full = matches!(code, ConnectReturnCode::QuotaExceeded);
            if is_full { &counters.too_many } else { &counters.unknown }.increment();
            link.push(Packet::ConnAck(ConnAck { session_present: false, code, properties: None }));
            // Whoever does not read it is closed all the same.
            let _in_time = time::timeout(bounds.connect_within, link.flush()).await;
            None
        }
    }
}

/// What a connection is begun with.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) connack: ConnAck,
    /// None: the client may be silent for ever.
    pub(crate) keep_alive: Option<Duration>,
    /// The longest packet that the client takes.
    pub(crate) packet_bytes_max: u32,
}

fn terms(connect: &Connect, connack: ConnAck) -> Terms {
    let told = connack.properties.as_ref().and_then(|properties| properties.server_keep_alive);
    let keep_alive = Some(told.unwrap_or(connect.keep_alive)).filter(|seconds| *seconds > 0);
    let packet_bytes_max = connect.properties.as_ref().and_then(|properties| properties.max_packet_size);
    Terms {
        connack,
        keep_alive: keep_alive.map(|seconds| Duration::from_millis(u64::from(seconds) * 1500)),
        packet_bytes_max: packet_bytes_max.unwrap_or(u32::MAX),
    }
}

/// Whether the client may connect, with that id and that will.
fn admit(
    shared: &Shared,
    version: Version,
    connect: &Connect,
    will: Option<LastWill>,
    auth: &ConnectAuth,
) -> Result<Admitted, ConnectReturnCode> {
    let asked = connect.properties.as_ref();
    if asked.is_some_and(|properties| properties.authentication_method.is_some()) {
        return Err(ConnectReturnCode::BadAuthenticationMethod);
    }
    let client = &connect.client_id;
    // Without an id of its own, a client of 3.1.1 could not come back to its session.
    let is_nameless = client.is_empty() && version == Version::V4 && !connect.clean_start;
    if is_nameless || client.len() > shared.bounds.client_bytes_max {
        return Err(ConnectReturnCode::ClientIdentifierNotValid);
    }
    let identity = identify(shared, connect, auth)?;
    let will = will.map(|will| admit_will(shared, version, &identity, will)).transpose()?;
    let is_assigned = client.is_empty();
    let client = if is_assigned { format!("auto-{:032x}", rand::u128()) } else { client.clone() };
    Ok(Admitted { identity, client, is_assigned, will })
}

/// Who the client shows that it is.
fn identify(shared: &Shared, connect: &Connect, auth: &ConnectAuth) -> Result<Identity, ConnectReturnCode> {
    let (user, password) = match auth {
        ConnectAuth::None => (None, None),
        ConnectAuth::Username { username } => (Some(username.as_str()), None),
        ConnectAuth::Password { password } => (None, Some(&password[..])),
        ConnectAuth::UsernamePassword { username, password } => (Some(username.as_str()), Some(&password[..])),
    };
    let identity = shared.admission.authenticate(&connect.client_id, user, password);
    identity.ok_or(ConnectReturnCode::NotAuthorized)
}

fn admit_will(
    shared: &Shared,
    version: Version,
    identity: &Identity,
    will: LastWill,
) -> Result<Will, ConnectReturnCode> {
    // Version 3.1.1 has no word for it.
    if will.qos == QoS::ExactlyOnce && version == Version::V5 {
        return Err(ConnectReturnCode::QoSNotSupported);
    }
    if will.message.len() > shared.bounds.will_bytes_max {
        return Err(ConnectReturnCode::QuotaExceeded);
    }
    let delay_s = will.properties.as_ref().and_then(|properties| properties.delay_interval).unwrap_or(0);
    let is_retained = will.retain;
    let message = Message::will(will);
    if !shared.bounds.is_topic(&message.topic) {
        return Err(ConnectReturnCode::TopicNameInvalid);
    }
    if !shared.admission.may_publish(identity, &message.topic) {
        return Err(ConnectReturnCode::NotAuthorized);
    }
    Ok(Will { message: Arc::new(message), is_retained, delay_s, due_ms: None })
}

/// The client's session, or a new one.
fn join(
    shared: &Shared,
    connect: &Connect,
    auth: &ConnectAuth,
    mut admitted: Admitted,
) -> Result<(Joined, Admitted, Arc<Notify>), ConnectReturnCode> {
    let asked = connect.properties.as_ref();
    let inflight_max = asked.and_then(|properties| properties.receive_maximum).unwrap_or(u16::MAX);
    let wake = Arc::new(Notify::new());
    let joining = Joining {
        client: admitted.client.as_str().into(),
        is_clean: connect.clean_start,
        expiry_s: wanted_expiry_s(asked).min(shared.bounds.session_expiry_max_s),
        inflight_max: usize::from(inflight_max.min(shared.bounds.inflight_max)),
        wake: Arc::clone(&wake),
        will: admitted.will.take(),
    };
    let joined = shared.with(|state| state.join(joining, time::unix_millis_now()));
    let joined = joined.ok_or(ConnectReturnCode::QuotaExceeded)?;
    // From now on it is cut off when what lets it in changes; before, there was nothing to cut.
    if let Err(code) = identify(shared, connect, auth) {
        let leaving = Leaving::Politely { expiry_s: None };
        shared.with(|state| state.leave(joined.who, leaving, time::unix_millis_now()));
        return Err(code);
    }
    Ok((joined, admitted, wake))
}

fn wanted_expiry_s(asked: Option<&ConnectProperties>) -> u32 {
    asked.and_then(|properties| properties.session_expiry_interval).unwrap_or(0)
}

/// What the client is told; what it said itself is not said again.
fn connack(bounds: &Bounds, version: Version, connect: &Connect, (admitted, joined): (&Admitted, Joined)) -> ConnAck {
    let asked = connect.properties.as_ref();
    let is_capped = wanted_expiry_s(asked) > bounds.session_expiry_max_s;
    let is_silent_long = connect.keep_alive == 0 || connect.keep_alive > bounds.keep_alive_max_s;
    let can_be_told = version == Version::V5;
    let properties = ConnAckProperties {
        session_expiry_interval: is_capped.then_some(bounds.session_expiry_max_s),
        receive_max: Some(bounds.unacknowledged_max),
        max_qos: Some(1),
        retain_available: Some(1),
        max_packet_size: Some(bounds.packet_bytes_max.min(admitted.identity.packet_bytes_max())),
        assigned_client_identifier: admitted.is_assigned.then(|| admitted.client.clone()),
        topic_alias_max: Some(0),
        reason_string: None,
        user_properties: Vec::new(),
        wildcard_subscription_available: Some(1),
        subscription_identifiers_available: Some(0),
        shared_subscription_available: Some(0),
        server_keep_alive: (is_silent_long && can_be_told).then_some(bounds.keep_alive_max_s),
        response_information: None,
        server_reference: None,
        authentication_method: None,
        authentication_data: None,
    };
    ConnAck { session_present: joined.is_present, code: ConnectReturnCode::Success, properties: Some(properties) }
}
