//! The one connection of a process to Redis: made on first use, made anew where it is lost.

use std::{sync::Arc, time::Duration};

use bowline_cache::PortError;
use bowline_runtime::{
    task,
    time::{self, Instant},
};
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, RedisError, ScriptInvocation, ServerErrorKind,
    aio::MultiplexedConnection,
};
use tokio::sync::Mutex;

use crate::Settings;

/// How long it may take to connect.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// How long Redis may take for an answer. Whoever asks usually waits for less.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// For how long nobody tries after it could not be connected to.
const REST: Duration = Duration::from_millis(100);

/// The most calls on their way at a time; more wait.
const CALLS_MAX: usize = 1024;

/// Redis, through one connection that all callers share.
pub(crate) struct Link {
    client: Client,
    /// As it is told where it fails; without credentials.
    url: String,
    state: Arc<Mutex<State>>,
}

enum State {
    /// Not tried yet, or lost.
    Down { made: u64 },
    /// Each connection has a number: who finds it lost says which.
    Up { made: u64, connection: MultiplexedConnection },
    /// It could not be made just now.
    Resting { made: u64, until: Instant, error: PortError },
}

/// What Redis failed at.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot connect to Redis at {url}")]
    Connect {
        url: String,
        #[source]
        source: RedisError,
    },
    #[error("cannot connect to Redis at {url} within {} ms", CONNECT_MAX.as_millis())]
    Slow { url: String },
    #[error("Redis failed to {what}")]
    Call {
        what: &'static str,
        #[source]
        source: RedisError,
    },
}

impl Link {
    pub(crate) fn new(settings: &Settings) -> Result<Self, PortError> {
        let client = Client::open(settings.connection_info()?).map_err(PortError::unavailable)?;
        Ok(Self { client, url: settings.url.clone(), state: Arc::new(Mutex::new(State::Down { made: 0 })) })
    }

    /// Runs a script: once more where the connection turns out to be lost, since each may be run twice.
    pub(crate) async fn call<T: FromRedisValue>(
        &self,
        what: &'static str,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, PortError> {
        let failed = |source| PortError::unavailable(Failure::Call { what, source });
        let (made, mut connection) = self.connection().await?;
        match script.invoke_async(&mut connection).await {
            Ok(answer) => return Ok(answer),
            Err(error) if is_lost(&error) => self.lost(made).await,
            Err(error) => return Err(failed(error)),
        }
        let (_, mut connection) = self.connection().await?;
        script.invoke_async(&mut connection).await.map_err(failed)
    }

    async fn connection(&self) -> Result<(u64, MultiplexedConnection), PortError> {
        let mut state = Arc::clone(&self.state).lock_owned().await;
        let made = match &*state {
            State::Up { made, connection } => return Ok((*made, connection.clone())),
            State::Resting { until, error, .. } if time::now() < *until => return Err(error.clone()),
            State::Down { made } | State::Resting { made, .. } => made + 1,
        };
        let (client, url) = (self.client.clone(), self.url.clone());
        // In a task: who asks may go away sooner than Redis is reached, and nobody would ever reach it.
        let connecting = task::spawn(async move {
            let connected = connect(&client, url).await;
            *state = match &connected {
                Ok(connection) => State::Up { made, connection: connection.clone() },
                Err(error) => State::Resting { made, until: time::now() + REST, error: error.clone() },
            };
            connected
        });
        let connection = connecting.await.map_err(PortError::unavailable)??;
        Ok((made, connection))
    }

    /// That connection is no more, unless there is another already.
    async fn lost(&self, number: u64) {
        let mut state = self.state.lock().await;
        if matches!(*state, State::Up { made, .. } if made == number) {
            tracing::debug!(url = self.url, "the connection to Redis is lost");
            *state = State::Down { made: number };
        }
    }
}

/// Whether another connection may do better: it is broken, or leads to what is no more than a copy since a failover.
fn is_lost(error: &RedisError) -> bool {
    let is_copy = match error.kind() {
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => true,
        // Before Redis 7, of a script the text alone says it.
        ErrorKind::Server(ServerErrorKind::ResponseError) => {
            error.detail().is_some_and(|detail| detail.contains("READONLY"))
        }
        _ => false,
    };
    is_copy || error.is_unrecoverable_error()
}

async fn connect(client: &Client, url: String) -> Result<MultiplexedConnection, PortError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_MAX))
        .set_response_timeout(Some(ANSWER_MAX))
        .set_concurrency_limit(CALLS_MAX);
    match time::timeout(CONNECT_MAX, client.get_multiplexed_async_connection_with_config(&config)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(source)) => Err(PortError::unavailable(Failure::Connect { url, source })),
        Err(_) => Err(PortError::unavailable(Failure::Slow { url })),
    }
}
