//! Releases of a service beside each other.

use std::collections::BTreeMap;

use bowline_model::system::Version;
use bowline_runtime::fs;

use crate::fixture::{Fixture, get, probe, service};

#[tokio::test]
async fn each_release_runs_with_its_own_command_build_and_environment() {
    let fixture = Fixture::new();
    let mut order = probe("order");
    order.version = "v1".to_owned();
    order.env = BTreeMap::from([("LEVEL".to_owned(), "1".to_owned()), ("SHARED".to_owned(), "yes".to_owned())]);
    order.versions = vec![Version {
        name: "v2".to_owned(),
        position: order.position,
        build: Some("echo built > built-v2".to_owned()),
        run: Some("echo of v2; exec ${target}/probe_service".to_owned()),
        replicas: 2,
        env: BTreeMap::from([("LEVEL".to_owned(), "${data}/2".to_owned())]),
    }];
    // Its name is that of another's release.
    let twin = service("order-v2", "${target}/probe_service");
    let supervisor = fixture.start([order, twin]).await.unwrap();
    supervisor.ready().await.unwrap();
    let instances = fixture.registry.instances();
    let who: Vec<_> = instances.iter().map(|it| (it.id.as_str(), it.service.as_str(), it.version.as_str())).collect();
    let expected = [
        ("order-1", "order", "v1"),
        ("order-v2-1", "order-v2", ""),
        ("order:v2-1", "order", "v2"),
        ("order:v2-2", "order", "v2"),
    ];
    assert_eq!(who, expected);
    assert!(fs::metadata(fixture.file("built-v2")).is_ok());
    assert_eq!(fixture.events.lines("order:v2-1")[0], "of v2");
    let level = format!("LEVEL={}/2", fixture.settings.data_dir.display());
    for (instance, expected) in [
        ("order-1", ["BOWLINE_VERSION=v1", "LEVEL=1", "SHARED=yes"]),
        ("order:v2-2", ["BOWLINE_VERSION=v2", &level, "SHARED=yes"]),
    ] {
        let environment = get(&fixture.registry.get(instance).unwrap().address, "/env");
        for line in expected.into_iter().chain(["BOWLINE_SERVICE=order"]) {
            assert!(environment.lines().any(|found| found == line), "{instance}: {line} is not in\n{environment}");
        }
    }
    let drained = supervisor.drain().await;
    assert_eq!((drained.stopped.len(), drained.killed.len()), (4, 0));
}
