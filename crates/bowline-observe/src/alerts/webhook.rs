//! What a webhook is sent: Alertmanager's payload, version 4, and the port through which it goes.

use std::{collections::BTreeMap, time::Duration};

use bowline_model::error::chain;
use bowline_runtime::BoxFuture;
use bowline_transport::web::{Bounds, Url, WebError};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde::Serialize;

use super::{
    config::Target,
    duration::rfc3339,
    manager::{Alert, label_map},
    table::Status,
};
use crate::labels::Labels;

/// The most alerts of one notification; how many more there are is said.
pub const ALERTS_MAX: usize = 100;

/// The most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How much of an answer people are shown, in bytes.
const SHOWN_BYTES_MAX: usize = 256;

/// The longest that a receiver is believed when it says when to come back.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// As Alertmanager writes the end of what has not ended.
const NO_END: &str = "0001-01-01T00:00:00Z";

/// Sends a notification to a webhook.
pub trait Post: Send + Sync + 'static {
    /// Posts JSON, once, within the timeout.
    ///
    /// # Errors
    /// [`PostError`], which tells no secret.
    fn post<'a>(
        &'a self,
        target: &'a Target,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Answer, PostError>>;
}

/// What a receiver answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// When it wants to be asked again.
    pub retry_after: Option<Duration>,
    /// The beginning of what it said.
    pub text: String,
}

/// Why there was no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct PostError {
    /// Why, without secrets.
    pub reason: String,
    /// Whether it is certain that it has not arrived.
    pub is_certain: bool,
}

/// [`Post`] over HTTP and HTTPS, believing the system's roots.
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpPost;

impl Post for HttpPost {
    fn post<'a>(
        &'a self,
        target: &'a Target,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Answer, PostError>> {
        Box::pin(async move {
            let url = target.find().await.map_err(|reason| PostError { reason, is_certain: true })?;
            post(&url, body, timeout).await
        })
    }
}

async fn post(url: &Url, body: Bytes, timeout: Duration) -> Result<Answer, PostError> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("bowline"));
    let bounds = Bounds { timeout, bytes_max: ANSWER_BYTES_MAX };
    let answer = match url.request(Method::POST, headers, body, bounds).await {
        Ok(answer) => answer,
        // The status decides: whoever says more than is read here has taken it all the same.
        Err(WebError::Body { status, .. }) => {
            return Ok(Answer { status: status.as_u16(), retry_after: None, text: String::new() });
        }
        Err(error) => return Err(PostError { reason: chain(&error), is_certain: error.is_unprocessed() }),
    };
    let seconds = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Ok(Answer {
        status: answer.status().as_u16(),
        retry_after: seconds.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX)),
        text: shown(answer.body(), url.path()),
    })
}

/// The beginning of what a receiver said, without its path: some servers repeat what they do not know.
fn shown(said: &[u8], path: &str) -> String {
    let mut said = String::from_utf8_lossy(said).into_owned();
    let without_query = path.split('?').next().unwrap_or_default();
    for secret in [path, without_query].into_iter().filter(|secret| secret.len() > 1) {
        said = said.replace(secret, "/…");
    }
    said.truncate(said.floor_char_boundary(SHOWN_BYTES_MAX));
    said.trim().to_owned()
}

/// A notification on the wire.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Payload<'a> {
    version: &'static str,
    group_key: &'a str,
    truncated_alerts: usize,
    status: Status,
    receiver: &'a str,
    group_labels: BTreeMap<String, String>,
    common_labels: BTreeMap<String, String>,
    common_annotations: BTreeMap<String, String>,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    alerts: Vec<PayloadAlert<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PayloadAlert<'a> {
    status: Status,
    labels: BTreeMap<String, String>,
    annotations: &'a BTreeMap<String, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    fingerprint: String,
}

/// What every notification of a group says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) group_key: &'a str,
    pub(crate) receiver: &'a str,
    pub(crate) group_labels: &'a Labels,
    pub(crate) external_url: &'a str,
}

impl<'a> Payload<'a> {
    /// A notification of those alerts, the firing ones first.
    pub(crate) fn new(head: Head<'a>, mut alerts: Vec<&'a Alert>) -> Self {
        alerts.sort_by_key(|alert| (alert.ends_at_ms.is_some(), alert.starts_at_ms));
        let is_firing = alerts.iter().any(|alert| alert.ends_at_ms.is_none());
        Self {
            version: "4",
            group_key: head.group_key,
            truncated_alerts: alerts.len().saturating_sub(ALERTS_MAX),
            status: if is_firing { Status::Firing } else { Status::Resolved },
            receiver: head.receiver,
            group_labels: label_map(head.group_labels),
            common_labels: common(alerts.iter().map(|alert| label_map(&alert.labels))),
            common_annotations: common(alerts.iter().map(|alert| alert.annotations.clone())),
            external_url: head.external_url,
            alerts: alerts.into_iter().take(ALERTS_MAX).map(PayloadAlert::new).collect(),
        }
    }

    pub(crate) fn status(&self) -> Status {
        self.status
    }

    pub(crate) fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("a payload is plain data with text keys").into()
    }
}

impl<'a> PayloadAlert<'a> {
    fn new(alert: &'a Alert) -> Self {
        Self {
            status: if alert.ends_at_ms.is_none() { Status::Firing } else { Status::Resolved },
            labels: label_map(&alert.labels),
            annotations: &alert.annotations,
            starts_at: rfc3339(alert.starts_at_ms),
            ends_at: alert.ends_at_ms.map_or_else(|| NO_END.to_owned(), rfc3339),
            generator_url: &alert.generator_url,
            fingerprint: alert.fingerprint(),
        }
    }
}

/// What all have in common.
fn common(mut all: impl Iterator<Item = BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let mut common = all.next().unwrap_or_default();
    for other in all {
        common.retain(|name, value| other.get(name) == Some(value));
    }
    common
}

#[cfg(test)]
mod tests {
    use bowline_runtime::{net, task};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// What comes of a notification to `/hooks/SECRET?key=1` that is answered like that.
    async fn posted(answer: String) -> Answer {
        let listener = net::listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = Url::parse(&format!("http://{}/hooks/SECRET?key=1", listener.local_addr().unwrap())).unwrap();
        let served = task::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let count = stream.read(&mut request).await.unwrap();
            assert!(request[..count].starts_with(b"POST /hooks/SECRET?key=1 HTTP/1.1"));
            stream.write_all(answer.as_bytes()).await.ok();
        });
        let answer = post(&url, Bytes::from_static(b"{}"), Duration::from_secs(5)).await.unwrap();
        served.await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_receiver_that_says_much_has_taken_it_all_the_same() {
        let long = "x".repeat(2 * ANSWER_BYTES_MAX);
        let answer = posted(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{long}", long.len())).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, ""));
    }

    #[tokio::test]
    async fn what_a_receiver_repeats_of_its_url_is_not_told() {
        for said in ["Cannot POST /hooks/SECRET", "no /hooks/SECRET?key=1 here"] {
            let answer = format!("HTTP/1.1 404 Not Found\r\ncontent-length: {}\r\n\r\n{said}", said.len());
            let answer = posted(answer).await;
            assert_eq!(answer.status, 404);
            assert!(answer.text.contains("/…") && !answer.text.contains("SECRET"), "{}", answer.text);
        }
    }
}
