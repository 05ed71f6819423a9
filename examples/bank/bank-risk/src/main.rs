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
use example_sql::Opened;

use crate::{
    assessment::{Assessment, NewAssessment, Report},
    repository::{Assessments, SqlAssessments},
    rules::Rules,
    service::RiskService,
};

/// The largest body of a request, in bytes.
const BODY_MAX: usize = 16 << 10;

type Service<R> = State<Arc<RiskService<R, ServiceClient>>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let service = Microservice::from_env("risk")?;
    match example_sql::open(service.own_database()?, &sqlx::migrate!()).await? {
        Opened::Sqlite(sql) => serve(service, SqlAssessments(sql)).await,
        Opened::Postgres(sql) => serve(service, SqlAssessments(sql)).await,
    }
}

async fn serve<R: Assessments>(mut service: Microservice, repository: R) -> anyhow::Result<()> {
    let app = application(&mut service, repository).await?;
    Ok(service.serve(app).await?)
}

async fn application<R: Assessments>(service: &mut Microservice, repository: R) -> anyhow::Result<Router> {
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
        .route("/assessments", post(assess::<R>))
        .route("/reports", post(report::<R>))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(Arc::new(risk)))
}

async fn assess<R: Assessments>(
    State(risk): Service<R>,
    Json(new): Json<NewAssessment>,
) -> Result<Json<Assessment>, HandlerError> {
    risk.assess(new).await.map(Json)
}

async fn report<R: Assessments>(
    State(risk): Service<R>,
    subject: Subject,
    Json(report): Json<Report>,
) -> Result<Json<Report>, HandlerError> {
    risk.report(&subject, report).await.map(Json)
}

#[cfg(test)]
mod tests;
