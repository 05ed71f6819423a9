//! The shop's order service: places orders, charges them through payment, and marks them.

mod callees;
mod failing;
mod limits;
mod order;
mod repository;
mod service;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use bowline::{
    HandlerError, Microservice, ServiceClient,
    extract::{Json, Path, Subject},
    runtime::{task, time},
};

use crate::{
    limits::Limits,
    order::{NewOrder, Order},
    repository::SqliteOrders,
    service::{IdempotencyKey, OrderService},
};

/// How often orders are looked for whose placing was cut short.
const RESUME_EVERY: Duration = Duration::from_secs(5);

type Service = Arc<OrderService<SqliteOrders, ServiceClient, ServiceClient>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let service = Microservice::from_env("order")?;
    let repository = SqliteOrders::open(service.database("sqlite:order.db")?).await?;
    let limits = service.config_loader("shop/order").or(Limits::default()).load().await?;
    let orders = Arc::new(OrderService {
        repository,
        user: service.client("user"),
        payment: service.client("payment"),
        limits: Box::new(move || limits.get()),
    });
    let _resuming = task::Guarded::new(task::spawn(resume(orders.clone())));
    let app = Router::new().route("/orders", post(place)).route("/orders/{id}", get(show)).with_state(orders);
    let app = failing::layered(app)?;
    Ok(service.serve(app).await?)
}

async fn place(
    State(orders): State<Service>,
    subject: Subject,
    headers: HeaderMap,
    Json(new): Json<NewOrder>,
) -> Result<(StatusCode, Json<Order>), HandlerError> {
    let key = IdempotencyKey::of(&headers)?;
    let order = orders.place(&subject, new, key).await?;
    Ok((StatusCode::CREATED, Json(order)))
}

async fn show(
    State(orders): State<Service>,
    subject: Subject,
    Path(id): Path<String>,
) -> Result<Json<Order>, HandlerError> {
    orders.show(&subject, &id).await.map(Json)
}

/// Finishes orders that a crash, of this process or of another, left placed.
async fn resume(orders: Service) {
    loop {
        time::sleep(RESUME_EVERY).await;
        if let Err(error) = orders.resume().await {
            tracing::warn!(error = %error, "placed orders wait for payment");
        }
    }
}
