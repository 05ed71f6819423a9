//! The binary `bowline`: arguments, roles, rendering; nothing else.

mod admin;
mod alerts;
mod api;
mod args;
mod audit;
mod breakers;
mod brought;
mod caches;
mod call;
mod check;
mod companions;
mod config;
mod credential;
mod deploy;
mod duration;
mod elsewhere;
mod events;
mod explain;
mod export;
mod fault;
mod gateway;
mod graph;
mod health;
mod joining;
mod key;
mod logs;
mod mesh;
mod messages;
mod nats;
mod outlet;
mod place;
mod platform;
mod prefix;
mod problems;
mod process;
mod query;
mod releases;
mod sagas;
mod sampling;
mod server;
mod services;
mod sidecar;
mod stop;
mod style;
mod summary;
mod table;
mod token;
mod topics;
mod traces;
mod traffic;
mod up;
mod waterfall;
mod when;

use std::{io::Write as _, process::ExitCode};

use clap::Parser;

use crate::args::{Args, Command, KeyCommand};

/// Exit code of a run that failed.
const FAILED: u8 = 1;
/// Exit code of a file that cannot be used: nothing was started.
const UNUSABLE: u8 = 2;

fn main() -> ExitCode {
    // The keeper comes first: it is small, has no runtime, and takes its arguments as they are.
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == "keeper") {
        return bowline_supervisor::keeper::run(words);
    }
    match run(Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            let _closed = writeln!(std::io::stderr(), "{}", style::error(&format!("{error:#}")));
            ExitCode::from(FAILED)
        }
    }
}

fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = bowline_runtime::task::shared_runtime(2)?;
    let code = match args.command {
        Command::Up(up) => runtime.block_on(up::run(up)),
        Command::Check(check) => runtime.block_on(check::run(check)),
        Command::Server(server) => runtime.block_on(server::run(server)),
        Command::Gateway(gateway) => runtime.block_on(gateway::run(gateway)),
        Command::Sidecar(sidecar) => runtime.block_on(sidecar::run(sidecar)),
        Command::Services(services) => runtime.block_on(services::run(services)),
        Command::Health(health) => runtime.block_on(health::run(health)),
        Command::Logs(logs) => runtime.block_on(logs::run(logs)),
        Command::Traces(traces) => runtime.block_on(traces::search(traces)),
        Command::Graph(graph) => runtime.block_on(graph::run(graph)),
        Command::Trace(trace) => runtime.block_on(traces::show(trace)),
        Command::Query(query) => runtime.block_on(query::run(query)),
        Command::Alerts(alerts) => runtime.block_on(alerts::run(alerts)),
        Command::Targets(targets) => runtime.block_on(alerts::targets(targets)),
        Command::Breakers(breakers) => runtime.block_on(breakers::run(breakers)),
        Command::Caches(caches) => runtime.block_on(caches::run(caches)),
        Command::Sagas(sagas) => runtime.block_on(sagas::run(sagas)),
        Command::Token { command } => runtime.block_on(token::run(command)),
        Command::Key { command: KeyCommand::New(new) } => key::new(&new),
        Command::Audit(audit) => runtime.block_on(audit::run(audit)),
        Command::Config(config) => runtime.block_on(config::run(config)),
        Command::Routes(routes) => runtime.block_on(config::routes(routes)),
        Command::Fault { command } => runtime.block_on(fault::run(command)),
        Command::Mesh { command } => runtime.block_on(mesh::run(command)),
        Command::Deploy(deploy) => runtime.block_on(deploy::run(deploy)),
        Command::Messages { command } => runtime.block_on(messages::run(command)),
        Command::Call(call) => runtime.block_on(call::run(call)),
        Command::Explain(explain) => runtime.block_on(explain::run(explain)),
    };
    // What still blocks (a read of standard input, a lookup) must not hold up the exit.
    runtime.shutdown_background();
    code
}
