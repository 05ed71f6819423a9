//! As much of a client of NATS JetStream as the measurement needs: blocking, one thread and connection a publisher.

use std::{
    io::{BufRead as _, BufReader, BufWriter, Read as _, Write as _},
    net::TcpStream,
    thread,
    time::Duration,
};

use bowline_runtime::{rand, time};

use super::CREDIT;

/// The subject that replies of a connection come to.
const REPLIES: &str = "replies";

struct Client {
    reader: BufReader<TcpStream>,
    writer: BufWriter<TcpStream>,
    replies: String,
}

/// What came: where, where an answer goes, and what.
struct Message {
    subject: String,
    reply: Option<String>,
    body: Vec<u8>,
}

impl Client {
    fn connect(addr: &str) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        let replies = format!("{REPLIES}.{:016x}", rand::u64());
        let writer = BufWriter::new(stream.try_clone().unwrap());
        let mut client = Self { reader: BufReader::new(stream), writer, replies };
        let hello = "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}\r\n";
        client.writer.write_all(hello.as_bytes()).unwrap();
        write!(client.writer, "SUB {}.* 1\r\n", client.replies).unwrap();
        client
    }

    fn publish(&mut self, subject: &str, reply: &str, body: &[u8]) {
        write!(self.writer, "PUB {subject} {}.{reply} {}\r\n", self.replies, body.len()).unwrap();
        self.writer.write_all(body).unwrap();
        self.writer.write_all(b"\r\n").unwrap();
    }

    /// The next message; what was written is sent before it waits.
    fn next(&mut self) -> Message {
        loop {
            if self.reader.buffer().is_empty() {
                self.writer.flush().unwrap();
            }
            let mut line = String::new();
            assert!(self.reader.read_line(&mut line).unwrap() > 0, "the server is gone");
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["MSG", subject, _, bytes] => return self.message(subject, None, 0, bytes),
                ["MSG", subject, _, reply, bytes] => return self.message(subject, Some(reply), 0, bytes),
                ["HMSG", subject, _, head, bytes] => return self.message(subject, None, head.parse().unwrap(), bytes),
                ["HMSG", subject, _, reply, head, bytes] => {
                    return self.message(subject, Some(reply), head.parse().unwrap(), bytes);
                }
                ["PING"] => self.writer.write_all(b"PONG\r\n").unwrap(),
                ["PONG" | "INFO" | "+OK", ..] => {}
                _ => panic!("the server said {line}"),
            }
        }
    }

    fn message(&mut self, subject: &str, reply: Option<&str>, head: usize, bytes: &str) -> Message {
        let mut body = vec![0; bytes.parse::<usize>().unwrap() + 2];
        self.reader.read_exact(&mut body).unwrap();
        body.truncate(body.len() - 2);
        Message { subject: subject.to_owned(), reply: reply.map(str::to_owned), body: body.split_off(head) }
    }

    /// Asks JetStream for something, which must go well.
    fn ask(&mut self, subject: &str, body: &str) -> String {
        self.publish(subject, "ask", body.as_bytes());
        let answer = String::from_utf8(self.next().body).unwrap();
        assert!(!answer.contains("\"error\""), "{subject}: {answer}");
        answer
    }

    /// Publishes a message, and awaits that it is kept.
    fn keep(&mut self, subject: &str, body: &[u8]) {
        self.publish(subject, "kept", body);
        let answer = self.next().body;
        let is_kept = answer.windows(5).any(|window| window == b"\"seq\"");
        assert!(is_kept, "{}", String::from_utf8_lossy(&answer));
    }

    fn make_stream(&mut self, name: &str) {
        let settings = format!(
            "{{\"name\":\"{name}\",\"subjects\":[\"{name}\"],\"storage\":\"file\",\"retention\":\"limits\",\
             \"discard\":\"old\",\"max_bytes\":1073741824,\"num_replicas\":1}}"
        );
        self.ask(&format!("$JS.API.STREAM.CREATE.{name}"), &settings);
    }
}

pub(super) fn publish(addr: &str, publishers: usize, bytes: usize, time: Duration) -> (usize, Duration) {
    Client::connect(addr).make_stream("publish");
    let mut clients: Vec<Client> = (0..publishers).map(|_| Client::connect(addr)).collect();
    for client in &mut clients {
        client.ask("$JS.API.INFO", "");
    }
    let begin = time::now();
    let count = thread::scope(|scope| {
        let publish = |mut client: Client| {
            scope.spawn(move || {
                let (body, mut count) = (vec![7; bytes], 0);
                while begin.elapsed() < time {
                    client.keep("publish", &body);
                    count += 1;
                }
                count
            })
        };
        let threads: Vec<_> = clients.into_iter().map(publish).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    });
    (count, begin.elapsed())
}

/// Publishes without awaiting each.
pub(super) fn fill(addr: &str, bytes: usize, count: usize) -> (usize, Duration) {
    let (name, body, begin) = (format!("consume-{bytes}"), vec![7; bytes], time::now());
    let mut client = Client::connect(addr);
    client.make_stream(&name);
    for some in 0..count.div_ceil(CREDIT) {
        let some = CREDIT.min(count - some * CREDIT);
        for _ in 0..some {
            client.publish(&name, "kept", &body);
        }
        for _ in 0..some {
            client.next();
        }
    }
    (count, begin.elapsed())
}

/// Pulls messages through a new durable consumer, and acknowledges each; the server confirms each.
pub(super) fn consume(addr: &str, bytes: usize, count: usize) -> (usize, Duration) {
    let (stream, consumer) = (format!("consume-{bytes}"), format!("g{:016x}", rand::u64()));
    let mut client = Client::connect(addr);
    let begin = time::now();
    let settings = format!(
        "{{\"stream_name\":\"{stream}\",\"config\":{{\"durable_name\":\"{consumer}\",\"ack_policy\":\"explicit\",\
         \"deliver_policy\":\"all\",\"max_ack_pending\":{CREDIT}}}}}"
    );
    client.ask(&format!("$JS.API.CONSUMER.CREATE.{stream}.{consumer}"), &settings);
    let pull = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
    client.publish(&pull, "next", format!("{{\"batch\":{count}}}").as_bytes());
    let (mut got, mut acked) = (0, 0);
    while acked < count {
        let message = client.next();
        if message.subject.rsplit('.').next() == Some("acked") {
            acked += 1;
            continue;
        }
        let reply = message.reply.expect("a message says where its acknowledgement goes");
        assert_eq!(message.body.len(), bytes);
        client.publish(&reply, "acked", b"+ACK");
        got += 1;
    }
    assert_eq!(got, count);
    (count, begin.elapsed())
}
