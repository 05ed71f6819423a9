//! The shop's user service: who buys, with which card, and who signs in.

mod keys;
mod login;
mod password;
mod profile;
mod repository;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    http::{HeaderName, header},
    routing::{get, post, put},
};
use bowline::{
    Code, HandlerError, Microservice,
    extract::{Json, Path, Subject},
    runtime::{task, time},
    sql::RelaySettings,
};
use example_sql::{Db, Opened};
use jsonwebtoken::jwk::JwkSet;

use crate::{
    login::{Credentials, Granted, LoginService},
    profile::{Changes, NewUser, ProfileService},
    repository::{MIGRATIONS, SqlUsers, User, UserRepository},
};

/// How often it is asked whether the signing key is to be replaced.
const ROTATION_CHECK_EVERY: Duration = Duration::from_hours(1);

/// The largest body of a login, and of what a customer says of itself.
const LOGIN_BYTES_MAX: usize = 16 << 10;

type Service<DB> = State<Arc<Users<DB>>>;

/// Who signs in, and who is who.
struct Users<DB: Db> {
    logins: LoginService<SqlUsers<DB>>,
    profiles: ProfileService<DB>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let service = Microservice::from_env("user")?;
    match MIGRATIONS.open(service.own_database()?).await?.with_messages().await? {
        Opened::Sqlite(sql) => serve(service, SqlUsers::new(sql)).await,
        Opened::Postgres(sql) => serve(service, SqlUsers::new(sql)).await,
    }
}

async fn serve<DB: Db>(mut service: Microservice, repository: SqlUsers<DB>) -> anyhow::Result<()> {
    service.relay(repository.outbox(), RelaySettings::default());
    let [registered, changed] = ["user.registered", "user.changed"].map(|name| service.topic(name));
    let profiles = ProfileService { repository: repository.clone(), registered, changed };
    let users = Arc::new(Users { logins: LoginService::new(repository, service.metrics()), profiles });
    users.logins.keys().rotate(time::unix_millis_now()).await?;
    let _rotating = task::Guarded::new(task::spawn(rotate(users.clone())));
    let app = Router::new()
        .route("/users", post(register::<DB>))
        .route("/users/{id}", put(change::<DB>))
        .route("/login", post(login::<DB>))
        .layer(DefaultBodyLimit::max(LOGIN_BYTES_MAX))
        .route("/users/{id}", get(show::<DB>))
        .route("/.well-known/jwks.json", get(key_set::<DB>))
        .with_state(users);
    Ok(service.serve(app).await?)
}

async fn register<DB: Db>(
    State(users): Service<DB>,
    Json(new): Json<NewUser>,
) -> Result<(StatusCode, Json<User>), HandlerError> {
    let user = users.profiles.register(new, users.logins.passwords()).await?;
    Ok((StatusCode::CREATED, Json(user)))
}

async fn change<DB: Db>(
    State(users): Service<DB>,
    subject: Subject,
    Path(id): Path<String>,
    Json(changes): Json<Changes>,
) -> Result<Json<User>, HandlerError> {
    users.profiles.change(&subject, &id, changes).await.map(Json)
}

async fn show<DB: Db>(State(users): Service<DB>, Path(id): Path<String>) -> Result<Json<User>, HandlerError> {
    let user = users.logins.repository().find(&id).await?;
    user.map(Json).ok_or_else(|| HandlerError::new(Code::NotFound, format!("no user `{id}`")))
}

async fn login<DB: Db>(
    State(users): Service<DB>,
    Json(credentials): Json<Credentials>,
) -> Result<([(HeaderName, &'static str); 1], Json<Granted>), HandlerError> {
    let granted = users.logins.login(credentials, time::unix_millis_now()).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(granted)))
}

async fn key_set<DB: Db>(
    State(users): Service<DB>,
) -> Result<([(HeaderName, &'static str); 1], Json<JwkSet>), HandlerError> {
    // Shorter than a key is published before it is used.
    let headers = [(header::CACHE_CONTROL, "public, max-age=300")];
    Ok((headers, Json(users.logins.keys().key_set().await?)))
}

/// Replaces the signing key when its time has come.
async fn rotate<DB: Db>(users: Arc<Users<DB>>) {
    loop {
        time::sleep(ROTATION_CHECK_EVERY).await;
        if let Err(error) = users.logins.keys().rotate(time::unix_millis_now()).await {
            tracing::warn!(error = %error, "the signing key was not looked after");
        }
    }
}
