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

use crate::{
    events::{Event, OrderEvent, UserEvent},
    repository::{Notification, Notifications},
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut service = Microservice::from_env("notify")?;
    let notifications = Notifications::open(service.database("sqlite:notify.db")?).await?;
    for topic in ["order.placed", "order.paid", "order.cancelled"] {
        take::<OrderEvent>(&mut service, topic, &notifications);
    }
    for topic in ["user.registered", "user.changed"] {
        take::<UserEvent>(&mut service, topic, &notifications);
    }
    let app = Router::new().route("/notifications", get(list)).with_state(Arc::new(notifications));
    Ok(service.serve(app).await?)
}

/// Has each message of a topic become a notification.
fn take<E: Event>(service: &mut Microservice, topic: &'static str, notifications: &Notifications) {
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
async fn list(
    State(notifications): State<Arc<Notifications>>,
    subject: Subject,
) -> Result<Json<Vec<Notification>>, HandlerError> {
    notifications.of(subject.as_str()).await.map(Json).map_err(HandlerError::internal)
}
