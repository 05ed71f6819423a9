//! What `bowline up` says when all is ready, and at the end.

use std::{net::SocketAddr, path::Path, time::Duration};

use bowline_model::{
    RouteTable, System,
    route::{HostPattern, Route},
    system::Service,
};
use bowline_server::{Node, OtlpAddrs};
use bowline_supervisor::Drained;

use crate::style::{self, Paint};

/// What there is to say when all is ready.
pub(crate) struct Ready<'a> {
    pub(crate) system: &'a System,
    /// The same with the releases that run, which may be others than the file declares.
    pub(crate) running: &'a System,
    pub(crate) took: Duration,
    pub(crate) gateway: Option<SocketAddr>,
    pub(crate) api: Option<SocketAddr>,
    pub(crate) otlp: OtlpAddrs,
    pub(crate) data_dir: &'a Path,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The services were drained.
    Drained(Drained),
    /// The grace period was over before all services had been told to stop and had ended.
    Late,
    /// By one more signal.
    AtOnce,
}

impl Default for Ended {
    /// There was nothing to drain.
    fn default() -> Self {
        Self::Drained(Drained::default())
    }
}

/// Says it, in lines.
pub(crate) fn ready(ready: &Ready<'_>) -> String {
    lines(ready, style::is_coloured()).join("\n")
}

fn lines(ready: &Ready<'_>, coloured: bool) -> Vec<String> {
    let Ready { system, running, took, gateway, api, otlp, data_dir } = ready;
    let title = format!("{} is ready after {:.1} s", system.name, took.as_secs_f64());
    let mut lines = vec![String::new(), Paint::Bold.apply(title, coloured)];
    lines.push(format!("  gateway   {}", url(*gateway)));
    lines.extend(routes(&system.table));
    lines.push(format!("  api       {}", url(*api)));
    lines.extend(console_line(*api));
    lines.extend(otlp_lines(*otlp));
    lines.push(format!("  data      {}", style::plain(&data_dir.display().to_string())));
    let services: Vec<String> = running.services.iter().map(instances).collect();
    if !services.is_empty() {
        lines.push(format!("  services  {}", services.join(", ")));
    }
    lines.push(String::new());
    lines
}

/// `order ×2`, and where other releases run than its own alone, how many of which: `order ×3 (v1 ×2, v2 ×1)`.
fn instances(service: &Service) -> String {
    let Service { name, version, replicas, versions, .. } = service;
    let beside = versions.iter().map(|it| (it.name.as_str(), it.replicas));
    let releases: Vec<_> = [(version.as_str(), *replicas)].into_iter().chain(beside).filter(|it| it.1 > 0).collect();
    let total: u32 = releases.iter().map(|(_, count)| count).sum();
    if releases.iter().all(|(of, _)| of == version) {
        return format!("{name} ×{total}");
    }
    let each: Vec<String> = releases.iter().map(|(of, count)| format!("{of} ×{count}")).collect();
    format!("{name} ×{total} ({})", each.join(", "))
}

/// Says that the server is ready, in lines.
pub(crate) fn server_ready(system: &System, took: Duration, node: &Node, data_dir: &Path) -> String {
    let title = format!("the server of {} is ready after {:.1} s", system.name, took.as_secs_f64());
    let mut lines = vec![String::new(), Paint::Bold.apply(title, style::is_coloured())];
    lines.push(format!("  api       {}", url(node.addr())));
    lines.extend(console_line(node.addr()));
    lines.extend(otlp_lines(node.otlp_addrs()));
    lines.push(format!("  data      {}", style::plain(&data_dir.display().to_string())));
    lines.push(String::new());
    lines.join("\n")
}

/// What there is to say when a gateway alone is ready.
pub(crate) struct GatewayReady<'a> {
    pub(crate) took: Duration,
    pub(crate) gateway: SocketAddr,
    pub(crate) server: SocketAddr,
    pub(crate) is_server_away: bool,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) table: &'a RouteTable,
    pub(crate) data_dir: &'a Path,
}

/// Says it, in lines.
pub(crate) fn gateway_ready(ready: &GatewayReady<'_>) -> String {
    let GatewayReady { took, gateway, server, is_server_away, admin, table, data_dir } = ready;
    let title = format!("the gateway is ready after {:.1} s", took.as_secs_f64());
    let mut lines = vec![String::new(), Paint::Bold.apply(title, style::is_coloured())];
    lines.push(format!("  gateway   {}", url(Some(*gateway))));
    lines.extend(routes(table));
    let away = if *is_server_away { ", which is away: what it said last is served" } else { "" };
    lines.push(format!("  server    {}{away}", url(Some(*server))));
    lines.extend(admin.map(|admin| format!("  admin     {}", url(Some(admin)))));
    lines.push(format!("  data      {}", style::plain(&data_dir.display().to_string())));
    lines.push(String::new());
    lines.join("\n")
}

/// Where people look at it: the API serves that too. Nothing where there is none.
fn console_line(api: Option<SocketAddr>) -> Option<String> {
    api.map(|api| format!("  console   http://{api}/"))
}

/// Where foreign SDKs send spans; nothing where they cannot.
fn otlp_lines(addrs: OtlpAddrs) -> Vec<String> {
    let OtlpAddrs { grpc, http } = addrs;
    let told = |addr: Option<SocketAddr>, how| addr.map(|addr| format!("http://{addr} ({how})"));
    let told: Vec<String> = [told(grpc, "gRPC"), told(http, "HTTP")].into_iter().flatten().collect();
    if told.is_empty() { Vec::new() } else { vec![format!("  otlp      {}", told.join(", "))] }
}

fn url(addr: Option<SocketAddr>) -> String {
    addr.map_or_else(|| "off".to_owned(), |addr| format!("http://{addr}"))
}

/// A line for each route.
fn routes(table: &RouteTable) -> Vec<String> {
    let line = |route: &Route| {
        let hosts: Vec<String> = route.hosts.iter().cloned().map(|host: HostPattern| String::from(host)).collect();
        let hosts = if hosts.is_empty() { "every host".to_owned() } else { hosts.join(", ") };
        let paths: Vec<String> = route.matches.iter().map(|m| String::from(m.path.clone())).collect();
        let paths = if paths.is_empty() { "/**".to_owned() } else { paths.join(", ") };
        let backends: Vec<&str> = route.backends.iter().map(|b| b.service.as_str()).collect();
        format!("    {hosts} {paths} → {}", backends.join(", "))
    };
    table.routes.iter().map(line).collect()
}

/// Says how it ended.
pub(crate) fn ended(ended: &Ended) -> String {
    match ended {
        Ended::AtOnce => "stopped at once".to_owned(),
        Ended::Late => "stopped; what still ran after the grace period was killed".to_owned(),
        Ended::Drained(drained) if drained.killed.is_empty() => "stopped".to_owned(),
        Ended::Drained(drained) => {
            let killed: Vec<&str> = drained.killed.iter().map(bowline_model::InstanceId::as_str).collect();
            format!("stopped; killed after the grace period: {}", killed.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_those_of_the_releases_that_run() {
        let file = |versions: &str, replicas: u32| {
            let order = format!("[service.order]\nrun = \"x\"\nversion = \"v1\"\nreplicas = {replicas}");
            bowline_model::parse(&format!("name = \"s\"\n{order}\n{versions}")).unwrap()
        };
        let told = |system: System| instances(&system.services[0]);
        let v2 = "[service.order.versions.v2]\nreplicas = 1\n";
        assert_eq!(told(file("", 2)), "order ×2");
        assert_eq!(told(file(v2, 2)), "order ×3 (v1 ×2, v2 ×1)");
        let mut promoted = file(v2, 2);
        promoted.services[0].replicas = 0;
        assert_eq!(told(promoted), "order ×1 (v2 ×1)");
    }

    #[test]
    fn an_empty_system_is_told_in_seven_lines() {
        let system = System::new("empty".parse().unwrap());
        let ready = Ready {
            system: &system,
            running: &system,
            took: Duration::from_millis(120),
            gateway: None,
            api: Some(([127, 0, 0, 1], 7117).into()),
            otlp: OtlpAddrs { grpc: Some(([127, 0, 0, 1], 4317).into()), http: Some(([127, 0, 0, 1], 4318).into()) },
            data_dir: Path::new("/data"),
        };
        let expected = [
            "",
            "empty is ready after 0.1 s",
            "  gateway   off",
            "  api       http://127.0.0.1:7117",
            "  console   http://127.0.0.1:7117/",
            "  otlp      http://127.0.0.1:4317 (gRPC), http://127.0.0.1:4318 (HTTP)",
            "  data      /data",
            "",
        ];
        assert_eq!(lines(&ready, false), expected);
    }
}
