//! Questions about what services wrote.

use bowline_transport::ClientError;

use crate::{Client, client::encode, wire};

/// The most bytes of an answer: a MiB of lines, in which each byte may be an escape of six.
const ANSWER_BYTES_MAX: usize = 16 << 20;

impl Client {
    /// Lines of a service that a server runs, the oldest first.
    pub async fn logs(&self, service: &str, query: &wire::LogsQuery) -> Result<wire::LogList, ClientError> {
        let client = self.0.clone().with_answer_bytes_max(ANSWER_BYTES_MAX);
        client.get_json(&query.on(&format!("/v1/logs/{}", encode(service)))).await
    }
}
