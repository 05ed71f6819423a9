//! The command line of the roles that run as processes of their own: `bowline server`, `bowline gateway`,
//! `bowline sidecar`.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use bowline_model::{InstanceId, Secret, ServiceName};

use super::{Api, Listen, duration, secret, size};

#[derive(Debug, clap::Args)]
pub(crate) struct Server {
    /// The folder that holds bowline.toml, or the file itself
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    /// The profile of the file to run: its section [profile.NAME] [default: none]
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Where the API listens: IP:PORT; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7117", env = "BOWLINE_API_LISTEN")]
    pub(crate) api: SocketAddr,
    /// Where foreign SDKs send spans by OTLP over gRPC: IP:PORT (port 0 picks a free one) or `off`
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4317", env = "BOWLINE_OTLP_GRPC_LISTEN")]
    pub(crate) otlp_grpc: Listen,
    /// Where foreign SDKs send spans by OTLP over HTTP: IP:PORT (port 0 picks a free one) or `off`
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4318", env = "BOWLINE_OTLP_HTTP_LISTEN")]
    pub(crate) otlp_http: Listen,
    /// Where all state lives [default: .bowline beside bowline.toml]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// How much disk traces may take
    #[arg(long, value_name = "SIZE", default_value = "256 MiB", value_parser = size)]
    pub(crate) traces_max: u64,
    /// How much disk metrics may take
    #[arg(long, value_name = "SIZE", default_value = "512 MiB", value_parser = size)]
    pub(crate) metrics_max: u64,
    /// The file of the key that seals the certificate authority's own [default: ca.key in the data folder]
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_key: Option<PathBuf>,
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
    /// The one-time token that `bowline mesh join gateway` printed, where the system has a mesh; it also seals what
    /// is kept on disk, so it is the same at each start
    #[arg(long, value_name = "TOKEN", env = "BOWLINE_JOIN", hide_env_values = true, value_parser = secret)]
    pub(crate) join: Option<Secret>,
    /// A file that holds it, in the place of --join: a command line is for everybody on the machine to see
    #[arg(long, value_name = "FILE")]
    pub(crate) join_file: Option<PathBuf>,
    /// The zone it is in: routes may prefer instances of the same
    #[arg(long, value_name = "ZONE", env = "BOWLINE_ZONE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) zone: Option<String>,
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

#[derive(Debug, clap::Args)]
pub(crate) struct Sidecar {
    /// The service that the command is an instance of
    #[arg(long, value_name = "NAME")]
    pub(crate) service: ServiceName,
    /// Which instance [default: made once for the data folder]
    #[arg(long, value_name = "ID")]
    pub(crate) instance: Option<InstanceId>,
    /// The release that the command is, which traffic is split by
    #[arg(long, value_name = "VERSION", default_value = "")]
    pub(crate) version: String,
    /// The zone it is in: callers may prefer instances of their own, and so may its own calls
    #[arg(long, value_name = "ZONE", env = "BOWLINE_ZONE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) zone: Option<String>,
    /// Where operators find /metrics, /livez and /readyz: IP:PORT [default: nowhere]
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<SocketAddr>,
    /// Where others of the mesh reach it: IP:PORT; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// The address that is registered, where it is not the one it listens on
    #[arg(long, value_name = "ADDR")]
    pub(crate) advertise: Option<SocketAddr>,
    /// Where the command is to listen
    #[arg(long, value_enum, default_value_t = Bind::Unix)]
    pub(crate) bind: Bind,
    /// A path that the command answers with 2xx when it takes requests [default: that it accepts connections]
    #[arg(long, value_name = "PATH", value_parser = path)]
    pub(crate) check: Option<String>,
    /// The server
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7117", env = "BOWLINE_API")]
    pub(crate) api: Api,
    /// The token to show it: of an editor; on loopback none is needed
    #[arg(long, value_name = "TOKEN", env = "BOWLINE_TOKEN", hide_env_values = true, value_parser = secret)]
    pub(crate) token: Option<Secret>,
    /// The join token of this service, as `bowline mesh join` prints it; the same at each start from one data folder
    #[arg(long, value_name = "TOKEN", env = "BOWLINE_JOIN", hide_env_values = true, value_parser = secret,
        required_unless_present = "join_file")]
    pub(crate) join: Option<Secret>,
    /// A file that holds it, in the place of --join: a command line is for everybody on the machine to see
    #[arg(long, value_name = "FILE")]
    pub(crate) join_file: Option<PathBuf>,
    /// Where to keep what is needed to start while the server is away; of this sidecar alone
    /// [default: .bowline-sidecar-NAME]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// How long requests in flight, and then the command, may take at the end
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) grace: Duration,
    /// The command, behind --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Bind {
    /// On a Unix socket that only this user reaches
    Unix,
    /// On a port of loopback, for what cannot do the other
    Port,
}

/// `/readyz`, as a request has it.
pub(super) fn path(text: &str) -> Result<String, &'static str> {
    let is_path = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_path { Ok(text.to_owned()) } else { Err("write a path, as /readyz") }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::args::{Args, Command};

    #[test]
    fn a_sidecar_runs_what_stands_behind_the_dashes() {
        let parse = |words: &str| Args::try_parse_from(words.split(' '));
        let args = parse("bowline sidecar --service gift --join bwj_x --check /ok -- python3 gift.py --fast").unwrap();
        let Command::Sidecar(sidecar) = args.command else { panic!("{args:?}") };
        assert_eq!(sidecar.command, ["python3", "gift.py", "--fast"]);
        assert!(!format!("{sidecar:?}").contains("bwj_x"), "{sidecar:?}");
        assert!(parse("bowline sidecar --service gift --join-file token -- python3").is_ok());
        for bad in [
            "bowline sidecar --service gift -- python3",
            "bowline sidecar --service gift --join bwj_x",
            "bowline sidecar --service gift --join bwj_x python3",
            "bowline sidecar --service Gift --join bwj_x -- python3",
            "bowline sidecar --service gift --join bwj_x --check ok -- python3",
            "bowline sidecar --join bwj_x -- python3",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
