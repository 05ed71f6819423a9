//! Decides who may come in: by the certificate of whoever asks, and the rules of the snapshot.

mod texts;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use bowline_model::{
    Code, ServiceName,
    instance::OWN_PATHS,
    mesh::{Authorization, Mode, Pattern, Rule, Snapshot, SpiffeId, Workload},
    route::{Backend, Route, RouteMatch},
};
use bowline_proxy::{
    Gates, Refusal, Visit,
    matcher::{InvalidRoute, Matcher, Query},
};
use bowline_runtime::{
    metric::{Counter, Registry},
    time,
};
use bowline_telemetry::names;
use http::request::Parts;

/// Who asks without a certificate, in metrics and spans.
const UNKNOWN: &str = "unknown";

/// The rule of who passes, or is denied, without one.
const NO_RULE: &str = "none";

/// How many callers without a rule are counted under their names; further ones share one.
const STRANGERS_MAX: usize = 64;

/// The rules of one service, compiled for looking up.
#[derive(Debug)]
pub(crate) struct Authorizer {
    system: ServiceName,
    service: ServiceName,
    authorization: Authorization,
    /// Counts those who come without a certificate; none where they are not let in.
    unknown: Option<Counter>,
    callers: BTreeMap<Workload, Caller>,
    /// The paths that are Bowline's.
    platform: Matcher,
    /// Those who are denied without a rule of theirs.
    strangers: Strangers,
    /// Those who pass without a rule, where nobody asks for one.
    passing: Strangers,
    /// For those whom no caller's own gates are of.
    gates: Gates,
    metrics: Registry,
}

/// What one workload may ask for.
#[derive(Debug)]
struct Caller {
    /// As metrics and spans name it.
    name: String,
    /// Finds the place of the rule that allows a request.
    matcher: Matcher,
    rules: Vec<Allowing>,
    /// The rule that allows everything but what is Bowline's.
    open: Option<Allowing>,
    /// What it is told that it may.
    allows: String,
    denied: Counter,
    gates: Gates,
}

/// A rule, and how often it let somebody in.
#[derive(Debug)]
struct Allowing {
    name: String,
    allowed: Counter,
}

/// Why a request is not allowed.
struct Denial<'a> {
    reason: &'static str,
    /// The rule that it breaks, or that there would have to be.
    rule: Cow<'a, str>,
    caller: Cow<'a, str>,
    detail: String,
    denied: Counter,
    gates: &'a Gates,
}

impl Authorizer {
    /// Compiles the rules of a service's snapshot.
    ///
    /// # Errors
    /// [`InvalidRoute`] names a rule with a path that no request has.
    pub(crate) fn new(service: &ServiceName, snapshot: &Snapshot, metrics: &Registry) -> Result<Self, InvalidRoute> {
        let authorization = snapshot.authorization;
        let counters = Counters { metrics, service, authorization };
        let mut rules: BTreeMap<&Workload, Vec<&Rule>> = BTreeMap::new();
        for rule in &snapshot.inbound {
            rules.entry(&rule.caller).or_default().push(rule);
        }
        let of_platform: Vec<_> =
            rules.get(&Workload::Platform).into_iter().flatten().map(|rule| paths(rule)).collect();
        let callers = rules
            .into_iter()
            .map(|(workload, rules)| Ok((workload.clone(), Caller::new(workload, &rules, service, &counters)?)));
        Ok(Self {
            system: snapshot.system.clone(),
            service: service.clone(),
            authorization,
            unknown: (snapshot.mode == Some(Mode::Permissive)).then(|| counters.allowed(UNKNOWN, NO_RULE)),
            callers: callers.collect::<Result<_, _>>()?,
            platform: Matcher::new(&of_platform)?,
            strangers: Strangers::default(),
            passing: Strangers::default(),
            gates: Gates::default(),
            metrics: metrics.clone(),
        })
    }

    /// Lets a request pass, or refuses it; either way that is counted, and said on its span.
    pub(crate) fn admit(&self, visit: &mut Visit<'_>) -> Result<(), Box<Refusal>> {
        let denial = match self.decide(visit.peer, visit.head) {
            Ok(Passing { caller, rule, count }) => {
                count.increment();
                if visit.peer.is_none() {
                    // Nobody else knows that it came in the clear: the application takes it for any other.
                    visit.span.keep();
                }
                visit.span.set_with(names::BOWLINE_CALLER, || caller.into_owned());
                visit.span.set_with(names::BOWLINE_RULE, || rule.to_owned());
                return Ok(());
            }
            Err(denial) => denial,
        };
        denial.denied.increment();
        visit.span.set_with(names::BOWLINE_CALLER, || denial.caller.clone().into_owned());
        visit.span.set_with(names::BOWLINE_RULE, || denial.rule.clone().into_owned());
        self.log(&denial, visit);
        // What is Bowline's own is nobody's to try out.
        if self.authorization != Authorization::DryRun || visit.head.uri.path().starts_with(OWN_PATHS) {
            return Err(Box::new(Refusal::new(Code::PermissionDenied, denial.reason, denial.detail)));
        }
        visit.span.set(names::BOWLINE_DRY_RUN, "denied");
        visit.span.keep();
        Ok(())
    }

    /// Who is let in by which rule.
    fn decide<'a>(&'a self, peer: Option<&'a SpiffeId>, head: &Parts) -> Result<Passing<'a>, Denial<'a>> {
        // What begins so is asked by Bowline alone, whatever a rule says.
        let is_reserved = head.uri.path().starts_with(OWN_PATHS);
        let Some(peer) = peer else {
            let unknown = self.unknown.as_ref().filter(|_| !is_reserved).ok_or_else(|| self.without_identity())?;
            return Ok(Passing { caller: Cow::Borrowed(UNKNOWN), rule: NO_RULE, count: Cow::Borrowed(unknown) });
        };
        let is_ours = peer.system == self.system;
        let caller = is_ours.then(|| self.callers.get(&peer.workload)).flatten();
        let query = Query { host: "", path: head.uri.path(), method: &head.method, headers: &head.headers };
        let is_platforms = || self.platform.find(query).is_ok();
        let is_kept_out = is_reserved && peer.workload != Workload::Platform;
        if let Some(passing) = caller.filter(|_| !is_kept_out).and_then(|caller| caller.passing(query, is_platforms)) {
            return Ok(passing);
        }
        match caller {
            _ if is_ours && !is_kept_out && self.authorization == Authorization::Off => {
                self.decide_unasked(peer, head, is_platforms())
            }
            Some(caller) => Err(self.wrong_operation(peer, caller, head)),
            None => Err(self.undeclared(peer)),
        }
    }

    /// Whether somebody of the system is let in whom no rule allows, where nobody asks what is declared.
    fn decide_unasked(&self, peer: &SpiffeId, head: &Parts, is_platforms: bool) -> Result<Passing<'_>, Denial<'_>> {
        let caller = peer.workload.to_string();
        if !is_platforms {
            let count = self.passing.counter(&caller, |name| self.counters().allowed(name, NO_RULE));
            return Ok(Passing { caller: Cow::Owned(caller), rule: NO_RULE, count: Cow::Owned(count) });
        }
        Err(Denial {
            reason: "mesh_operation",
            rule: Cow::Borrowed(NO_RULE),
            detail: texts::wrong_operation(peer, &self.service, head, texts::ALLOWS_WITHOUT_RULES),
            denied: self.stranger(&caller),
            caller: Cow::Owned(caller),
            gates: &self.gates,
        })
    }

    fn without_identity(&self) -> Denial<'_> {
        Denial {
            reason: "mesh_no_identity",
            rule: Cow::Borrowed(NO_RULE),
            caller: Cow::Borrowed(UNKNOWN),
            detail: texts::no_identity(&self.service),
            denied: self.stranger(UNKNOWN),
            gates: &self.gates,
        }
    }

    fn undeclared(&self, peer: &SpiffeId) -> Denial<'_> {
        let caller = if peer.system == self.system { peer.workload.to_string() } else { peer.to_string() };
        Denial {
            reason: "mesh_not_declared",
            rule: Cow::Owned(texts::missing_rule(peer, &self.service)),
            detail: texts::not_declared(peer, &self.system, &self.service),
            denied: self.stranger(&caller),
            caller: Cow::Owned(caller),
            gates: &self.gates,
        }
    }

    fn wrong_operation<'a>(&'a self, peer: &SpiffeId, caller: &'a Caller, head: &Parts) -> Denial<'a> {
        let rule = caller.rules.iter().chain(&caller.open).next().map_or(NO_RULE, |rule| &rule.name);
        Denial {
            reason: "mesh_operation",
            rule: Cow::Borrowed(rule),
            caller: Cow::Borrowed(&caller.name),
            detail: texts::wrong_operation(peer, &self.service, head, &caller.allows),
            denied: caller.denied.clone(),
            gates: &caller.gates,
        }
    }

    /// Counts a caller who is denied without a rule.
    fn stranger(&self, name: &str) -> Counter {
        self.strangers.counter(name, |name| self.counters().denied(name, NO_RULE))
    }

    fn counters(&self) -> Counters<'_> {
        Counters { metrics: &self.metrics, service: &self.service, authorization: self.authorization }
    }

    fn log(&self, denial: &Denial<'_>, visit: &Visit<'_>) {
        let Some(left_out) = denial.gates.admit(denial.reason, time::now()) else { return };
        let Denial { reason, rule, caller, .. } = denial;
        let (service, trace_id) = (&self.service, visit.span.context().trace_id);
        let (method, path) = (&visit.head.method, texts::cut(visit.head.uri.path()));
        if self.authorization == Authorization::DryRun {
            tracing::warn!(%service, %caller, %rule, reason, %method, path, %trace_id, left_out, "request would be denied");
        } else {
            tracing::warn!(%service, %caller, %rule, reason, %method, path, %trace_id, left_out, "request denied");
        }
    }
}

/// Who passes, and by which rule.
struct Passing<'a> {
    caller: Cow<'a, str>,
    rule: &'a str,
    count: Cow<'a, Counter>,
}

/// Counts callers without a rule under their names, as far as there is room.
#[derive(Debug, Default)]
struct Strangers(Mutex<BTreeMap<String, Counter>>);

impl Strangers {
    fn counter(&self, name: &str, make: impl FnOnce(&str) -> Counter) -> Counter {
        let mut counters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = if counters.len() < STRANGERS_MAX || counters.contains_key(name) { name } else { "other" };
        if let Some(counter) = counters.get(name) {
            return counter.clone();
        }
        counters.entry(name.to_owned()).or_insert(make(name)).clone()
    }
}

impl Caller {
    fn new(
        workload: &Workload,
        rules: &[&Rule],
        service: &ServiceName,
        counters: &Counters<'_>,
    ) -> Result<Self, InvalidRoute> {
        let name = workload.to_string();
        let allowing = |rule: &Rule| Allowing { name: rule.name.clone(), allowed: counters.allowed(&name, &rule.name) };
        let (open, narrow): (Vec<&Rule>, Vec<&Rule>) = rules.iter().partition(|rule| rule.operations.is_empty());
        let routes: Vec<_> = narrow.iter().map(|rule| route(rule, service)).collect();
        let first = rules.first().map_or(NO_RULE, |rule| &rule.name);
        Ok(Self {
            matcher: Matcher::new(&routes)?,
            rules: narrow.iter().map(|rule| allowing(rule)).collect(),
            open: open.first().map(|rule| allowing(rule)),
            allows: texts::allows(rules),
            denied: counters.denied(&name, first),
            gates: Gates::default(),
            name,
        })
    }

    /// The rule that lets a request pass, if one does.
    fn passing(&self, query: Query<'_>, is_platforms: impl Fn() -> bool) -> Option<Passing<'_>> {
        let Allowing { name, allowed } = match self.matcher.find(query) {
            Ok(place) => &self.rules[place],
            Err(_) => self.open.as_ref().filter(|_| !is_platforms())?,
        };
        Some(Passing { caller: Cow::Borrowed(&self.name), rule: name, count: Cow::Borrowed(allowed) })
    }
}

/// A rule as the matcher has it, so that paths are understood exactly as those of routes are.
fn route(rule: &Rule, service: &ServiceName) -> Route {
    let matches = rule.operations.iter().map(|Pattern { methods, path }| RouteMatch {
        path: path.clone(),
        methods: methods.clone(),
        headers: Vec::new(),
    });
    let backends = vec![Backend { service: service.clone(), weight: 1 }];
    Route { matches: matches.collect(), ..Route::new(&rule.name, backends) }
}

/// The paths of a rule, whatever the method.
fn paths(rule: &Rule) -> Route {
    let of = |pattern: &Pattern| RouteMatch { path: pattern.path.clone(), methods: Vec::new(), headers: Vec::new() };
    Route { matches: rule.operations.iter().map(of).collect(), ..Route::new(&rule.name, Vec::new()) }
}

/// Where decisions are counted.
struct Counters<'a> {
    metrics: &'a Registry,
    service: &'a ServiceName,
    authorization: Authorization,
}

impl Counters<'_> {
    fn allowed(&self, caller: &str, rule: &str) -> Counter {
        self.counter(caller, rule, "allowed")
    }

    fn denied(&self, caller: &str, rule: &str) -> Counter {
        self.counter(caller, rule, if self.authorization == Authorization::DryRun { "dry_run" } else { "denied" })
    }

    fn counter(&self, caller: &str, rule: &str, decision: &str) -> Counter {
        let help = "Requests that came to a service of the mesh, by who asked and what became of it.";
        let labels =
            [(names::LABEL_SERVICE, self.service.as_str()), ("caller", caller), ("rule", rule), ("decision", decision)];
        self.metrics.counter("bowline_mesh_decisions_total", help, &labels)
    }
}
