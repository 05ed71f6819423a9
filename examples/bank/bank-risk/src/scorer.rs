//! The ml service, as this service sees it.

use bank_features::Features;
use bowline::{ServiceClient, client};
use serde::{Deserialize, Serialize};

/// The longest version of a model.
const MODEL_BYTES_MAX: usize = 64;

/// Who knows how likely a fraud is.
pub(crate) trait Scorer: Send + Sync {
    /// Scores a transfer; an error says why not, in words for a trace.
    fn score(&self, transfer: &str, features: &Features) -> impl Future<Output = Result<Scored, String>> + Send;
}

/// What a model says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Scored {
    /// How likely a fraud it is, from 0 to 1.
    pub(crate) score: f64,
    /// The score from which on the model would deny.
    pub(crate) threshold: f64,
    /// Its version.
    pub(crate) model: String,
}

#[derive(Debug, Serialize)]
struct Question<'a> {
    features: &'a Features,
}

impl Scorer for ServiceClient {
    async fn score(&self, transfer: &str, features: &Features) -> Result<Scored, String> {
        // It changes nothing, so it may be asked again: the key says so.
        let call = self.post("/scores").idempotency_key(transfer).body(&Question { features });
        let scored = call.json::<Scored>().await.map_err(|error| words(&error))?;
        scored.check()?;
        Ok(scored)
    }
}

impl Scored {
    fn check(&self) -> Result<(), String> {
        let is_share = |number: f64| (0.0..=1.0).contains(&number);
        if is_share(self.score) && is_share(self.threshold) && (1..=MODEL_BYTES_MAX).contains(&self.model.len()) {
            return Ok(());
        }
        Err("ml answered what is no score".to_owned())
    }
}

/// Whether it was the breaker, the time or else, is said by what is below a failed call.
fn words(error: &client::Error) -> String {
    match error {
        client::Error::Call { source, .. } => source.to_string(),
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_score_is_none() {
        let good = Scored { score: 0.5, threshold: 0.6, model: "7-1a2b3c4d".to_owned() };
        good.check().unwrap();
        for bad in [
            Scored { score: 1.1, ..good.clone() },
            Scored { score: f64::NAN, ..good.clone() },
            Scored { threshold: -0.1, ..good.clone() },
            Scored { model: String::new(), ..good.clone() },
            Scored { model: "x".repeat(65), ..good.clone() },
        ] {
            bad.check().unwrap_err();
        }
    }
}
