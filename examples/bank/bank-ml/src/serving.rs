//! The service: scores transfers by a model, and tells of it.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    routing::{get, post},
};
use bank_features::Features;
use bowline::extract::Json;
use serde::{Deserialize, Serialize};

use crate::{
    boosting::Params,
    model::{Metrics, Model, Origin},
};

/// The largest body of a request, in bytes: twenty numbers and their names.
pub const BODY_MAX: usize = 16 << 10;

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    features: Features,
}

/// What is answered.
#[derive(Debug, PartialEq, Serialize)]
pub struct Scored {
    /// How likely a fraud is, from 0 to 1.
    score: f64,
    /// The score from which on the model would deny.
    threshold: f32,
    /// The model's version.
    model: String,
}

/// What is told of the model.
#[derive(Debug, Serialize)]
pub struct About {
    version: String,
    features: Vec<String>,
    trees: usize,
    threshold: f32,
    metrics: Metrics,
    data: Origin,
    params: Params,
}

impl Scored {
    /// What a model says.
    pub fn of(model: &Model, question: &Question) -> Self {
        Self { score: model.score(&question.features), threshold: model.threshold, model: model.version.clone() }
    }
}

impl About {
    /// What there is to say of a model.
    pub fn of(model: &Model) -> Self {
        Self {
            version: model.version.clone(),
            features: model.features().to_vec(),
            trees: model.forest().len(),
            threshold: model.threshold,
            metrics: model.metrics,
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

async fn score(State(model): State<Arc<Model>>, Json(question): Json<Question>) -> Json<Scored> {
    Json(Scored::of(&model, &question))
}

async fn about(State(model): State<Arc<Model>>) -> Json<About> {
    Json(About::of(&model))
}
