//! Where the broker listens and keeps its journal, and its bounds.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use rumqttc_v5::mqttbytes::{valid_filter, valid_topic};

/// What a broker is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// The folder of its journal, which is made where it is not there.
    pub dir: PathBuf,
    /// What it holds at most.
    pub bounds: Bounds,
}

/// What a broker holds at most.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Bytes of a packet that a client sends; more than 1 MiB counts as that. Whoever has four times as much waiting for
    /// room is not read any further.
    pub packet_bytes_max: u32,
    /// Connections at a time; more are closed at once.
    pub connections_max: usize,
    /// Sessions, connected or not; more are refused.
    pub sessions_max: usize,
    /// Bytes of a client's id.
    pub client_bytes_max: usize,
    /// Subscriptions of a session; more are refused.
    pub filters_max: usize,
    /// Bytes of a topic or filter.
    pub topic_bytes_max: usize,
    /// Levels of a topic or filter.
    pub topic_levels_max: usize,
    /// Bytes of a last will's payload.
    pub will_bytes_max: usize,
    /// Messages that wait for one session. Where it is reached, publishers of QoS 1 wait, and messages of QoS 0 are
    /// dropped.
    pub queue_messages_max: usize,
    /// Bytes of all messages that wait and are promised, each counted for every session; where it is reached, the same. An
    /// eighth is for those sessions alone that have less than that: so none holds up all others by taking nothing. Of
    /// messages that nobody is promised, for sessions that end with their connections and of QoS 0, as much again.
    pub queued_bytes_max: usize,
    /// Retained messages; further ones are refused. An eighth is for those alone that let clients in.
    pub retained_max: usize,
    /// Their bytes; the same.
    pub retained_bytes_max: usize,
    /// Messages of one publisher that are not acknowledged. A client of version 5 is told, and closed if it sends more;
    /// one of 3.1.1 is not read any further until they are.
    pub unacknowledged_max: u16,
    /// Messages on their way to one subscriber that are not acknowledged, where it does not want less.
    pub inflight_max: u16,
    /// How long a session is kept for a client that does not come back, in seconds; who wants more gets this.
    pub session_expiry_max_s: u32,
    /// How long a client of version 5 may be silent, in seconds; who wants more is told this. One of 3.1.1 cannot be told:
    /// it is silent for as long as it said it would be.
    pub keep_alive_max_s: u16,
    /// How long a client has to say who it is.
    pub connect_within: Duration,
    /// How long a client may take nothing of what is sent to it.
    pub stalled_max: Duration,
}

impl Settings {
    /// Those of a broker there, with that folder, and the bounds that are [`Default`].
    pub fn new(listen: SocketAddr, dir: impl Into<PathBuf>) -> Self {
        Self { listen, dir: dir.into(), bounds: Bounds::default() }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            packet_bytes_max: 256 * 1024,
            connections_max: 10_000,
            sessions_max: 20_000,
            client_bytes_max: 128,
            filters_max: 100,
            topic_bytes_max: 512,
            topic_levels_max: 16,
            will_bytes_max: 4 * 1024,
            queue_messages_max: 100_000,
            queued_bytes_max: 64 << 20,
            retained_max: 50_000,
            retained_bytes_max: 32 << 20,
            unacknowledged_max: 1000,
            inflight_max: 1000,
            session_expiry_max_s: 7 * 24 * 60 * 60,
            keep_alive_max_s: 600,
            connect_within: Duration::from_secs(10),
            stalled_max: Duration::from_secs(30),
        }
    }
}

/// The longest packet that fits into a frame of the journal with what else is in it.
const PACKET_BYTES_MAX: u32 = 1 << 20;

impl Bounds {
    /// Those that can be kept: a record fits into the journal, and somebody can go on.
    pub(crate) fn kept(self) -> Self {
        Self {
            packet_bytes_max: self.packet_bytes_max.min(PACKET_BYTES_MAX),
            unacknowledged_max: self.unacknowledged_max.max(1),
            inflight_max: self.inflight_max.max(1),
            ..self
        }
    }

    /// Bytes of messages for a session that has its part of what is for such alone.
    pub(crate) fn light_bytes_max(&self) -> usize {
        self.queued_bytes_max / 8
    }

    /// Whether it is a topic that may be published to. Topics that begin with `$` are the broker's, which has none.
    pub(crate) fn is_topic(&self, topic: &str) -> bool {
        !topic.is_empty() && !topic.starts_with('$') && valid_topic(topic) && self.is_short(topic)
    }

    /// Whether it is a filter that may be subscribed to.
    pub(crate) fn is_filter(&self, filter: &str) -> bool {
        !filter.starts_with('$') && valid_filter(filter) && self.is_short(filter)
    }

    fn is_short(&self, text: &str) -> bool {
        text.len() <= self.topic_bytes_max && text.split('/').count() <= self.topic_levels_max
    }
}
