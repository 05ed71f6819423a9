//! Instances that follow a script, on a thread of their own.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::PathBuf,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
        mpsc,
    },
    thread,
};

use bowline_model::{Address, Instance, InstanceId, ServiceName};
use bowline_runtime::{
    net::{self, TcpListener, TcpStream},
    task, time,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::oneshot,
};

use super::{Behaviour, SERVICE, Script};

/// The longest request that is read.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// The instances of a vector while it runs.
pub(super) struct Stage {
    instances: Vec<Instance>,
    counts: BTreeMap<String, Arc<AtomicU64>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Stage {
    pub(super) fn start(scripts: &BTreeMap<String, Script>) -> Self {
        let counts: BTreeMap<_, _> = scripts.keys().map(|id| (id.clone(), Arc::<AtomicU64>::default())).collect();
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = mpsc::channel();
        let (scripts, counted) = (scripts.clone(), counts.clone());
        let thread = thread::spawn(move || {
            let runtime = task::core_runtime().expect("a runtime starts");
            runtime.block_on(async {
                let open = |(id, script): (String, Script)| open(&id, script, Arc::clone(&counted[&id]));
                tell.send(scripts.into_iter().map(open).collect()).expect("the stage waits");
                // An error is the stage being dropped.
                drop(stopped.await);
            });
        });
        let instances = told.recv().expect("the instances are opened");
        Self { instances, counts, stop: Some(stop), thread: Some(thread) }
    }

    pub(super) fn instances(&self) -> &[Instance] {
        &self.instances
    }

    /// The requests that each instance got; those that got none are left out.
    pub(super) fn served(&self) -> BTreeMap<String, u64> {
        let counts = self.counts.iter().map(|(id, count)| (id.clone(), count.load(SeqCst)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Opens an instance and lets it serve.
fn open(id: &str, script: Script, count: Arc<AtomicU64>) -> Instance {
    let address = if script.refuses {
        // A path under which nobody can ever listen.
        Address::Unix(PathBuf::from("/nonexistent/bowline.sock"))
    } else {
        let listener = net::listen(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port is there");
        let addr = listener.local_addr().expect("it has an address");
        task::spawn_local(serve(listener, script.does.into(), count));
        Address::Tcp(addr)
    };
    let id = InstanceId::new(id).expect("ids are valid");
    let service = ServiceName::new(SERVICE).expect("it is valid");
    Instance { health: script.health, version: script.version, ..Instance::new(id, service, address) }
}

async fn serve(listener: TcpListener, does: Rc<[Behaviour]>, count: Arc<AtomicU64>) {
    while let Ok((stream, _)) = listener.accept().await {
        task::spawn_local(follow(stream, Rc::clone(&does), Arc::clone(&count)));
    }
}

/// Follows the script on one connection, until either end has enough.
async fn follow(mut stream: TcpStream, does: Rc<[Behaviour]>, count: Arc<AtomicU64>) -> io::Result<()> {
    let mut bytes = Vec::new();
    while read_request(&mut stream, &mut bytes).await? {
        let number = usize::try_from(count.fetch_add(1, SeqCst)).unwrap_or(usize::MAX);
        let behaviour = does.get(number).or(does.last()).unwrap_or(&Behaviour::Answer(200));
        let mut told = String::new();
        let status = match behaviour {
            Behaviour::Answer(status) => status,
            Behaviour::Late { status, after } => {
                time::sleep(*after).await;
                status
            }
            Behaviour::Told { status, headers } => {
                let lines = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
                told = lines.collect::<Vec<_>>().concat();
                status
            }
            Behaviour::Reset => return Ok(()),
            Behaviour::Hang => std::future::pending().await,
            Behaviour::Malformed => return stream.write_all(b"220 mail.test ESMTP\r\n\r\n").await,
        };
        let answer = format!("HTTP/1.1 {status} Scripted\r\n{told}content-length: 2\r\n\r\nok");
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

/// Reads one request and forgets it; false at the end.
async fn read_request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<bool> {
    bytes.clear();
    while !is_whole(bytes) {
        if bytes.len() > REQUEST_BYTES_MAX || stream.read_buf(bytes).await? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    if head.contains("transfer-encoding: chunked") {
        return bytes[end..].ends_with(b"\r\n0\r\n\r\n");
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
    bytes.len() >= end + 4 + length.unwrap_or(0)
}
