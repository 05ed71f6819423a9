//! A subscription of a server whose answers to answers get lost.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bowline_messaging::{GroupSettings, MessageBus as _, Subscription};
use bowline_provider_remote::RemoteMessages;
use bowline_runtime::{net, task, time::timeout};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader},
    sync::Notify,
};

use crate::BOUND;

/// A server that tells of one message at a time, and of the next one when it has taken an answer: it refuses so many.
#[derive(Clone)]
struct Server {
    refusals: Arc<AtomicUsize>,
    taken: Arc<Notify>,
}

impl Server {
    fn start(refusals: usize) -> (SocketAddr, task::Guarded<()>) {
        let listener = net::listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let addr = listener.local_addr().unwrap();
        let server = Self { refusals: Arc::new(refusals.into()), taken: Arc::default() };
        let accepting = task::spawn(async move {
            let mut connections = task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                connections.spawn(async move { server.serve(BufReader::new(stream)).await });
            }
        });
        (addr, task::Guarded::new(accepting))
    }

    async fn serve(&self, mut stream: BufReader<impl AsyncRead + AsyncWrite + Unpin>) {
        let path = request(&mut stream).await;
        if path.ends_with("/subscribe") {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
            line(&mut stream, r#"{"type":"joined","session":"s"}"#).await;
            for lease in 1.. {
                let message = format!(
                    r#"{{"position":{lease},"id":"{lease}","payload":"","published_unix_ms":0,"due_unix_ms":0}}"#
                );
                let delivery = format!(r#""lease":{lease},"attempt":1,"left_ms":100,"message":{message}"#);
                line(&mut stream, &format!(r#"{{"type":"delivery",{delivery}}}"#)).await;
                self.taken.notified().await;
            }
        }
        let is_refused = self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        let (status, body) = if is_refused.is_ok() { (503, "") } else { (200, r#"{"outcomes":[null]}"#) };
        let head = format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        if status == 200 {
            self.taken.notify_one();
        }
    }
}

/// Reads a request; its path.
async fn request(stream: &mut BufReader<impl AsyncRead + AsyncWrite + Unpin>) -> String {
    let (mut path, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        let line = line.trim().to_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if path.is_empty() {
            line.split(' ').nth(1).unwrap_or_default().clone_into(&mut path);
        }
        if line.is_empty() {
            break;
        }
    }
    stream.read_exact(&mut vec![0; length]).await.unwrap();
    path
}

async fn line(stream: &mut (impl AsyncWrite + Unpin), line: &str) {
    stream.write_all(format!("{:x}\r\n{line}\n\r\n", line.len() + 1).as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
}

async fn subscribe(addr: SocketAddr) -> Subscription {
    RemoteMessages::new(addr).subscribe("t", "g", GroupSettings::default(), 1).await.unwrap()
}

#[tokio::test]
async fn an_answer_that_is_lost_holds_no_consumer_up() {
    let (addr, _server) = Server::start(1);
    let mut group = subscribe(addr).await;
    let first = timeout(BOUND, group.next()).await.unwrap().unwrap();
    assert!(first.ack().await.is_err());
    let second = timeout(BOUND, group.next()).await.expect("what it had is let go").unwrap();
    assert_eq!(second.message.position, 2);
}

#[tokio::test]
async fn what_is_let_go_is_said_until_it_is_heard() {
    let (addr, _server) = Server::start(1);
    let mut group = subscribe(addr).await;
    let _never_answered = timeout(BOUND, group.next()).await.unwrap().unwrap();
    assert!(timeout(Duration::from_millis(200), group.next()).await.is_err(), "an abandoned wait loses nothing");
    let second = timeout(BOUND, group.next()).await.expect("it is said again").unwrap();
    assert_eq!(second.message.position, 2);
}
