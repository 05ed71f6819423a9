//! The analytics service: orders the readings of devices by the time at which they were read, finds what is wrong with
//! them, asks `ml` how odd that is, and tells of it.
//!
//! # Event time
//! Readings come out of order. Those of a device wait until one is there that was read `lateness` later (its
//! *watermark*), and are then judged in order; one that comes after a later one was judged is counted as late. That a
//! device does not come at all is no matter of others' readings, which may be of last week, but of the clock: `silence`.
//!
//! # Why not `bowline::stream`'s windows
//! They fold events into windows that come out when they close, and hold what is open in memory: good where a source can
//! be read again from where it was, as a topic's. What is judged here is a series without an end, of which everything that
//! was ever learned counts, and who tells the readings is to be answered when they are durable, not when a window is
//! over. So the hour that a model is asked about slides with each reading, within the device (`iot_detect::features`),
//! and is kept and found again with it. The meaning of a watermark is the same.
//!
//! # What is kept
//! Each batch adds its readings to a journal, in one transaction with the anomalies that it began and ended. A device's
//! state, about 15 KB, is written after every 288 readings, and its journal forgotten. At the start both are read: the
//! journal is gone through again without telling anybody. Devices are held by one process; a second one that writes, or a
//! write of which nobody knows whether it happened, has it read everything anew.

mod anomaly;
mod api;
mod counts;
mod device;
mod fleet;
mod reading;
mod repository;
mod rules;
mod scorer;
mod service;
mod silence;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use bowline::{
    Microservice,
    messages::Incoming,
    runtime::{
        task::{self, Guarded},
        time,
    },
};
use example_sql::{Db, Opened, Sql};

use crate::{
    repository::{AnalyticsRepository, REMOVED_TOPIC, SqlAnalytics},
    rules::Rules,
    scorer::Scorer,
    service::{AnalyticsService, Removed},
};

/// How often is looked for devices that are silent.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often is looked for anomalies that have been kept for long enough.
const FORGET_EVERY: Duration = Duration::from_mins(10);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let service = Microservice::from_env("analytics")?;
    match example_sql::open(service.own_database()?, &sqlx::migrate!()).await?.with_messages().await? {
        Opened::Sqlite(sql) => serve(service, sql).await,
        Opened::Postgres(sql) => serve(service, sql).await,
    }
}

async fn serve<DB: Db>(mut service: Microservice, sql: Sql<DB>) -> anyhow::Result<()> {
    let rules = service.config_loader("iot/analytics").or(Rules::default()).load().await?;
    let rules: service::CurrentRules = Box::new(move || rules.get());
    let analytics =
        AnalyticsService::new(SqlAnalytics::new(sql), service.client("ml"), rules, service.tracer(), service.metrics());
    let analytics = Arc::new(analytics);
    analytics.begin().await?;
    forget_removed(&mut service, &analytics);
    let _looking = Guarded::new(task::spawn(look(analytics.clone())));
    let _forgetting = Guarded::new(task::spawn(forget(analytics.clone())));
    Ok(service.serve(api::app(analytics)).await?)
}

/// Has devices forgotten that device says are removed.
fn forget_removed<R: AnalyticsRepository, S: Scorer>(
    service: &mut Microservice,
    analytics: &Arc<AnalyticsService<R, S>>,
) {
    let analytics = analytics.clone();
    service.consumer(REMOVED_TOPIC).each(move |incoming: Incoming<Removed>| {
        let analytics = analytics.clone();
        async move { Ok(analytics.remove(incoming.message.id.clone(), incoming.value, api::now_ms()).await?) }
    });
}

/// Finds silent devices, as long as it is polled.
async fn look<R: AnalyticsRepository, S: Scorer>(analytics: Arc<AnalyticsService<R, S>>) {
    let mut ticks = time::interval(LOOK_EVERY);
    loop {
        ticks.tick().await;
        if let Err(error) = analytics.clone().look(api::now_ms()).await {
            tracing::warn!(%error, "silent devices were not looked for, and will be");
        }
    }
}

/// Forgets anomalies, as long as it is polled.
async fn forget<R: AnalyticsRepository, S: Scorer>(analytics: Arc<AnalyticsService<R, S>>) {
    let mut ticks = time::interval(FORGET_EVERY);
    loop {
        ticks.tick().await;
        match analytics.forget(api::now_ms()).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "anomalies that were kept for long enough are forgotten"),
            Err(error) => tracing::error!(%error, "anomalies that were kept for long enough are not forgotten"),
        }
    }
}
