//! Breakers over a server's API.

use bowline_transport::ClientError;

use crate::{Client, client::path, wire};

impl Client {
    /// Breakers of all who hold some, or of those that are wanted.
    pub async fn breakers(&self, query: &wire::BreakersQuery) -> Result<wire::BreakerList, ClientError> {
        let wire::BreakersQuery { caller, callee } = query.clone();
        let pairs = [("caller", caller), ("callee", callee)];
        let pairs = pairs.into_iter().filter_map(|(name, value)| Some((name, value?)));
        self.0.get_json(&path("/v1/breakers", pairs)).await
    }
}
