//! This crate's own paths: over the pool of one core and over the shared one, with one worker and two.

use std::{convert::identity, path::PathBuf, sync::Arc};

use bowline_model::ServiceName;
use bowline_runtime::{metric::Registry, task, time};
use bowline_telemetry::Span;
use bowline_transport::{LocalPool, Pool, SharedPool};
use http_body_util::BodyExt as _;
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::Upstream;

/// Makes a call over a pool, and reads the whole answer.
async fn call<P: Pool>(upstream: &Upstream, pool: &P, ask: &Ask) -> Seen {
    let deadline = ask.deadline.map(|deadline| time::now() + deadline);
    let mut span = Span::disabled();
    match upstream.call(pool, ask.request(), &mut span, deadline).await {
        Ok(response) => {
            let status = response.status().as_u16();
            response.into_body().collect().await.unwrap();
            Seen { status, reason: None }
        }
        Err(error) => Seen { status: error.code().http_status(), reason: Some(error.reason().to_owned()) },
    }
}

fn breakers(upstream: &Upstream) -> BTreeMap<String, String> {
    let instances = upstream.instances().into_iter();
    instances.filter_map(|i| Some((i.instance.id.to_string(), i.breaker?.as_str().to_owned()))).collect()
}

fn upstream(policy: &CallPolicy, instances: &[Instance]) -> Arc<Upstream> {
    let service = ServiceName::new(SERVICE).unwrap();
    let upstream = Upstream::new(service, policy.clone(), "client", &Registry::default());
    upstream.set_instances(instances);
    upstream
}

type Job = (Ask, oneshot::Sender<Seen>);

/// Workers that each have a core's runtime and a pool of their own; the upstream is shared.
struct PerCore {
    upstream: Arc<Upstream>,
    workers: Vec<mpsc::Sender<Job>>,
}

impl PerCore {
    fn new(policy: &CallPolicy, instances: &[Instance], count: usize) -> Self {
        let upstream = upstream(policy, instances);
        let workers = (0..count).map(|_| worker(Arc::clone(&upstream))).collect();
        Self { upstream, workers }
    }
}

fn worker(upstream: Arc<Upstream>) -> mpsc::Sender<Job> {
    let (sender, mut jobs) = mpsc::channel::<Job>(64);
    thread::spawn(move || {
        task::core_runtime().unwrap().block_on(async move {
            let pool = LocalPool::default();
            while let Some((ask, answer)) = jobs.recv().await {
                let (upstream, pool) = (Arc::clone(&upstream), pool.clone());
                task::spawn_local(async move { answer.send(call(&upstream, &pool, &ask).await) });
            }
        });
    });
    sender
}

impl Path for PerCore {
    fn call(&self, number: usize, ask: &Ask) -> Seen {
        let (answer, answered) = oneshot::channel();
        self.workers[number % self.workers.len()].blocking_send((ask.clone(), answer)).unwrap();
        answered.blocking_recv().unwrap()
    }

    fn steer(&self, steering: &Steering) -> bool {
        self.upstream.set_steering(steering.clone());
        true
    }

    fn breakers(&self) -> BTreeMap<String, String> {
        breakers(&self.upstream)
    }
}

/// One runtime of many threads, one pool.
struct Shared {
    upstream: Arc<Upstream>,
    pool: SharedPool,
    runtime: tokio::runtime::Runtime,
}

impl Shared {
    fn new(policy: &CallPolicy, instances: &[Instance], count: usize) -> Self {
        let runtime = task::shared_runtime(count).unwrap();
        Self { upstream: upstream(policy, instances), pool: SharedPool::default(), runtime }
    }
}

impl Path for Shared {
    fn call(&self, _: usize, ask: &Ask) -> Seen {
        let (upstream, pool, ask) = (Arc::clone(&self.upstream), self.pool.clone(), ask.clone());
        let (answer, answered) = oneshot::channel();
        let _guard = self.runtime.enter();
        task::spawn(async move { answer.send(call(&upstream, &pool, &ask).await) });
        answered.blocking_recv().unwrap()
    }

    fn steer(&self, steering: &Steering) -> bool {
        self.upstream.set_steering(steering.clone());
        true
    }

    fn breakers(&self) -> BTreeMap<String, String> {
        breakers(&self.upstream)
    }
}

#[test]
fn one_worker_with_the_pool_of_its_core() {
    run_all(identity, |policy, instances| PerCore::new(policy, instances, 1));
}

#[test]
fn two_workers_each_with_the_pool_of_its_core() {
    run_all(identity, |policy, instances| PerCore::new(policy, instances, 2));
}

#[test]
fn one_worker_with_the_shared_pool() {
    run_all(identity, |policy, instances| Shared::new(policy, instances, 1));
}

#[test]
fn two_workers_with_the_shared_pool() {
    run_all(identity, |policy, instances| Shared::new(policy, instances, 2));
}

#[test]
fn no_vector_is_forgotten() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut files: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    let listed: Vec<String> = list::FILES.iter().map(|(name, _)| format!("{name}.json")).collect();
    assert_eq!(files, listed);
}

#[test]
fn a_wrong_outcome_is_told() {
    let mut vector = all().into_iter().find(|vector| vector.name == "an_answer_is_passed_on").unwrap();
    vector.steps[1].expect = BTreeMap::from([("200".to_owned(), 1)]);
    let told = run(&vector, |policy, instances| PerCore::new(policy, instances, 1)).unwrap_err();
    assert_eq!(told, r#"step 2: {"404": 1}, not {"200": 1}"#);
}
