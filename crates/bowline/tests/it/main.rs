//! An application as its callers see it, beside a stand-in for the server.

#![expect(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

mod api;
mod caches;
mod calls;
mod data;
mod discovery;
mod drain;
mod errors;
mod following;
mod health;
mod mesh;
mod messages;
#[cfg(feature = "sqlite")]
mod own;
mod policy;
mod registration;
#[cfg(feature = "sqlite")]
mod sagas;
mod shed;
mod steering;
mod streams;
mod subject;
mod support;
mod unix;
mod vectors;
