//! A service for systems of this test: this very test binary, run by `bowline up`.
//!
//! Its readiness check is answered, every other request is told and hangs; it may write without end.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
};

/// The `run` command of such a service, which does not hear SIGTERM if it is stubborn.
pub(crate) fn command(is_stubborn: bool, is_chatty: bool) -> String {
    let program = std::env::current_exe().unwrap();
    let trap = if is_stubborn { "trap '' TERM; " } else { "" };
    let chatty = if is_chatty { "STAND_IN_IS_CHATTY=1 " } else { "" };
    format!("{trap}{chatty}exec {} --exact stand_in::serve --nocapture", program.display())
}

/// The words of a command that answers every request, to run beside a sidecar.
pub(crate) fn kind() -> [String; 5] {
    let program = std::env::current_exe().unwrap().display().to_string();
    ["env", "STAND_IN_IS_KIND=1", &program, "--exact", "stand_in::serve"].map(ToOwned::to_owned)
}

/// No test: what the command above runs.
#[test]
fn serve() {
    let Ok(listen) = std::env::var("BOWLINE_LISTEN") else { return };
    let listener = TcpListener::bind(listen).unwrap();
    if std::env::var_os("STAND_IN_IS_CHATTY").is_some() {
        std::thread::spawn(|| while writeln!(std::io::stdout(), "{}", "chatter ".repeat(20)).is_ok() {});
    }
    let mut hanging = Vec::new();
    for connection in listener.incoming() {
        hanging.extend(answer(connection.unwrap()));
    }
}

/// The connection, unless it was answered.
fn answer(mut connection: TcpStream) -> Option<TcpStream> {
    let mut line = String::new();
    BufReader::new(&connection).read_line(&mut line).unwrap();
    if line.starts_with("GET /readyz ") || std::env::var_os("STAND_IN_IS_KIND").is_some() {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        connection.write_all(head.as_bytes()).ok()?;
        return None;
    }
    let mut log = std::io::stdout();
    writeln!(log, "hanging: {line}").unwrap();
    Some(connection)
}
