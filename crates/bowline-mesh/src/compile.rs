//! From a system, its routes and its traffic to what each workload acts by. Pure: equal input, equal output.

use std::collections::BTreeMap;

use bowline_model::{
    ServiceName,
    gateway::{AuthKind, AuthProvider, JwtKeys, RouteTable},
    instance::OWN_PATHS,
    mesh::{
        Authorization, MeshPolicy, Outbound, Pattern, Rule, SNAPSHOT_FORMAT, Snapshot, Steering, Traffic, Workload,
    },
    monitor::MetricsPath,
    policy::CallPolicy,
    route::{PathPattern, Route, RouteMatch},
    system::{Call, CallMode, Operation, Service, System},
};

/// What Bowline asks every service for, besides the path of its check.
const PLATFORM_PATHS: [&str; 3] = ["/livez", "/metrics", "/readyz"];

/// What each workload acts by: every service, and the gateway. `table` is the one that is published, whatever
/// routes the system itself has.
///
/// | rule | allows | what for |
/// |---|---|---|
/// | `order calls payment` | who declares the call | the call's operations, else the callee's API, else everything but the platform's |
/// | `route orders` | the gateway | the route's matches, else everything but the platform's |
/// | `keys of customers` | the gateway | `GET` of the key set of an `[auth.X]` |
/// | `platform` | Bowline itself | `GET` of the check's path, `/livez`, `/readyz`, `/metrics` and where the service says its metrics are; `GET` and `POST` of what is [Bowline's own](OWN_PATHS) |
///
/// A workload sees its own rules, calls and faults, and the steering of those whom it calls, of orders to breakers
/// those that are about its own. In a system
/// without a mesh that is the calls and their steering.
pub fn compile(system: &System, table: &RouteTable, traffic: &Traffic) -> BTreeMap<Workload, Snapshot> {
    let system = Compiled { system, table, traffic };
    let services = system.system.services.iter();
    let snapshots = services.map(|service| system.service(service)).chain([system.gateway()]);
    snapshots.map(|snapshot| (snapshot.workload.clone(), snapshot)).collect()
}

/// What snapshots are made of.
struct Compiled<'a> {
    system: &'a System,
    table: &'a RouteTable,
    traffic: &'a Traffic,
}

impl Compiled<'_> {
    fn service(&self, service: &Service) -> Snapshot {
        let workload = Workload::Service(service.name.clone());
        let outbound = service.calls.iter().map(|call| self.outbound(&workload, &call.target, &call.policy));
        let mut outbound: Vec<_> = outbound.collect();
        outbound.sort_by(|one, other| one.target.cmp(&other.target));
        let mut snapshot = Snapshot { outbound, ..self.empty(workload) };
        if self.system.mesh.is_some() {
            snapshot.inbound = self.rules(service);
            let faults = self.traffic.faults.iter().filter(|fault| fault.service == service.name);
            snapshot.faults = faults.cloned().collect();
            snapshot.faults.sort_by(|one, other| one.id.cmp(&other.id));
        }
        snapshot
    }

    /// The gateway calls whomever a route or a key set names; what its calls do is its routes' to say.
    fn gateway(&self) -> Snapshot {
        let backends = self.table.routes.iter().flat_map(|route| &route.backends).map(|backend| &backend.service);
        let keys = self.table.auth.iter().filter_map(key_set).map(|(service, _)| service);
        let mut targets: Vec<_> = backends.chain(keys).collect();
        targets.sort_unstable();
        targets.dedup();
        let outbound = |target| self.outbound(&Workload::Gateway, target, &CallPolicy::default());
        let outbound = targets.into_iter().map(outbound).collect();
        Snapshot { outbound, ..self.empty(Workload::Gateway) }
    }

    fn empty(&self, workload: Workload) -> Snapshot {
        let mesh = self.system.mesh.as_ref();
        let authorization = mesh.map_or(Authorization::default(), |MeshPolicy { authorization, .. }| *authorization);
        Snapshot {
            format: SNAPSHOT_FORMAT,
            system: self.system.name.clone(),
            workload,
            mode: mesh.map(|mesh| mesh.mode),
            authorization,
            inbound: Vec::new(),
            outbound: Vec::new(),
            faults: Vec::new(),
        }
    }

    fn outbound(&self, caller: &Workload, target: &ServiceName, policy: &CallPolicy) -> Outbound {
        let steering = self.traffic.steering.get(target).cloned().unwrap_or_default();
        let breakers = steering.breakers.into_iter().filter(|order| order.is_for(caller)).collect();
        // Whose a split is concerns those who change it.
        let steering = Steering { rollout: None, breakers, ..steering };
        Outbound { target: target.clone(), policy: policy.clone(), steering }
    }

    /// Who may ask a service for what, sorted by caller and name.
    fn rules(&self, service: &Service) -> Vec<Rule> {
        let calls = self.system.services.iter().flat_map(|caller| caller.calls.iter().map(move |call| (caller, call)));
        // Messages pass through topics, not through sidecars.
        let calls = calls.filter(|(_, call)| call.target == service.name && call.mode != CallMode::Message);
        let calls = calls.map(|(caller, call)| call_rule(caller, call, service));
        let is_led_here = |route: &&Route| route.backends.iter().any(|backend| backend.service == service.name);
        let routes = self.table.routes.iter().filter(is_led_here).map(route_rule);
        let keys = self.table.auth.iter().filter_map(|provider| key_set_rule(provider, &service.name));
        let mut rules: Vec<_> = calls.chain(routes).chain(keys).chain([platform_rule(service)]).collect();
        rules.sort_by(|one, other| (&one.caller, &one.name).cmp(&(&other.caller, &other.name)));
        rules
    }
}

fn call_rule(caller: &Service, call: &Call, callee: &Service) -> Rule {
    let operations = if call.operations.is_empty() { &callee.boundary.api } else { &call.operations };
    Rule {
        name: format!("{} calls {}", caller.name, callee.name),
        caller: Workload::Service(caller.name.clone()),
        operations: operations.iter().map(operation_pattern).collect(),
    }
}

fn operation_pattern(operation: &Operation) -> Pattern {
    let Operation { method, path, position: _ } = operation;
    Pattern { methods: vec![method.clone()], path: path.clone() }
}

fn route_rule(route: &Route) -> Rule {
    // That a header is demanded is the gateway's to see: it alone knows what the client sent.
    let pattern = |RouteMatch { path, methods, headers: _ }: &RouteMatch| Pattern {
        methods: methods.clone(),
        path: path.clone(),
    };
    Rule {
        name: format!("route {}", route.name),
        caller: Workload::Gateway,
        operations: route.matches.iter().map(pattern).collect(),
    }
}

fn key_set_rule(provider: &AuthProvider, service: &ServiceName) -> Option<Rule> {
    let (_, path) = key_set(provider).filter(|(of, _)| *of == service)?;
    let operations = vec![get(path)?];
    Some(Rule { name: format!("keys of {}", provider.name), caller: Workload::Gateway, operations })
}

/// The service that serves a provider's keys, and the path.
fn key_set(provider: &AuthProvider) -> Option<(&ServiceName, &str)> {
    match &provider.kind {
        AuthKind::Jwt(policy) => match &policy.keys {
            JwtKeys::Service { service, path } => Some((service, path)),
            JwtKeys::Url(_) | JwtKeys::File(_) | JwtKeys::Secret(_) => None,
        },
        AuthKind::ApiKey(_) => None,
    }
}

fn platform_rule(service: &Service) -> Rule {
    let metrics = match &service.metrics {
        MetricsPath::At(path) => Some(path.as_str()),
        MetricsPath::Usual | MetricsPath::Off => None,
    };
    let of_service = [Some(service.check.http.as_str()), metrics].into_iter().flatten();
    let mut paths: Vec<_> = PLATFORM_PATHS.into_iter().chain(of_service).collect();
    paths.sort_unstable();
    paths.dedup();
    let own = PathPattern::parse(&format!("{OWN_PATHS}**")).ok();
    let own = own.map(|path| Pattern { methods: ["GET", "POST"].map(str::to_owned).into(), path });
    let operations = own.into_iter().chain(paths.into_iter().filter_map(get)).collect();
    Rule { name: "platform".to_owned(), caller: Workload::Platform, operations }
}

/// A `GET` of exactly that path; none where no pattern, and no request that the data plane takes, has it.
fn get(path: &str) -> Option<Pattern> {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    Some(Pattern { methods: vec!["GET".to_owned()], path: PathPattern::parse(path).ok()? })
}

#[cfg(test)]
mod tests;
