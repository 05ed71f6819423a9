//! A stand-in for the outside bank: settles or declines transfers, and shows its ledger.

mod repository;

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    routing::{get, post},
};
use bowline::{
    Code, HandlerError, Microservice,
    extract::{Json, Path},
};
use example_sql::Opened;
use serde::{Deserialize, Serialize};

use crate::repository::{BankRepository, Ledger, MIGRATIONS, SqlBank, Status, Transfer};

/// The most one transfer moves, in minor units.
const AMOUNT_MAX: i64 = 100_000_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let service = Microservice::from_env("bank")?;
    match MIGRATIONS.open(service.own_database()?).await? {
        Opened::Sqlite(sql) => serve(service, SqlBank(sql)).await,
        Opened::Postgres(sql) => serve(service, SqlBank(sql)).await,
    }
}

async fn serve<R: BankRepository>(service: Microservice, bank: R) -> anyhow::Result<()> {
    let app = Router::new()
        .route("/transfers", post(transfer::<R>))
        .route("/transfers/{reference}", get(show::<R>))
        .route("/transfers/{reference}/reversal", post(reverse::<R>))
        .route("/ledger", get(ledger::<R>))
        .with_state(Arc::new(bank));
    Ok(service.serve(app).await?)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    /// The asker's name for the transfer; asking again under it changes nothing.
    reference: String,
    card: String,
    /// In minor units.
    amount: i64,
}

#[derive(Debug, Serialize)]
struct Decision {
    status: Status,
}

/// What became of a transfer that was taken back.
#[derive(Debug, Serialize)]
struct Reversed {
    reference: String,
}

/// A transfer as it was decided. Its card is between the bank and who asked.
#[derive(Debug, Serialize)]
struct Decided {
    reference: String,
    amount: i64,
    status: Status,
}

async fn transfer<R: BankRepository>(
    State(bank): State<Arc<R>>,
    Json(order): Json<Order>,
) -> Result<Json<Decision>, HandlerError> {
    let refuse = |detail: &str| Err(HandlerError::new(Code::Unprocessable, detail));
    let Order { reference, card, amount } = order;
    check_reference(&reference)?;
    if !(1..=AMOUNT_MAX).contains(&amount) {
        return refuse("amount: 1 to 100,000,000 minor units");
    }
    let asked = Transfer { reference, card, amount };
    let Some(is_settled) = bank.decide(&asked).await? else {
        return Err(HandlerError::new(Code::Conflict, "reference: it names another transfer already"));
    };
    Ok(Json(Decision { status: if is_settled { Status::Settled } else { Status::Declined } }))
}

fn check_reference(reference: &str) -> Result<(), HandlerError> {
    if reference.is_empty() || reference.len() > 128 {
        return Err(HandlerError::new(Code::Unprocessable, "reference: 1 to 128 characters"));
    }
    Ok(())
}

/// Takes a transfer back, once however often it is asked to.
async fn reverse<R: BankRepository>(
    State(bank): State<Arc<R>>,
    Path(reference): Path<String>,
) -> Result<Json<Reversed>, HandlerError> {
    check_reference(&reference)?;
    bank.reverse(&reference).await?;
    Ok(Json(Reversed { reference }))
}

async fn show<R: BankRepository>(
    State(bank): State<Arc<R>>,
    Path(reference): Path<String>,
) -> Result<Json<Decided>, HandlerError> {
    let found = bank.find(&reference).await?;
    let Some((Transfer { reference, amount, card: _ }, status)) = found else {
        return Err(HandlerError::new(Code::NotFound, format!("no transfer `{reference}`")));
    };
    Ok(Json(Decided { reference, amount, status }))
}

async fn ledger<R: BankRepository>(State(bank): State<Arc<R>>) -> Result<Json<Ledger>, HandlerError> {
    Ok(Json(bank.ledger().await?))
}
