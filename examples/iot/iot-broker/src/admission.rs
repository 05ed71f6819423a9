//! Who may connect, publish and subscribe: the port that the broker asks.

/// Who a client is, once it has shown it: what the [`Admission`] called it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    name: String,
    packet_bytes_max: u32,
}

impl Identity {
    /// That name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), packet_bytes_max: u32::MAX }
    }

    /// Whose packets are no longer than that, if [`crate::Bounds::packet_bytes_max`] is not less.
    #[must_use]
    pub fn with_packets_of(self, bytes_max: u32) -> Self {
        Self { packet_bytes_max: bytes_max, ..self }
    }

    /// What it was called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The longest packet that it may send.
    pub(crate) fn packet_bytes_max(&self) -> u32 {
        self.packet_bytes_max
    }
}

/// Decides who may do what. It is asked on the way of every message: it answers from memory.
pub trait Admission: Send + Sync + 'static {
    /// Who that is; none for whoever may not connect.
    ///
    /// A client that connects with the id of another takes its session over: an id is part of what has to be shown. It is
    /// empty for a client that leaves the choice to the broker. It is asked twice as one connects: what let it in may have
    /// changed meanwhile.
    fn authenticate(&self, client: &str, user: Option<&str>, password: Option<&[u8]>) -> Option<Identity>;

    /// Whether they may publish to that topic.
    fn may_publish(&self, who: &Identity, topic: &str) -> bool;

    /// Whether they may have what that filter matches.
    fn may_subscribe(&self, who: &Identity, filter: &str) -> bool;

    /// The client that is let in by what is retained of that topic: it is closed when that changes, and its session ends
    /// when nothing is retained there any more. Some of the room for what is retained is for such topics alone.
    ///
    /// The broker cannot be asked anything meanwhile.
    fn holder<'a>(&self, _topic: &'a str) -> Option<&'a str> {
        None
    }
}
