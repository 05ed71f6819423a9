//! The data service: stores readings, once each, rolls them up, and tells analytics of them.

mod api;
mod reading;
mod repository;
mod rollup;
mod service;
mod telling;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use bowline::{
    Microservice,
    runtime::{
        task::{self, Guarded},
        time,
    },
};
use example_sql::Opened;

use crate::{
    repository::{ReadingRepository, SqlReadings},
    service::DataService,
};

/// How often is looked for what has been kept for long enough.
const FORGET_EVERY: Duration = Duration::from_mins(10);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let service = Microservice::from_env("data")?;
    match example_sql::open(service.own_database()?, &sqlx::migrate!()).await? {
        Opened::Sqlite(sql) => serve(service, SqlReadings(sql)).await,
        Opened::Postgres(sql) => serve(service, SqlReadings(sql)).await,
    }
}

async fn serve<R: ReadingRepository + 'static>(service: Microservice, repository: R) -> anyhow::Result<()> {
    let data = Arc::new(DataService::new(repository, service.metrics()));
    let (told, analytics) = (data.clone(), service.client("analytics"));
    let _telling = Guarded::new(task::spawn(async move { telling::run(&told, &analytics).await }));
    let _forgetting = Guarded::new(task::spawn(forget(data.clone())));
    Ok(service.serve(api::app(data)).await?)
}

/// Forgets as long as it is polled.
async fn forget<R: ReadingRepository>(data: Arc<DataService<R>>) {
    let mut ticks = time::interval(FORGET_EVERY);
    loop {
        ticks.tick().await;
        match data.forget(api::now_ms()).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "what was kept for long enough is forgotten"),
            Err(error) => tracing::error!(%error, "what was kept for long enough is not forgotten"),
        }
    }
}
