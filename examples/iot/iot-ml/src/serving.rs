//! The service: scores hours of devices by a model, and tells of it.

use std::sync::Arc;

use axum::Router;
use bowline::{Code, HandlerError};
use iot_detect::features::Features;
use serde::{Deserialize, Serialize};

use crate::model::Model;

/// The most hours of one question.
pub const WINDOWS_MAX: usize = 256;

/// The largest body of a request, in bytes: enough for the most hours.
pub const BODY_MAX: usize = 128 << 10;

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    windows: Vec<Features>,
}

/// What is answered.
#[derive(Debug, Serialize)]
struct Scored {
    /// How unlike a healthy hour each is, from 0 to 1, in the order of the question.
    scores: Vec<f64>,
    /// The model's version.
    version: String,
}

/// The operations, by that model.
pub fn router(model: Arc<Model>) -> Router {
    example_model::router(model, BODY_MAX, score)
}

fn score(model: &Model, Question { windows }: Question) -> Result<Scored, HandlerError> {
    if !(1..=WINDOWS_MAX).contains(&windows.len()) {
        return Err(HandlerError::new(Code::Unprocessable, format!("windows: 1 to {WINDOWS_MAX} of them")));
    }
    let scores = windows.iter().map(|features| model.score(&features.row())).collect();
    Ok(Scored { scores, version: model.version.clone() })
}
