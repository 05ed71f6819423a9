//! The command line of the roles that run as processes of their own: `bowline server`, `bowline gateway`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use bowline_model::Secret;

use super::{Api, duration, secret, size};

#[derive(Debug, clap::Args)]
pub(crate) struct Server {
    /// The folder that holds bowline.toml, or the file itself
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Where the API listens: IP:PORT; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7117", env = "BOWLINE_API_LISTEN")]
    pub(crate) api: SocketAddr,
    /// Where all state lives [default: .bowline beside bowline.toml]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// How much disk traces may take
    #[arg(long, value_name = "SIZE", default_value = "256 MiB", value_parser = size)]
    pub(crate) traces_max: u64,
    /// How long requests to the API may take at the end
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) grace: Duration,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Gateway {
    /// The server that says what to serve
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7117", env = "BOWLINE_API")]
    pub(crate) api: Api,
    /// The token to show it: of an editor; on loopback none is needed
    #[arg(long, value_name = "TOKEN", env = "BOWLINE_TOKEN", hide_env_values = true, value_parser = secret)]
    pub(crate) token: Option<Secret>,
    /// Where to listen: IP:PORT; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", env = "BOWLINE_GATEWAY_LISTEN")]
    pub(crate) listen: SocketAddr,
    /// Where to keep what is served by while the server is away; of this gateway alone
    #[arg(long, value_name = "DIR", default_value = ".bowline-gateway")]
    pub(crate) data_dir: PathBuf,
    /// How many threads carry the traffic [default: one per core]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: Option<u16>,
    /// Where operators find /metrics, /livez and /readyz: IP:PORT [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<SocketAddr>,
    /// How long requests in flight may take at the end
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) grace: Duration,
}
