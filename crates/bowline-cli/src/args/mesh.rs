//! The command line of the mesh: `bowline fault …`, `bowline mesh …`.

use std::time::Duration;

use bowline_model::{
    ServiceName,
    mesh::{FAULT_DELAY_MAX, VERSION_RULE, Workload, is_version},
    units::{self, Share},
};
use clap::Subcommand;

use super::{Query, duration};

/// The longest that a fault lasts.
const FAULT_MAX: Duration = Duration::from_hours(24);

#[derive(Debug, Subcommand)]
pub(crate) enum FaultCommand {
    /// Delays or fails requests to a service, for a while
    Add(FaultAdd),
    /// Lists the faults that have not ended
    List(Query),
    /// Ends a fault now
    Remove {
        /// The fault's id, as `bowline fault list` shows it
        id: String,
        #[command(flatten)]
        query: Query,
    },
}

#[derive(Debug, clap::Args)]
#[group(skip)] // its name is the command's
#[command(group = clap::ArgGroup::new("effect").args(["delay", "abort"]).required(true).multiple(true))]
pub(crate) struct FaultAdd {
    /// Whose requests it befalls
    pub(crate) service: ServiceName,
    /// How long they are held up: 300ms, at most 5m
    #[arg(long, value_name = "DURATION", value_parser = delay)]
    pub(crate) delay: Option<Duration>,
    /// The status they are answered with in the place of the service: 400 to 599
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(400..600))]
    pub(crate) abort: Option<u16>,
    /// The share of requests, in percent
    #[arg(long, value_name = "PERCENT", default_value = "100", value_parser = percent)]
    pub(crate) percent: Share,
    /// Only those of this caller: a service's name, or gateway
    #[arg(long, value_name = "WORKLOAD", value_parser = workload)]
    pub(crate) from: Option<Workload>,
    /// How long it lasts, at most 24h; then it ends by itself
    #[arg(long = "for", value_name = "DURATION", default_value = "1m", value_parser = lasts)]
    pub(crate) lasts: Duration,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MeshCommand {
    /// Shows who acts by which snapshot, who refused one and why, and whose certificates are good
    Status(Query),
    /// Makes a token that lets one process join as a workload, once; it is printed this once
    Join(MeshJoin),
    /// Splits the traffic to a service between its versions
    Split(MeshSplit),
    /// Sends copies of a service's requests to one of its versions, whose answers nobody sees
    Mirror(MeshMirror),
}

#[derive(Debug, clap::Args)]
#[group(skip)] // its name is the command's
pub(crate) struct MeshJoin {
    /// Who joins: a service's name, or gateway
    #[arg(value_parser = workload)]
    pub(crate) workload: Workload,
    /// How long the token is good, 10s to 1h [default: 15m]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) ttl: Option<Duration>,
    #[command(flatten)]
    pub(crate) query: Query,
}

/// Sends a request as a workload of the mesh, and prints the answer
#[derive(Debug, clap::Args)]
pub(crate) struct Call {
    /// Who calls: a service's name, or gateway
    #[arg(long = "as", value_name = "WORKLOAD", value_parser = workload)]
    pub(crate) caller: Workload,
    /// The service that is called
    pub(crate) service: ServiceName,
    /// The request's method
    pub(crate) method: http::Method,
    /// The request's path, with its query
    #[arg(value_parser = super::roles::path)]
    pub(crate) path: String,
    /// The request's body
    #[arg(long, short, value_name = "BODY", default_value = "")]
    pub(crate) data: String,
    /// A header of the request; may be repeated
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = super::config::header)]
    pub(crate) headers: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, clap::Args)]
#[group(skip)] // its name is the command's
pub(crate) struct MeshSplit {
    /// The service that is called
    pub(crate) service: ServiceName,
    /// Versions with their weights: v1=90 v2=10
    #[arg(value_name = "VERSION=WEIGHT", value_parser = weight, required_unless_present = "off")]
    pub(crate) weights: Vec<(String, u32)>,
    /// No split any more: all versions alike
    #[arg(long, conflicts_with = "weights")]
    pub(crate) off: bool,
    /// Also where none of its instances is of these versions: calls fail until one is
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, clap::Args)]
#[group(skip)] // its name is the command's
pub(crate) struct MeshMirror {
    /// The service that is called
    pub(crate) service: ServiceName,
    /// The version that gets the copies
    #[arg(long, value_name = "VERSION", value_parser = version, required_unless_present = "off")]
    pub(crate) to: Option<String>,
    /// The share of requests that is copied, in percent
    #[arg(long, value_name = "PERCENT", default_value = "100", value_parser = percent)]
    pub(crate) percent: Share,
    /// No copies any more
    #[arg(long, conflicts_with = "to")]
    pub(crate) off: bool,
    #[command(flatten)]
    pub(crate) query: Query,
}

/// `order`, `service/order`, `gateway` or `bowline`.
pub(crate) fn workload(text: &str) -> Result<Workload, String> {
    let service = || ServiceName::new(text).map(Workload::Service);
    text.parse().or_else(|_| service()).map_err(|_| "write a service's name, as order, or gateway".to_owned())
}

/// `50`, `0.5` or `50%`, above zero.
fn percent(text: &str) -> Result<Share, String> {
    let share = Share::parse(&format!("{}%", text.trim_end_matches('%')))?;
    if share == Share::ZERO { Err("it is above 0".to_owned()) } else { Ok(share) }
}

fn delay(text: &str) -> Result<Duration, String> {
    between(text, FAULT_DELAY_MAX)
}

fn lasts(text: &str) -> Result<Duration, String> {
    between(text, FAULT_MAX)
}

/// A duration above zero.
pub(super) fn between(text: &str, max: Duration) -> Result<Duration, String> {
    let read = duration(text)?;
    if read.is_zero() || read > max {
        return Err(format!("it is above zero, and at most {}", units::format_duration(max)));
    }
    Ok(read)
}

fn version(text: &str) -> Result<String, &'static str> {
    if is_version(text) { Ok(text.to_owned()) } else { Err(VERSION_RULE) }
}

/// `v1=90`.
fn weight(text: &str) -> Result<(String, u32), String> {
    let (name, weight) = text.split_once('=').ok_or("write VERSION=WEIGHT, as v1=90")?;
    let weight = weight.parse().ok().filter(|weight| *weight <= 1000).ok_or("a weight is 0 to 1000")?;
    Ok((version(name)?, weight))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Args, Command};

    fn fault(words: &[&str]) -> Result<FaultAdd, String> {
        let all = ["bowline", "fault", "add", "payment"].iter().chain(words);
        match Args::try_parse_from(all).map_err(|error| error.to_string())?.command {
            Command::Fault { command: FaultCommand::Add(add) } => Ok(add),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_fault_delays_or_aborts_for_a_while() {
        let add = fault(&["--delay", "300ms", "--percent", "50", "--from", "order", "--for", "24h"]).unwrap();
        assert_eq!(
            (add.delay, add.abort, add.percent),
            (Some(Duration::from_millis(300)), None, Share::from_percent(50))
        );
        assert_eq!(add.from, Some(Workload::Service("order".parse().unwrap())));
        let add = fault(&["--abort", "503", "--from", "gateway"]).unwrap();
        assert_eq!((add.percent, add.from, add.lasts), (Share::ALL, Some(Workload::Gateway), Duration::from_mins(1)));
        for (words, expect) in [
            (&[][..], "--delay"),
            (&["--abort", "200"], "200"),
            (&["--delay", "6m"], "at most 5m"),
            (&["--delay", "0s"], "above zero"),
            (&["--abort", "500", "--percent", "0"], "above 0"),
            (&["--abort", "500", "--percent", "101"], "percentage"),
            (&["--abort", "500", "--for", "25h"], "at most 1d"),
            (&["--abort", "500", "--from", "Nobody"], "a service's name"),
        ] {
            let error = fault(words).unwrap_err();
            assert!(error.contains(expect), "{words:?}: {error}");
        }
    }

    #[test]
    fn versions_have_weights() {
        assert_eq!(weight("v1=90"), Ok(("v1".to_owned(), 90)));
        assert_eq!(weight("2.0=0"), Ok(("2.0".to_owned(), 0)));
        for bad in ["v1", "v1=", "=5", "v1=-1", "v1=1001", "v 1=5"] {
            assert!(weight(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_split_has_weights_or_is_off() {
        let parse = |words: &[&str]| {
            Args::try_parse_from(["bowline", "mesh", "split", "payment"].iter().chain(words)).map(|_| ())
        };
        assert!(parse(&["v1=90", "v2=10"]).is_ok() && parse(&["--off"]).is_ok());
        assert!(parse(&[]).is_err() && parse(&["v1=1", "--off"]).is_err());
    }

    #[test]
    fn a_call_is_for_a_path() {
        let parse =
            |path| Args::try_parse_from(["bowline", "call", "--as", "user", "payment", "GET", path]).map(|_| ());
        assert!(parse("/charges?of=1").is_ok());
        assert!(parse("charges").is_err() && parse("/a b").is_err());
    }

    #[test]
    fn copies_go_somewhere_or_are_off() {
        let parse = |words: &[&str]| {
            Args::try_parse_from(["bowline", "mesh", "mirror", "payment"].iter().chain(words)).map(|_| ())
        };
        assert!(parse(&["--to", "v2", "--percent", "0.5"]).is_ok() && parse(&["--off"]).is_ok());
        for bad in [&[][..], &["--off", "--to", "v2"], &["--to", "-v"], &["--to", "v2", "--percent", "0"]] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
