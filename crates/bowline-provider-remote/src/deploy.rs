//! Questions about rollouts, and orders to them.

use bowline_transport::ClientError;
use http::Method;

use crate::{Client, client::encode, wire};

impl Client {
    /// The rollout of each service that is under way, or was the last.
    pub async fn deployments(&self) -> Result<wire::DeploymentList, ClientError> {
        self.0.get_json("/v1/deployments").await
    }

    /// How the releases of one service stand.
    pub async fn service_deployments(&self, service: &str) -> Result<wire::ServiceDeployments, ClientError> {
        self.0.get_json(&format!("/v1/deployments/{}", encode(service))).await
    }

    /// Begins to roll a release out; answered when it is durable that it has begun.
    pub async fn deploy(&self, service: &str, new: &wire::NewDeployment) -> Result<wire::Deployment, ClientError> {
        self.0.send_json(Method::POST, &format!("/v1/deployments/{}", encode(service)), new).await
    }

    /// Orders the rollout that is under way to `pause`, `resume`, `promote` or `abort`; that of the id alone, where one
    /// is given.
    pub async fn order_deployment(
        &self,
        service: &str,
        order: &str,
        id: Option<u64>,
    ) -> Result<wire::Deployment, ClientError> {
        let only = id.map_or_else(String::new, |id| format!("?id={id}"));
        let target = format!("/v1/deployments/{}/{}{only}", encode(service), encode(order));
        self.0.send_json(Method::POST, &target, &()).await
    }
}
