//! The bank's risk service: says of each transfer whether it may go on, by what its accounts did before and a model's
//! score of that, or by stated rules where the model does not answer.

mod assessment;
mod ended;
mod repository;
mod rules;
mod scorer;
mod service;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    routing::post,
};
use bowline::{
    HandlerError, Microservice, ServiceClient,
    extract::{Json, Subject},
};

use crate::{
    assessment::{Assessment, NewAssessment, Report},
    repository::SqliteAssessments,
    rules::Rules,
    service::RiskService,
};

/// The largest body of a request, in bytes.
const BODY_MAX: usize = 16 << 10;

type Service = Arc<RiskService<SqliteAssessments, ServiceClient>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut service = Microservice::from_env("risk")?;
    let app = application(&mut service).await?;
    Ok(service.serve(app).await?)
}

async fn application(service: &mut Microservice) -> anyhow::Result<Router> {
    let repository = SqliteAssessments::open(service.database("sqlite:risk.db")?).await?;
    let rules = service.config_loader("bank/risk").or(Rules::default()).load().await?;
    ended::follow(service, repository.clone())?;
    service::show_counters(service.metrics());
    let risk = RiskService {
        repository,
        scorer: service.client("ml"),
        rules: Box::new(move || rules.get()),
        tracer: service.tracer().clone(),
        metrics: service.metrics().clone(),
    };
    Ok(Router::new()
        .route("/assessments", post(assess))
        .route("/reports", post(report))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(Arc::new(risk)))
}

async fn assess(State(risk): State<Service>, Json(new): Json<NewAssessment>) -> Result<Json<Assessment>, HandlerError> {
    risk.assess(new).await.map(Json)
}

async fn report(
    State(risk): State<Service>,
    subject: Subject,
    Json(report): Json<Report>,
) -> Result<Json<Report>, HandlerError> {
    risk.report(&subject, report).await.map(Json)
}

#[cfg(test)]
mod tests;
