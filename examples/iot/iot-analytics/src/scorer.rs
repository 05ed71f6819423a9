//! The ml service, as this service sees it.

use bowline::{ServiceClient, client};
use iot_detect::features::Features;
use serde::{Deserialize, Serialize};

/// The most hours of one question.
pub(crate) const WINDOWS_MAX: usize = 256;

/// The longest version of a model.
const VERSION_BYTES_MAX: usize = 64;

/// Who knows how odd an hour of a device is.
pub(crate) trait Scorer: Send + Sync + 'static {
    /// Scores hours; an error says why not, in words for a trace.
    fn score(&self, windows: &[Features]) -> impl Future<Output = Result<Scored, String>> + Send;
}

/// What a model says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Scored {
    /// How odd each is, from 0 to 1, in the order of the question.
    pub(crate) scores: Vec<f64>,
    /// The model's version.
    pub(crate) version: String,
}

#[derive(Debug, Serialize)]
struct Question<'a> {
    windows: &'a [Features],
}

impl Scorer for ServiceClient {
    async fn score(&self, windows: &[Features]) -> Result<Scored, String> {
        let call = self.post("/scores").body(&Question { windows });
        let scored = call.json::<Scored>().await.map_err(|error| words(&error))?;
        scored.check(windows.len())?;
        Ok(scored)
    }
}

impl Scored {
    fn check(&self, count: usize) -> Result<(), String> {
        let is_score = |score: &f64| (0.0..=1.0).contains(score);
        let is_version = (1..=VERSION_BYTES_MAX).contains(&self.version.len()) && self.version != "fallback";
        if self.scores.len() == count && self.scores.iter().all(is_score) && is_version {
            return Ok(());
        }
        Err("ml answered what are no scores".to_owned())
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
    fn what_are_no_scores_are_none() {
        let good = Scored { scores: vec![0.0, 1.0], version: "7-1a2b3c4d".to_owned() };
        good.check(2).unwrap();
        good.check(3).unwrap_err();
        for bad in [
            Scored { scores: vec![0.5, 1.1], ..good.clone() },
            Scored { scores: vec![f64::NAN, 0.5], ..good.clone() },
            Scored { version: String::new(), ..good.clone() },
            Scored { version: "x".repeat(65), ..good.clone() },
            Scored { version: "fallback".to_owned(), ..good.clone() },
        ] {
            bad.check(2).unwrap_err();
        }
    }
}
