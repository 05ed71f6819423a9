//! The command line: every command, flag and default.

mod breakers;
mod caches;
mod check;
mod config;
mod deploy;
mod mesh;
mod messages;
mod monitor;
mod roles;
mod sagas;

use std::{convert::Infallible, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use bowline_model::{Secret, units};
use bowline_provider_remote::wire::{AuditClass, Role};
use clap::{Parser, Subcommand, ValueEnum};

pub(crate) use breakers::{Breakers, BreakersCommand, BreakersHold, BreakersReset, Name};
pub(crate) use caches::Caches;
pub(crate) use check::{Check, Form};
pub(crate) use config::{
    Config, ConfigCommand, Diff, Explain, Format, Get, History, Key, Rollback, Routes, RoutesCommand, Set,
};

pub(crate) use deploy::{Deploy, DeployBegin, DeployCommand, DeployOrder, DeployStatus};
pub(crate) use mesh::{Call, FaultAdd, FaultCommand, MeshCommand, MeshJoin, MeshMirror, MeshSplit};
pub(crate) use messages::{
    MessageList, MessagePurge, MessageRedrive, MessageShow, MessageTopics, MessagesCommand, WhichDead,
};
pub(crate) use monitor::{Alerts, AlertsCommand, Promql, Silence, Targets, TestReceiver, Unsilence};
pub(crate) use roles::{Bind, Gateway, Server, Sidecar};
pub(crate) use sagas::{Sagas, SagasCommand, SagasList, SagasOne};

/// One binary for running microservices: discovery, balancing, breaking, gateway, tracing.
#[derive(Debug, Parser)]
#[command(name = "bowline", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Builds and runs a whole system: every service of DIR/bowline.toml, the gateway and the API
    Up(Up),
    /// Proves the axioms of DIR/bowline.toml, and starts nothing: who owns what, who may wait for whom
    Check(Check),
    /// Runs the control plane alone, as a process of its own: the API, without gateway and services
    Server(Server),
    /// Runs a gateway as a process of its own, which serves on while the server is away
    Gateway(Gateway),
    /// Runs a command with a sidecar beside it, as an instance of a service of the mesh
    Sidecar(Sidecar),
    /// Lists services and their instances
    Services(Services),
    /// Says how services are: by their instances, and by those whom they call
    Health(Health),
    /// Shows what the processes of a service wrote lately, and what they go on to write
    Logs(Logs),
    /// Searches traces, newest first
    Traces(Traces),
    /// Shows who calls whom: rate, errors and latency of each pair of services
    Graph(Graph),
    /// Shows one trace as a waterfall: who called whom, which instance, which attempt
    Trace(Trace),
    /// Evaluates PromQL over the metrics of the system
    Query(Promql),
    /// Lists the alerts that are pending or fire; rules, silences, and who was told
    Alerts(Alerts),
    /// Lists what metrics are collected from, and how that goes
    Targets(Targets),
    /// Lists circuit breakers: how each is and why; holds them open or closed, switches them off, resets them
    Breakers(Breakers),
    /// Lists changes over several services: how far they are, and what is stuck
    Sagas(Sagas),
    /// Shows the caches of services: how keys are kept and why, and how often each level has what it is asked for
    Caches(Caches),
    /// Makes, lists and revokes tokens for the API
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Makes API keys for a gateway's clients
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Lists who changed what, newest first
    Audit(Audit),
    /// Shows and changes documents of configuration
    Config(Config),
    /// Shows and changes the gateway's routes
    Routes(Routes),
    /// Makes requests slow or fail on purpose, for a while: of a system with a mesh
    Fault {
        #[command(subcommand)]
        command: FaultCommand,
    },
    /// Shows and steers the mesh
    Mesh {
        #[command(subcommand)]
        command: MeshCommand,
    },
    /// Rolls a new release of a service out; shows rollouts, and pauses, promotes or aborts them
    Deploy(Deploy),
    /// Lists topics and messages; shows, redrives and purges what could not be processed
    Messages {
        #[command(subcommand)]
        command: MessagesCommand,
    },
    /// Sends a request as a workload of the mesh, and prints the answer
    Call(Call),
    /// Says which route, rules, limits and backend a request would meet, without sending it
    Explain(Explain),
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Makes a token, which is printed this once
    Create(TokenCreate),
    /// Lists the tokens there are, without their secrets
    List(TokenList),
    /// Ends a token at once
    Revoke(TokenRevoke),
}

#[derive(Debug, clap::Args)]
pub(crate) struct TokenCreate {
    /// Whom or what it is for
    pub(crate) name: String,
    /// What it may do: viewer reads, editor changes what runs, admin decides who may what
    #[arg(long, value_name = "ROLE", default_value = "viewer")]
    pub(crate) role: Role,
    /// How long it lives: 30d [default: until revoked]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) expires: Option<Duration>,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TokenList {
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TokenRevoke {
    /// The token's id, as `bowline token list` shows it
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Makes an API key, which is printed this once, and what bowline.toml holds of it
    New(KeyNew),
}

#[derive(Debug, clap::Args)]
pub(crate) struct KeyNew {
    /// Whose key it is
    #[arg(value_parser = subject)]
    pub(crate) subject: String,
    /// How to print
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Audit {
    /// Only entries of this kind: registry, messages, other or refused
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<AuditClass>,
    /// Only entries older than the one of this id
    #[arg(long, value_name = "ID")]
    pub(crate) before: Option<String>,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    /// The folder that holds bowline.toml, or the file itself
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    /// The profile of the file to run: its section [profile.NAME] [default: none]
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Where the API listens: IP:PORT (port 0 picks a free one) or `off`
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7117", env = "BOWLINE_API_LISTEN")]
    pub(crate) api: Listen,
    /// Where the gateway listens: IP:PORT (port 0 picks a free one) or `off`
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", env = "BOWLINE_GATEWAY_LISTEN")]
    pub(crate) gateway: Listen,
    /// Where foreign SDKs send spans by OTLP over gRPC: IP:PORT (port 0 picks a free one) or `off`
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4317", env = "BOWLINE_OTLP_GRPC_LISTEN")]
    pub(crate) otlp_grpc: Listen,
    /// Where foreign SDKs send spans by OTLP over HTTP: IP:PORT (port 0 picks a free one) or `off`
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4318", env = "BOWLINE_OTLP_HTTP_LISTEN")]
    pub(crate) otlp_http: Listen,
    /// Where all state lives, the services' databases too [default: .bowline beside bowline.toml]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// How long a drain may take before stragglers are killed
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) grace: Duration,
    /// How many threads carry the gateway's traffic [default: one per core]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: Option<u16>,
    /// How much disk traces may take
    #[arg(long, value_name = "SIZE", default_value = "256 MiB", value_parser = size)]
    pub(crate) traces_max: u64,
    /// How much disk metrics may take
    #[arg(long, value_name = "SIZE", default_value = "512 MiB", value_parser = size)]
    pub(crate) metrics_max: u64,
    /// The file of the key that seals the certificate authority's own [default: ca.key in the data folder]
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_key: Option<PathBuf>,
    /// Prints no logs of services, only what Bowline itself has to say
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Services {
    /// Only this service
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Health {
    /// Only this service, with its instances and the last changes of their health
    pub(crate) service: Option<String>,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Logs {
    /// The service
    pub(crate) service: String,
    /// Only what this instance wrote
    #[arg(long, value_name = "ID")]
    pub(crate) instance: Option<String>,
    /// At most so many lines, the last ones
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    pub(crate) limit: usize,
    /// Goes on with what comes, until it is interrupted
    #[arg(long, short)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Traces {
    /// Only traces this service took part in
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
    /// Only traces with a span of this name
    #[arg(long, value_name = "NAME")]
    pub(crate) operation: Option<String>,
    /// Only traces that took at least so long: 100ms
    #[arg(long, value_name = "DURATION")]
    pub(crate) min_duration: Option<String>,
    /// Only traces that took at most so long: 2s
    #[arg(long, value_name = "DURATION")]
    pub(crate) max_duration: Option<String>,
    /// Only traces that began at most so long ago: 15m
    #[arg(long, value_name = "DURATION")]
    pub(crate) since: Option<String>,
    /// Only traces with a span that has this attribute; given several times, one span has them all
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) attr: Vec<String>,
    /// Only traces with a span that ended so: ok, error or unset
    #[arg(long, value_name = "STATUS")]
    pub(crate) status: Option<String>,
    /// Only traces with an error
    #[arg(long)]
    pub(crate) error: bool,
    /// The slowest of all that match, not the newest
    #[arg(long, conflicts_with = "cursor")]
    pub(crate) slowest: bool,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    pub(crate) limit: usize,
    /// Goes on where an earlier list ended
    #[arg(long, value_name = "CURSOR")]
    pub(crate) cursor: Option<String>,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Graph {
    /// How far back: 1m to 1h
    #[arg(long, value_name = "DURATION", default_value = "15m")]
    pub(crate) window: String,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Trace {
    /// The trace's id: 32 hexadecimal digits, as in the x-trace-id header
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) query: Query,
}

/// What every question to a running Bowline takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Query {
    /// The running Bowline to ask
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7117", env = "BOWLINE_API")]
    pub(crate) api: Api,
    /// The token to show it [default: on this machine, the root token of its data folder]
    #[arg(long, value_name = "TOKEN", env = "BOWLINE_TOKEN", hide_env_values = true, value_parser = secret)]
    pub(crate) token: Option<Secret>,
    /// How to print
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub(crate) output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

/// An address to listen on, or not to listen at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listen {
    At(SocketAddr),
    Off,
}

impl Listen {
    /// The address, if any.
    pub(crate) fn addr(self) -> Option<SocketAddr> {
        match self {
            Self::At(addr) => Some(addr),
            Self::Off => None,
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::At).map_err(|_| "write IP:PORT, as 127.0.0.1:0, or off".to_owned())
    }
}

/// Where a running Bowline is: `IP:PORT`, with or without `http://`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Api(pub(crate) SocketAddr);

impl FromStr for Api {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let addr = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        addr.parse().map(Self).map_err(|_| "write IP:PORT, as 127.0.0.1:7117".to_owned())
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    units::parse_duration(text).map_err(str::to_owned)
}

#[expect(clippy::unnecessary_wraps, reason = "clap asks for it")]
fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text))
}

/// A subject goes into a header.
fn subject(text: &str) -> Result<String, &'static str> {
    let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_visible && (1..=128).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err("write 1 to 128 visible ASCII characters, no spaces")
    }
}

fn size(text: &str) -> Result<u64, String> {
    let bytes = units::parse_bytes(text)?;
    if bytes < 1 << 20 { Err("at least 1 MiB".to_owned()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_token_is_not_printed() {
        let args = Args::try_parse_from(["bowline", "services", "--token", "bwl_ab_cd"]).unwrap();
        assert!(!format!("{args:?}").contains("bwl_ab"), "{args:?}");
    }

    #[test]
    fn a_subject_is_one_word() {
        assert!(subject("acme-2@example.com").is_ok());
        for bad in ["", "two words", "é", "line\n", &"a".repeat(129)] {
            assert!(subject(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn listeners_are_addresses_or_off() {
        assert_eq!("off".parse(), Ok(Listen::Off));
        assert_eq!("127.0.0.1:0".parse(), Ok(Listen::At(([127, 0, 0, 1], 0).into())));
        assert_eq!("0.0.0.0:8080".parse(), Ok(Listen::At(([0, 0, 0, 0], 8080).into())));
        for bad in ["", "8080", "localhost:80"] {
            assert!(bad.parse::<Listen>().is_err(), "{bad}");
        }
    }
}
