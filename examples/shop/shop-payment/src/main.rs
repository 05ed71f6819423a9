//! The shop's payment service: charges a card for an order, once, through the bank.

mod calls;
mod card;
mod repository;
mod service;

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    routing::{get, post},
};
use bowline::{
    Config, HandlerError, Microservice, ServiceClient,
    extract::{Json, Path},
};
use example_sql::Opened;

use crate::{
    calls::BankCalls,
    repository::{Charge, ChargeRepository, MIGRATIONS, SqlCharges},
    service::{NewCharge, PaymentService},
};

type Service<R> = State<Arc<PaymentService<R, ServiceClient>>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let service = Microservice::from_env("payment")?;
    match MIGRATIONS.open(service.own_database()?).await? {
        Opened::Sqlite(sql) => serve(service, SqlCharges(sql)).await,
        Opened::Postgres(sql) => serve(service, SqlCharges(sql)).await,
    }
}

async fn serve<R: ChargeRepository>(service: Microservice, repository: R) -> anyhow::Result<()> {
    let bank = service.client("bank");
    let _calls = follow_calls(&service, &bank).await?;
    let payment = Arc::new(PaymentService { repository, bank });
    let app = Router::new()
        .route("/charges", post(charge::<R>))
        .route("/charges/{order}", get(show::<R>))
        .route("/charges/{order}/refund", post(refund::<R>))
        .with_state(payment);
    Ok(service.serve(app).await?)
}

/// Lets the bank be called as configuration says, as `bowline.toml` declares until there is some.
async fn follow_calls(service: &Microservice, bank: &ServiceClient) -> anyhow::Result<Config<BankCalls>> {
    let (checked, called) = (bank.clone(), bank.clone());
    let calls = service
        .config_loader::<BankCalls>("shop/payment")
        .validate(move |new| checked.check_retry(new.retry.as_ref()).map_err(|error| error.to_string()))
        .or(BankCalls { retry: bank.policy().retry })
        .load()
        .await?;
    calls.on_change(move |new| {
        if let Err(error) = called.set_retry(new.retry.clone()) {
            tracing::error!(error = %error, "the policy that was checked was refused");
        }
    });
    Ok(calls)
}

async fn charge<R: ChargeRepository>(
    State(payment): Service<R>,
    Json(new): Json<NewCharge>,
) -> Result<Json<Charge>, HandlerError> {
    payment.charge(new).await.map(Json)
}

async fn show<R: ChargeRepository>(
    State(payment): Service<R>,
    Path(order): Path<String>,
) -> Result<Json<Charge>, HandlerError> {
    payment.find(&order).await.map(Json)
}

async fn refund<R: ChargeRepository>(
    State(payment): Service<R>,
    Path(order): Path<String>,
) -> Result<Json<Charge>, HandlerError> {
    payment.refund(&order).await.map(Json)
}
