//! The command line: every command, flag and default.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use bowline_model::units;
use clap::{Parser, Subcommand, ValueEnum};

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
    /// Lists services and their instances
    Services(Services),
    /// Searches traces, newest first
    Traces(Traces),
    /// Shows one trace as a waterfall: who called whom, which instance, which attempt
    Trace(Trace),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    /// The folder that holds bowline.toml, or the file itself
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Where the API listens: IP:PORT (port 0 picks a free one) or `off`
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7117", env = "BOWLINE_API_LISTEN")]
    pub(crate) api: Listen,
    /// Where the gateway listens: IP:PORT (port 0 picks a free one) or `off`
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", env = "BOWLINE_GATEWAY_LISTEN")]
    pub(crate) gateway: Listen,
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
    /// Only traces with a span that has this attribute
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) attr: Option<String>,
    /// Only traces with an error
    #[arg(long)]
    pub(crate) error: bool,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    pub(crate) limit: usize,
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

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let addr: SocketAddr = text.parse().map_err(|_| "write IP:PORT, as 127.0.0.1:0, or off".to_owned())?;
        if !addr.ip().is_loopback() {
            return Err(
                "only loopback addresses for now: beyond it credentials are needed, which are not built yet".to_owned()
            );
        }
        Ok(Self::At(addr))
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
    fn listeners_are_loopback_or_off() {
        assert_eq!("off".parse(), Ok(Listen::Off));
        assert_eq!("127.0.0.1:0".parse(), Ok(Listen::At(([127, 0, 0, 1], 0).into())));
        for bad in ["", "8080", "0.0.0.0:8080", "localhost:80"] {
            assert!(bad.parse::<Listen>().is_err(), "{bad}");
        }
    }
}
