//! The service: scores by a model, and tells of it.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use bowline::{HandlerError, extract::Json};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Learned, Model};

/// What is told of the model.
#[derive(Debug, Serialize)]
#[serde(bound = "")]
struct About<'a, L: Learned> {
    version: &'a str,
    features: &'a [String],
    trees: usize,
    threshold: f64,
    metrics: &'a L::Metrics,
    data: &'a L::Origin,
    params: &'a L::Params,
}

/// The operations, by that model: questions of at most so many bytes are answered by that function.
pub fn router<L, Question, Scored>(
    model: Arc<Model<L>>,
    body_max: usize,
    score: fn(&Model<L>, Question) -> Result<Scored, HandlerError>,
) -> Router
where
    L: Learned,
    Question: DeserializeOwned + Send + 'static,
    Scored: Serialize + 'static,
{
    let scored = move |State(model): State<Arc<Model<L>>>, Json(question): Json<Question>| async move {
        score(&model, question).map(Json)
    };
    Router::new()
        .route("/scores", post(scored))
        .route("/model", get(about::<L>))
        .layer(DefaultBodyLimit::max(body_max))
        .with_state(model)
}

async fn about<L: Learned>(State(model): State<Arc<Model<L>>>) -> Response {
    let about = About::<L> {
        version: &model.version,
        features: model.features(),
        trees: model.forest().trees(),
        threshold: model.threshold,
        metrics: &model.metrics,
        data: &model.data,
        params: &model.params,
    };
    Json(about).into_response()
}
