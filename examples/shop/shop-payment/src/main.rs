//! The shop's payment service: charges a card for an order, once, through the bank.

mod repository;
mod service;

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    routing::{get, post},
};
use bowline::{
    Code, HandlerError, Microservice, ServiceClient,
    extract::{Json, Path},
};

use crate::{
    repository::{Charge, ChargeRepository, SqliteCharges},
    service::{NewCharge, PaymentService},
};

type Service = Arc<PaymentService<SqliteCharges, ServiceClient>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let service = Microservice::from_env("payment")?;
    let repository = SqliteCharges::open(&service.settings().data("sqlite:payment.db")?).await?;
    let payment = Arc::new(PaymentService { repository, bank: service.client("bank") });
    let app = Router::new().route("/charges", post(charge)).route("/charges/{order}", get(show)).with_state(payment);
    Ok(service.serve(app).await?)
}

async fn charge(State(payment): State<Service>, Json(new): Json<NewCharge>) -> Result<Json<Charge>, HandlerError> {
    payment.charge(new).await.map(Json)
}

async fn show(State(payment): State<Service>, Path(order): Path<String>) -> Result<Json<Charge>, HandlerError> {
    let charge = payment.repository.find(&order).await.map_err(HandlerError::internal)?;
    charge.map(Json).ok_or_else(|| HandlerError::new(Code::NotFound, format!("no charge for order `{order}`")))
}
