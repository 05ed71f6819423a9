//! Who may connect, publish and subscribe: the port that the broker asks.

/// Who a client is, once it has shown it: what the [`Admission`] called it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity(String);

impl Identity {
    /// That name.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// What it was called.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// Decides who may do what. It is asked on the way of every message: it answers from memory.
pub trait Admission: Send + Sync + 'static {
    /// Who that is; none for whoever may not connect.
    ///
    /// A client that connects with the id of another takes its session over: an id is part of what has to be shown. It is
    /// empty for a client that leaves the choice to the broker.
    fn authenticate(&self, client: &str, user: Option<&str>, password: Option<&[u8]>) -> Option<Identity>;

    /// Whether they may publish to that topic.
    fn may_publish(&self, who: &Identity, topic: &str) -> bool;

    /// Whether they may have what that filter matches.
    fn may_subscribe(&self, who: &Identity, filter: &str) -> bool;
}
