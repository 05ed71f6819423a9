//! What would become of a request, as the gateway of this process says.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
};
use bowline_model::Code;
use bowline_provider_remote::wire::{ExplainRequest, Explanation};
use bowline_runtime::BoxFuture;

use crate::{api::Shared, error::ApiError};

/// The most headers of a request that is asked about.
pub const EXPLAIN_HEADERS_MAX: usize = 100;

type Answer = BoxFuture<'static, Result<Explanation, String>>;

/// Who says what would become of a request; an error says what is wrong with the question.
#[derive(Clone)]
pub struct Explainer(Arc<dyn Fn(ExplainRequest) -> Answer + Send + Sync>);

impl Explainer {
    /// An explainer that is a function.
    pub fn new(explain: impl Fn(ExplainRequest) -> Answer + Send + Sync + 'static) -> Self {
        Self(Arc::new(explain))
    }
}

impl fmt::Debug for Explainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Explainer").finish_non_exhaustive()
    }
}

/// The explainer, once there is a gateway.
pub(crate) type Slot = Arc<OnceLock<Explainer>>;

/// Says which route, rules, limits and backend a request would meet, without sending it.
///
/// Nothing is taken from a limit, and what is asked is not kept.
#[utoipa::path(post, path = "/v1/explain", tag = "gateway", request_body = ExplainRequest,
    responses(
        (status = 200, body = Explanation),
        (status = 400, description = "there is no gateway here"),
        (status = 422, description = "the request makes no sense")))]
pub(crate) async fn explain(
    State(shared): State<Shared>,
    body: Result<Json<ExplainRequest>, JsonRejection>,
) -> Result<Json<Explanation>, ApiError> {
    let Json(request) = body?;
    if request.headers.len() > EXPLAIN_HEADERS_MAX {
        return Err(ApiError::new(Code::Unprocessable, format!("headers: at most {EXPLAIN_HEADERS_MAX}")));
    }
    let Some(Explainer(explain)) = shared.explainer.get() else {
        return Err(ApiError::new(Code::FailedPrecondition, "this Bowline has no gateway, or it is not open yet"));
    };
    let explained = explain(request).await;
    explained.map(Json).map_err(|detail| ApiError::new(Code::Unprocessable, detail))
}
