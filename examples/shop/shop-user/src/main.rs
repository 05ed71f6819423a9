//! The shop's user service: who buys, with which card, and who signs in.

mod keys;
mod login;
mod password;
mod repository;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderName, header},
    routing::{get, post},
};
use bowline::{
    Code, HandlerError, Microservice,
    extract::{Json, Path},
    runtime::{task, time},
};
use jsonwebtoken::jwk::JwkSet;

use crate::{
    login::{Credentials, Granted, LoginService},
    repository::{SqliteUsers, User, UserRepository},
};

/// How often it is asked whether the signing key is to be replaced.
const ROTATION_CHECK_EVERY: Duration = Duration::from_hours(1);

/// The largest body of a login.
const LOGIN_BYTES_MAX: usize = 16 << 10;

type Service = Arc<LoginService<SqliteUsers>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let service = Microservice::from_env("user")?;
    let repository = SqliteUsers::open(service.database("sqlite:user.db")?).await?;
    let logins = Arc::new(LoginService::new(repository, service.metrics()));
    logins.keys().rotate(time::unix_millis_now()).await?;
    let _rotating = task::Guarded::new(task::spawn(rotate(logins.clone())));
    let app = Router::new()
        .route("/users/{id}", get(show))
        .route("/login", post(login).layer(DefaultBodyLimit::max(LOGIN_BYTES_MAX)))
        .route("/.well-known/jwks.json", get(key_set))
        .with_state(logins);
    Ok(service.serve(app).await?)
}

async fn show(State(logins): State<Service>, Path(id): Path<String>) -> Result<Json<User>, HandlerError> {
    let user = logins.repository().find(&id).await.map_err(HandlerError::internal)?;
    user.map(Json).ok_or_else(|| HandlerError::new(Code::NotFound, format!("no user `{id}`")))
}

async fn login(
    State(logins): State<Service>,
    Json(credentials): Json<Credentials>,
) -> Result<([(HeaderName, &'static str); 1], Json<Granted>), HandlerError> {
    let granted = logins.login(credentials, time::unix_millis_now()).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(granted)))
}

async fn key_set(
    State(logins): State<Service>,
) -> Result<([(HeaderName, &'static str); 1], Json<JwkSet>), HandlerError> {
    // Shorter than a key is published before it is used.
    let headers = [(header::CACHE_CONTROL, "public, max-age=300")];
    Ok((headers, Json(logins.keys().key_set().await.map_err(HandlerError::internal)?)))
}

/// Replaces the signing key when its time has come.
async fn rotate(logins: Service) {
    loop {
        time::sleep(ROTATION_CHECK_EVERY).await;
        if let Err(error) = logins.keys().rotate(time::unix_millis_now()).await {
            tracing::warn!(error = %error, "the signing key was not looked after");
        }
    }
}
