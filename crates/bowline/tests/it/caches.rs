//! Caches of a service: forgotten in every process when a topic says so, whoever was away meanwhile; and shown.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Router, extract::Path, routing};
use bowline::{
    Microservice, SpanKind,
    cache::{Cache, CacheBuilder},
    messages::port,
};
use bowline_cache::{Found, SharedCache as _, Ticket, shared::memory::Memory};
use bowline_messaging::{
    DeadLetter, Embedded, Error, GroupSettings, Message, MessageBus, NewMessage, Published, Start, Subscription, Tail,
    TopicInfo, TopicSettings, Which, delivery::Position,
};
use bowline_runtime::{BoxFuture, metric, task};
use bowline_testkit::TempDir;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api::Api,
    support::{Place, Running, until},
};

const TOPIC: &str = "user.changed";

#[derive(Debug, Deserialize)]
struct Changed {
    user_id: String,
}

/// What is cached: as many values as it was asked.
#[derive(Clone, Default)]
struct Source(Arc<AtomicU64>);

impl Source {
    async fn ask(&self, cache: &Cache<String, u64>, key: &str) -> u64 {
        let count = self.0.clone();
        let load = || async move { Ok(Some(count.fetch_add(1, SeqCst) + 1)) };
        *cache.get_or_load(key, load).await.unwrap().unwrap()
    }

    /// Waits until what is kept is another value than that.
    async fn changes(&self, cache: &Cache<String, u64>, key: &str, from: u64) {
        until(async || self.ask(cache, key).await != from).await;
    }

    /// Waits until it is kept: its feeds are heard.
    async fn settles(&self, cache: &Cache<String, u64>, key: &str) -> u64 {
        until(async || self.ask(cache, key).await == self.ask(cache, key).await).await;
        self.ask(cache, key).await
    }
}

fn profiles(service: &Microservice) -> CacheBuilder<'_, String, u64> {
    service.cache("user-profile").invalidated_by(TOPIC, |changed: Changed| {
        assert!(changed.user_id != "nobody's", "the application has a fault");
        [changed.user_id]
    })
}

/// A bus with these topics in a folder of its own.
async fn bus(topics: &[&str]) -> (TempDir, Embedded) {
    let dir = bowline_testkit::temp_dir();
    let bus = Embedded::open(port::Settings::new(dir.path(), metric::Registry::default())).await.unwrap();
    for topic in topics {
        bus.declare(topic, TopicSettings::default()).await.unwrap();
    }
    (dir, bus)
}

async fn tell(bus: &dyn MessageBus, payload: &Value) {
    let payload = payload.to_string().into();
    bus.publish(TOPIC, NewMessage { payload, ..NewMessage::default() }).await.unwrap();
}

#[tokio::test]
async fn what_a_topic_says_is_forgotten_in_every_process_and_traced() {
    let api = Api::start().await;
    let (_dir, bus) = bus(&[TOPIC]).await;
    let place = Place::new("order").beside(api.addr);
    let processes = [(); 2].map(|()| place.service().with_bus(Arc::new(bus.clone())));
    let caches = [0, 1].map(|at: usize| profiles(&processes[at]).build().unwrap());
    let source = Source::default();
    let mut kept = Vec::new();
    for cache in &caches {
        kept.push((source.settles(cache, "ada").await, source.settles(cache, "bob").await));
    }
    let changed = Place::new("user").beside(api.addr);
    let user = changed.service().with_bus(Arc::new(bus.clone()));
    user.topic(TOPIC).message(&json!({"user_id": "ada"})).publish().await.unwrap();
    for (cache, (ada, bob)) in caches.iter().zip(&kept) {
        source.changes(cache, "ada", *ada).await;
        assert_eq!(source.ask(cache, "bob").await, *bob, "only what is named");
    }
    let (published, processed) = (api.span("publish user.changed").await, api.span("process user.changed").await);
    assert_eq!((processed.kind, processed.trace_id), (SpanKind::Consumer, published.trace_id));
    let group = processed.attribute("messaging.consumer.group.name").map(ToString::to_string);
    assert_eq!(group.as_deref(), Some("cache:user-profile"));
    // Who knows whom it means? All are forgotten.
    let mut bob = kept[0].1;
    for unreadable in [json!("gibberish"), json!({"user_id": "nobody's"})] {
        tell(&bus, &unreadable).await;
        source.changes(&caches[0], "bob", bob).await;
        bob = source.settles(&caches[0], "bob").await;
    }
    let metrics = processes[0].metrics().render();
    assert!(
        metrics.contains("bowline_cache_unread_total{cache=\"user-profile\",topic=\"user.changed\"} 2"),
        "{metrics}"
    );
}

#[tokio::test]
async fn what_one_process_invalidates_is_invalid_in_all() {
    let api = Api::start().await;
    let (_dir, bus) = bus(&["cache.user-profile"]).await;
    let place = Place::new("order").beside(api.addr);
    let processes = [(); 2].map(|()| place.service().with_bus(Arc::new(bus.clone())));
    let build = |service: &Microservice| service.cache("user-profile").invalidated_together().build().unwrap();
    let [here, there] = [build(&processes[0]), build(&processes[1])];
    let source = Source::default();
    let kept = source.settles(&there, "ada").await;
    here.invalidate("ada").await.unwrap();
    source.changes(&there, "ada", kept).await;
    let kept = source.settles(&there, "bob").await;
    here.invalidate_all().await.unwrap();
    source.changes(&there, "bob", kept).await;
}

#[tokio::test]
async fn whoever_was_away_misses_nothing_and_trusts_no_bus_that_was_made_anew() {
    let (_dir, first) = bus(&[TOPIC]).await;
    tell(&first, &json!({"user_id": "eve"})).await;
    let switched = Switched(Arc::new(Mutex::new(Some(Arc::new(first.clone())))));
    let place = Place::new("order");
    let service = place.service().with_bus(Arc::new(switched.clone()));
    let cache = profiles(&service).build().unwrap();
    let source = Source::default();
    let (ada, bob) = (source.settles(&cache, "ada").await, source.settles(&cache, "bob").await);

    switched.set(None);
    tell(&first, &json!({"user_id": "ada"})).await;
    switched.set(Some(first.clone()));
    source.changes(&cache, "ada", ada).await;
    assert_eq!(source.ask(&cache, "bob").await, bob, "it goes on where it was");

    // Of the same name, and as long.
    let (_other_dir, second) = bus(&[TOPIC]).await;
    for _ in 0..3 {
        tell(&second, &json!({"user_id": "eve"})).await;
    }
    switched.set(Some(second));
    first.close().await;
    source.changes(&cache, "bob", bob).await;
    until(async || cache.status().feeds[0].gaps == 1).await;
}

#[tokio::test]
async fn whoever_was_away_while_a_topic_was_trimmed_forgets_all() {
    let (_dir, bus) = bus(&[]).await;
    bus.declare(TOPIC, TopicSettings { bytes_max: 4 << 20, ..TopicSettings::default() }).await.unwrap();
    tell(&bus, &json!({"user_id": "eve"})).await;
    let switched = Switched(Arc::new(Mutex::new(Some(Arc::new(bus.clone())))));
    let place = Place::new("order");
    let service = place.service().with_bus(Arc::new(switched.clone()));
    let cache = profiles(&service).build().unwrap();
    let source = Source::default();
    let bob = source.settles(&cache, "bob").await;
    switched.set(None);
    for _ in 0..20 {
        tell(&bus, &json!({"user_id": "e".repeat(400 << 10)})).await;
    }
    assert!(bus.tail(TOPIC, 1, 1, Duration::ZERO).await.unwrap().first > 2, "what came first is there no more");
    switched.set(Some(bus));
    source.changes(&cache, "bob", bob).await;
    until(async || cache.status().feeds[0].gaps == 1).await;
}

#[tokio::test]
async fn a_message_on_which_the_application_panics_has_everything_forgotten() {
    let (_dir, bus) = bus(&[TOPIC]).await;
    let place = Place::new("order");
    let service = place.service().with_bus(Arc::new(bus.clone()));
    let keys = |changed: Changed| {
        assert!(changed.user_id != "nobody", "a fault of the application");
        [changed.user_id]
    };
    let cache = service.cache("user-profile").invalidated_by(TOPIC, keys).build().unwrap();
    let source = Source::default();
    for user in ["nobody", "bob"] {
        let bob = source.settles(&cache, "bob").await;
        tell(&bus, &json!({"user_id": user})).await;
        source.changes(&cache, "bob", bob).await;
    }
    let metrics = service.metrics().render();
    let unread = "bowline_cache_unread_total{cache=\"user-profile\",topic=\"user.changed\"} 1";
    assert!(metrics.contains(unread), "{metrics}");
}

#[tokio::test]
async fn what_a_process_has_loaded_is_on_its_disk_after_a_restart() {
    let (_dir, bus) = bus(&[TOPIC]).await;
    let place = Place::new("order").with("BOWLINE_API", "http://127.0.0.1:1");
    let source = Source::default();
    let service = place.service().with_bus(Arc::new(bus.clone()));
    let cache = profiles(&service).on_disk("1", 16 << 20).build().unwrap();
    let bytes = || cache.status().levels[1].bytes.unwrap();
    until(async || bytes() > 0).await;
    let empty = bytes();
    let bob = source.settles(&cache, "bob").await;
    until(async || bytes() > empty).await;
    assert!(place.path("cache/order-1/user-profile").is_dir());
    drop((cache, service));
    // The folder is free a moment later.
    let kept = AtomicU64::new(0);
    until(async || {
        let service = place.service().with_bus(Arc::new(bus.clone()));
        let cache = profiles(&service).on_disk("1", 16 << 20).build().unwrap();
        until(async || cache.status().feeds[0].standing == "following").await;
        let is_open = !cache.status().levels[1].is_left_alone;
        kept.store(source.ask(&cache, "bob").await, SeqCst);
        is_open
    })
    .await;
    assert_eq!(kept.into_inner(), bob);
}

/// The level that a server keeps, as much of it as a cache without a feed needs, for who has that token.
fn server_that_shares(token: &'static str) -> (SocketAddr, task::Guarded<()>) {
    let memory = Memory::new(32 << 20, &metric::Registry::default());
    let got = memory.clone();
    let is_known = move |headers: &HeaderMap| headers["authorization"] == format!("Bearer {token}");
    let get = async move |Path((cache, key)): Path<(String, String)>, headers: HeaderMap| {
        if !is_known(&headers) {
            return (StatusCode::UNAUTHORIZED, HeaderMap::new(), Bytes::new());
        }
        let (status, header, value) = match got.get(&cache, &key).await.unwrap().found {
            Found::Hit { value, left } => (StatusCode::OK, ("x-bowline-left-ms", left.as_millis().to_string()), value),
            Found::Empty(Ticket(ticket)) => {
                (StatusCode::NOT_FOUND, ("x-bowline-ticket", format!("{ticket:016x}")), Bytes::new())
            }
        };
        let headers = [header, ("x-bowline-marks", "[]".to_owned())];
        let headers = headers.map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        (status, HeaderMap::from_iter(headers), value)
    };
    let fill = async move |Path((cache, key)): Path<(String, String)>, headers: HeaderMap, value: Bytes| {
        let ticket = u64::from_str_radix(headers["x-bowline-ticket"].to_str().unwrap(), 16).unwrap();
        let keep = Duration::from_mins(1);
        let is_filled = memory.fill(&cache, &key, Ticket(ticket), value, keep).await.unwrap();
        if is_filled { StatusCode::NO_CONTENT } else { StatusCode::CONFLICT }
    };
    let router = Router::new().route("/v1/shared-caches/{cache}/entries/{key}", routing::get(get).put(fill));
    let listener = bowline_runtime::net::listen(([127, 0, 0, 1], 0).into()).unwrap();
    let addr = listener.local_addr().unwrap();
    (addr, task::Guarded::new(task::spawn(async move { drop(axum::serve(listener, router).await) })))
}

/// Loads by one, until the other gets that: it is shared after the answer, so perhaps too late for one key, not for
/// all.
async fn share(source: &Source, here: &Cache<String, u64>, there: &Cache<String, u64>) {
    until(async || {
        let key = format!("user-{}", source.0.load(SeqCst));
        source.ask(here, &key).await == source.ask(there, &key).await
    })
    .await;
}

#[tokio::test]
async fn what_one_process_has_loaded_another_gets_from_the_server() {
    let (addr, _server) = server_that_shares("bwl_ab_cd");
    let place = Place::new("order").beside(addr).with("BOWLINE_TOKEN", "bwl_ab_cd");
    let processes = [(); 2].map(|()| place.service());
    let [here, there] = [0, 1].map(|at: usize| processes[at].cache("user-profile").shared("1").build().unwrap());
    let source = Source::default();
    share(&source, &here, &there).await;
    let shared = there.status().levels.pop().unwrap();
    assert_eq!((shared.level.as_str(), shared.hits, shared.failures), ("l3", 1, 0), "{shared:?}");
}

#[cfg(not(feature = "redis"))]
#[tokio::test]
async fn a_program_without_redis_says_which_feature_it_lacks() {
    let place = Place::new("order").with("BOWLINE_SYSTEM", "shop").with("BOWLINE_REDIS", "redis://127.0.0.1:6379");
    let service = place.service();
    let error = service.cache::<String, u64>("user-profile").shared("1").build().unwrap_err().to_string();
    assert!(error.contains("without the feature `redis` of the crate `bowline`"), "{error}");
    service.cache::<String, u64>("user-profile").build().expect("what is not shared needs none");
}

#[tokio::test]
async fn what_is_not_declared_is_not_shared() {
    let service = Place::new("order").with("BOWLINE_CACHES", "price,user-profile").service();
    service.cache::<String, u64>("price").shared("1").build().unwrap();
    let error = service.cache::<String, u64>("prices").shared("1").build().unwrap_err().to_string();
    assert!(error.contains("add \"cache:prices\" to the service's `state`"), "{error}");
    service.cache::<String, u64>("prices").build().expect("what is its own alone needs no word");
}

#[tokio::test]
async fn caches_are_shown_and_each_has_a_name_of_its_own() {
    let place = Place::new("order");
    let service = place.service();
    let cache = service.cache::<String, u64>("b").with(|cache| cache.ttl(Duration::from_mins(1))).build().unwrap();
    service.cache::<String, u64>("a").build().unwrap();
    let again = service.cache::<String, u64>("a").build().unwrap_err().to_string();
    assert!(again.contains("another cache of this process has its name"), "{again}");
    let bad = service.cache::<String, u64>("c").with(|cache| cache.ttl(Duration::ZERO)).build().unwrap_err();
    assert!(bad.to_string().contains("`ttl` is 1 ms to 7 days"), "{bad}");
    Source::default().ask(&cache, "k").await;
    let running = Running::start(service, Router::new()).await;
    let answer = running.get("/-/bowline/caches").await;
    let shown: Value = serde_json::from_str(answer.text()).unwrap();
    let names: Vec<_> = shown["caches"].as_array().unwrap().iter().map(|cache| &cache["cache"]).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(shown["caches"][1]["requests"]["loaded"], 1);
    let metrics = running.get("/metrics").await;
    assert!(metrics.text().contains("bowline_cache_requests_total{cache=\"b\",outcome=\"loaded\"} 1"));
    running.stop().await;
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn what_one_process_has_loaded_another_gets_from_redis() {
    let Some(server) = bowline_testkit::redis::Server::start() else { return };
    let place = Place::new("order").with("BOWLINE_SYSTEM", "shop").with("BOWLINE_REDIS", &server.url());
    let processes = [(); 2].map(|()| place.service());
    let [here, there] = [0, 1].map(|at: usize| processes[at].cache("user-profile").shared("1").build().unwrap());
    let source = Source::default();
    share(&source, &here, &there).await;
    assert_eq!(there.status().levels.last().unwrap().hits, 1);
    assert!(server.command("KEYS *").contains("{shop:user-profile}:meta"), "the caches of a system are its own");
    let further = processes[0].cache::<String, u64>("further").shared("1").build().unwrap();
    source.ask(&further, "k").await;
    let clients = server.command("CLIENT LIST");
    assert_eq!(clients.matches("id=").count(), 3, "one for each process, and who asks now: {clients}");
}

/// A bus that can go away, or be another.
#[derive(Clone)]
struct Switched(Arc<Mutex<Option<Arc<dyn MessageBus>>>>);

impl Switched {
    fn set(&self, bus: Option<Embedded>) {
        *self.0.lock().unwrap() = bus.map(|bus| Arc::new(bus) as Arc<dyn MessageBus>);
    }

    fn bus(&self) -> Result<Arc<dyn MessageBus>, Error> {
        self.0.lock().unwrap().clone().ok_or(Error::Unavailable { retry_after: None })
    }
}

impl MessageBus for Switched {
    fn declare(&self, topic: &str, settings: TopicSettings) -> BoxFuture<'_, Result<(), Error>> {
        let topic = topic.to_owned();
        Box::pin(async move { self.bus()?.declare(&topic, settings).await })
    }

    fn publish(&self, topic: &str, message: NewMessage) -> BoxFuture<'_, Result<Published, Error>> {
        let topic = topic.to_owned();
        Box::pin(async move { self.bus()?.publish(&topic, message).await })
    }

    fn tail(&self, topic: &str, from: Position, limit: usize, wait: Duration) -> BoxFuture<'_, Result<Tail, Error>> {
        let topic = topic.to_owned();
        // So that it notices soon that it is another.
        let wait = wait.min(Duration::from_millis(50));
        Box::pin(async move { self.bus()?.tail(&topic, from, limit, wait).await })
    }

    fn subscribe(&self, _: &str, _: &str, _: GroupSettings, _: usize) -> BoxFuture<'_, Result<Subscription, Error>> {
        unreachable!("a cache makes no group")
    }

    fn topics(&self) -> BoxFuture<'_, Result<Vec<TopicInfo>, Error>> {
        unreachable!("a cache does not list topics")
    }

    fn read(&self, _: &str, _: Position, _: usize) -> BoxFuture<'_, Result<Vec<Arc<Message>>, Error>> {
        unreachable!("a cache reads tails")
    }

    fn seek(&self, _: &str, _: &str, _: Start) -> BoxFuture<'_, Result<(), Error>> {
        unreachable!("a cache makes no group")
    }

    fn remove_group(&self, _: &str, _: &str) -> BoxFuture<'_, Result<(), Error>> {
        unreachable!("a cache makes no group")
    }

    fn dead(&self, _: &str, _: Position, _: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, Error>> {
        unreachable!("a cache has no dead letters")
    }

    fn redrive(&self, _: &str, _: Which) -> BoxFuture<'_, Result<usize, Error>> {
        unreachable!("a cache has no dead letters")
    }

    fn purge(&self, _: &str, _: Which) -> BoxFuture<'_, Result<usize, Error>> {
        unreachable!("a cache has no dead letters")
    }
}
