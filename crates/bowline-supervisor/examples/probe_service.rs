//! A service for tests: answers over HTTP with its environment, and crashes or fails on demand.
//!
//! `GET /readyz` is 200, or 503 while the file named by `UNHEALTHY_FILE` exists; `GET /env` lists
//! the environment; `GET /crash` ends the process with status 3.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
};

fn main() -> io::Result<()> {
    let addr = std::env::var("BOWLINE_LISTEN").map_err(io::Error::other)?;
    let listener = TcpListener::bind(addr)?;
    let mut stdout = io::stdout();
    writeln!(stdout, "listening")?;
    for stream in listener.incoming() {
        // A client that went away is no reason to stop.
        answer(stream?).or_else(|_| writeln!(stdout, "a client went away"))?;
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let (status, body) = match first.split(' ').nth(1) {
        Some("/readyz") if is_unhealthy() => (503, String::new()),
        Some("/readyz") => (200, String::new()),
        Some("/env") => (200, environment().join("\n")),
        Some("/crash") => crash()?,
        _ => (404, String::new()),
    };
    write!(stream, "HTTP/1.1 {status} Probed\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn environment() -> Vec<String> {
    std::env::vars().map(|(name, value)| format!("{name}={value}")).collect()
}

fn is_unhealthy() -> bool {
    std::env::var("UNHEALTHY_FILE").is_ok_and(|file| Path::new(&file).exists())
}

#[expect(clippy::exit, reason = "a crash is what it is for")]
fn crash() -> io::Result<(u16, String)> {
    writeln!(io::stderr(), "the last words")?;
    std::process::exit(3)
}
