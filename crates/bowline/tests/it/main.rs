//! An application as its callers see it, beside a stand-in for the server.

mod api;
mod calls;
mod discovery;
mod drain;
mod errors;
mod health;
mod registration;
mod support;
