//! The service: scores transfers by a model, and tells of it.

use std::sync::Arc;

use axum::Router;
use bank_features::Features;
use bowline::HandlerError;
use serde::{Deserialize, Serialize};

use crate::model::Model;

/// The largest body of a request, in bytes: twenty numbers and their names.
pub const BODY_MAX: usize = 16 << 10;

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    features: Features,
}

/// What is answered.
#[derive(Debug, Serialize)]
struct Scored {
    /// How likely a fraud is, from 0 to 1.
    score: f64,
    /// The score from which on the model would deny.
    threshold: f64,
    /// The model's version.
    model: String,
}

/// The operations, by that model.
pub fn router(model: Arc<Model>) -> Router {
    example_model::router(model, BODY_MAX, score)
}

#[expect(clippy::unnecessary_wraps, reason = "as the router asks for it: others refuse questions")]
fn score(model: &Model, Question { features }: Question) -> Result<Scored, HandlerError> {
    Ok(Scored { score: model.score(&features.row()), threshold: model.threshold, model: model.version.clone() })
}
