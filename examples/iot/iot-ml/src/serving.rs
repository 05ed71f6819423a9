//! The service: scores hours of devices by a model, and tells of it.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    routing::{get, post},
};
use bowline::{Code, HandlerError, extract::Json};
use iot_detect::features::Features;
use serde::{Deserialize, Serialize};

use crate::{
    forest::Params,
    model::{Metrics, Model, Origin},
};

/// The most hours of one question.
pub const WINDOWS_MAX: usize = 256;

/// The largest body of a request, in bytes: enough for the most hours.
pub const BODY_MAX: usize = 128 << 10;

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    windows: Vec<Features>,
}

/// What is answered.
#[derive(Debug, PartialEq, Serialize)]
pub struct Scored {
    /// How unlike a healthy hour each is, from 0 to 1, in the order of the question.
    scores: Vec<f64>,
    /// The model's version.
    version: String,
}

/// What is told of the model.
#[derive(Debug, Serialize)]
pub struct About {
    version: String,
    features: Vec<String>,
    trees: usize,
    threshold: f64,
    metrics: Metrics,
    data: Origin,
    params: Params,
}

impl About {
    /// What there is to say of a model.
    pub fn of(model: &Model) -> Self {
        Self {
            version: model.version.clone(),
            features: model.features().to_vec(),
            trees: model.forest().len(),
            threshold: model.threshold,
            metrics: model.metrics.clone(),
            data: model.data.clone(),
            params: model.params.clone(),
        }
    }
}

/// The operations, by that model.
pub fn router(model: Arc<Model>) -> Router {
    Router::new()
        .route("/scores", post(score))
        .route("/model", get(about))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(model)
}

async fn score(
    State(model): State<Arc<Model>>,
    Json(Question { windows }): Json<Question>,
) -> Result<Json<Scored>, HandlerError> {
    if !(1..=WINDOWS_MAX).contains(&windows.len()) {
        return Err(HandlerError::new(Code::Unprocessable, format!("windows: 1 to {WINDOWS_MAX} of them")));
    }
    let scores = windows.iter().map(|features| model.score(features)).collect();
    Ok(Json(Scored { scores, version: model.version.clone() }))
}

async fn about(State(model): State<Arc<Model>>) -> Json<About> {
    Json(About::of(&model))
}
