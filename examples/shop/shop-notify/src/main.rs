//! The shop's notify service: tells customers what becomes of their orders, once each.
//!
//! It is told by messages, and nobody waits for it: while it is away they wait in their topics.

mod events;
mod repository;

use std::sync::Arc;

use axum::{Router, extract::State, routing::get};
use bowline::{
    HandlerError, Microservice,
    extract::{Json, Subject},
};
use example_sql::{Db, Opened};

use crate::{
    events::{Event, OrderEvent, UserEvent},
    repository::{MIGRATIONS, Notification, Notifications},
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let service = Microservice::from_env("notify")?;
    match MIGRATIONS.open(service.own_database()?).await?.with_messages().await? {
        Opened::Sqlite(sql) => serve(service, Notifications::new(sql)).await,
        Opened::Postgres(sql) => serve(service, Notifications::new(sql)).await,
    }
}

async fn serve<DB: Db>(mut service: Microservice, notifications: Notifications<DB>) -> anyhow::Result<()> {
    let notifications = Arc::new(notifications);
    for topic in ["order.placed", "order.paid", "order.cancelled"] {
        take::<OrderEvent, DB>(&mut service, topic, &notifications);
    }
    for topic in ["user.registered", "user.changed"] {
        take::<UserEvent, DB>(&mut service, topic, &notifications);
    }
    let app = Router::new().route("/notifications", get(list::<DB>)).with_state(notifications);
    Ok(service.serve(app).await?)
}

/// Has each message of a topic become a notification.
fn take<E: Event, DB: Db>(service: &mut Microservice, topic: &'static str, notifications: &Arc<Notifications<DB>>) {
    let notifications = notifications.clone();
    service.consumer(topic).each(move |incoming: bowline::messages::Incoming<E>| {
        let notifications = notifications.clone();
        async move {
            let (event, id) = (&incoming.value, &incoming.message.id);
            notifications.keep(topic, id, event.user_id(), &event.text(topic)).await?;
            Ok(())
        }
    });
}

/// What a customer was told, the newest first.
async fn list<DB: Db>(
    State(notifications): State<Arc<Notifications<DB>>>,
    subject: Subject,
) -> Result<Json<Vec<Notification>>, HandlerError> {
    Ok(Json(notifications.of(subject.as_str()).await?))
}
