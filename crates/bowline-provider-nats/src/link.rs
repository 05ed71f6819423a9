//! The connection to NATS, which everything goes through.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::{
    Client, ConnectOptions, Event,
    connection::State,
    jetstream::{
        Context,
        context::{ContextBuilder, PublishError, PublishErrorKind},
        message::PublishMessage,
        publish::PublishAck,
        stream::{Config, Stream},
    },
};
use bowline_messaging::{Error, Metrics};
use bowline_runtime::{metric, rand, time};
use tokio::sync::watch;

use crate::{
    failure::{Failure, failed},
    names::Names,
    settings::{Credentials, Settings},
};

/// How long a call waits for NATS, and for its answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How often is looked whether NATS is there.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The longest between two tries to connect.
const RECONNECT_MAX: Duration = Duration::from_secs(2);

/// What of a message's bytes is left for what is said of it when it is a dead letter.
const LETTER_BYTES: usize = 8 * 1024;

/// A stream that nothing is known of but its name.
pub(crate) type Named = Stream<()>;

pub(crate) struct Link {
    pub(crate) client: Client,
    pub(crate) jetstream: Context,
    pub(crate) names: Names,
    pub(crate) replicas: usize,
    /// Names this process among those that serve groups.
    pub(crate) owner: String,
    /// Counts how often NATS was connected to.
    pub(crate) connects: watch::Receiver<u64>,
    registry: metric::Registry,
    metrics: Mutex<BTreeMap<String, Metrics>>,
}

impl Link {
    pub(crate) async fn open(settings: &Settings) -> Result<Self, Error> {
        let names = Names::new(&settings.prefix)?;
        let servers = settings.checked_servers()?;
        let (count, connects) = watch::channel(0);
        let options = options(settings, count).await?;
        let shown = servers.join(", ");
        let mut first = connects.clone();
        let client = options.connect(servers).await;
        let client = client.map_err(|error| Failure::Connect { servers: shown.clone(), reason: error.to_string() })?;
        // What is asked for now must not take this one for another connection.
        time::timeout(PATIENCE, first.wait_for(|count| *count > 0)).await.ok();
        let jetstream = ContextBuilder::new().timeout(PATIENCE).build(client.clone());
        let link = Self {
            client,
            jetstream,
            names,
            replicas: settings.replicas,
            owner: format!("{:016x}", rand::u64()),
            connects,
            registry: settings.metrics.clone(),
            metrics: Mutex::default(),
        };
        let groups = Config {
            name: link.names.groups(),
            subjects: vec![link.names.groups_subject()],
            num_replicas: link.replicas,
            ..Config::default()
        };
        let made = link.jetstream.get_or_create_stream(groups).await;
        made.map_err(|error| Failure::NoJetStream { servers: shown, reason: error.to_string() })?;
        Ok(link)
    }

    /// Waits until NATS is there, for a while.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        let mut connects = self.connects.clone();
        let connected = async {
            while !self.is_connected() {
                // The word of it may come a moment before it is so, or not at all.
                time::timeout(LOOK_EVERY, connects.changed()).await.ok();
            }
        };
        let waited = time::timeout(PATIENCE, connected).await;
        waited.map_err(|_| Error::Unavailable { retry_after: Some(RECONNECT_MAX) })
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Publishes, and waits until NATS has it.
    pub(crate) async fn publish(&self, subject: &str, message: PublishMessage) -> Result<PublishAck, PublishError> {
        let mut connects = self.connects.clone();
        connects.mark_unchanged();
        let kept = async { self.jetstream.send_publish(subject.to_owned(), message).await?.await };
        tokio::select! {
            kept = kept => kept,
            // An answer does not find its way to another connection.
            Ok(()) = connects.changed() => {
                Err(PublishError::with_source(PublishErrorKind::BrokenPipe, "the connection was lost meanwhile"))
            }
        }
    }

    /// The most bytes of a message, with all that is said of it.
    pub(crate) fn bytes_max(&self) -> usize {
        self.client.server_info().max_payload.saturating_sub(LETTER_BYTES)
    }

    pub(crate) async fn messages(&self, topic: &str) -> Result<Named, Error> {
        self.stream(self.names.messages(topic)).await
    }

    pub(crate) async fn letters(&self, topic: &str) -> Result<Named, Error> {
        self.stream(self.names.letters(topic)).await
    }

    pub(crate) async fn groups(&self) -> Result<Named, Error> {
        self.stream(self.names.groups()).await
    }

    async fn stream(&self, name: String) -> Result<Named, Error> {
        self.jetstream.get_stream_no_info(name).await.map_err(|error| failed("name a stream", error))
    }

    /// What is counted of a topic that is there: of any other name it would stay for ever.
    pub(crate) fn metrics(&self, topic: &str) -> Metrics {
        let mut known = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(metrics) = known.get(topic) {
            return metrics.clone();
        }
        let metrics = Metrics::new(&self.registry, topic);
        known.insert(topic.to_owned(), metrics.clone());
        metrics
    }

    /// What is counted of a topic, if something was before.
    pub(crate) fn known_metrics(&self, topic: &str) -> Option<Metrics> {
        self.metrics.lock().unwrap_or_else(PoisonError::into_inner).get(topic).cloned()
    }
}

async fn options(settings: &Settings, count: watch::Sender<u64>) -> Result<ConnectOptions, Error> {
    let count = Arc::new(count);
    let mut options = ConnectOptions::new()
        .name("bowline")
        .connection_timeout(PATIENCE)
        .request_timeout(Some(PATIENCE))
        .reconnect_delay_callback(|tries| {
            RECONNECT_MAX.min(Duration::from_millis(50).saturating_mul(u32::try_from(tries).unwrap_or(u32::MAX)))
        })
        .event_callback(move |event| {
            note(&event, &count);
            std::future::ready(())
        });
    if let Some(ca) = &settings.ca {
        options = options.add_root_certificates(ca.clone());
    }
    if settings.servers.iter().any(|server| server.starts_with("tls://")) {
        options = options.require_tls(true);
    }
    match &settings.credentials {
        Credentials::None => Ok(options),
        Credentials::Token(token) => Ok(options.token(token.to_string())),
        Credentials::Password { user, password } => Ok(options.user_and_password(user.clone(), password.to_string())),
        Credentials::File(path) => {
            let read = options.credentials_file(path).await;
            read.map_err(|source| Failure::Credentials { path: path.clone(), source }.into())
        }
    }
}

fn note(event: &Event, count: &watch::Sender<u64>) {
    match event {
        Event::Connected => {
            count.send_modify(|count| *count += 1);
            tracing::info!("connected to NATS");
        }
        Event::Disconnected => tracing::warn!("NATS is away, it is connected to again once it is back"),
        other => tracing::warn!(event = %other, "NATS said something"),
    }
}
