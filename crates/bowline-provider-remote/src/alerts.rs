//! Questions about alerts and what is scraped.

use std::time::Duration;

use bowline_transport::ClientError;
use http::Method;

use crate::{Client, client::encode, wire};

/// How long the answer to a test of a receiver may take.
const TEST_TIMEOUT: Duration = Duration::from_secs(15);

impl Client {
    /// The alerts that are pending or fire.
    pub async fn alerts(&self) -> Result<wire::AlertList, ClientError> {
        self.prometheus("/api/v1/alerts").await
    }

    /// The rules, and how they are.
    pub async fn rules(&self) -> Result<wire::RuleList, ClientError> {
        self.prometheus("/api/v1/rules").await
    }

    /// What is scraped, and how that goes.
    pub async fn scrape_targets(&self) -> Result<wire::ScrapeTargetList, ClientError> {
        self.prometheus("/api/v1/targets").await
    }

    /// What became of alerts lately.
    pub async fn alert_history(&self) -> Result<wire::AlertHistory, ClientError> {
        self.0.get_json("/v1/alerts/history").await
    }

    /// Who was told what, or was not, and why.
    pub async fn notifications(&self) -> Result<wire::NotificationList, ClientError> {
        self.0.get_json("/v1/alerts/notifications").await
    }

    /// The silences, those that ended lately included.
    pub async fn silences(&self) -> Result<wire::SilenceList, ClientError> {
        self.0.get_json("/v1/alerts/silences").await
    }

    /// Silences alerts for a while.
    pub async fn silence(&self, silence: &wire::NewSilence) -> Result<wire::StandingSilence, ClientError> {
        self.0.post_json("/v1/alerts/silences", silence).await
    }

    /// Ends a silence now.
    pub async fn expire_silence(&self, id: &str) -> Result<wire::StandingSilence, ClientError> {
        self.0.send_json(Method::DELETE, &format!("/v1/alerts/silences/{}", encode(id)), &()).await
    }

    /// Has a receiver told something, and gives what it answered; within 15 s, as the receiver has 10 s.
    pub async fn test_receiver(&self, name: &str) -> Result<wire::ReceiverAnswer, ClientError> {
        self.0
            .clone()
            .with_timeout(TEST_TIMEOUT)
            .post_json(&format!("/v1/alerts/receivers/{}/test", encode(name)), &())
            .await
    }
}
