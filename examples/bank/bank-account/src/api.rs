//! The operations over HTTP, as `openapi/account.yaml` describes them.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    routing::{MethodRouter, get, post},
};
use bowline::{
    Code, HandlerError,
    extract::{Json, Path, Query, Subject},
};

use crate::{
    account::{Account, Deposit, Deposited, Hold, Ledger},
    repository::{AccountRepository, Done},
    service::{AccountService, Holding, Opening},
    statement::Period,
};

/// The largest body of a request, in bytes.
const BODY_BYTES_MAX: usize = 16 << 10;

/// The longest name of a request, in bytes.
const KEY_BYTES_MAX: usize = 128;

type Service<R> = State<Arc<AccountService<R>>>;

/// What was asked for: created now, or as it was before.
type Created<T> = Result<(StatusCode, Json<T>), HandlerError>;

/// An operation: its method, its path, and what carries it out.
pub(crate) type Operation<R> = (&'static str, &'static str, MethodRouter<Arc<AccountService<R>>>);

/// All operations.
pub(crate) fn operations<R: AccountRepository>() -> [Operation<R>; 8] {
    [
        ("POST", "/accounts", post(open::<R>)),
        ("GET", "/accounts/{id}", get(show::<R>)),
        ("GET", "/accounts/{id}/statement", get(statement::<R>)),
        ("POST", "/deposits", post(deposit::<R>)),
        ("POST", "/holds", post(hold::<R>)),
        ("POST", "/holds/{transfer}/capture", post(capture::<R>)),
        ("POST", "/holds/{transfer}/release", post(release::<R>)),
        ("GET", "/ledger", get(ledger::<R>)),
    ]
}

/// The application.
pub(crate) fn app<R: AccountRepository>(accounts: AccountService<R>) -> Router {
    let routed = operations().into_iter().fold(Router::new(), |app, (_, path, handler)| app.route(path, handler));
    routed.layer(DefaultBodyLimit::max(BODY_BYTES_MAX)).with_state(Arc::new(accounts))
}

async fn open<R: AccountRepository>(
    State(accounts): Service<R>,
    subject: Subject,
    headers: HeaderMap,
    Json(opening): Json<Opening>,
) -> Created<Account> {
    Ok(created(accounts.open(&subject, opening, key(&headers)?).await?))
}

async fn show<R: AccountRepository>(
    State(accounts): Service<R>,
    subject: Subject,
    Path(id): Path<String>,
) -> Result<Json<Account>, HandlerError> {
    accounts.show(&subject, &id).await.map(Json)
}

async fn statement<R: AccountRepository>(
    State(accounts): Service<R>,
    subject: Subject,
    Path(id): Path<String>,
    Query(period): Query<Period>,
) -> Result<([(HeaderName, &'static str); 2], String), HandlerError> {
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"statement.csv\""),
    ];
    Ok((headers, accounts.statement(&subject, &id, &period).await?))
}

async fn deposit<R: AccountRepository>(
    State(accounts): Service<R>,
    subject: Subject,
    Json(deposit): Json<Deposit>,
) -> Created<Deposited> {
    Ok(created(accounts.deposit(&subject, deposit).await?))
}

async fn hold<R: AccountRepository>(State(accounts): Service<R>, Json(asked): Json<Holding>) -> Created<Hold> {
    Ok(created(accounts.hold(asked).await?))
}

async fn capture<R: AccountRepository>(
    State(accounts): Service<R>,
    Path(transfer): Path<String>,
) -> Result<Json<Hold>, HandlerError> {
    accounts.capture(&transfer).await.map(Json)
}

async fn release<R: AccountRepository>(
    State(accounts): Service<R>,
    Path(transfer): Path<String>,
) -> Result<Json<Hold>, HandlerError> {
    accounts.release(&transfer).await.map(Json)
}

async fn ledger<R: AccountRepository>(
    State(accounts): Service<R>,
    subject: Subject,
) -> Result<Json<Ledger>, HandlerError> {
    accounts.ledger(&subject).await.map(Json)
}

fn created<T>(Done { value, is_new }: Done<T>) -> (StatusCode, Json<T>) {
    (if is_new { StatusCode::CREATED } else { StatusCode::OK }, Json(value))
}

/// The caller's name for a request, if it has one.
fn key(headers: &HeaderMap) -> Result<Option<String>, HandlerError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=KEY_BYTES_MAX).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(HandlerError::new(Code::InvalidArgument, "idempotency-key: 1 to 128 visible characters")),
    }
}
