//! Rolls health up along the service graph: whose fault is felt by whom.
//!
//! A service is unhealthy when none of its instances takes requests. Who calls it, and waits for its
//! answer, is then degraded at best, and so is who calls that one. A service of which some instances are
//! unhealthy is degraded itself; its callers are not, since the others take their requests.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bowline_model::ServiceName;

/// The most paths that a verdict names.
pub const BECAUSE_MAX: usize = 16;

/// The instances of a service, counted by their health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Take requests.
    pub healthy: usize,
    /// Fail their checks.
    pub unhealthy: usize,
    /// Finish what they have: they make a service neither better nor worse.
    pub draining: usize,
}

/// How a service's own instances are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Own {
    /// There are some, and all that count take requests.
    AllHealthy,
    /// Some take requests, some do not.
    SomeUnhealthy,
    /// There are some, and none takes requests.
    NoneHealthy,
    /// There is none.
    NoInstance,
}

/// How a service is for who calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rolled {
    /// Nothing is known against it.
    Healthy,
    /// It answers, but some instance of its own is unhealthy, or something that it needs is.
    Degraded,
    /// It answers nobody.
    Unhealthy,
}

/// What is to be said of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// By its own instances.
    pub own: Own,
    /// By these and by what it calls.
    pub rolled_up: Rolled,
    /// A way to each unhealthy service that it needs: from the one it calls to the one at fault. The shortest
    /// of each, these shortest first, then by name; at most [`BECAUSE_MAX`].
    pub because: Vec<Vec<ServiceName>>,
}

/// A synchronous call, from whom to whom.
pub type Edge = (ServiceName, ServiceName);

impl Counts {
    /// All of them.
    pub fn total(self) -> usize {
        self.healthy + self.unhealthy + self.draining
    }

    /// The verdict by these alone.
    pub fn own(self) -> Own {
        match self {
            Self { healthy: 0, unhealthy: 0, draining: 0 } => Own::NoInstance,
            Self { healthy: 0, .. } => Own::NoneHealthy,
            Self { unhealthy: 0, .. } => Own::AllHealthy,
            _ => Own::SomeUnhealthy,
        }
    }
}

impl Own {
    /// The verdict before anybody it calls is looked at.
    fn alone(self) -> Rolled {
        match self {
            Self::AllHealthy => Rolled::Healthy,
            Self::SomeUnhealthy => Rolled::Degraded,
            Self::NoneHealthy | Self::NoInstance => Rolled::Unhealthy,
        }
    }
}

/// The verdict of each service. Calls by or of a service that has no counts are not looked at; cycles do no
/// harm.
///
/// O(unhealthy services × calls).
pub fn roll_up<'a>(
    services: &BTreeMap<ServiceName, Counts>,
    calls: impl IntoIterator<Item = &'a Edge>,
) -> BTreeMap<ServiceName, Verdict> {
    let verdict = |counts: &Counts| {
        let own = counts.own();
        Verdict { own, rolled_up: own.alone(), because: Vec::new() }
    };
    let mut verdicts: BTreeMap<_, _> = services.iter().map(|(name, counts)| (name.clone(), verdict(counts))).collect();
    let graph = Graph::new(services, calls);
    let at_fault = services.iter().filter(|(_, counts)| counts.own().alone() == Rolled::Unhealthy);
    for (cause, _) in at_fault {
        for (caller, path) in graph.paths_to(cause) {
            let Some(verdict) = verdicts.get_mut(caller) else { continue };
            verdict.rolled_up = verdict.rolled_up.max(Rolled::Degraded);
            verdict.because.push(path.into_iter().cloned().collect());
        }
    }
    for verdict in verdicts.values_mut() {
        verdict.because.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
        verdict.because.truncate(BECAUSE_MAX);
    }
    verdicts
}

/// Who calls whom, both ways.
struct Graph<'a> {
    callers: BTreeMap<&'a ServiceName, BTreeSet<&'a ServiceName>>,
    callees: BTreeMap<&'a ServiceName, BTreeSet<&'a ServiceName>>,
}

impl<'a> Graph<'a> {
    fn new<T>(services: &BTreeMap<ServiceName, T>, calls: impl IntoIterator<Item = &'a Edge>) -> Self {
        let mut graph = Self { callers: BTreeMap::new(), callees: BTreeMap::new() };
        let is_known = |name| services.contains_key(name);
        for (caller, callee) in calls.into_iter().filter(|(caller, callee)| is_known(caller) && is_known(callee)) {
            graph.callers.entry(callee).or_default().insert(caller);
            graph.callees.entry(caller).or_default().insert(callee);
        }
        graph
    }

    /// Everybody who needs that service, with the shortest way there; of several the first by name.
    fn paths_to(&self, cause: &'a ServiceName) -> Vec<(&'a ServiceName, Vec<&'a ServiceName>)> {
        // Nearest first, so that the way of whom a service calls is there before its own.
        let mut distance = BTreeMap::from([(cause, 0_usize)]);
        let mut waiting = VecDeque::from([cause]);
        let mut paths = Vec::new();
        while let Some(callee) = waiting.pop_front() {
            let next = distance[callee] + 1;
            for caller in self.callers.get(callee).into_iter().flatten() {
                if !distance.contains_key(caller) {
                    distance.insert(caller, next);
                    waiting.push_back(caller);
                }
            }
        }
        for (service, far) in &distance {
            if *far > 0 {
                paths.push((*service, self.descend(service, *far, &distance)));
            }
        }
        paths
    }

    /// The way down from a service that is so far from the cause.
    fn descend(
        &self,
        from: &ServiceName,
        far: usize,
        distance: &BTreeMap<&'a ServiceName, usize>,
    ) -> Vec<&'a ServiceName> {
        let mut path: Vec<&'a ServiceName> = Vec::with_capacity(far);
        for left in (0..far).rev() {
            let at = path.last().copied().unwrap_or(from);
            let mut callees = self.callees.get(at).into_iter().flatten();
            let Some(nearer) = callees.find(|callee| distance.get(**callee) == Some(&left)) else { break };
            path.push(nearer);
        }
        path
    }
}

#[cfg(test)]
mod tests;
