//! The bank's transaction service: moves money, each transfer by a saga that holds at account, asks risk, and captures.

mod callees;
mod limits;
mod moving;
mod repository;
mod service;
mod transfer;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use bowline::{
    HandlerError, Microservice,
    extract::{Json, Path, Query, Subject},
    messages::Incoming,
    sql::{Inbox, Outbox, RelaySettings, Sagas},
};
use example_sql::Opened;
use serde::Deserialize;

use crate::{
    limits::{CurrentLimits, Limits},
    moving::{HOLD_WITHIN, Local, Topics},
    repository::{SqlTransfers, TransferRepository},
    service::{Answered, IdempotencyKey, PATIENCE, Posting, TransferService},
    transfer::{NewTransfer, Transfer},
};

/// The largest body of a request, in bytes.
const BODY_BYTES_MAX: usize = 16 << 10;

type Service<R> = State<Arc<TransferService<R>>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let service = Microservice::from_env("transaction")?;
    match example_sql::open(service.own_database()?, &sqlx::migrate!()).await?.with_messages().await? {
        Opened::Sqlite(sql) => serve(service, SqlTransfers(sql)).await,
        Opened::Postgres(sql) => serve(service, SqlTransfers(sql)).await,
    }
}

async fn serve<R: TransferRepository>(mut service: Microservice, repository: R) -> anyhow::Result<()> {
    let repository = Arc::new(repository);
    let limits = service.config_loader("bank/transaction").or(Limits::default()).load().await?;
    let limits: CurrentLimits = Arc::new(move || limits.get());
    let outbox = Outbox::new(repository.pool().clone());
    service.relay(&outbox, RelaySettings::default());
    let topics = Topics { settled: service.topic("transfer.settled"), declined: service.topic("transfer.declined") };
    let metrics = service.metrics().clone();
    moving::show_counters(&metrics);
    let local = Arc::new(Local { repository: repository.clone(), topics, limits: limits.clone(), metrics });
    let (account, risk) = (Arc::new(service.client("account")), Arc::new(service.client("risk")));
    let definition = |name| moving::definition(name, &local, &account, &risk, HOLD_WITHIN);
    let sagas = Sagas::builder(repository.pool().clone())
        .saga(definition(moving::NAME))
        .saga(definition(moving::ASSESSED_FIRST))
        .outbox(&outbox)
        .tracer(service.tracer().clone())
        .metrics(service.metrics())
        .start()?;
    service.show_sagas(&sagas);
    let transfers =
        Arc::new(TransferService { repository, sagas, limits, inbox: Inbox::default(), patience: PATIENCE });
    take_posted(&mut service, &transfers);
    let app = Router::new()
        .route("/transfers", post(transfer::<R>).get(list::<R>))
        .route("/transfers/{id}", get(show::<R>))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(transfers);
    Ok(service.serve(app).await?)
}

/// Has what account tells of its ledger kept with the transfers.
fn take_posted<R: TransferRepository>(service: &mut Microservice, transfers: &Arc<TransferService<R>>) {
    let transfers = transfers.clone();
    service.consumer("account.posted").each(move |incoming: Incoming<Posting>| {
        let transfers = transfers.clone();
        async move { transfers.posted(&incoming.message.id, &incoming.value).await }
    });
}

async fn transfer<R: TransferRepository>(
    State(transfers): Service<R>,
    subject: Subject,
    headers: HeaderMap,
    Json(new): Json<NewTransfer>,
) -> Result<(StatusCode, Json<Transfer>), HandlerError> {
    let key = IdempotencyKey::of(&headers)?;
    Ok(match transfers.transfer(&subject, new, &key).await? {
        Answered::New(transfer) => (StatusCode::CREATED, Json(transfer)),
        Answered::Known(transfer) => (StatusCode::OK, Json(transfer)),
        Answered::Pending(transfer) => (StatusCode::ACCEPTED, Json(transfer)),
    })
}

/// Which transfers are listed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    state: transfer::State,
    limit: Option<u32>,
}

async fn list<R: TransferRepository>(
    State(transfers): Service<R>,
    subject: Subject,
    Query(Listed { state, limit }): Query<Listed>,
) -> Result<Json<Vec<Transfer>>, HandlerError> {
    transfers.list(&subject, state, limit).await.map(Json)
}

async fn show<R: TransferRepository>(
    State(transfers): Service<R>,
    subject: Subject,
    Path(id): Path<String>,
) -> Result<Json<Transfer>, HandlerError> {
    transfers.show(&subject, &id).await.map(Json)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;
    use crate::transfer::{Currency, Decision, Risk, State as Reached};

    fn openapi() -> Value {
        serde_saphyr::from_str(include_str!("../../openapi/transaction.yaml")).unwrap()
    }

    #[test]
    fn the_description_has_the_operations_of_the_boundary() {
        let openapi = openapi();
        let described: BTreeSet<String> = openapi["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
            })
            .collect();
        let system: toml::Table = toml::from_str(include_str!("../../bowline.toml")).unwrap();
        let boundary = system["service"]["transaction"]["boundary"]["api"].as_array().unwrap();
        let declared: BTreeSet<String> =
            boundary.iter().map(|operation| operation.as_str().unwrap().to_owned()).collect();
        assert_eq!(described, declared);
    }

    #[test]
    fn the_description_has_the_words_of_the_code() {
        let schemas = &openapi()["components"]["schemas"];
        let states = [Reached::Pending, Reached::Settled, Reached::Declined, Reached::Failed];
        assert_eq!(schemas["State"]["enum"], json!(states));
        assert_eq!(schemas["Currency"]["enum"], json!([Currency::Eur, Currency::Usd, Currency::Gbp]));
        assert_eq!(schemas["Risk"]["properties"]["decision"]["enum"], json!([Decision::Allow, Decision::Deny]));
        let shown = json!(Transfer {
            id: "t-1".to_owned(),
            from: "a-1".to_owned(),
            to: "a-2".to_owned(),
            amount: 1,
            currency: Currency::Eur,
            state: Reached::Declined,
            reason: Some("risk".to_owned()),
            risk: Some(Risk { decision: Decision::Deny, score: Some(0.5), by: "model 1".to_owned() }),
            posted_at_ms: Some(1),
        });
        for (name, shown) in [("Transfer", &shown), ("Risk", &shown["risk"])] {
            let described: BTreeSet<_> = schemas[name]["properties"].as_object().unwrap().keys().collect();
            let written: BTreeSet<_> = shown.as_object().unwrap().keys().collect();
            assert_eq!(described, written, "{name}");
        }
        let mut new = json!({"from": "a-1", "to": "a-2", "amount": 1, "currency": "EUR"});
        let described = schemas["NewTransfer"]["properties"].as_object().unwrap().keys().collect::<BTreeSet<_>>();
        assert_eq!(described, new.as_object().unwrap().keys().collect());
        assert!(serde_json::from_value::<NewTransfer>(new.clone()).is_ok());
        new["more"] = json!(1);
        assert!(serde_json::from_value::<NewTransfer>(new).is_err());
    }
}
