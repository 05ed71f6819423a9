//! Tests of what the project says of itself.

mod http_status;
mod metrics;
mod seed;
