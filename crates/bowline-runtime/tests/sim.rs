//! The doors under simulation: two hosts talk, a host crashes, a disk fails; the same from the same seed.

#![cfg(bowline_sim)]

use std::{
    cell::RefCell,
    future::poll_fn,
    io::Write as _,
    net::SocketAddr,
    path::Path,
    rc::Rc,
    sync::{Arc, Mutex},
    task::{Context, Waker},
    time::SystemTime,
};

use bowline_runtime::{fs, net, rand, sim, task, time};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const PORT: u16 = 80;
const ROUNDS: u8 = 20;

/// What happened, in its order: when, where, what.
type Trace = Arc<Mutex<Vec<(SystemTime, &'static str, u64)>>>;

fn note(trace: &Trace, host: &'static str, what: u64) {
    trace.lock().expect("one thread").push((time::wall(), host, what));
}

fn everywhere(port: u16) -> SocketAddr {
    ([0, 0, 0, 0], port).into()
}

async fn serve(listener: net::SharedListener, trace: Trace) {
    let listener = net::adopt(listener).expect("a listener is adopted");
    while let Ok((stream, _)) = listener.accept().await {
        task::spawn_local(answer(stream, trace.clone()));
    }
}

async fn answer(mut stream: net::TcpStream, trace: Trace) -> std::io::Result<()> {
    while let Ok(byte) = stream.read_u8().await {
        note(&trace, "server", byte.into());
        time::sleep(time::Duration::from_millis(rand::below(20) as u64)).await;
        stream.write_u8(byte + 1).await?;
    }
    Ok(())
}

async fn ask(trace: Trace) -> std::io::Result<()> {
    let mut stream = net::TcpStream::connect((sim::lookup("server"), PORT)).await?;
    for round in 0..ROUNDS {
        stream.write_u8(round).await?;
        assert_eq!(stream.read_u8().await?, round + 1);
        // Tokio's own choice between two that are ready is the seed's, too.
        let chosen = tokio::select! { () = async {} => 0, () = async {} => 1 };
        note(&trace, "client", rand::u64() / 2 * 2 + chosen);
    }
    Ok(())
}

/// The whole run of a seed.
fn run(seed: u64) -> Vec<(SystemTime, &'static str, u64)> {
    let trace = Trace::default();
    let mut sim = sim::builder(seed).build();
    let server = trace.clone();
    sim.host("server", move || {
        let trace = server.clone();
        async move {
            let listener = net::listen_shared(everywhere(PORT), 2)?.remove(0);
            task::core_thread("core-0", move || serve(listener, trace))?;
            std::future::pending().await
        }
    });
    let client = trace.clone();
    sim.client("client", async move { Ok(ask(client).await?) });
    sim.run().expect("both hosts do as they are told");
    drop(sim);
    std::mem::take(&mut *trace.lock().expect("one thread"))
}

#[test]
fn a_seed_decides_everything() {
    let seed = sim::seed();
    let first = run(seed);
    assert_eq!(first.len(), usize::from(ROUNDS) * 2);
    assert_eq!(first, run(seed));
    assert_ne!(first, run(seed.wrapping_add(1)), "the seed decides nothing");
}

#[test]
fn minutes_pass_at_once_on_both_clocks() {
    let mut sim = sim::builder(sim::seed()).simulation_duration(time::Duration::from_mins(2)).build();
    sim.client("client", async {
        let (start, wall) = (time::now(), time::wall());
        time::sleep(time::Duration::from_mins(1)).await;
        assert_eq!(time::now() - start, time::Duration::from_mins(1));
        assert_eq!(time::wall().duration_since(wall)?, time::Duration::from_mins(1));
        assert_eq!(time::wall_of(start), wall);
        Ok(())
    });
    sim.run().unwrap();
}

#[test]
fn a_stream_tells_whether_there_is_something_to_read() {
    let mut sim = sim::builder(sim::seed()).build();
    sim.host("server", || async {
        let (mut stream, _) = net::listen(everywhere(PORT))?.accept().await?;
        time::sleep(time::Duration::from_secs(1)).await;
        Ok(stream.write_u8(7).await?)
    });
    sim.client("client", async {
        let mut stream = net::TcpStream::connect((sim::lookup("server"), PORT)).await?;
        let mut noop = Context::from_waker(Waker::noop());
        assert!(stream.poll_read_ready(&mut noop).is_pending());
        let start = time::now();
        poll_fn(|cx| stream.poll_read_ready(cx)).await?;
        assert!(time::now() - start >= time::Duration::from_secs(1));
        assert_eq!(stream.read_u8().await?, 7, "it was looked at, not taken");
        poll_fn(|cx| stream.poll_read_ready(cx)).await?;
        assert!(stream.read_u8().await.is_err(), "the end");
        Ok(())
    });
    sim.run().unwrap();
}

#[test]
fn a_taken_port_is_refused() {
    let mut sim = sim::builder(sim::seed()).build();
    sim.client("client", async {
        let first = net::adopt(net::listen_shared(everywhere(0), 2)?.remove(0))?;
        let again = net::listen(first.local_addr()?);
        assert_eq!(again.err().map(|error| error.kind()), Some(std::io::ErrorKind::AddrInUse));
        Ok(())
    });
    sim.run().unwrap();
}

#[test]
fn a_crash_takes_what_was_not_synced() {
    let found = Rc::new(RefCell::new(Vec::new()));
    let mut sim = sim::builder(sim::seed()).build();
    let seen = found.clone();
    sim.host("disk", move || {
        let seen = seen.clone();
        async move {
            let dir = Path::new("/data");
            fs::create_dir_all(dir)?;
            fs::sync_dir(Path::new("/"))?;
            seen.borrow_mut().push((fs::read(dir.join("safe")).ok(), fs::read(dir.join("lost")).ok()));
            fs::replace(&dir.join("safe"), b"old")?;
            fs::replace(&dir.join("safe"), b"kept")?;
            task::spawn_blocking(|| fs::File::create("/data/lost")?.write_all(b"lost")).await??;
            assert_eq!(fs::read(dir.join("lost"))?, b"lost");
            std::future::pending().await
        }
    });
    sim.step().unwrap();
    sim.crash("disk");
    sim.bounce("disk");
    sim.step().unwrap();
    drop(sim);
    assert_eq!(*found.borrow(), [(None, None), (Some(b"kept".to_vec()), None)]);
}

#[test]
fn a_folder_made_durably_survives_a_crash_with_all_above_it() {
    let found = Rc::new(RefCell::new(Vec::new()));
    let mut sim = sim::builder(sim::seed()).build();
    let seen = found.clone();
    sim.host("disk", move || {
        let seen = seen.clone();
        async move {
            let (durable, lost) = (Path::new("/data/a/b"), Path::new("/lost/a/b"));
            seen.borrow_mut().push((fs::metadata(durable).is_ok(), fs::metadata(lost).is_ok()));
            fs::create_dir_all(lost)?;
            // What another process made, and died before it was durable.
            fs::create_dir_all(Path::new("/data"))?;
            fs::create_private_dir_all(durable)?;
            std::future::pending().await
        }
    });
    sim.step().unwrap();
    sim.crash("disk");
    sim.bounce("disk");
    sim.step().unwrap();
    drop(sim);
    assert_eq!(*found.borrow(), [(false, false), (true, false)]);
}

#[test]
fn a_full_disk_leaves_the_old_content() {
    let mut builder = sim::builder(sim::seed());
    builder.fs().capacity(100);
    let mut sim = builder.build();
    sim.client("client", async {
        let path = Path::new("/a");
        fs::replace(path, b"old")?;
        assert!(fs::replace(path, &[0; 200]).is_err());
        assert_eq!(fs::read(path)?, b"old");
        Ok(())
    });
    sim.run().unwrap();
}
