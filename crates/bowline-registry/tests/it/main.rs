//! The registry over a real store, and discovery over a scripted and a real registry.

mod discovery;
mod fake;
mod store;
