//! A small HTTP/1.1 server that answers as a test says, and remembers what it was asked.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bowline_runtime::{
    net::{self, TcpStream},
    task, time,
};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

/// A server on a loopback port of its own. Dropping it closes the port and all connections.
#[derive(Debug)]
pub struct HttpServer {
    addr: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    _accepting: task::Guarded<()>,
}

/// What the server was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path, with its query.
    pub path: String,
    /// Headers, their names in lower case; of several with one name the last.
    pub headers: BTreeMap<String, String>,
    /// The body, when it had a length.
    pub body: Vec<u8>,
}

/// What the server does about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Answers with a status and a body.
    Status(u16, String),
    /// The same, but not at once.
    After(Duration, u16, String),
    /// Closes the connection without a word.
    Close,
    /// Keeps the connection and says nothing.
    Hang,
}

impl Answer {
    /// A status without a body.
    pub fn status(status: u16) -> Self {
        Self::Status(status, String::new())
    }
}

impl HttpServer {
    /// Starts a server that answers each request with what `script` says.
    ///
    /// # Panics
    /// When no port is free, and outside an async runtime.
    pub fn start(script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = net::listen((Ipv4Addr::LOCALHOST, 0).into()).expect("a port is free");
        let addr = listener.local_addr().expect("a listener has an address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        let script = Arc::new(script);
        let accepting = task::spawn(async move {
            let mut connections = task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (script, seen) = (script.clone(), seen.clone());
                connections.spawn(async move {
                    serve(stream, script.as_ref(), &seen).await.ok();
                });
            }
        });
        Self { addr, requests, _accepting: task::Guarded::new(accepting) }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What it was asked so far, in order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(
    stream: TcpStream,
    script: &(impl Fn(&Request) -> Answer + Sync),
    seen: &Mutex<Vec<Request>>,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await? {
        let answer = script(&request);
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        let (status, body) = match answer {
            Answer::Status(status, body) => (status, body),
            Answer::After(wait, status, body) => {
                time::sleep(wait).await;
                (status, body)
            }
            Answer::Close => return Ok(()),
            Answer::Hang => std::future::pending().await,
        };
        let head = format!("HTTP/1.1 {status} Scripted\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await?;
    }
    Ok(())
}

async fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_ascii_whitespace().map(ToOwned::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length: &String| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Some(Request { method, path, headers, body }))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(addr: SocketAddr, text: &str) -> String {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn it_answers_as_told_and_remembers() {
        let server = HttpServer::start(|request| match request.path.as_str() {
            "/close" => Answer::Close,
            _ => Answer::Status(201, request.method.clone()),
        });
        let answer = ask(server.addr(), "POST /a?b HTTP/1.1\r\nX-One: 1\r\nContent-Length: 2\r\n\r\nhi").await;
        assert_eq!(answer, "HTTP/1.1 201 Scripted\r\nContent-Length: 4\r\n\r\nPOST");
        assert_eq!(ask(server.addr(), "GET /close HTTP/1.1\r\n\r\n").await, "");
        let requests = server.requests();
        assert_eq!(requests[0].headers.get("x-one").map(String::as_str), Some("1"));
        assert_eq!((requests[0].path.as_str(), requests[0].body.as_slice()), ("/a?b", b"hi".as_slice()));
        assert_eq!(requests[1].path, "/close");
    }
}
