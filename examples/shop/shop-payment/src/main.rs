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

use crate::{
    calls::BankCalls,
    repository::{Charge, SqliteCharges},
    service::{NewCharge, PaymentService},
};

type Service = Arc<PaymentService<SqliteCharges, ServiceClient>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let service = Microservice::from_env("payment")?;
    let repository = SqliteCharges::open(service.database("sqlite:payment.db")?).await?;
    let bank = service.client("bank");
    let _calls = follow_calls(&service, &bank).await?;
    let payment = Arc::new(PaymentService { repository, bank });
    let app = Router::new()
        .route("/charges", post(charge))
        .route("/charges/{order}", get(show))
        .route("/charges/{order}/refund", post(refund))
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

async fn charge(State(payment): State<Service>, Json(new): Json<NewCharge>) -> Result<Json<Charge>, HandlerError> {
    payment.charge(new).await.map(Json)
}

async fn show(State(payment): State<Service>, Path(order): Path<String>) -> Result<Json<Charge>, HandlerError> {
    payment.find(&order).await.map(Json)
}

async fn refund(State(payment): State<Service>, Path(order): Path<String>) -> Result<Json<Charge>, HandlerError> {
    payment.refund(&order).await.map(Json)
}
