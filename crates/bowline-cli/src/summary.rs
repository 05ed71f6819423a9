//! What `bowline up` says when all is ready, and at the end.

use std::{net::SocketAddr, path::Path, time::Duration};

use bowline_model::{
    RouteTable, System,
    route::{HostPattern, Route},
};
use bowline_server::{Node, OtlpAddrs};
use bowline_supervisor::Drained;

use crate::style::{self, Paint};

/// What there is to say when all is ready.
pub(crate) struct Ready<'a> {
    pub(crate) system: &'a System,
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
    let Ready { system, took, gateway, api, otlp, data_dir } = ready;
    let title = format!("{} is ready after {:.1} s", system.name, took.as_secs_f64());
    let mut lines = vec![String::new(), Paint::Bold.apply(title, coloured)];
    lines.push(format!("  gateway   {}", url(*gateway)));
    lines.extend(routes(&system.table));
    lines.push(format!("  api       {}", url(*api)));
    lines.extend(otlp_lines(*otlp));
    lines.push(format!("  data      {}", style::plain(&data_dir.display().to_string())));
    let services: Vec<String> = system.services.iter().map(|s| format!("{} ×{}", s.name, s.replicas)).collect();
    if !services.is_empty() {
        lines.push(format!("  services  {}", services.join(", ")));
    }
    lines.push(String::new());
    lines
}

/// Says that the server is ready, in lines.
pub(crate) fn server_ready(system: &System, took: Duration, node: &Node, data_dir: &Path) -> String {
    let title = format!("the server of {} is ready after {:.1} s", system.name, took.as_secs_f64());
    let mut lines = vec![String::new(), Paint::Bold.apply(title, style::is_coloured())];
    lines.push(format!("  api       {}", url(node.addr())));
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
    fn an_empty_system_is_told_in_six_lines() {
        let system = System::new("empty".parse().unwrap());
        let ready = Ready {
            system: &system,
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
            "  otlp      http://127.0.0.1:4317 (gRPC), http://127.0.0.1:4318 (HTTP)",
            "  data      /data",
            "",
        ];
        assert_eq!(lines(&ready, false), expected);
    }
}
