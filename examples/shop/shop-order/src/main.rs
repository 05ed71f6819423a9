//! The shop's order service: places orders, each by a saga that reserves stock, charges through payment and confirms.

mod callees;
mod card;
mod failing;
mod limits;
mod order;
mod placing;
mod repository;
mod service;

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use bowline::{
    HandlerError, Microservice,
    extract::{Json, Path, Subject},
    sql::{Outbox, RelaySettings, Sagas},
};
use example_sql::{Db, Opened};

use crate::{
    callees::CachedUsers,
    limits::Limits,
    order::{NewOrder, Order},
    placing::Topics,
    repository::{MIGRATIONS, SqlOrders},
    service::{IdempotencyKey, OrderService, PATIENCE, Stock},
};

type Service<DB> = State<Arc<OrderService<DB, CachedUsers>>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let service = Microservice::from_env("order")?;
    match MIGRATIONS.open(service.own_database()?).await?.with_messages().await? {
        Opened::Sqlite(sql) => serve(service, SqlOrders(sql)).await,
        Opened::Postgres(sql) => serve(service, SqlOrders(sql)).await,
    }
}

async fn serve<DB: Db>(mut service: Microservice, repository: SqlOrders<DB>) -> anyhow::Result<()> {
    let limits = service.config_loader("shop/order").or(Limits::default()).load().await?;
    let outbox = Outbox::new(repository.pool().clone());
    service.relay(&outbox, RelaySettings::default());
    let topics = Topics {
        placed: service.topic("order.placed"),
        paid: service.topic("order.paid"),
        cancelled: service.topic("order.cancelled"),
    };
    let payment = Arc::new(service.client("payment"));
    let definition = |name| placing::definition(name, &repository, &topics, &payment);
    let sagas = Sagas::builder(repository.pool().clone())
        .saga(definition(placing::NAME))
        .saga(definition(placing::BEFORE_STOCK))
        .outbox(&outbox)
        .tracer(service.tracer().clone())
        .metrics(service.metrics())
        .start()?;
    service.show_sagas(&sagas);
    let user = CachedUsers::new(&service)?;
    let orders =
        Arc::new(OrderService { repository, sagas, user, limits: Box::new(move || limits.get()), patience: PATIENCE });
    orders.adopt().await?;
    let app = Router::new()
        .route("/orders", post(place::<DB>))
        .route("/orders/{id}", get(show::<DB>))
        .route("/stock/{sku}", get(stock::<DB>))
        .with_state(orders);
    let app = failing::layered(app)?;
    Ok(service.serve(app).await?)
}

async fn place<DB: Db>(
    State(orders): Service<DB>,
    subject: Subject,
    headers: HeaderMap,
    Json(new): Json<NewOrder>,
) -> Result<(StatusCode, Json<Order>), HandlerError> {
    let key = IdempotencyKey::of(&headers)?;
    let order = orders.place(&subject, new, key).await?;
    Ok((StatusCode::CREATED, Json(order)))
}

async fn stock<DB: Db>(State(orders): Service<DB>, Path(sku): Path<String>) -> Result<Json<Stock>, HandlerError> {
    orders.stock(&sku).await.map(Json)
}

async fn show<DB: Db>(
    State(orders): Service<DB>,
    subject: Subject,
    Path(id): Path<String>,
) -> Result<Json<Order>, HandlerError> {
    orders.show(&subject, &id).await.map(Json)
}
