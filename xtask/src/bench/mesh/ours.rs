//! Our side: a server, and two sidecars that joined its mesh.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::ensure;

use super::{Pair, READY_MAX, answering, complete, text};
use crate::{
    bench::{
        Context,
        proxy::{Pins, pinned},
    },
    process::Process,
};

/// One call, from one service to another, both started by hand.
const SYSTEM: &str = r#"name = "bench"

[mesh]
mode = "strict"

[service.caller.calls.callee]

[service.callee]
"#;

/// What the calling side runs: it says where the callee is reached, and waits.
const CALLER: &str = "echo callee at $BOWLINE_CALL_CALLEE; exec sleep 86400";

/// What the called side runs: nginx at the socket that its sidecar names.
const CALLEE: &str =
    r#"sed "s|@LISTEN@|$BOWLINE_LISTEN|" "$0" > "$0.conf" && exec "$@" nginx -e "$0.log" -c "$0.conf""#;

/// Starts the server, then the called side, then the calling one.
pub(super) fn start(context: &Context<'_>, folder: &Path, pins: &Pins) -> anyhow::Result<Pair> {
    let folder = folder.join("ours");
    fs::create_dir(&folder)?;
    fs::write(folder.join("bowline.toml"), SYSTEM)?;
    let program = context.workspace.release_binary("bowline");
    let program = text(&program)?;
    let mut command = pinned(&pins.others, program);
    command.args(["server", "--api", "127.0.0.1:0", "--otlp-grpc", "off", "--otlp-http", "off"]);
    command.arg("--data-dir").arg(folder.join("data")).arg(&folder);
    let mut server = Process::start(command.env("NO_COLOR", "1"))?;
    let api = server.wait_for(READY_MAX, api_of)?;
    let template = folder.join("nginx");
    fs::write(&template, nginx_at_socket(text(&folder)?))?;
    let sidecar = |service: &str, command: &[&str]| sidecar(program, &api, &folder, service, command, pins);
    let mut callee = vec!["sh", "-c", CALLEE, text(&template)?];
    // Where the Envoys' upstream runs, too: away from the sidecars.
    callee.extend(pins.others.iter().map(String::as_str));
    let callee = sidecar("callee", &callee)?;
    let mut caller = sidecar("caller", &["sh", "-c", CALLER])?;
    let addr = caller.wait_for(READY_MAX, |line| line.split_once("callee at http://")?.1.trim().parse().ok())?;
    wait_until_answered(addr)?;
    Ok(Pair::new("bowline", [caller.pid(), callee.pid()], addr, vec![caller, callee, server]))
}

/// The called side is known to the calling one a moment after it is registered.
fn wait_until_answered(addr: SocketAddr) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !is_answered(addr) {
        ensure!(begun.elapsed() < READY_MAX, "the pair of sidecars does not answer");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn is_answered(addr: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(addr)?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: callee\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

fn sidecar(
    program: &str,
    api: &str,
    folder: &Path,
    service: &str,
    application: &[&str],
    pins: &Pins,
) -> anyhow::Result<Process> {
    let token = complete(Command::new(program).args(["mesh", "join", &format!("service/{service}"), "--api", api]))?;
    let mut command = pinned(&pins.proxy, program);
    command.args(["sidecar", "--service", service, "--api", api, "--join", token.trim(), "--data-dir"]);
    command.arg(folder.join(service)).arg("--").args(application);
    Process::start(command.env("NO_COLOR", "1"))
}

/// The address in what the server prints when it is ready.
fn api_of(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("http://")?;
    let end = rest.find(|c: char| c.is_whitespace() || c == '/').unwrap_or(rest.len());
    Some(format!("http://{}", &rest[..end]))
}

/// What nginx is told but for the socket, which its sidecar chooses.
fn nginx_at_socket(folder: &str) -> String {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = temporary.map(|what| format!("{what}_temp_path {folder}/{what};\n")).concat();
    format!(
        "daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log warn;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; keepalive_timeout 600s; keepalive_requests 1000000000;\n{temporary}\
         server {{ listen @LISTEN@ backlog=1024; {} }} }}\n",
        answering(None)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_the_server_is_found() {
        assert_eq!(api_of("API  http://127.0.0.1:7117 ready"), Some("http://127.0.0.1:7117".to_owned()));
        assert_eq!(api_of("starting"), None);
    }
}
