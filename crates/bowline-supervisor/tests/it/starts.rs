//! Starting: ready, registered, told what it needs to know.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use bowline_model::{
    Health, Instance, InstanceId, Secret, ServiceName,
    caches::RedisServer,
    data::PostgresServer,
    system::{Listener, Resource},
};
use bowline_supervisor::{Event, LogQuery};

use crate::fixture::{Fixture, call, get, is_alive, probe, service, system};

#[tokio::test]
async fn replicas_become_ready_registered_and_known_by_events() {
    let fixture = Fixture::new();
    let mut order = probe("order");
    order.replicas = 2;
    let elsewhere = bowline_model::system::Service { run: None, ..service("elsewhere", "") };
    let supervisor = fixture.start([order, elsewhere]).await.unwrap();
    supervisor.ready().await.unwrap();
    let instances = fixture.registry.instances();
    assert_eq!(instances.iter().map(|instance| instance.id.as_str()).collect::<Vec<_>>(), ["order-1", "order-2"]);
    assert_ne!(instances[0].address, instances[1].address);
    for instance in &instances {
        assert_eq!(instance.health, Health::Healthy);
        assert_eq!(instance.metadata["bowline.supervised"], "true");
        let pid: u32 = instance.metadata["pid"].parse().unwrap();
        assert!(is_alive(pid));
        let started = |event: &Event| match event {
            Event::InstanceStarted { instance: id, pid, .. } if *id == instance.id => Some(*pid),
            _ => None,
        };
        assert_eq!(fixture.events.wait(started).await, pid);
        let is_healthy =
            |event: &Event| matches!(event, Event::InstanceHealthy { instance: id, .. } if *id == instance.id);
        fixture.events.wait(|event| is_healthy(event).then_some(())).await;
    }
    assert_eq!(fixture.events.lines("order-1"), ["listening"]);
    let drained = supervisor.drain().await;
    assert_eq!((drained.stopped.len(), drained.killed.len()), (2, 0));
    assert!(fixture.registry.instances().is_empty());
    for instance in &instances {
        assert!(!is_alive(instance.metadata["pid"].parse().unwrap()));
    }
}

#[tokio::test]
async fn what_processes_wrote_is_kept_without_the_secrets_they_were_given() {
    let mut fixture = Fixture::new();
    fixture.settings.token = Some(Secret::new("bwl_ab_cdefgh"));
    let (order, elsewhere) = ("order", "elsewhere");
    let run = "echo \"I have $BOWLINE_TOKEN\"; echo ill >&2; exec ${target}/probe_service";
    let supervisor = fixture.start([service(order, run)]).await.unwrap();
    supervisor.ready().await.unwrap();
    let logs = supervisor.logs();
    let read =
        |service: &str| logs.read(&ServiceName::new(service).unwrap(), &LogQuery { limit: 10, ..LogQuery::default() });
    bowline_testkit::eventually(crate::fixture::BOUND, || read(order).lines.len() >= 3).await;
    let mut told: Vec<_> = read(order).lines.into_iter().map(|line| (line.is_stderr, line.text)).collect();
    told.sort();
    let expect = [(false, "I have ***"), (false, "listening"), (true, "ill")];
    assert_eq!(told, expect.map(|(is_stderr, text)| (is_stderr, text.to_owned())));
    assert!(read(order).lines.iter().all(|line| line.instance.as_str() == "order-1" && line.at_unix_ms > 0));
    assert!(read(elsewhere).lines.is_empty());
    supervisor.drain().await;
    assert_eq!(read(order).lines.len(), 3, "whoever asks late has what was written before");
}

#[tokio::test]
async fn an_instance_has_the_credential_that_it_is_given_and_nobody_prints_it() {
    for token in [Some("bwl_ab_cd"), None] {
        let mut fixture = Fixture::new();
        fixture.settings.token = token.map(bowline_model::Secret::new);
        let supervisor = fixture.start([probe("order")]).await.unwrap();
        supervisor.ready().await.unwrap();
        let environment = get(&fixture.registry.get("order-1").unwrap().address, "/env");
        let found = environment.lines().find_map(|line| line.strip_prefix("BOWLINE_TOKEN="));
        assert_eq!(found, token);
        let printed = format!("{supervisor:?} {:?} {:?}", fixture.settings, fixture.events.all());
        assert!(!printed.contains("bwl_ab"), "{printed}");
    }
}

#[tokio::test]
async fn who_owns_a_cache_is_told_of_redis_and_all_are_told_what_they_own() {
    let mut fixture = Fixture::new();
    fixture.settings.redis_token = Some(bowline_model::Secret::new("s3cret".to_owned()));
    let (mut order, user) = (probe("order"), probe("user"));
    let position = order.position;
    order.boundary.state = vec![Resource { kind: "cache".to_owned(), name: "user-profile".to_owned(), position }];
    let redis = RedisServer { url: "redis://127.0.0.1:6379".to_owned(), credential: None };
    let mut system = system([order, user]);
    system.caches.redis = Some(redis);
    let supervisor = fixture.start_system(system).await.unwrap();
    supervisor.ready().await.unwrap();
    let told = ["order-1", "user-1"].map(|id| {
        let environment = get(&fixture.registry.get(id).unwrap().address, "/env");
        let is_meant = |line: &&str| line.starts_with("BOWLINE_REDIS") || line.starts_with("BOWLINE_CACHES");
        environment.lines().filter(is_meant).map(str::to_owned).collect::<Vec<_>>()
    });
    let [mut order, user] = told;
    order.sort();
    let redis = ["BOWLINE_REDIS=redis://127.0.0.1:6379", "BOWLINE_REDIS_TOKEN=s3cret"];
    assert_eq!(order, ["BOWLINE_CACHES=user-profile", redis[0], redis[1]]);
    assert_eq!(user, ["BOWLINE_CACHES="]);
}

#[tokio::test]
async fn an_instance_is_told_who_it_is_and_what_it_owns_and_calls() {
    let mut fixture = Fixture::new();
    fixture.settings.api = Some(([127, 0, 0, 1], 7117).into());
    let mut order = probe("order");
    order.env.insert("GREETING".to_owned(), "from ${data}".to_owned());
    order.env.insert("PORT".to_owned(), "1".to_owned());
    let position = order.position;
    let resource = |kind: &str, name: &str| Resource { kind: kind.to_owned(), name: name.to_owned(), position };
    order.boundary.data = vec![resource("sqlite", "order.db"), resource("postgres", "big")];
    order.calls = vec![call("payment")];
    let mqtt = ServiceName::new("mqtt-plain").unwrap();
    order.listen = vec![Listener { name: mqtt, addr: ([127, 0, 0, 1], 1883).into() }];
    let supervisor = fixture.start([order]).await.unwrap();
    supervisor.ready().await.unwrap();
    let instance = fixture.registry.get("order-1").unwrap();
    let environment = get(&instance.address, "/env");
    let data = fixture.settings.data_dir.display();
    let port = instance.address.to_string().rsplit_once(':').unwrap().1.to_owned();
    for line in [
        "BOWLINE_SERVICE=order".to_owned(),
        "BOWLINE_INSTANCE=order-1".to_owned(),
        "BOWLINE_SUPERVISED=1".to_owned(),
        "BOWLINE_API=http://127.0.0.1:7117".to_owned(),
        format!("BOWLINE_LISTEN={}", instance.address),
        format!("PORT={port}"),
        "BOWLINE_LISTEN_MQTT_PLAIN=127.0.0.1:1883".to_owned(),
        format!("BOWLINE_DATA_DIR={data}"),
        format!("BOWLINE_DATA_ORDER_DB=sqlite://{data}/sqlite/order.db"),
        format!("DATABASE_URL=sqlite://{data}/sqlite/order.db"),
        format!("GREETING=from {data}"),
    ] {
        assert!(environment.lines().any(|found| found == line), "{line} is not in\n{environment}");
    }
    let calls = environment.lines().find_map(|line| line.strip_prefix("BOWLINE_CALLS=")).unwrap();
    let calls: serde_json::Value = serde_json::from_str(calls).unwrap();
    assert_eq!(calls["payment"]["timeout"], "15s");
    let databases = fixture.settings.data_dir.join("sqlite");
    for (path, expected) in
        [(&fixture.settings.data_dir, 0o700), (&databases, 0o700), (&fixture.settings.data_dir.join("run"), 0o600)]
    {
        let mode = bowline_runtime::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, expected, "{}", path.display());
    }
}

#[tokio::test]
async fn who_owns_a_database_of_postgresql_is_told_where_it_is_and_nobody_prints_it() {
    let mut fixture = Fixture::new();
    fixture.settings.postgres_credential = Some(Secret::new("s3cr@t"));
    let (mut order, mut user) = (probe("order"), probe("user"));
    let position = order.position;
    let owned = |name: &str| Resource { kind: "postgres".to_owned(), name: name.to_owned(), position };
    order.boundary.data = vec![owned("shop/orders"), owned("shop/lines")];
    user.boundary.data = vec![owned("user")];
    user.env.insert("DATABASE_URL".to_owned(), "mine".to_owned());
    let mut system = system([order, user, probe("log")]);
    system.databases.postgres = PostgresServer::parse("postgres://ada@db:5432", None);
    let supervisor = fixture.start_system(system).await.unwrap();
    supervisor.ready().await.unwrap();
    let told = ["order-1", "user-1", "log-1"].map(|id| {
        let environment = get(&fixture.registry.get(id).unwrap().address, "/env");
        let is_meant = |line: &&str| {
            ["BOWLINE_DATA_SHOP=", "BOWLINE_DATA_USER=", "DATABASE_URL="].iter().any(|it| line.starts_with(it))
        };
        let mut found: Vec<_> = environment.lines().filter(is_meant).map(str::to_owned).collect();
        found.sort();
        found
    });
    let [order, user, log] = told;
    let at = "postgres://ada:s3cr%40t@db:5432";
    // Two tables of one database are in one database.
    assert_eq!(order, [format!("BOWLINE_DATA_SHOP={at}/shop"), format!("DATABASE_URL={at}/shop")]);
    assert_eq!(user, [format!("BOWLINE_DATA_USER={at}/user"), "DATABASE_URL=mine".to_owned()]);
    assert!(!log.iter().any(|line| line.starts_with("BOWLINE_DATA_")), "{log:?}");
    let printed = format!("{supervisor:?} {:?} {:?}", fixture.settings, fixture.events.all());
    assert!(!printed.contains("s3cr"), "{printed}");
}

#[tokio::test]
async fn what_an_earlier_run_left_is_removed_and_the_rest_stays() {
    let mut fixture = Fixture::new();
    let instance = |id: &str| {
        let id = InstanceId::new(id).unwrap();
        Instance::new(id, ServiceName::new("old").unwrap(), "127.0.0.1:9".parse().unwrap())
    };
    let mut left = instance("old-1");
    left.metadata.insert("bowline.supervised".to_owned(), "true".to_owned());
    fixture.registry = crate::registry::FakeRegistry::with([left, instance("by-hand")]);
    fixture.registry.fail(2);
    let supervisor = fixture.start([probe("order")]).await.unwrap();
    supervisor.ready().await.unwrap();
    assert!(fixture.registry.get("old-1").is_none());
    assert!(fixture.registry.get("by-hand").is_some());
}

#[tokio::test]
async fn a_registry_that_stays_away_fails_the_start() {
    let fixture = Fixture::new();
    fixture.registry.fail(u32::MAX);
    let error = fixture.start([probe("order")]).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot remove the registrations of an earlier run");
    assert!(error.retryable());
}

#[tokio::test]
async fn a_service_that_never_answers_well_is_named_with_all_that_is_known() {
    let mut fixture = Fixture::new();
    fixture.settings.startup_max = Duration::from_millis(500);
    let mut order = probe("order");
    order.env.insert("UNHEALTHY_FILE".to_owned(), "/".to_owned());
    let supervisor = fixture.start([order, probe("fine")]).await.unwrap();
    let error = supervisor.ready().await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("service order did not become healthy within "), "{text}");
    assert!(text.contains("instance order-1, check http://127.0.0.1:"), "{text}");
    assert!(text.ends_with("/readyz: answered with status 503"), "{text}");
    assert_eq!(error.lines(), ["listening"]);
}

#[tokio::test]
async fn a_command_that_cannot_be_run_is_not_waited_for() {
    let fixture = Fixture::new();
    let supervisor = fixture.start([service("order", "no-such-command-here --x")]).await.unwrap();
    let error = supervisor.ready().await.unwrap_err();
    assert!(error.to_string().ends_with("its process exited with status 127"), "{error}");
    assert!(error.lines()[0].contains("no-such-command-here"), "{:?}", error.lines());
}

#[tokio::test]
async fn a_missing_keeper_is_named() {
    let mut fixture = Fixture::new();
    fixture.settings.keeper = fixture.file("no-keeper");
    let supervisor = fixture.start([probe("order")]).await.unwrap();
    let error = supervisor.ready().await.unwrap_err();
    assert!(error.to_string().contains("its process could not be started: "), "{error}");
}
