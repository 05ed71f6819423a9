//! A bad release on purpose: with `SHOP_ORDER_FAIL="20%"` that share of the requests is answered 500, before anything
//! is done.

use anyhow::Context as _;
use axum::{
    Router,
    extract::Request,
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use bowline::{Code, HandlerError, policy::Share, runtime::rand};

/// What says how many requests fail.
const VARIABLE: &str = "SHOP_ORDER_FAIL";

/// The application, failing where the environment says so.
pub(crate) fn layered(app: Router) -> anyhow::Result<Router> {
    let Ok(text) = std::env::var(VARIABLE) else { return Ok(app) };
    let share = Share::parse(&text).map_err(anyhow::Error::msg).context(VARIABLE)?;
    tracing::warn!(%share, "requests fail on purpose");
    Ok(failing(app, share))
}

fn failing(app: Router, share: Share) -> Router {
    app.layer(middleware::from_fn(move |request: Request, next: Next| fail(share, request, next)))
}

async fn fail(share: Share, request: Request, next: Next) -> Response {
    if rand::hits(share.millionths()) {
        return HandlerError::new(Code::Internal, format!("this release fails on purpose: {VARIABLE}")).into_response();
    }
    next.run(request).await
}
