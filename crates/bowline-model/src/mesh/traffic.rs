//! How traffic is steered between versions, kept from a service or let through by hand, and disturbed on purpose: the
//! document `bowline/traffic`.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    Workload,
    breakers::{BreakerOrder, check_orders},
};
use crate::{
    name::ServiceName,
    units::{self, Share},
};

/// The most faults at once.
pub const FAULTS_MAX: usize = 100;

/// The most versions that a service's traffic is split between.
pub const VERSIONS_MAX: usize = 16;

/// The longest delay that a fault adds.
pub const FAULT_DELAY_MAX: Duration = Duration::from_mins(5);

/// How the traffic to one service is steered: between its versions, and by its callers' breakers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Steering {
    /// Shares by version, as weights; empty: versions are not looked at. At least one is above 0.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub split: BTreeMap<String, u32>,
    /// Where copies go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Mirror>,
    /// The rollout of the service that the split is; absent: it was set by hand. Callers are not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<u64>,
    /// What was ordered of the breakers that guard the calls to it; a caller is told what is about its own. At most
    /// [`BREAKER_ORDERS_MAX`](super::BREAKER_ORDERS_MAX).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub breakers: Vec<BreakerOrder>,
}

impl Steering {
    /// Whether there is a split that is not that rollout's.
    pub fn is_split_by_others(&self, rollout: u64) -> bool {
        !self.split.is_empty() && self.rollout != Some(rollout)
    }

    /// Whether it steers nothing.
    pub fn is_empty(&self) -> bool {
        self.split.is_empty() && self.mirror.is_none() && self.breakers.is_empty()
    }

    /// Whether it steers by versions.
    pub fn is_by_version(&self) -> bool {
        !self.split.is_empty() || self.mirror.is_some()
    }
}

/// Copies of requests for another version, whose answers nobody sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// The version that gets them.
    pub version: String,
    /// The share of requests that is copied.
    pub share: Share,
}

/// What is done on purpose to requests that reach a service. At least one of `delay` and `abort`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What it is called, to be ended by: 1 to 63 of `a-z 0-9 -`.
    pub id: String,
    /// Whose requests it befalls.
    pub service: ServiceName,
    /// Only those of this caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Workload>,
    /// The share of requests.
    pub share: Share,
    /// How long they are held up; at most [`FAULT_DELAY_MAX`].
    #[serde(default, with = "units::duration::option", skip_serializing_if = "Option::is_none")]
    pub delay: Option<Duration>,
    /// The status they are answered with in the place of the service: 400 to 599.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort: Option<u16>,
    /// When it ends by itself, in milliseconds since 1970.
    pub until_unix_ms: u64,
}

/// How traffic is steered and disturbed while a system runs: the document `bowline/traffic`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// Splits and mirrors, by the service that is called.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub steering: BTreeMap<ServiceName, Steering>,
    /// Faults, at most [`FAULTS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
}

impl fmt::Display for Fault {
    /// What it does, in words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id: _, service, from, share, delay, abort, until_unix_ms: _ } = self;
        let from = from.as_ref().map_or_else(String::new, |from| format!(" from {from}"));
        let delay = delay.map(|delay| format!("wait {}", units::format_duration(delay)));
        let abort = abort.map(|status| format!("are answered {status}"));
        let done: Vec<String> = delay.into_iter().chain(abort).collect();
        write!(f, "{share} of the requests to {service}{from} {}", done.join(" and "))
    }
}

impl Traffic {
    /// Takes out the faults and the orders that are over at that time, in milliseconds since 1970; whether there were
    /// some.
    pub fn end(&mut self, now: u64) -> bool {
        let before = self.ending_count();
        self.faults.retain(|fault| fault.until_unix_ms > now);
        for steering in self.steering.values_mut() {
            steering.breakers.retain(|order| !order.has_ended(now));
        }
        let has_ended = self.ending_count() < before;
        if has_ended {
            self.steering.retain(|_, steering| !steering.is_empty());
        }
        has_ended
    }

    /// When the first of them ends, in milliseconds since 1970.
    pub fn ends_first(&self) -> Option<u64> {
        let orders = self.steering.values().flat_map(|steering| &steering.breakers);
        let orders = orders.filter_map(|order| order.until_unix_ms);
        self.faults.iter().map(|fault| fault.until_unix_ms).chain(orders).min()
    }

    fn ending_count(&self) -> usize {
        let orders = self.steering.values().map(|steering| steering.breakers.len());
        self.faults.len() + orders.sum::<usize>()
    }

    /// Checks the bounds that its types cannot carry, and that it names services of the system.
    ///
    /// # Errors
    /// Every rule that is broken, with the place as a JSON pointer: `/faults/0/delay`.
    pub fn check(&self, services: &[ServiceName]) -> Result<(), Vec<InvalidTraffic>> {
        let mut faults = Vec::new();
        let Self { steering, faults: injected } = self;
        for (service, steering) in steering {
            let at = format!("/steering/{service}");
            known(service, services, &at, &mut faults);
            check_steering(steering, &at, &mut faults);
            let broken = check_orders(&steering.breakers, services).into_iter();
            faults.extend(broken.map(|(path, rule)| InvalidTraffic { path: format!("{at}/breakers{path}"), rule }));
        }
        must(injected.len() <= FAULTS_MAX, "/faults", "there are at most 100 faults", &mut faults);
        let mut ids = std::collections::BTreeSet::new();
        for (index, fault) in injected.iter().enumerate() {
            let at = format!("/faults/{index}");
            known(&fault.service, services, &format!("{at}/service"), &mut faults);
            if let Some(Workload::Service(from)) = &fault.from {
                known(from, services, &format!("{at}/from"), &mut faults);
            }
            must(ids.insert(&fault.id), &format!("{at}/id"), "each fault has an id of its own", &mut faults);
            check_fault(fault, &at, &mut faults);
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

/// A rule that a [`Traffic`] document breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {rule}")]
pub struct InvalidTraffic {
    /// Where, as a JSON pointer.
    pub path: String,
    /// The rule it breaks.
    pub rule: String,
}

fn must(is_so: bool, path: &str, rule: &str, faults: &mut Vec<InvalidTraffic>) {
    if !is_so {
        faults.push(InvalidTraffic { path: path.to_owned(), rule: rule.to_owned() });
    }
}

fn known(service: &ServiceName, services: &[ServiceName], path: &str, faults: &mut Vec<InvalidTraffic>) {
    must(services.contains(service), path, &format!("the system has no service `{service}`"), faults);
}

fn check_steering(steering: &Steering, at: &str, faults: &mut Vec<InvalidTraffic>) {
    let Steering { split, mirror, rollout, breakers: _ } = steering;
    let is_somebodys = rollout.is_none() || !split.is_empty();
    must(is_somebodys, &format!("{at}/rollout"), "it says whose the split is, and there is none", faults);
    let path = format!("{at}/split");
    must(split.len() <= VERSIONS_MAX, &path, "traffic is split between at most 16 versions", faults);
    must(split.is_empty() || split.values().any(|weight| *weight > 0), &path, "one weight is above 0", faults);
    must(split.values().all(|weight| *weight <= 1000), &path, "a weight is at most 1000", faults);
    must(split.keys().all(|version| is_version(version)), &path, VERSION_RULE, faults);
    if let Some(Mirror { version, share: _ }) = mirror {
        must(is_version(version), &format!("{at}/mirror/version"), VERSION_RULE, faults);
    }
}

fn check_fault(fault: &Fault, at: &str, faults: &mut Vec<InvalidTraffic>) {
    let Fault { id, service: _, from: _, share, delay, abort, until_unix_ms: _ } = fault;
    must(ServiceName::new(id).is_ok(), &format!("{at}/id"), "it has 1 to 63 of a-z, 0-9 and inner -", faults);
    must(*share > Share::ZERO, &format!("{at}/share"), "it is above 0%", faults);
    must(delay.is_some() || abort.is_some(), at, "it has a delay, an abort or both", faults);
    let is_delay = delay.is_none_or(|delay| !delay.is_zero() && delay <= FAULT_DELAY_MAX);
    must(is_delay, &format!("{at}/delay"), "it is above zero, and not above 5m", faults);
    must(abort.is_none_or(|status| (400..600).contains(&status)), &format!("{at}/abort"), "it is 400 to 599", faults);
}

/// What a version's name is made of.
pub const VERSION_RULE: &str = "a version has 1 to 63 of a-z, A-Z, 0-9 and inner . _ -";

/// Whether a text can name a version.
pub fn is_version(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 63 && text.bytes().all(is_inner) && is_end(text.bytes().next()) && is_end(text.bytes().last())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ServiceName {
        ServiceName::new(text).unwrap()
    }

    #[track_caller]
    fn check(json: &str, expect: &[&str]) {
        let traffic: Traffic = serde_json::from_str(json).unwrap();
        let found = traffic.check(&[name("order"), name("payment")]).err().unwrap_or_default();
        assert_eq!(found.iter().map(|fault| fault.path.as_str()).collect::<Vec<_>>(), expect, "{found:?}");
    }

    #[test]
    fn traffic_that_makes_no_sense_is_found() {
        check("{}", &[]);
        check(r#"{"steering":{"payment":{"split":{"v1":90,"v2":10}}}}"#, &[]);
        check(r#"{"steering":{"payment":{"split":{"v1":90},"rollout":3}}}"#, &[]);
        check(r#"{"steering":{"payment":{"rollout":3}}}"#, &["/steering/payment/rollout"]);
        check(r#"{"steering":{"bank":{"split":{"v1":0}}}}"#, &["/steering/bank", "/steering/bank/split"]);
        check(
            r#"{"steering":{"payment":{"mirror":{"version":"","share":"5%"}}}}"#,
            &["/steering/payment/mirror/version"],
        );
        check(r#"{"steering":{"payment":{"breakers":[{"order":"open","caller":"service/order"}]}}}"#, &[]);
        check(
            r#"{"steering":{"payment":{"breakers":[{"order":"reset"}]}}}"#,
            &["/steering/payment/breakers/0/until_unix_ms"],
        );
        let fault = |rest: &str| format!(r#"{{"faults":[{{"id":"f1","service":"payment",{rest}}}]}}"#);
        check(&fault(r#""share":"50%","delay":"300ms","until_unix_ms":1"#), &[]);
        check(&fault(r#""share":"50%","until_unix_ms":1"#), &["/faults/0"]);
        check(&fault(r#""share":"0%","abort":200,"until_unix_ms":1"#), &["/faults/0/share", "/faults/0/abort"]);
        check(&fault(r#""share":"1%","delay":"6m","until_unix_ms":1"#), &["/faults/0/delay"]);
        check(&fault(r#""from":"gateway","share":"1%","abort":500,"until_unix_ms":1"#), &[]);
        check(&fault(r#""from":"service/bank","share":"1%","abort":500,"until_unix_ms":1"#), &["/faults/0/from"]);
    }

    #[test]
    fn what_is_over_goes_and_nothing_else() {
        let text = r#"{"steering":{"order":{"breakers":[{"order":"open","until_unix_ms":5}]},
            "payment":{"split":{"v1":1},"breakers":[{"order":"open","until_unix_ms":5},{"instance":"p-1","order":"open"}]}},
            "faults":[{"id":"f1","service":"payment","share":"1%","abort":500,"until_unix_ms":7}]}"#;
        let mut traffic: Traffic = serde_json::from_str(text).unwrap();
        assert_eq!(traffic.ends_first(), Some(5));
        assert!(!traffic.end(4));
        assert!(traffic.end(5));
        assert_eq!((traffic.steering.len(), traffic.steering[&name("payment")].breakers.len()), (1, 1));
        assert_eq!(traffic.ends_first(), Some(7));
        assert!(traffic.end(7));
        assert_eq!((traffic.faults.len(), traffic.ends_first()), (0, None));
    }

    #[test]
    fn a_version_is_one_word() {
        for good in ["v1", "1.4.0", "2026-11-25", "a"] {
            assert!(is_version(good), "{good}");
        }
        for bad in ["", ".", "-v1", "v1-", "v 1", "é"] {
            assert!(!is_version(bad), "{bad}");
        }
    }
}
