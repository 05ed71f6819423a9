//! How many registrations a second are durable: `register [CONCURRENCY] [SECONDS] [DIR]`.
//!
//! Prints one line of JSON, for the bench to read.

#![expect(clippy::print_stdout, reason = "the result is what it is for")]

use std::{
    env, error,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bowline_model::{Instance, InstanceId, ServiceName};
use bowline_registry::{Registry, StoreRegistry};
use bowline_runtime::{metric, task, time};
use bowline_store::{Embedded, Settings};

const TTL: Duration = Duration::from_mins(10);

fn main() -> Result<(), Box<dyn error::Error>> {
    let mut args = env::args().skip(1);
    let concurrency = args.next().map_or(Ok(64), |arg| arg.parse())?;
    let seconds = args.next().map_or(Ok(5), |arg| arg.parse())?;
    let dir = args.next().map_or_else(tempfile::tempdir, tempfile::tempdir_in)?;
    let runtime = task::shared_runtime(2)?;
    runtime.block_on(async {
        let settings = Settings::new(dir.path().join("store"));
        let store = Embedded::open(settings, &metric::Registry::default()).await?;
        let registry = Arc::new(StoreRegistry::new(Arc::new(store.clone())));
        let (count, elapsed) = run(registry, concurrency, Duration::from_secs(seconds)).await?;
        store.close().await;
        let rate = u128::from(count) * 1000 / elapsed.as_millis().max(1);
        println!("{{\"concurrency\":{concurrency},\"registrations\":{count},\"per_second\":{rate}}}");
        Ok(())
    })
}

/// Registers new instances, so many at once, for so long.
async fn run(
    registry: Arc<StoreRegistry>,
    concurrency: usize,
    duration: Duration,
) -> Result<(u64, Duration), Box<dyn error::Error>> {
    let service = ServiceName::new("bench")?;
    let addr = SocketAddr::from(([127, 0, 0, 1], 9000));
    let next = Arc::new(AtomicU64::new(0));
    let begin = time::now();
    let workers = (0..concurrency).map(|_| {
        let (registry, service, next) = (Arc::clone(&registry), service.clone(), Arc::clone(&next));
        task::spawn(async move {
            while begin.elapsed() < duration {
                let id = next.fetch_add(1, Ordering::Relaxed);
                let id = InstanceId::new(&format!("bench-{id}")).expect("digits make an id");
                let instance = Instance::new(id, service.clone(), addr.into());
                registry.register(instance, Some(TTL)).await?;
            }
            Ok::<_, bowline_registry::Error>(())
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await??;
    }
    Ok((next.load(Ordering::Relaxed), begin.elapsed()))
}
