//! `bowline` as its users meet it: the real binary, real processes, real sockets.
#![expect(clippy::unwrap_used, reason = "what fails here is the report of a failed test")]

mod access;
mod alerts;
mod bad_files;
mod bank;
mod bank_chaos;
mod check;
mod config;
mod crash;
mod handing_over;
mod harness;
mod health;
mod hidden;
mod mesh_faults;
mod mesh_foreign;
mod mesh_lives;
mod mesh_rules;
mod messages;
mod monitoring;
mod openssl;
mod otlp;
mod profiles;
mod releases;
mod roles;
mod sampling;
mod shop;
mod shop_access;
mod shop_cache;
mod shop_config;
mod shop_live;
mod shop_sagas;
mod stand_in;
mod stopping;
mod system;
mod terminal;
mod watching;
