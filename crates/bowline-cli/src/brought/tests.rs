//! What becomes of a file's documents: in a store of their own, judged as a running Bowline does.

use std::{
    fs,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_runtime::metric;
use bowline_server::{Node, Settings};
use bowline_testkit::TempDir;

use super::*;

const SCHEMA: &str = r#"{"properties": {"a": {"maximum": 9}, "b": {"maximum": 9}}}"#;

/// A node without an API; `routes` judges its routes.
async fn node(dir: &TempDir, routes: RoutesCheck) -> Node {
    let settings =
        Settings { traces_bytes_max: 16 << 20, grace: Duration::ZERO, ..Settings::new(dir.path().join("data")) };
    Node::start_with_routes(settings, metric::Registry::default(), routes).await.unwrap()
}

fn any_routes() -> RoutesCheck {
    RoutesCheck::new(|_| Ok(()))
}

fn key() -> ConfigKey {
    ConfigKey::new("shop/order").unwrap()
}

fn toml(text: &str) -> Document {
    Document::new(Format::Toml, text)
}

fn brought(text: &str, schema: Option<&str>) -> Brought {
    Brought { key: key(), document: Some(toml(text)), schema: schema.map(ToOwned::to_owned) }
}

fn routes(service: &str) -> Document {
    toml(&format!(
        "[[route]]\nname = \"r\"\nmatches = [{{ path = \"/\" }}]\nbackends = [{{ service = \"{service}\" }}]\n"
    ))
}

fn services(names: &[&str]) -> Vec<ServiceName> {
    names.iter().map(|name| ServiceName::new(name).unwrap()).collect()
}

async fn published(node: &Node, brought: &Brought) -> Vec<String> {
    publish(&*node.config(), std::slice::from_ref(brought), &[]).await.unwrap()
}

/// Through the API, by `ops`.
async fn set(node: &Node, key: &ConfigKey, document: Document) -> u64 {
    let draft = Draft::new(document, Author::new("ops").unwrap());
    node.config().set_config(key, draft).await.unwrap().number
}

/// The number of the current version, its text, and which way it came.
async fn live(node: &Node, key: &ConfigKey) -> (u64, String, Origin) {
    let current = node.config().get_config(key).await.unwrap().unwrap();
    (current.number, current.document.text, current.origin)
}

#[tokio::test]
async fn a_new_key_is_published_once() {
    let dir = bowline_testkit::temp_dir();
    let node = node(&dir, any_routes()).await;
    for _ in 0..2 {
        assert_eq!(published(&node, &brought("a = 1", Some(SCHEMA))).await, [""; 0]);
        assert_eq!(live(&node, &key()).await, (1, "a = 1".to_owned(), Origin::File));
        assert_eq!(node.config().get_schema(&key()).await.unwrap().as_deref(), Some(SCHEMA));
    }
    // What the file says otherwise is published, without a word: it is what it says.
    assert_eq!(published(&node, &brought("a = 2", Some(SCHEMA))).await, [""; 0]);
    assert_eq!(live(&node, &key()).await, (2, "a = 2".to_owned(), Origin::File));
    node.stop().await;
}

#[tokio::test]
async fn what_came_through_the_api_stays_until_the_file_changes() {
    let dir = bowline_testkit::temp_dir();
    let node = node(&dir, any_routes()).await;
    published(&node, &brought("a = 1", None)).await;
    // More often than versions are kept.
    for number in 0..=VERSIONS_MAX {
        set(&node, &key(), toml(&format!("a = {number}"))).await;
    }
    let notes = published(&node, &brought("a = 1", None)).await;
    assert_eq!(notes, ["shop/order stays at version 102, which ops published after bowline.toml's"]);
    assert_eq!(live(&node, &key()).await, (102, "a = 100".to_owned(), Origin::Api));
    let notes = published(&node, &brought("a = 2", None)).await;
    assert!(
        notes[0].contains("`bowline config get shop/order --version 102`") && notes[0].contains("ops"),
        "{notes:?}"
    );
    assert_eq!(live(&node, &key()).await, (103, "a = 2".to_owned(), Origin::File));
    node.stop().await;
}

#[tokio::test]
async fn what_was_deleted_is_published_again() {
    let dir = bowline_testkit::temp_dir();
    let node = node(&dir, any_routes()).await;
    published(&node, &brought("a = 1", None)).await;
    node.config().delete_config(&key(), None).await.unwrap();
    assert_eq!(published(&node, &brought("a = 1", None)).await, [""; 0]);
    assert_eq!(live(&node, &key()).await, (2, "a = 1".to_owned(), Origin::File));
    node.stop().await;
}

#[tokio::test]
async fn routes_that_name_a_service_no_more_declared_give_way() {
    let dir = bowline_testkit::temp_dir();
    let node = node(&dir, any_routes()).await;
    let of_file = [Brought { key: ConfigKey::routes(), document: Some(routes("a")), schema: None }];
    publish(&*node.config(), &of_file, &services(&["a", "b"])).await.unwrap();
    set(&node, &ConfigKey::routes(), routes("b")).await;
    let notes = publish(&*node.config(), &of_file, &services(&["a", "b"])).await.unwrap();
    assert!(notes[0].contains("bowline/routes stays at version 2"), "{notes:?}");
    let notes = publish(&*node.config(), &of_file, &services(&["a"])).await.unwrap();
    assert!(notes[0].contains("--version 2"), "{notes:?}");
    assert_eq!(live(&node, &ConfigKey::routes()).await, (3, routes("a").text, Origin::File));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_through_the_api_meanwhile_is_not_overwritten() {
    let dir = bowline_testkit::temp_dir();
    let (config, runtime) = (Arc::<OnceLock<Arc<dyn ConfigManager>>>::default(), tokio::runtime::Handle::current());
    let is_due = Arc::<AtomicBool>::default();
    let judge = RoutesCheck::new({
        let (config, is_due) = (Arc::clone(&config), Arc::clone(&is_due));
        move |_| {
            // While the file's routes are judged, somebody publishes others.
            if is_due.swap(false, Relaxed) {
                let draft = Draft::new(routes("b"), Author::new("ops").unwrap());
                runtime.block_on(config.get().unwrap().set_config(&ConfigKey::routes(), draft)).unwrap();
            }
            Ok(())
        }
    });
    let node = node(&dir, judge).await;
    assert!(config.set(node.config()).is_ok());
    let of_file = [Brought { key: ConfigKey::routes(), document: Some(routes("a")), schema: None }];
    publish(&*node.config(), &of_file, &services(&["a", "b"])).await.unwrap();
    node.config().delete_config(&ConfigKey::routes(), None).await.unwrap();
    is_due.store(true, Relaxed);
    let notes = publish(&*node.config(), &of_file, &services(&["a", "b"])).await.unwrap();
    assert!(notes[0].contains("bowline/routes stays at version 2"), "{notes:?}");
    assert_eq!(live(&node, &ConfigKey::routes()).await, (2, routes("b").text, Origin::Api));
    node.stop().await;
}

#[tokio::test]
async fn a_document_that_breaks_its_schema_is_refused_with_every_rule() {
    let dir = bowline_testkit::temp_dir();
    let node = node(&dir, any_routes()).await;
    let refused = async |brought: &Brought| {
        let error = publish(&*node.config(), std::slice::from_ref(brought), &[]).await.unwrap_err();
        format!("{error:#}")
    };
    let told = refused(&brought("a = 10\nb = 10", Some(SCHEMA))).await;
    assert!(told.starts_with("cannot publish shop/order of bowline.toml: "), "{told}");
    assert!(told.contains("\n  /a: ") && told.contains("\n  /b: ") && told.contains("(maximum)"), "{told}");
    assert_eq!(node.config().get_config(&key()).await.unwrap(), None);
    assert_eq!(node.config().get_schema(&key()).await.unwrap(), None);
    // A schema that the file names no more holds still: what to do is told.
    published(&node, &brought("a = 1", Some(SCHEMA))).await;
    let told = refused(&brought("a = 10", None)).await;
    assert!(told.contains("/a: ") && told.contains("names no `schema`"), "{told}");
    published(&node, &brought("a = 10", Some("{}"))).await;
    let told = refused(&brought("a = 11", Some("{"))).await;
    assert!(told.contains("the schema cannot be used"), "{told}");
    node.stop().await;
}

#[tokio::test]
async fn a_schema_that_changes_alone_is_set_unless_what_is_live_breaks_it() {
    let dir = bowline_testkit::temp_dir();
    let node = node(&dir, any_routes()).await;
    published(&node, &brought("a = 1", None)).await;
    assert_eq!(published(&node, &brought("a = 1", Some(SCHEMA))).await, [""; 0]);
    assert_eq!(node.config().get_schema(&key()).await.unwrap().as_deref(), Some(SCHEMA));
    set(&node, &key(), toml("a = 9")).await;
    let narrow = SCHEMA.replace('9', "8");
    let notes = published(&node, &brought("a = 1", Some(&narrow))).await;
    assert!(
        notes[0].starts_with("shop/order keeps its old schema: what is live breaks the new one: /a: "),
        "{notes:?}"
    );
    assert_eq!(node.config().get_schema(&key()).await.unwrap().as_deref(), Some(SCHEMA));
    assert_eq!(live(&node, &key()).await.0, 2);
    node.stop().await;
}

#[tokio::test]
async fn a_schema_may_come_without_a_document() {
    let dir = bowline_testkit::temp_dir();
    let node = node(&dir, any_routes()).await;
    let alone = Brought { document: None, ..brought("", Some(SCHEMA)) };
    assert_eq!(published(&node, &alone).await, [""; 0]);
    assert_eq!(node.config().get_schema(&key()).await.unwrap().as_deref(), Some(SCHEMA));
    set(&node, &key(), toml("a = 9")).await;
    assert_eq!(published(&node, &alone).await, [""; 0], "there is no document of the file to stay behind");
    assert_eq!(live(&node, &key()).await, (1, "a = 9".to_owned(), Origin::Api));
    node.stop().await;
}

const SYSTEM: &str = r#"name = "s"
[service.a]
[[route]]
name = "r"
matches = [{ path = "/" }]
backends = [{ service = "a" }]
[config."s/one"]
document = "one.json"
schema = "one.schema.json"
[config."s/two"]
document = "two.txt"
"#;

#[test]
fn files_are_read_beside_the_systems_own() {
    let dir = bowline_testkit::temp_dir();
    let system = parse::parse(SYSTEM).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    write("one.json", b"{}");
    write("one.schema.json", SCHEMA.as_bytes());
    write("two.txt", b"x");
    let all = read(&system, SYSTEM, dir.path()).unwrap();
    let keys: Vec<&str> = all.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(keys, ["bowline/routes", "bowline/tracing", "s/one", "s/two", "bowline/alerts"]);
    let documents: Vec<Document> = all.iter().filter_map(|one| one.document.clone()).collect();
    assert!(documents[0].text.starts_with("[[route]]") && !documents[0].text.contains("config"));
    assert_eq!(documents[1], Document::new(Format::Json, r#"{"sample":"100%"}"#));
    assert_eq!(documents[2..4], [Document::new(Format::Json, "{}"), Document::new(Format::Text, "x")]);
    assert_eq!(all[2].schema.as_deref(), Some(SCHEMA));
    assert_eq!(all[3].schema, None);

    // All that is wrong is told at once, each at its place.
    fs::remove_file(dir.path().join("one.json")).unwrap();
    write("one.schema.json", &vec![b' '; SCHEMA_BYTES_MAX + 1]);
    write("two.txt", b"\xff");
    let problems = read(&system, SYSTEM, dir.path()).unwrap_err();
    let told: Vec<(usize, &str)> = problems.iter().map(|it| (it.position.line, it.message.as_str())).collect();
    assert_eq!((told.len(), told[0].0, told[1].0, told[2].0), (3, 7, 7, 10), "{told:?}");
    for ((_, message), parts) in
        told.iter().zip([["one.json", "s/one"], ["one.schema.json", "more than 262144 bytes"], ["two.txt", "UTF-8"]])
    {
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}

#[tokio::test]
async fn routes_are_judged_by_the_systems_services_and_faults_have_a_place() {
    let dir = bowline_testkit::temp_dir();
    let node = node(&dir, routes_check(&parse::parse(SYSTEM).unwrap())).await;
    set(&node, &ConfigKey::routes(), routes("a")).await;
    let draft = Draft::new(routes("elsewhere"), Author::anonymous());
    let error = node.config().set_config(&ConfigKey::routes(), draft).await.unwrap_err();
    let Error::Rejected { violations } = error else { panic!("{error:?}") };
    assert!(violations[0].path.starts_with("line 4, column "), "{violations:?}");
    assert!(violations[0].detail.contains("elsewhere"), "{violations:?}");
    node.stop().await;
}
