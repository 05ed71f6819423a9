//! The shop's user service: who buys, and with which card.

mod repository;

use std::sync::Arc;

use axum::{Router, extract::State, routing::get};
use bowline::{
    Code, HandlerError, Microservice,
    extract::{Json, Path},
};

use crate::repository::{SqliteUsers, User, UserRepository};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let service = Microservice::from_env("user")?;
    let users = Arc::new(SqliteUsers::open(&service.settings().data("sqlite:user.db")?).await?);
    let app = Router::new().route("/users/{id}", get(show)).with_state(users);
    Ok(service.serve(app).await?)
}

async fn show(State(users): State<Arc<SqliteUsers>>, Path(id): Path<String>) -> Result<Json<User>, HandlerError> {
    let user = users.find(&id).await.map_err(HandlerError::internal)?;
    user.map(Json).ok_or_else(|| HandlerError::new(Code::NotFound, format!("no user `{id}`")))
}
