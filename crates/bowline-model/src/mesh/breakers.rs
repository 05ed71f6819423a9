//! How breakers are steered by hand: orders to those who hold one, and what these tell of theirs.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{InvalidIdentity, Workload};
use crate::name::{InstanceId, ServiceName};

/// The most orders about the breakers of one service.
pub const BREAKER_ORDERS_MAX: usize = 64;

/// The most breakers that one upstream tells of.
pub const BREAKERS_TOLD_MAX: usize = 500;

/// How many of a breaker's transitions are told: the last ones.
pub const TRANSITIONS_TOLD_MAX: usize = 5;

/// Where a process tells of the breakers that it holds.
pub const BREAKERS_PATH: &str = "/-/bowline/breakers";

/// The longest name of a route that an order has.
const ROUTE_CHARS_MAX: usize = 256;

/// What somebody ordered of the breakers that guard the calls to one service.
///
/// Of several orders about one breaker the narrowest counts: that of an instance before those of all, and then that of
/// a caller before those of all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakerOrder {
    /// Whose breakers; absent: those of everybody who calls the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<Caller>,
    /// Only those that guard this instance; it need not be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// What they are to do.
    pub order: BreakerCommand,
    /// When it ends by itself, in milliseconds since 1970; absent: it does not. A reset has to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_unix_ms: Option<u64>,
}

/// What a breaker is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerCommand {
    /// To let nobody through.
    Open,
    /// To let everybody through, and to go on counting.
    Closed,
    /// To let everybody through, and to count nothing.
    Disabled,
    /// To judge for itself again, with nothing counted: once, when it hears of it.
    Reset,
}

/// Who calls a service.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Caller {
    /// The instances of that service.
    Service(ServiceName),
    /// The gateways, by whichever route.
    Gateway,
    /// The gateways by that route.
    Route(String),
}

impl BreakerCommand {
    /// Its name: `open`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Disabled => "disabled",
            Self::Reset => "reset",
        }
    }
}

impl BreakerOrder {
    /// Whether it is over at that time, in milliseconds since 1970.
    pub fn has_ended(&self, now: u64) -> bool {
        self.until_unix_ms.is_some_and(|until| until <= now)
    }

    /// Whether it is about calls of that workload.
    pub fn is_for(&self, workload: &Workload) -> bool {
        match (&self.caller, workload) {
            (None, _) | (Some(Caller::Gateway | Caller::Route(_)), Workload::Gateway) => true,
            (Some(Caller::Service(caller)), Workload::Service(service)) => caller == service,
            (Some(_), _) => false,
        }
    }

    /// Whether it is about calls by that route of a gateway.
    pub fn is_for_route(&self, route: &str) -> bool {
        !matches!(&self.caller, Some(Caller::Route(of)) if of != route)
    }

    /// Whether it is about a breaker that guards that instance.
    pub fn is_of(&self, instance: &InstanceId) -> bool {
        self.instance.as_ref().is_none_or(|of| of == instance)
    }

    /// How narrow it is: of several, the one that has more counts.
    pub fn narrowness(&self) -> (bool, u8) {
        let caller = match &self.caller {
            None => 0,
            Some(Caller::Service(_) | Caller::Gateway) => 1,
            Some(Caller::Route(_)) => 2,
        };
        (self.instance.is_some(), caller)
    }

    /// What it is about, as people write it: `order->payment@payment-1`.
    pub fn subject(&self, callee: &ServiceName) -> String {
        let caller = self.caller.as_ref().map_or_else(String::new, |caller| format!("{}->", caller.shown()));
        let instance = self.instance.as_ref().map_or_else(String::new, |instance| format!("@{instance}"));
        format!("{caller}{callee}{instance}")
    }

    /// What it does, in words.
    pub fn in_words(&self, callee: &ServiceName) -> String {
        let done = match self.order {
            BreakerCommand::Open => "held open",
            BreakerCommand::Closed => "held closed",
            BreakerCommand::Disabled => "switched off",
            BreakerCommand::Reset => "reset",
        };
        format!("the breakers of {} are {done}", self.subject(callee))
    }
}

impl Caller {
    /// As people write it, and read it: `order`, `gateway`, `route:orders`.
    pub fn shown(&self) -> String {
        match self {
            Self::Service(service) => service.to_string(),
            Self::Gateway => "gateway".to_owned(),
            Self::Route(route) => format!("route:{route}"),
        }
    }

    /// Reads what people write.
    ///
    /// # Errors
    /// When it names neither a service nor a route.
    pub fn parse_shown(text: &str) -> Result<Self, InvalidIdentity> {
        let invalid = || InvalidIdentity::new(text, "caller: write the name of a service, gateway or route:NAME");
        match text.strip_prefix("route:") {
            Some(route) => route_name(route).map(Self::Route).ok_or_else(invalid),
            None if text == "gateway" => Ok(Self::Gateway),
            None => ServiceName::new(text).map(Self::Service).map_err(|_| invalid()),
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(service) => write!(f, "service/{service}"),
            Self::Gateway => f.write_str("gateway"),
            Self::Route(route) => write!(f, "route/{route}"),
        }
    }
}

impl FromStr for Caller {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        let invalid = || InvalidIdentity::new(text, "caller: write service/NAME, gateway or route/NAME");
        match text.split_once('/') {
            None if text == "gateway" => Ok(Self::Gateway),
            Some(("service", name)) => ServiceName::new(name).map(Self::Service).map_err(|_| invalid()),
            Some(("route", name)) => route_name(name).map(Self::Route).ok_or_else(invalid),
            _ => Err(invalid()),
        }
    }
}

impl TryFrom<String> for Caller {
    type Error = InvalidIdentity;

    fn try_from(text: String) -> Result<Self, InvalidIdentity> {
        text.parse()
    }
}

impl From<Caller> for String {
    fn from(caller: Caller) -> Self {
        caller.to_string()
    }
}

fn route_name(text: &str) -> Option<String> {
    let is_name = !text.is_empty() && text.chars().count() <= ROUTE_CHARS_MAX && !text.chars().any(char::is_control);
    is_name.then(|| text.to_owned())
}

/// What is wrong with the orders about one service, each with its place among them.
pub(super) fn check_orders(orders: &[BreakerOrder], services: &[ServiceName]) -> Vec<(String, String)> {
    let mut faults = Vec::new();
    let mut must = |is_so: bool, path: String, rule: String| {
        if !is_so {
            faults.push((path, rule));
        }
    };
    let rule = format!("there are at most {BREAKER_ORDERS_MAX} orders about the breakers of a service");
    must(orders.len() <= BREAKER_ORDERS_MAX, String::new(), rule);
    let mut known = BTreeSet::new();
    for (index, order) in orders.iter().enumerate() {
        if let Some(Caller::Service(caller)) = &order.caller {
            let rule = format!("the system has no service `{caller}`");
            must(services.contains(caller), format!("/{index}/caller"), rule);
        }
        let is_new = known.insert((&order.caller, &order.instance));
        must(is_new, format!("/{index}"), "there is one order about the same breakers".to_owned());
        let ends = order.order != BreakerCommand::Reset || order.until_unix_ms.is_some();
        must(
            ends,
            format!("/{index}/until_unix_ms"),
            "a reset says until when it is told to those who call".to_owned(),
        );
    }
    faults
}

// === what is told ===

/// `GET /-/bowline/breakers`: what one process tells of the breakers that it holds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct OwnBreakers {
    /// Those of each service that it calls; of a gateway, by each route.
    pub calls: Vec<CallBreakers>,
}

/// The breakers that guard the calls to one service, an instance each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallBreakers {
    /// Whom they guard.
    pub callee: ServiceName,
    /// The route of the gateway that calls, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Whether the calls' policy has a breaker.
    pub is_guarded: bool,
    /// What is acted by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<BreakerOrder>,
    /// One for each instance, sorted; at most [`BREAKERS_TOLD_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub breakers: Vec<BreakerStatus>,
    /// How many are not told of.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

/// One breaker as its holder sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BreakerStatus {
    /// The instance that it guards.
    pub instance: InstanceId,
    /// Its state: `closed`, `open`, `half_open`, `forced_open`, `forced_closed`, `disabled`.
    pub state: String,
    /// Calls in its window.
    pub calls: u64,
    /// Of them, those that failed.
    pub failures: u64,
    /// Of them, those that were slow; 0 where slow calls have no rate of their own.
    pub slow: u64,
    /// The share of calls that failed, 0 to 1; absent where there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_rate: Option<f64>,
    /// The share of calls that were slow, 0 to 1; absent where there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_rate: Option<f64>,
    /// In how many milliseconds it lets somebody through again; absent where it does, or nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The last ones, the newest first; at most [`TRANSITIONS_TOLD_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transitions: Vec<BreakerTransition>,
}

/// A breaker that changed its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerTransition {
    /// How long ago, in milliseconds.
    pub age_ms: u64,
    /// What it was before.
    pub from: String,
    /// What it is then.
    pub to: String,
    /// Why: `failure_rate`, `slow_rate`, `consecutive`, `elapsed`, `probed`, `ordered`.
    pub why: String,
    /// Calls in the window then.
    pub calls: u64,
    /// Of them, those that failed.
    pub failures: u64,
    /// Of them, those that were slow.
    pub slow: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ServiceName {
        ServiceName::new(text).unwrap()
    }

    fn orders(json: &str) -> Vec<BreakerOrder> {
        serde_json::from_str(json).unwrap()
    }

    #[track_caller]
    fn check(json: &str, expect: &[&str]) {
        let found = check_orders(&orders(json), &[name("order"), name("payment")]);
        assert_eq!(found.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), expect, "{found:?}");
    }

    #[test]
    fn orders_that_make_no_sense_are_found() {
        check(
            r#"[{"order":"open"},{"caller":"service/order","order":"closed"},{"caller":"gateway","order":"open"}]"#,
            &[],
        );
        check(r#"[{"caller":"service/bank","order":"open"}]"#, &["/0/caller"]);
        check(r#"[{"order":"open"},{"order":"closed"}]"#, &["/1"]);
        check(r#"[{"order":"reset"}]"#, &["/0/until_unix_ms"]);
        let many: Vec<String> =
            (0..=BREAKER_ORDERS_MAX).map(|at| format!(r#"{{"instance":"i-{at}","order":"open"}}"#)).collect();
        check(&format!("[{}]", many.join(",")), &[""]);
        for bad in [r#"[{"order":"ajar"}]"#, r#"[{"order":"open","caller":"order"}]"#, r#"[{"order":"open","x":1}]"#] {
            assert!(serde_json::from_str::<Vec<BreakerOrder>>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn callers_survive_both_of_their_texts() {
        for text in ["service/order", "gateway", "route/orders", "route/a/b"] {
            let caller: Caller = text.parse().unwrap();
            assert_eq!(caller.to_string(), text);
            assert_eq!(Caller::parse_shown(&caller.shown()).unwrap(), caller);
        }
        for bad in ["", "order", "service/", "route/", "route/a\n", "bowline"] {
            assert!(bad.parse::<Caller>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_order_is_for_those_whom_it_names_and_the_narrowest_counts() {
        let all = orders(
            r#"[{"order":"open"},{"caller":"service/order","order":"open"},{"caller":"gateway","order":"open"},
                {"caller":"route/a","order":"open"},{"instance":"p-1","order":"open","until_unix_ms":5}]"#,
        );
        let of = |workload: &Workload| all.iter().map(|order| order.is_for(workload)).collect::<Vec<_>>();
        assert_eq!(of(&Workload::Service(name("order"))), [true, true, false, false, true]);
        assert_eq!(of(&Workload::Service(name("user"))), [true, false, false, false, true]);
        assert_eq!(of(&Workload::Gateway), [true, false, true, true, true]);
        assert!(all[3].is_for_route("a") && !all[3].is_for_route("b") && all[2].is_for_route("b"));
        let mut sorted: Vec<_> = all.iter().map(BreakerOrder::narrowness).collect();
        sorted.sort_unstable();
        assert_eq!(sorted, [(false, 0), (false, 1), (false, 1), (false, 2), (true, 0)]);
        assert!(all[4].has_ended(5) && !all[4].has_ended(4) && !all[0].has_ended(u64::MAX));
        assert_eq!(all[3].subject(&name("payment")), "route:a->payment");
        assert_eq!(all[4].in_words(&name("payment")), "the breakers of payment@p-1 are held open");
    }
}
