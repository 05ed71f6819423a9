//! Databases that a service owns: where each is, and spans that say what of it is touched.

use std::{fmt, sync::Arc};

use bowline_telemetry::{SpanKind, Tracer, current, names};

/// A database that this service owns. Cheap to clone.
///
/// ```no_run
/// # use bowline::{Database, Microservice};
/// # async fn run(service: &Microservice) -> Result<(), Box<dyn std::error::Error>> {
/// let database = service.database("sqlite:order.db")?;
/// let pool = sqlx::SqlitePool::connect(database.url()).await?;
/// let count = sqlx::query_scalar("SELECT COUNT(*) FROM orders").fetch_one(&pool);
/// let count: i64 = database.query("SELECT", "orders", count).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Database(Arc<Inner>);

struct Inner {
    url: String,
    /// As OpenTelemetry calls what keeps it: `sqlite`, `postgresql`.
    system: String,
    /// Its name in `bowline.toml`.
    namespace: String,
    tracer: Tracer,
}

impl Database {
    /// Of a resource, `kind:name` or a part of one, `kind:name/table`.
    pub(crate) fn new(resource: &str, url: String, tracer: Tracer) -> Self {
        let (kind, name) = resource.split_once(':').unwrap_or((resource, ""));
        let system = if kind == "postgres" { "postgresql" } else { kind }.to_owned();
        let namespace = name.split('/').next().unwrap_or(name).to_owned();
        Self(Arc::new(Inner { url, system, namespace, tracer }))
    }

    /// One that is nobody's resource, for tests: its queries are told in no span.
    pub fn at(url: &str) -> Self {
        Self::new("", url.to_owned(), Tracer::disabled())
    }

    /// The connection string. It may hold a password.
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// Runs a query in a span of its own below the span of the request that is served: `SELECT orders`, with
    /// the names of the database, of the table and of the operation; never with a value, and never with the
    /// text of a statement or of an error, which may hold values.
    ///
    /// It is how `bowline check --observed` knows who touches which table. Of a statement on several tables,
    /// name the one that it changes, else the first. Work that serves no request has no span to be below, and
    /// is told in none, as it would begin a trace each time: to tell it, run it within [`current::scope`].
    ///
    /// # Errors
    /// Those of the query.
    ///
    /// # Cancel safety
    /// That of the query; the span ends.
    pub async fn query<T, E>(
        &self,
        operation: &'static str,
        table: &'static str,
        query: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let Inner { url: _, system, namespace, tracer } = &*self.0;
        let Some(parent) = current::context().filter(|parent| parent.is_sampled) else { return query.await };
        let mut span = tracer.start(format!("{operation} {table}"), SpanKind::Client, Some(parent));
        span.set_with(names::DB_SYSTEM_NAME, || system.clone());
        span.set_with(names::DB_NAMESPACE, || namespace.clone());
        span.set(names::DB_COLLECTION_NAME, table);
        span.set(names::DB_OPERATION_NAME, operation);
        let result = query.await;
        if result.is_err() {
            span.fail("the query failed");
        }
        result
    }
}

impl fmt::Debug for Database {
    /// Without the connection string, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { system, namespace, .. } = &*self.0;
        f.debug_struct("Database").field("system", system).field("namespace", namespace).finish_non_exhaustive()
    }
}
