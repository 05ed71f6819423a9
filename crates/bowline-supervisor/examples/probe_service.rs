//! A service for tests: answers over HTTP with its environment, and crashes or fails on demand.
//!
//! It listens at `BOWLINE_LISTEN`, an IP and a port or a Unix socket. `GET /readyz` is 200, or 503 while the
//! file named by `UNHEALTHY_FILE` exists; `GET /env` lists the environment; `GET /crash` ends the process with
//! status 3; `GET /slow` is answered when the file named by `GO_FILE` exists. SIGTERM ends it at once; where
//! `GRACEFUL` is set, when what was taken is answered.

use std::{
    io::{self, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

const SIGTERM: i32 = 15;

fn main() -> io::Result<()> {
    let addr = std::env::var("BOWLINE_LISTEN").map_err(io::Error::other)?;
    if let Some(path) = addr.strip_prefix("unix:") {
        let (listener, path) = (UnixListener::bind(path)?, path.to_owned());
        serve(move || Ok(listener.accept()?.0), UnixStream::try_clone, move || UnixStream::connect(&path).map(drop))
    } else {
        let listener = TcpListener::bind(&addr)?;
        serve(move || Ok(listener.accept()?.0), TcpStream::try_clone, move || TcpStream::connect(&addr).map(drop))
    }
}

/// Answers whoever comes, until SIGTERM.
fn serve<S: Read + Write + Send + 'static>(
    accept: impl Fn() -> io::Result<S>,
    try_clone: impl Fn(&S) -> io::Result<S>,
    wake: impl Fn() -> io::Result<()> + Send + 'static,
) -> io::Result<()> {
    writeln!(io::stdout(), "listening")?;
    let is_stopping = Arc::new(AtomicBool::new(false));
    if std::env::var_os("GRACEFUL").is_some() {
        stop_gracefully(is_stopping.clone(), wake)?;
    }
    let mut answering = Vec::new();
    loop {
        let stream = accept()?;
        if is_stopping.load(SeqCst) {
            break;
        }
        let reader = BufReader::new(try_clone(&stream)?);
        // A client that went away is no reason to stop.
        answering.push(thread::spawn(move || {
            answer(reader, stream).or_else(|_| writeln!(io::stdout(), "a client went away"))
        }));
    }
    // The listener is as good as closed: nobody accepts.
    drop(accept);
    for thread in answering {
        thread.join().map_err(|_| io::Error::other("a thread panicked"))??;
    }
    Ok(())
}

fn stop_gracefully(is_stopping: Arc<AtomicBool>, wake: impl Fn() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    let (mut told, tell) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(SIGTERM, tell)?;
    thread::spawn(move || {
        told.read_exact(&mut [0])?;
        is_stopping.store(true, SeqCst);
        wake()
    });
    Ok(())
}

fn answer(reader: impl io::BufRead, mut stream: impl Write) -> io::Result<()> {
    let mut lines = reader.lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let (status, body) = match first.split(' ').nth(1) {
        Some("/readyz") if is_there("UNHEALTHY_FILE") => (503, String::new()),
        Some("/readyz") => (200, String::new()),
        Some("/env") => (200, environment().join("\n")),
        Some("/slow") => (200, slow()),
        Some("/crash") => crash()?,
        _ => (404, String::new()),
    };
    write!(stream, "HTTP/1.1 {status} Probed\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn environment() -> Vec<String> {
    std::env::vars().map(|(name, value)| format!("{name}={value}")).collect()
}

/// Whether the file exists that this variable names.
fn is_there(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|file| Path::new(&file).exists())
}

fn slow() -> String {
    let _told = writeln!(io::stdout(), "it is slow");
    while !is_there("GO_FILE") {
        // tidy: sleep: a program has no condition of another process that it could wait for.
        thread::sleep(Duration::from_millis(5));
    }
    "at last".to_owned()
}

#[expect(clippy::exit, reason = "a crash is what it is for")]
fn crash() -> io::Result<(u16, String)> {
    writeln!(io::stderr(), "the last words")?;
    std::process::exit(3)
}
