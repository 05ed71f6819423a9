//! Questions of tools about messages.

use bowline_transport::ClientError;

use crate::{
    Client,
    client::{encode, path},
    wire,
};

/// How many messages a server tells at once at most.
const PAGE_MAX: usize = 1000;

impl Client {
    /// Every topic, sorted by name, and how far its groups are.
    pub async fn topics(&self) -> Result<wire::TopicList, ClientError> {
        self.0.get_json("/v1/topics").await
    }

    /// Messages of a topic from a position on: at most so many, and fewer where they are large.
    pub async fn messages(&self, topic: &str, from: u64, limit: usize) -> Result<wire::MessagePage, ClientError> {
        let pairs = [("from", from.to_string()), ("limit", limit.min(PAGE_MAX).to_string())];
        self.0.get_json(&path(&format!("/v1/topics/{}/messages", encode(topic)), pairs)).await
    }

    /// Dead letters of a topic from a position on: at most so many, and fewer where they are large.
    pub async fn dead_letters(&self, topic: &str, from: u64, limit: usize) -> Result<wire::DeadPage, ClientError> {
        let pairs = [("after", from.saturating_sub(1).to_string()), ("limit", limit.min(PAGE_MAX).to_string())];
        self.0.get_json(&path(&format!("/v1/topics/{}/dead", encode(topic)), pairs)).await
    }

    /// Gives dead letters back to their groups.
    pub async fn redrive(&self, topic: &str, which: wire::WhichDead) -> Result<wire::DeadCount, ClientError> {
        let path = format!("/v1/topics/{}/dead/redrive", encode(topic));
        self.0.post_json(&path, &wire::DeadSelection { which }).await
    }

    /// Deletes dead letters.
    pub async fn purge(&self, topic: &str, which: wire::WhichDead) -> Result<wire::DeadCount, ClientError> {
        let path = format!("/v1/topics/{}/dead/purge", encode(topic));
        self.0.post_json(&path, &wire::DeadSelection { which }).await
    }
}
