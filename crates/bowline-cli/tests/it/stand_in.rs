//! A service for systems of this test: this very test binary, run by `bowline up` or beside a sidecar.
//!
//! Its readiness check is answered, every other request is told and hangs; it may write without end. It is
//! not ready while the file named by `STAND_IN_UNWELL` exists. One that is kind answers every request by its
//! version, `/ask/NAME` by what the service it may call says, and `/past/IP:PORT/PATH` by what is said there, past its
//! sidecar; with `STAND_IN_FAILS=5` it fails each fifth request.

use std::{
    env,
    io::{self, BufRead as _, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixListener,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

/// The `run` command of such a service, which does not hear SIGTERM if it is stubborn.
pub(crate) fn command(is_stubborn: bool, is_chatty: bool) -> String {
    let program = env::current_exe().unwrap();
    let trap = if is_stubborn { "trap '' TERM; " } else { "" };
    let chatty = if is_chatty { "STAND_IN_IS_CHATTY=1 " } else { "" };
    format!("{trap}{chatty}exec {} --exact stand_in::serve --nocapture", program.display())
}

/// The words of a command that answers every request, to run beside a sidecar.
pub(crate) fn kind() -> [String; 5] {
    let program = env::current_exe().unwrap().display().to_string();
    ["env", "STAND_IN_IS_KIND=1", &program, "--exact", "stand_in::serve"].map(ToOwned::to_owned)
}

/// No test: what the command above runs.
#[test]
fn serve() {
    let Ok(listen) = env::var("BOWLINE_LISTEN") else { return };
    if env::var_os("STAND_IN_IS_CHATTY").is_some() {
        thread::spawn(|| while writeln!(io::stdout(), "{}", "chatter ".repeat(20)).is_ok() {});
    }
    match listen.strip_prefix("unix:") {
        Some(path) => accept(UnixListener::bind(path).unwrap().incoming()),
        None => accept(TcpListener::bind(listen).unwrap().incoming()),
    }
}

fn accept<C: Read + Write + Send + 'static>(connections: impl Iterator<Item = io::Result<C>>) {
    static HANGING: Mutex<Vec<Box<dyn Send>>> = Mutex::new(Vec::new());
    for connection in connections {
        let mut connection = connection.unwrap();
        thread::spawn(move || {
            if !answer(&mut connection) {
                HANGING.lock().unwrap().push(Box::new(connection));
            }
        });
    }
}

/// Whether it was answered, or nothing was asked.
fn answer(connection: &mut (impl Read + Write)) -> bool {
    let (mut lines, is_kind) = (BufReader::new(&mut *connection).lines().map_while(Result::ok), is_kind());
    let Some(line) = lines.next() else { return true };
    // Whoever closes with something unread resets the connection.
    let headers: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    let path = line.split(' ').nth(1).unwrap_or_default();
    if path != "/readyz" && !is_kind {
        let mut log = io::stdout();
        writeln!(log, "hanging: {line}").unwrap();
        return false;
    }
    let is_unwell = env::var_os("STAND_IN_UNWELL").is_some_and(|file| std::path::Path::new(&file).exists());
    let (status, body) = match (path.strip_prefix("/ask/"), path.strip_prefix("/past/")) {
        (Some(name), _) => told(asked(name)),
        (_, Some(there)) => told(asked_past(there, &headers)),
        _ if is_unwell => ("503".to_owned(), String::new()),
        _ if path != "/readyz" && fails_now() => ("500".to_owned(), String::new()),
        _ => ("200".to_owned(), env::var("BOWLINE_VERSION").unwrap_or_default()),
    };
    if let (Ok(tally), true) = (env::var("STAND_IN_TALLY"), path != "/readyz") {
        let mut file = std::fs::File::options().create(true).append(true).open(tally).unwrap();
        file.write_all(format!("{body}\n").as_bytes()).unwrap();
    }
    let head = format!("HTTP/1.1 {status} Told\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    connection.write_all(format!("{head}{body}").as_bytes()).ok();
    true
}

/// Whether this request is one of those that fail: each of that number, where `STAND_IN_FAILS` says one.
fn fails_now() -> bool {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let each = env::var("STAND_IN_FAILS").ok().and_then(|each| each.parse().ok());
    each.is_some_and(|each: u64| COUNT.fetch_add(1, Relaxed).is_multiple_of(each))
}

fn is_kind() -> bool {
    env::var_os("STAND_IN_IS_KIND").is_some()
}

fn told(answer: io::Result<(String, String)>) -> (String, String) {
    answer.unwrap_or_else(|error| ("502".to_owned(), error.to_string()))
}

/// The status and the body that a service answers with, asked by the port that the sidecar has for it.
fn asked(name: &str) -> io::Result<(String, String)> {
    let variable = format!("BOWLINE_CALL_{}", name.to_uppercase());
    let at = env::var(variable).map_err(io::Error::other)?;
    exchanged(at.trim_start_matches("http://"), &format!("/of/{name}"), &format!("host: {name}.mesh\r\n"))
}

/// The same of whoever listens at an address, `IP:PORT/PATH`, asked in the clear and in the trace of the request.
fn asked_past(there: &str, headers: &[String]) -> io::Result<(String, String)> {
    let (addr, path) = there.split_once('/').ok_or(io::ErrorKind::InvalidInput)?;
    let is_trace = |line: &&String| line.to_ascii_lowercase().starts_with("traceparent:");
    let trace = headers.iter().find(is_trace).ok_or_else(|| io::Error::other("it was told of no trace"))?;
    exchanged(addr, &format!("/{path}"), &format!("host: {addr}\r\n{trace}\r\n"))
}

fn exchanged(addr: &str, path: &str, headers: &str) -> io::Result<(String, String)> {
    let mut connection = TcpStream::connect(addr)?;
    let request = format!("GET {path} HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
    connection.write_all(request.as_bytes())?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).ok_or(io::ErrorKind::InvalidData)?;
    Ok((status.to_owned(), body.to_owned()))
}
