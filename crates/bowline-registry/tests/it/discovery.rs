//! Discovery: what callers see while the registry works, is away, is lost, and comes back.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use bowline_model::{Health, Instance};
use bowline_registry::{Discovery, HistoryId, Registry};
use bowline_runtime::{
    fs,
    time::{self, sleep, timeout},
};
use tokio::sync::watch::Receiver;

use crate::{
    fake::Fake,
    store::{Fixture, instance, service},
};

const PATIENCE: Duration = Duration::from_secs(30);

type Instances = Receiver<Arc<[Instance]>>;

fn follow(fake: &Fake, dir: Option<&Path>) -> (Discovery, Instances) {
    let discovery = Discovery::new(Arc::new(fake.clone()), dir.map(Path::to_owned));
    let instances = discovery.instances(&service("a"));
    (discovery, instances)
}

fn ids(instances: &Instances) -> Vec<String> {
    instances.borrow().iter().map(|instance| instance.id.to_string()).collect()
}

async fn until(instances: &mut Instances, expected: &[&str]) {
    let matches = |set: &Arc<[Instance]>| set.iter().map(|instance| instance.id.as_str()).eq(expected.iter().copied());
    let seen = timeout(PATIENCE, instances.wait_for(matches)).await.is_ok();
    assert!(seen, "there is {:?}, not {expected:?}", ids(instances));
}

#[tokio::test(start_paused = true)]
async fn changes_are_seen_as_they_happen() {
    let fake = Fake::new();
    fake.put(instance("a-1"));
    fake.put(instance("b-1"));
    let (discovery, mut instances) = follow(&fake, None);
    assert!(instances.borrow().is_empty());
    discovery.settled(&service("a")).await;
    assert_eq!(ids(&instances), ["a-1"]);
    fake.put(instance("a-2"));
    until(&mut instances, &["a-1", "a-2"]).await;
    fake.put(Instance { health: Health::Draining, ..instance("a-2") });
    timeout(PATIENCE, instances.wait_for(|set| set[1].health == Health::Draining)).await.unwrap().unwrap();
    fake.delete(&instance("a-1"));
    fake.delete(&instance("a-2"));
    until(&mut instances, &[]).await;
    assert_eq!(fake.discovers.load(SeqCst), 1, "one list, then events");
    let again = discovery.instances(&service("a"));
    assert!(again.same_channel(&instances), "one task follows a service, whoever asks");
}

#[tokio::test(start_paused = true)]
async fn a_burst_goes_out_as_one_set() {
    let fake = Fake::new();
    let (discovery, mut instances) = follow(&fake, None);
    discovery.settled(&service("a")).await;
    sleep(Duration::from_secs(1)).await;
    instances.mark_unchanged();
    for i in 0..50 {
        fake.put(instance(&format!("a-{i:02}")));
    }
    timeout(PATIENCE, instances.changed()).await.unwrap().unwrap();
    assert_eq!(instances.borrow().len(), 50);
}

#[tokio::test(start_paused = true)]
async fn the_last_set_stays_while_the_registry_is_away() {
    let fake = Fake::new();
    fake.put(instance("a-1"));
    let (discovery, mut instances) = follow(&fake, None);
    discovery.settled(&service("a")).await;
    fake.go_away();
    let attempts = fake.discovers.load(SeqCst) + fake.watches.load(SeqCst);
    sleep(Duration::from_mins(10)).await;
    assert_eq!(ids(&instances), ["a-1"]);
    let attempts = fake.discovers.load(SeqCst) + fake.watches.load(SeqCst) - attempts;
    assert!((100..400).contains(&attempts), "{attempts} attempts in ten minutes");
    fake.put(instance("a-2"));
    fake.delete(&instance("a-1"));
    fake.come_back();
    let begin = time::now();
    until(&mut instances, &["a-2"]).await;
    assert!(begin.elapsed() <= Duration::from_secs(5), "it is tried again within the longest wait");
    fake.put(instance("a-3"));
    until(&mut instances, &["a-2", "a-3"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_watch_resumes_without_a_list() {
    let fake = Fake::new();
    fake.put(instance("a-1"));
    let (discovery, mut instances) = follow(&fake, None);
    discovery.settled(&service("a")).await;
    sleep(Duration::from_secs(10)).await;
    for i in 2..5 {
        fake.change(|state| state.generation += 1);
        fake.put(instance(&format!("a-{i}")));
        sleep(Duration::from_secs(1)).await;
    }
    until(&mut instances, &["a-1", "a-2", "a-3", "a-4"]).await;
    assert_eq!(fake.discovers.load(SeqCst), 1);
    // A registry that does not tell its history might be another one: that is listed.
    fake.change(|state| state.tells_history = false);
    fake.change(|state| state.history = HistoryId(7));
    fake.change(|state| state.generation += 1);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(fake.discovers.load(SeqCst), 2);
    fake.change(|state| state.generation += 1);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(fake.discovers.load(SeqCst), 3);
    assert_eq!(ids(&instances), ["a-1", "a-2", "a-3", "a-4"]);
}

#[tokio::test(start_paused = true)]
async fn a_compacted_watch_lists_anew() {
    let fake = Fake::new();
    fake.put(instance("a-1"));
    let (discovery, mut instances) = follow(&fake, None);
    discovery.settled(&service("a")).await;
    fake.go_away();
    fake.put(instance("a-2"));
    fake.delete(&instance("a-1"));
    fake.change(|state| {
        state.events.clear();
        state.oldest = state.revision;
    });
    fake.come_back();
    until(&mut instances, &["a-2"]).await;
    assert_eq!(fake.discovers.load(SeqCst), 2);
}

/// Takes the registry away and brings it back with nothing in it.
async fn lose(fake: &Fake, history: u64, revision: u64) {
    fake.go_away();
    fake.change(|state| {
        state.history = HistoryId(history);
        state.revision = revision;
        state.oldest = revision;
        state.instances.clear();
        state.events.clear();
    });
    sleep(Duration::from_secs(5)).await;
    fake.come_back();
    sleep(Duration::from_secs(30)).await;
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_lost_its_data_empties_nothing() {
    // Made anew, restored from the past, another one that is far ahead.
    for (history, revision) in [(2, 0), (1, 50), (2, 1_000_000)] {
        let fake = Fake::new();
        fake.put(instance("a-1"));
        fake.put(instance("a-2"));
        let (discovery, mut instances) = follow(&fake, None);
        discovery.settled(&service("a")).await;
        lose(&fake, history, revision).await;
        sleep(Duration::from_hours(1)).await;
        assert_eq!(ids(&instances), ["a-1", "a-2"], "history {history} at {revision}");
        // The first to return starts the clock for the others.
        fake.put(instance("a-2"));
        sleep(Duration::from_secs(50)).await;
        assert_eq!(ids(&instances), ["a-1", "a-2"]);
        sleep(Duration::from_secs(15)).await;
        assert_eq!(ids(&instances), ["a-2"]);
        fake.delete(&instance("a-2"));
        until(&mut instances, &[]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_list_of_the_same_history_is_believed() {
    let fake = Fake::new();
    fake.put(instance("a-1"));
    let (discovery, mut instances) = follow(&fake, None);
    discovery.settled(&service("a")).await;
    lose(&fake, 1, 1000).await;
    until(&mut instances, &[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_does_not_answer_is_given_up_on() {
    let fake = Fake::new();
    fake.put(instance("a-1"));
    fake.change(|state| state.hangs = true);
    let (discovery, instances) = follow(&fake, None);
    let settled = timeout(Duration::from_mins(1), discovery.settled(&service("a"))).await;
    assert!(settled.is_err());
    assert!(fake.discovers.load(SeqCst) >= 3, "it asks again");
    fake.change(|state| state.hangs = false);
    timeout(PATIENCE, discovery.settled(&service("a"))).await.unwrap();
    assert_eq!(ids(&instances), ["a-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_missed_something_is_healed() {
    let fake = Fake::new();
    fake.put(instance("a-1"));
    let (discovery, mut instances) = follow(&fake, None);
    discovery.settled(&service("a")).await;
    sleep(Duration::from_secs(1)).await;
    instances.mark_unchanged();
    fake.change(|state| {
        state.revision += 1;
        state.instances.insert("a-2".parse().unwrap(), instance("a-2"));
    });
    timeout(Duration::from_mins(6), instances.changed()).await.unwrap().unwrap();
    assert_eq!(ids(&instances), ["a-1", "a-2"]);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_starts_without_the_registry_has_the_last_set() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("discovery");
    let fake = Fake::new();
    fake.put(instance("a-1"));
    fake.put(instance("a-2"));
    let (discovery, _) = follow(&fake, Some(&folder));
    discovery.settled(&service("a")).await;
    sleep(Duration::from_secs(2)).await;
    drop(discovery);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join("a.json"))), (0o700, 0o600));

    fake.go_away();
    let (discovery, instances) = follow(&fake, Some(&folder));
    timeout(PATIENCE, discovery.settled(&service("a"))).await.unwrap();
    assert_eq!(ids(&instances), ["a-1", "a-2"]);
    sleep(Duration::from_mins(5)).await;
    assert_eq!(ids(&instances), ["a-1", "a-2"]);
    // It knows where in which history that was: an empty registry proves nothing, the right one does.
    lose(&fake, 2, 5).await;
    assert_eq!(ids(&instances), ["a-1", "a-2"]);
    drop((discovery, instances));
    fake.change(|state| {
        state.history = HistoryId(1);
        state.revision = 103;
    });
    let file = folder.join("a.json");
    assert!(fs::read_to_string(&file).unwrap().contains("a-2"));
    let (_discovery, instances) = follow(&fake, Some(&folder));
    sleep(Duration::from_secs(5)).await;
    assert!(instances.borrow().is_empty());
    assert!(!fs::read_to_string(&file).unwrap().contains("a-2"));
}

#[tokio::test(start_paused = true)]
async fn the_folder_is_written_when_a_set_changed_and_not_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.json");
    let fake = Fake::new();
    let (discovery, mut instances) = follow(&fake, Some(dir.path()));
    discovery.settled(&service("a")).await;
    for i in 0..20 {
        fake.put(instance(&format!("a-{i:02}")));
        sleep(Duration::from_millis(10)).await;
    }
    sleep(Duration::from_secs(3)).await;
    let first = fs::read_to_string(&file).unwrap();
    assert!(first.contains("\"format\": 1") && first.contains("a-19"), "{first}");
    // Removed behind its back, the file shows whether it is written again.
    fs::remove_file(&file).unwrap();
    fake.put(instance("a-00"));
    sleep(Duration::from_mins(10)).await;
    assert!(!file.exists(), "the set did not change");
    fake.delete(&instance("a-00"));
    instances.mark_unchanged();
    timeout(PATIENCE, instances.changed()).await.unwrap().unwrap();
    sleep(Duration::from_secs(2)).await;
    assert!(!fs::read_to_string(&file).unwrap().contains("a-00"));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_read_is_no_obstacle() {
    for content in [
        "",
        "{",
        "{\"format\": 2, \"new\": true}",
        "{\"format\":1,\"service\":\"b\",\"history\":null,\"revision\":1,\"instances\":[]}",
        "{\"format\":1,\"service\":\"a\",\"history\":\"x\",\"revision\":1,\"instances\":[]}",
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::replace(&dir.path().join("a.json"), content.as_bytes()).unwrap();
        let fake = Fake::new();
        fake.put(instance("a-1"));
        let (discovery, instances) = follow(&fake, Some(dir.path()));
        timeout(PATIENCE, discovery.settled(&service("a"))).await.unwrap();
        assert_eq!(ids(&instances), ["a-1"], "{content}");
        sleep(Duration::from_secs(3)).await;
        assert!(fs::read_to_string(dir.path().join("a.json")).unwrap().contains("a-1"));
    }
}

#[tokio::test(start_paused = true)]
async fn it_follows_a_registry_over_a_store() {
    let fixture = Fixture::new().await;
    let registry = Arc::clone(&fixture.registry);
    let discovery = Discovery::new(registry.clone(), Some(fixture.dir.path().join("discovery")));
    let mut instances = discovery.instances(&service("a"));
    registry.register(instance("a-1"), Some(Duration::from_secs(5))).await.unwrap();
    registry.register(instance("a-2"), None).await.unwrap();
    until(&mut instances, &["a-1", "a-2"]).await;
    until(&mut instances, &["a-2"]).await;
    registry.deregister(&"a-2".parse().unwrap()).await.unwrap();
    until(&mut instances, &[]).await;
}
