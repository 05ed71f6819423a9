//! Facts of real workspaces: folders of their own, told of by the Cargo that runs the tests.

use std::{os::unix::fs::symlink, path::PathBuf};

use bowline_model::{check::Dependency, problem::Position};
use bowline_testkit::{TempDir, temp_dir};

use super::*;

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = temp_dir();
    for (path, content) in files {
        write(&dir, path, content.as_bytes());
    }
    dir
}

fn write(dir: &TempDir, path: &str, content: &[u8]) {
    let path = dir.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::replace(&path, content).unwrap();
}

/// A workspace of packages `a` to `d`, each with a program and a library, and these dependencies.
fn workspace(dependencies: [&str; 4]) -> TempDir {
    let dir = folder(&[("Cargo.toml", "[workspace]\nresolver = '3'\nmembers = ['a', 'b', 'c', 'd']\n")]);
    for (name, dependencies) in ["a", "b", "c", "d"].into_iter().zip(dependencies) {
        let manifest = format!("[package]\nname = '{name}'\nedition = '2024'\n\n{dependencies}");
        write(&dir, &format!("{name}/Cargo.toml"), manifest.as_bytes());
        write(&dir, &format!("{name}/src/main.rs"), b"fn main() {}");
        write(&dir, &format!("{name}/src/lib.rs"), b"");
    }
    dir
}

/// A system of services, each with what it says of itself.
fn system(services: &[(&str, &str)]) -> System {
    let services = services.iter().map(|(name, keys)| format!("[service.{name}]\n{keys}\n"));
    let text = format!("name = 'shop'\n{}", services.collect::<String>());
    bowline_model::parse(&text).unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"))
}

/// Services `a` and `b`, and no more, of the packages of those names.
fn two() -> System {
    system(&[("a", "run = '${target}/release/a'"), ("b", "run = '${target}/debug/b'")])
}

/// Each dependency as `from>to: path, file:line:column`.
async fn dependencies(dir: &TempDir, system: &System) -> Vec<String> {
    let (facts, notes) = gather(dir.path(), system).await;
    assert_eq!(notes, []);
    let tell = |dependency: Dependency| {
        let Dependency { from, to, path, file, position: Position { line, column } } = dependency;
        format!("{from}>{to}: {}, {file}:{line}:{column}", path.join("-"))
    };
    facts.dependencies.into_iter().map(tell).collect()
}

/// Each table as `service: schema.table file:line`.
fn told(facts: &Facts) -> Vec<String> {
    let tell = |table: &bowline_model::check::TableUse| {
        let schema = table.schema.as_ref().map(|schema| format!("{schema}.")).unwrap_or_default();
        format!("{}: {schema}{} {}:{}", table.service, table.table, table.file, table.position.line)
    };
    facts.tables.iter().map(tell).collect()
}

#[tokio::test]
async fn a_dependency_is_where_the_manifest_has_it() {
    let check = async |needs: &str, expect: &[&str]| {
        assert_eq!(dependencies(&workspace([needs, "", "", ""]), &two()).await, expect, "{needs}");
    };
    check("", &[]).await;
    check("[dependencies]\nb = { path = '../b' }", &["a>b: a-b, a/Cargo.toml:6:1"]).await;
    check("[build-dependencies]\nx = { package = 'b', path = '../b' }", &["a>b: a-b, a/Cargo.toml:6:1"]).await;
    check("[target.'cfg(windows)'.dependencies.b]\npath = '../b'", &["a>b: a-b, a/Cargo.toml:5:37"]).await;
    check("[dev-dependencies]\nb = { path = '../b' }", &[]).await;
    check("[dependencies]\nc = { path = '../c' }", &[]).await;
}

#[tokio::test]
async fn a_dependency_leads_through_packages_that_are_nobodys() {
    let through = workspace([
        "[dependencies]\nd.path = '../d'\nc.path = '../c'\n",
        "[dependencies]\nc.path = '../c'\n",
        "[dependencies]\nb.path = '../b'\n",
        "[dependencies]\nc.path = '../c'\n",
    ]);
    // Cargo refuses a circle only when it builds.
    assert_eq!(dependencies(&through, &two()).await, ["a>b: a-c-b, a/Cargo.toml:7:1"]);
    let three = system(&[("a", "run='target/x/a'"), ("b", "run='target/x/b'"), ("c", "run='target/x/c'")]);
    assert_eq!(
        dependencies(&through, &three).await,
        ["a>c: a-c, a/Cargo.toml:7:1", "b>c: b-c, b/Cargo.toml:6:1", "c>b: c-b, c/Cargo.toml:6:1"],
        "what lies beyond a service is that service's"
    );
}

#[tokio::test]
async fn inherited_dependencies_are_followed() {
    let dir = workspace(["[dependencies]\nb.workspace = true\n", "", "", ""]);
    let root = "[workspace]\nmembers = ['a', 'b']\n\n[workspace.dependencies]\nb = { path = 'b' }\n";
    write(&dir, "Cargo.toml", root.as_bytes());
    assert_eq!(dependencies(&dir, &two()).await, ["a>b: a-b, a/Cargo.toml:6:1"]);
}

#[tokio::test]
async fn paths_lead_out_of_the_workspace_and_back() {
    let dir = workspace(["[dependencies]\nd.path = '../d'\n", "", "", "[dependencies]\nb.path = '../b'\n"]);
    write(&dir, "Cargo.toml", b"[workspace]\nmembers = ['a', 'b']\nexclude = ['d']\n");
    assert_eq!(dependencies(&dir, &two()).await, ["a>b: a-d-b, a/Cargo.toml:6:1"]);
    write(&dir, "d/Cargo.toml", b"[package");
    let (facts, notes) = gather(dir.path(), &two()).await;
    assert_eq!(facts, Facts::default());
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].to_string().starts_with("d: it is not looked at: cargo failed (exit status: 101): "), "{notes:?}");
}

#[tokio::test]
async fn files_are_named_from_the_folder_of_the_system() {
    let dir = workspace(["[dependencies]\nb.path = '../b'\n", "", "", ""]);
    write(&dir, "a/migrations/1.sql", b"CREATE TABLE x (y INT)");
    let below = dir.path().join("examples/shop");
    fs::create_dir_all(&below).unwrap();
    let (facts, notes) = gather(&below, &two()).await;
    assert_eq!(notes, []);
    assert_eq!(facts.dependencies[0].file, "../../a/Cargo.toml");
    assert_eq!(facts.tables[0].file, "../../a/migrations/1.sql");
}

#[tokio::test]
async fn a_service_is_the_package_that_it_runs_or_builds() {
    let check = async |keys: &str, expect: &[&str]| {
        let dir = workspace(["", "", "", ""]);
        for package in ["a", "b"] {
            write(&dir, &format!("{package}/migrations/1.sql"), format!("DROP TABLE in_{package}").as_bytes());
        }
        let (facts, notes) = gather(dir.path(), &system(&[("x", keys)])).await;
        let packages: Vec<&str> = facts.tables.iter().map(|table| table.table.as_str()).collect();
        assert_eq!(packages, expect, "{keys}: {notes:?}");
        notes
    };
    check("run = '${target}/release/a'\nbuild = 'cargo build -p b'", &["in_a"]).await;
    check("run = 'cargo run -p b --release'", &["in_b"]).await;
    check("run = 'cargo run --bin=a'", &["in_a"]).await;
    check("run = 'docker run b'\nbuild = 'cargo build -p b'", &["in_b"]).await;
    check(
        "run = '${target}/debug/a'\nversion = 'v1'\n[service.x.versions.v2]\nreplicas = 1\nrun = '${target}/debug/b'",
        &["in_a", "in_b"],
    )
    .await;
    let notes = check("run = 'python3 x.py'\nbuild = 'cargo build -p a -p b'", &[]).await;
    let unread = |package: &str| format!("{package}/migrations: it is not looked at: no service's package holds it");
    assert_eq!(notes.iter().map(ToString::to_string).collect::<Vec<_>>(), [unread("a"), unread("b")]);
    let notes = check("run = '${target}/debug/nothing'", &[]).await;
    assert_eq!(notes[0].to_string(), "no package of the workspace is known to be service x's");
}

#[tokio::test]
async fn migrations_of_a_package_are_read_by_their_names() {
    let dir = workspace(["", "", "", ""]);
    write(&dir, "a/migrations/2/up.SQL", b"INSERT INTO [two] VALUES (1)");
    write(&dir, "a/migrations/1.sql", b"-- the first\nCREATE TABLE one (x INT); SELECT 1 FROM s.other");
    write(&dir, "a/migrations/readme.md", b"DROP TABLE readme");
    write(&dir, "a/src/3.sql", b"DROP TABLE elsewhere");
    let (facts, notes) = gather(dir.path(), &two()).await;
    assert_eq!(notes, []);
    assert_eq!(
        told(&facts),
        ["a: one a/migrations/1.sql:2", "a: s.other a/migrations/1.sql:2", "a: two a/migrations/2/up.SQL:1",]
    );
    assert!(facts.tables[0].is_written && !facts.tables[1].is_written);
}

#[tokio::test]
async fn a_table_that_migrations_make_and_drop_is_none_any_more() {
    let check = async |files: &[(&str, &str)], expect: &[&str]| {
        let dir = workspace(["", "", "", ""]);
        for (path, text) in files {
            write(&dir, &format!("a/migrations/{path}"), text.as_bytes());
        }
        let (facts, notes) = gather(dir.path(), &two()).await;
        assert_eq!(notes, []);
        assert_eq!(told(&facts), expect, "{files:?}");
    };
    let [make, fill, done] = ["CREATE TABLE x (y INT)", "INSERT INTO x SELECT y FROM z", "DROP TABLE x"];
    check(&[("1.sql", make), ("2.sql", fill), ("10.sql", done)], &["a: z a/migrations/2.sql:1"]).await;
    check(&[("2024-01-31-x/up.sql", make), ("2024-02-01-y/up.sql", done)], &[]).await;
    check(
        &[("1_x.down.sql", done), ("1_x.up.sql", make)],
        &["a: x a/migrations/1_x.down.sql:1", "a: x a/migrations/1_x.up.sql:1"],
    )
    .await;
    check(&[("1/down.sql", done), ("1/up.sql", make), ("2/down.sql", make), ("2/up.sql", done)], &[]).await;
}

#[tokio::test]
async fn migrations_that_services_share_are_theirs_who_own_data() {
    let dir = workspace(["", "", "", ""]);
    write(&dir, "a/migrations/1.sql", b"CREATE TABLE x (y INT)");
    let run = "run = '${target}/debug/a'";
    let with_data = |name: &str| format!("{run}\n[service.{name}.boundary]\ndata = ['sqlite:{name}.db']");
    let (facts, _) = gather(dir.path(), &system(&[("p", run), ("q", &with_data("q")), ("r", run)])).await;
    assert_eq!(told(&facts), ["q: x a/migrations/1.sql:1"]);
    let (facts, _) = gather(dir.path(), &system(&[("p", run), ("q", run)])).await;
    assert_eq!(told(&facts), ["p: x a/migrations/1.sql:1", "q: x a/migrations/1.sql:1"]);
}

#[tokio::test]
async fn the_dialect_is_that_of_the_services_database() {
    let dir = workspace(["", "", "", ""]);
    write(&dir, "a/migrations/1.sql", b"INSERT INTO x VALUES ('it\\'s; DROP TABLE y')");
    let mysql = "run = '${target}/debug/a'\n[service.a.boundary]\ndata = ['cache:a', 'mysql:a']";
    let (facts, _) = gather(dir.path(), &system(&[("a", mysql)])).await;
    assert_eq!(told(&facts), ["a: x a/migrations/1.sql:1"]);
}

#[tokio::test]
async fn what_cannot_be_read_is_noted_and_the_rest_is_read() {
    let dir = workspace(["", "", "", ""]);
    write(&dir, "a/migrations/1.sql", b"DROP TABLE \xff");
    write(&dir, "a/migrations/2.sql", b"SELECT 'open");
    write(&dir, "a/migrations/3.sql", &vec![b' '; (1 << 20) + 1]);
    write(&dir, "a/migrations/4.sql", b"DROP TABLE x");
    write(&dir, "outside/5.sql", b"DROP TABLE y");
    symlink(dir.path().join("outside/5.sql"), dir.path().join("a/migrations/5.sql")).unwrap();
    symlink(dir.path().join("outside"), dir.path().join("b/migrations")).unwrap();
    let (facts, notes) = gather(dir.path(), &two()).await;
    assert_eq!(told(&facts), ["a: x a/migrations/4.sql:1"]);
    let notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        [
            "a/migrations/1.sql: it is not UTF-8",
            "a/migrations/2.sql: it is not understood as SQL at 1:8: Unterminated string literal",
            "a/migrations/3.sql: it has more than 1024 KiB",
            "a/migrations/5.sql: a link, which is not followed",
            "b/migrations: a link, which is not followed",
        ]
    );
}

#[tokio::test]
async fn what_cargo_does_not_build_has_no_facts() {
    let nothing = (Facts::default(), Vec::new());
    let python = system(&[("a", "run = 'python3 a.py'")]);
    assert_eq!(gather(folder(&[("Cargo.toml", "no manifest [")]).path(), &python).await, nothing);
    assert_eq!(gather(&PathBuf::from("/no/such/folder"), &two()).await, nothing);
}

/// Two packages side by side, each a workspace of its own, of which the first needs the second.
fn side_by_side() -> TempDir {
    folder(&[
        ("order/Cargo.toml", "[package]\nname = 'app'\n[workspace]\n[dependencies]\nuser = { path = '../user' }"),
        ("order/src/main.rs", "fn main() {}"),
        ("order/migrations/1.sql", "CREATE TABLE orders (x INT)"),
        ("user/Cargo.toml", "[package]\nname = 'user'\n[[bin]]\nname = 'app'\npath = 'src/main.rs'\n[workspace]"),
        ("user/src/main.rs", "fn main() {}"),
        ("user/src/lib.rs", ""),
        ("user/migrations/1.sql", "CREATE TABLE users (x INT)"),
    ])
}

#[tokio::test]
async fn packages_that_are_workspaces_of_their_own_are_looked_at() {
    let dir = side_by_side();
    let check = async |order: &str, user: &str| {
        let system = system(&[("order", order), ("user", user)]);
        assert_eq!(dependencies(&dir, &system).await, ["order>user: app-user, order/Cargo.toml:5:1"], "{order} {user}");
        let (facts, _) = gather(dir.path(), &system).await;
        assert_eq!(told(&facts), ["order: orders order/migrations/1.sql:1", "user: users user/migrations/1.sql:1"]);
    };
    check("run = 'order/target/release/app'", "run = 'user/target/release/app'").await;
    check("run = 'cd order && cargo run'", "run = 'cargo run --manifest-path user/Cargo.toml'").await;
    check(
        "run = './order.sh'\nbuild = 'cargo build --manifest-path=order/Cargo.toml'",
        "run = './user.sh'\nbuild = 'cd user; cargo build'",
    )
    .await;
    // The same within a workspace that has none of them.
    write(&dir, "Cargo.toml", b"[workspace]\nmembers = []\nexclude = ['order', 'user']");
    check("run = 'order/target/release/app'", "run = 'user/target/release/app'").await;
}

#[tokio::test]
async fn a_folder_that_is_named_and_cannot_be_looked_at_is_noted() {
    let dir = side_by_side();
    let run = system(&[("order", "run = 'order/target/release/app'"), ("x", "run = 'cd x && cargo run'")]);
    let (facts, notes) = gather(dir.path(), &run).await;
    let notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
    assert_eq!(told(&facts), ["order: orders order/migrations/1.sql:1"]);
    assert_eq!(
        notes,
        [
            "no package of the workspace is known to be service x's",
            "user/migrations: it is not looked at: no service's package holds it",
            "x: it is not looked at: its folder is not there: No such file or directory (os error 2)",
        ]
    );
    let (_, notes) = gather_by(OsStr::new("no-such-cargo"), dir.path(), &run).await;
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(
        notes[0].to_string().starts_with("packages and migrations are not looked at: cannot run cargo: "),
        "{notes:?}"
    );
}

#[tokio::test]
async fn migrations_of_nobodys_package_are_noted() {
    let python = system(&[("a", "run = 'python3 a.py'")]);
    let check = async |dir: &TempDir, system: &System, expect: &[&str]| {
        let (facts, notes) = gather(dir.path(), system).await;
        let notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
        assert_eq!(told(&facts), <[String; 0]>::default());
        assert_eq!(notes, expect);
    };
    let note = |folder: &str| format!("{folder}: it is not looked at: no service's package holds it");
    let script = "CREATE TABLE x (y INT)";
    let plain = folder(&[
        ("migrations/1.sql", script),
        ("services/a/migrations/1.sql", script),
        ("b/migrations/readme.md", script),
        (".c/migrations/1.sql", script),
        ("node_modules/d/migrations/1.sql", script),
    ]);
    check(&plain, &python, &[&note("migrations"), &note("services/a/migrations")]).await;
    let shared = workspace(["", "", "", ""]);
    write(&shared, "d/migrations/1.sql", script.as_bytes());
    check(&shared, &two(), &[&note("d/migrations")]).await;
}

#[tokio::test]
async fn packages_without_a_workspace_around_them_are_noted() {
    let build = |name: &str| format!("run = './{name}'\nbuild = 'cargo build -p {name}'");
    let (order, user) = (build("order"), build("user"));
    let alone = folder(&[("order/Cargo.toml", "[package]\nname = 'order'")]);
    let told = async |services: &[(&str, &str)]| {
        let (facts, notes) = gather(alone.path(), &system(services)).await;
        assert_eq!(facts, Facts::default());
        notes.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let expect = "packages and migrations are not looked at: Cargo builds service order and 1 more, and no Cargo.toml is \
        in this folder or above it";
    assert_eq!(told(&[("order", &order), ("user", &user)]).await, [expect]);
    assert_eq!(told(&[("order", &order)]).await, [expect.replace(" and 1 more", "")]);
}

#[tokio::test]
async fn a_cargo_that_fails_is_noted() {
    let dir = folder(&[("Cargo.toml", "no manifest [")]);
    let (facts, notes) = gather(dir.path(), &two()).await;
    assert_eq!((facts, notes.len()), (Facts::default(), 1));
    let note = notes[0].to_string();
    assert!(note.starts_with("the workspace is not looked at: cargo failed (exit status: 101): "), "{note}");
    assert!(!note.contains('\n'), "{note}");
    let (_, notes) = gather_by(OsStr::new("no-such-cargo"), dir.path(), &two()).await;
    assert!(notes[0].to_string().starts_with("the workspace is not looked at: cannot run cargo: "), "{notes:?}");
    let (_, notes) = gather_by(OsStr::new("true"), dir.path(), &two()).await;
    assert!(notes[0].to_string().starts_with("the workspace is not looked at: cargo's answer is not understood"));
}

#[test]
fn notes_are_bounded() {
    let mut notes = Notes::default();
    for _ in 0..NOTES_MAX + 2 {
        notes.add(None, "a note");
    }
    let notes = notes.all();
    assert_eq!(notes.len(), NOTES_MAX + 1);
    assert_eq!(notes[NOTES_MAX].message, "there are more than 100 of such notes");
}

#[tokio::test]
async fn the_shop_has_tables_of_its_own_and_no_dependencies() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop");
    let text = fs::read_to_string(dir.join("bowline.toml")).unwrap();
    let system = bowline_model::parse(&text).unwrap();
    let (facts, notes) = gather(&dir, &system).await;
    assert_eq!((facts.dependencies.as_slice(), notes.as_slice()), (&[][..], &[][..]));
    let mut tables: Vec<String> =
        told(&facts).iter().filter_map(|told| Some(told.split_once(" shop-")?.0.to_owned())).collect();
    tables.sort();
    tables.dedup();
    assert_eq!(
        tables,
        [
            "bank: cards",
            "bank: reversals",
            "bank: transfers",
            "notify: notifications",
            "order: orders",
            "order: stock",
            "payment: charges",
            "user: credentials",
            "user: signing_keys",
            "user: signing_turn",
            "user: users",
        ]
    );
}
