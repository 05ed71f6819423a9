//! Questions about sagas.

use bowline_transport::ClientError;
use http::Method;

use crate::{Client, client::encode, wire};

impl Client {
    /// Sagas of all services, or of one, the youngest first.
    pub async fn sagas(&self, query: &wire::SagasQuery) -> Result<wire::SagaList, ClientError> {
        self.0.get_json(&query.on("/v1/sagas")).await
    }

    /// One saga, with what happened to it.
    pub async fn saga(&self, service: &str, id: &str) -> Result<wire::Saga, ClientError> {
        self.0.get_json(&format!("/v1/sagas/{}/{}", encode(service), encode(id))).await
    }

    /// Has a saga that waits be tried at once.
    pub async fn retry_saga(&self, service: &str, id: &str) -> Result<wire::SagaRetried, ClientError> {
        let target = format!("/v1/sagas/{}/{}/retry", encode(service), encode(id));
        self.0.send_json(Method::POST, &target, &()).await
    }
}
