//! The crate applications link: `Microservice`, `ServiceClient` and `Config`.
//!
//! A service is an axum application. [`Microservice`] gives it health, metrics, tracing, graceful
//! stop and registration; [`Microservice::client`] gives it clients that discover, balance, break,
//! retry, time out and trace by the policy declared in `bowline.toml`; [`Microservice::config`] gives
//! it a [`Config`], a document of configuration as a value that changes while it runs. A [`Database`] tells in
//! spans what of a service's data is touched. A [`Topic`] publishes messages, a [`Consumer`](messages::Consumer) takes
//! them. A [`Cache`](cache::Cache) keeps what was read of
//! others. Told to join a mesh (`BOWLINE_JOIN`), it calls with a certificate of
//! its own, as the mesh says; an [extractor](extract::Caller) tells handlers who calls.
//!
//! ```no_run
//! use axum::{Router, extract::State, routing::get};
//! use bowline::{HandlerError, Microservice, ServiceClient};
//!
//! async fn greeting(State(user): State<ServiceClient>) -> Result<String, HandlerError> {
//!     let name: String = user.get("/users/u-1/name").json().await?;
//!     Ok(format!("hello, {name}"))
//! }
//!
//! # async fn run() -> Result<(), bowline::Error> {
//! let service = Microservice::from_env("greeter")?;
//! let app = Router::new().route("/greeting", get(greeting)).with_state(service.client("user"));
//! service.serve(app).await
//! # }
//! ```

pub mod cache;
pub mod client;
pub mod config;
mod data;
mod error;
pub mod extract;
mod logs;
mod mesh;
pub mod messages;
mod microservice;
mod own;
mod registration;
#[cfg(feature = "sql")]
mod sagas;
mod sampling;
mod serve;
pub mod settings;
mod shed;
pub mod stream;

/// The guides' code, which has to compile.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/streams.md")]
#[doc = include_str!("../../../docs/connections.md")]
struct Guides;

pub use bowline_model::{Code, policy};
pub use bowline_runtime as runtime;
#[cfg(feature = "sql")]
pub use bowline_sql as sql;
pub use bowline_telemetry::{SpanKind, Tracer, Value, current};
pub use client::{Call, ServiceClient, time_left};
pub use config::Config;
pub use data::Database;
pub use error::HandlerError;
pub use messages::Topic;
pub use microservice::{BODY_MAX_DEFAULT, Error, GRACE_DEFAULT, Microservice};
pub use settings::Settings;
