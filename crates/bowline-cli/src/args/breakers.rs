//! The command line of circuit breakers.

use std::{str::FromStr, time::Duration};

use bowline_model::{InstanceId, ServiceName, mesh::Caller};
use clap::Subcommand;

use super::{Query, mesh::between};

/// The longest that an order lasts which ends by itself.
const ORDER_MAX: Duration = Duration::from_hours(24 * 30);

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Breakers {
    #[command(subcommand)]
    pub(crate) command: Option<BreakersCommand>,
    /// Only those that guard calls of a service, or to it
    #[arg(long, value_name = "SERVICE")]
    pub(crate) service: Option<ServiceName>,
    /// A line for each instance that is called, also where all are alike
    #[arg(long)]
    pub(crate) instances: bool,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BreakersCommand {
    /// Holds breakers open: nobody is called, wherever one is held
    Open(BreakersHold),
    /// Holds breakers closed: everybody is called whatever fails, which is counted
    Close(BreakersHold),
    /// Switches breakers off: everybody is called, and nothing is counted
    Disable(BreakersHold),
    /// Has breakers judge for themselves again, closed and with nothing counted
    Reset(BreakersReset),
}

#[derive(Debug, clap::Args)]
#[group(skip)] // its name is the command's
pub(crate) struct BreakersHold {
    /// Which: order->payment, order->payment@INSTANCE, gateway->order, route:orders->order; payment: of all callers
    #[arg(value_parser = name)]
    pub(crate) name: Name,
    /// How long, at most 30d; then they judge for themselves again [default: until they are reset]
    #[arg(long = "for", value_name = "DURATION", value_parser = lasts)]
    pub(crate) lasts: Option<Duration>,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, clap::Args)]
#[group(skip)] // its name is the command's
pub(crate) struct BreakersReset {
    /// Which: order->payment, order->payment@INSTANCE, gateway->order, route:orders->order; payment: of all callers
    #[arg(value_parser = name)]
    pub(crate) name: Name,
    #[command(flatten)]
    pub(crate) query: Query,
}

/// Which breakers: those that guard a caller's calls, or everybody's, to a service, or to one of its instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) caller: Option<Caller>,
    pub(crate) callee: ServiceName,
    pub(crate) instance: Option<InstanceId>,
}

fn name(text: &str) -> Result<Name, String> {
    text.parse()
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A route may have any name.
        let (caller, rest) = match text.rsplit_once("->") {
            Some((caller, rest)) => (Some(Caller::parse_shown(caller).map_err(|error| error.to_string())?), rest),
            None => (None, text),
        };
        let (callee, instance) = match rest.split_once('@') {
            Some((callee, instance)) => (callee, Some(InstanceId::new(instance).map_err(|error| error.to_string())?)),
            None => (rest, None),
        };
        let wrong = "write order->payment, order->payment@INSTANCE, or payment for all who call it";
        let callee = ServiceName::new(callee).map_err(|error| format!("{error}: {wrong}"))?;
        Ok(Self { caller, callee, instance })
    }
}

fn lasts(text: &str) -> Result<Duration, String> {
    between(text, ORDER_MAX)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Args, Command};

    fn breakers(words: &[&str]) -> Result<Breakers, String> {
        let all = ["bowline", "breakers"].iter().chain(words);
        match Args::try_parse_from(all).map_err(|error| error.to_string())?.command {
            Command::Breakers(breakers) => Ok(breakers),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn breakers_have_names() {
        let read = |text: &str| text.parse::<Name>().unwrap();
        let service = |name: &str| ServiceName::new(name).unwrap();
        let all = Name { caller: None, callee: service("payment"), instance: None };
        assert_eq!(read("payment"), all);
        let of_order = Name { caller: Some(Caller::Service(service("order"))), ..all.clone() };
        assert_eq!(read("order->payment"), of_order);
        let instance = Some(InstanceId::new("payment-1").unwrap());
        assert_eq!(read("order->payment@payment-1"), Name { instance, ..of_order });
        assert_eq!(read("gateway->payment"), Name { caller: Some(Caller::Gateway), ..all.clone() });
        let route = Name { caller: Some(Caller::Route("a->b".to_owned())), ..all };
        assert_eq!(read("route:a->b->payment"), route);
        for bad in ["", "->payment", "order->", "payment@", "Order->payment", "route:->payment"] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_order_names_breakers_and_a_list_needs_nothing() {
        assert!(breakers(&[]).unwrap().command.is_none());
        assert!(breakers(&["--service", "order", "--instances"]).unwrap().instances);
        let hold = breakers(&["open", "payment", "--for", "10m"]).unwrap().command.unwrap();
        assert!(
            matches!(hold, BreakersCommand::Open(BreakersHold { lasts: Some(lasts), .. }) if lasts.as_secs() == 600)
        );
        for bad in [&["open"][..], &["close", "p", "--for", "0s"], &["reset", "p", "--for", "1m"], &["jam", "p"]] {
            assert!(breakers(bad).is_err(), "{bad:?}");
        }
    }
}
