//! What the tests of monitoring share: a server that hears what is posted and shows metrics, and what PromQL says.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use http::Method;
use serde_json::Value;

use crate::harness::{Answer, Running, ask};

/// A webhook on a free port: it takes whatever comes, and remembers it.
#[derive(Debug)]
pub(crate) struct Hook {
    addr: SocketAddr,
    heard: Arc<Mutex<Vec<Value>>>,
}

impl Hook {
    pub(crate) fn new() -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = heard.clone();
        let addr = serve(move |body| {
            hears.lock().unwrap().push(serde_json::from_slice(body).unwrap());
            "ok".to_owned()
        });
        Self { addr, heard }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.addr)
    }

    /// The notifications so far, the oldest first.
    pub(crate) fn heard(&self) -> Vec<Value> {
        self.heard.lock().unwrap().clone()
    }

    /// The same in short: `firing ServiceDown payment` each.
    pub(crate) fn in_short(&self) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let line = |one: &Value| {
            let labels = &one["groupLabels"];
            format!("{} {} {}", text(&one["status"]), text(&labels["alertname"]), text(&labels["service"]))
        };
        self.heard().iter().map(line).collect()
    }
}

/// A target on a free port that shows this page.
pub(crate) fn shows(page: &'static str) -> SocketAddr {
    serve(move |_| page.to_owned())
}

/// Answers each request with 200 and what is made of its body, until the test's end.
fn serve(answer: impl Fn(&[u8]) -> String + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for connection in listener.incoming() {
            // Whoever goes away in the middle of it is not our concern.
            let _gone = serve_one(&mut connection.unwrap(), &answer);
        }
    });
    addr
}

fn serve_one(connection: &mut TcpStream, answer: &impl Fn(&[u8]) -> String) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line)? > 0 && !line.trim().is_empty() {
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let told = answer(&body);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\nconnection: close";
    write!(connection, "{head}\r\ncontent-length: {}\r\n\r\n{told}", told.len())
}

/// What a command says to programs.
pub(crate) async fn json(running: &Running, args: &[&str]) -> Value {
    serde_json::from_str(&running.command(&[args, &["--output", "json"]].concat()).await).unwrap()
}

/// One question to Prometheus' API, as a form.
pub(crate) async fn form(running: &Running, path: &str, fields: &[(&str, &str)]) -> Answer {
    let field = |(name, value): &(&str, &str)| format!("{name}={}", escaped(value));
    let body = fields.iter().map(field).collect::<Vec<_>>().join("&");
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    ask(running.api(), Method::POST, "localhost", path, &headers, body.as_bytes()).await
}

/// A text as it may stand in a URL.
pub(crate) fn escaped(text: &str) -> String {
    let one = |byte: u8| {
        if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(one).collect()
}

/// The series of an expression, as Prometheus' API has them.
pub(crate) async fn series(running: &Running, expression: &str, at: Option<&str>) -> Vec<Value> {
    let time = at.map(|at| ("time", at));
    let fields: Vec<_> = [("query", expression)].into_iter().chain(time).collect();
    let answer = form(running, "/api/v1/query", &fields).await;
    assert_eq!(answer.status, 200, "{expression}: {:?}", answer.body);
    answer.json()["data"]["result"].as_array().unwrap().clone()
}

/// The points of the series that such a selector with a range gives, `(seconds, value)` each, sorted.
pub(crate) async fn points(running: &Running, expression: &str, at: Option<&str>) -> Vec<(f64, f64)> {
    let series = series(running, expression, at).await;
    let points = series.iter().flat_map(|one| one["values"].as_array().unwrap());
    let number = |value: &Value| value.as_str().unwrap().parse().unwrap();
    let mut points: Vec<(f64, f64)> = points.map(|point| (point[0].as_f64().unwrap(), number(&point[1]))).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}
