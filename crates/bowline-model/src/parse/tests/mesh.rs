//! The mesh: `[mesh]`, who makes calls, what for, and releases beside each other.

use std::{fmt::Write as _, time::Duration};

use super::{check, check_all, parse, routes_of_any, told};
use crate::{
    mesh::{Authorization, MeshPolicy, Mode},
    system::{Bind, BoundaryPolicy, Enforce, Outbound},
};

const MESH: &str = r#"name = "t"
[mesh]
$"#;
const BOUNDARY: &str = r#"name = "t"
[boundary]
$"#;
const SERVICE: &str = r#"name = "t"
[service.a]
$"#;
const VERSIONS: &str = r#"name = "t"
[service.a]
run = "./a"
version = "v1"
[service.a.versions.$"#;
const CALL: &str = r#"name = "t"
[service.payment]
boundary.api = ["POST /charges", "GET /charges/{id}", "GET /reports/**"]
[service.user]
[service.a.calls.payment]
$
[service.a.calls.user]
operations = ["DELETE /anything"]"#;

#[test]
fn a_mesh_that_is_not_right_is_told() {
    check_all(
        MESH,
        r#"
mode = "lax"
  3:8+5 `mode` ("lax") is unknown → write one of "strict", "permissive"

mode = "stric"
  3:8+7 `mode` ("stric") is unknown → did you mean "strict"?

authorization = "dry_run"
  3:17+9 `authorization` ("dry_run") is unknown → did you mean "dry-run"?

certificate_ttl = "59s"
  3:19+5 `certificate_ttl` (59s) is out of range → write a duration from 1m to 30d

certificate_ttl = "31d"
  3:19+5 `certificate_ttl` (31d) is out of range → write a duration from 1m to 30d

certificate_ttl = 60
  3:19+2 `certificate_ttl` is a whole number, not a string → write `certificate_ttl = "1h"`

ttl = "1h"
  3:1+3 unknown key `ttl` in a mesh → a mesh has: mode, authorization, certificate_ttl
"#,
    );
    check("name = \"t\"\nmesh = true", &["2:8+4 `mesh` is a boolean, not a table → write `[mesh]`"]);
}

#[test]
fn what_becomes_of_who_breaks_a_boundary_is_checked() {
    check_all(
        BOUNDARY,
        r#"
enforce = "dany"
  3:11+6 `enforce` ("dany") is unknown → did you mean "deny"?

enforce = true
  3:11+4 `enforce` is a boolean, not a string → write `enforce = "deny"`

amplification_max = 0
  3:21+1 `amplification_max` (0) is out of range → write a whole number from 1 to 1000000

amplification_max = 1000001
  3:21+7 `amplification_max` (1000001) is out of range → write a whole number from 1 to 1000000

api = ["GET /"]
  3:1+3 unknown key `api` in the boundary section → the boundary section has: enforce, amplification_max

enforce = "deny"
mesh.authorization = "dry-run"
  4:1+4 unknown key `mesh` in the boundary section → the boundary section has: enforce, amplification_max

enforce = "deny"
[mesh]
authorization = "dry-run"
  5:17+9 `authorization` ("dry-run") contradicts `enforce = "deny"` of `[boundary]` → remove it, which means "enforce" then, or change `enforce`

enforce = "off"
[mesh]
authorization = "enforce"
  5:17+9 `authorization` ("enforce") contradicts `enforce = "off"` of `[boundary]` → remove it, which means "off" then, or change `enforce`
"#,
    );
}

/// What the mesh demands by these lines of `[boundary]` and of `[mesh]`.
#[track_caller]
fn check_effective(boundary: &str, mesh: &str, enforce: Enforce, authorization: Authorization) {
    let system = parse(&format!("name = \"t\"\n[mesh]\n{mesh}\n[boundary]\n{boundary}")).unwrap();
    assert_eq!(system.boundaries.enforce, enforce, "{boundary} {mesh}");
    assert_eq!(system.mesh.map(|mesh| mesh.authorization), Some(authorization), "{boundary} {mesh}");
}

#[test]
fn the_mesh_demands_what_boundaries_demand_unless_it_says_otherwise() {
    check_effective("", "", Enforce::Deny, Authorization::Enforce);
    check_effective("enforce = \"deny\"", "", Enforce::Deny, Authorization::Enforce);
    check_effective("enforce = \"warn\"", "", Enforce::Warn, Authorization::DryRun);
    check_effective("enforce = \"off\"", "", Enforce::Off, Authorization::Off);
    check_effective("enforce = \"warn\"", "authorization = \"dry-run\"", Enforce::Warn, Authorization::DryRun);
    check_effective("enforce = \"off\"", "authorization = \"off\"", Enforce::Off, Authorization::Off);
    // Where nothing is written of boundaries, the mesh is free.
    check_effective("amplification_max = 7", "authorization = \"dry-run\"", Enforce::Deny, Authorization::DryRun);
    check_effective("", "authorization = \"off\"", Enforce::Deny, Authorization::Off);
}

#[test]
fn where_a_service_stands_in_the_mesh_is_checked() {
    check_all(
        SERVICE,
        r#"
outbound = "app"
  3:12+5 `outbound` ("app") is unknown → did you mean "application"?

bind = "tcp"
  3:8+5 `bind` ("tcp") is unknown → write one of "unix", "port"

version = "-v"
  3:11+4 `version` ("-v") is not a version → a version has 1 to 63 of a-z, A-Z, 0-9 and inner . _ -

run = "./a"
[service.a.versions.v2]
  4:12+8 `versions` without `version`, which names the release that the service's `run` is → write `version = "v1"` in the service's section

version = "v1"
[service.a.versions.v2]
  4:21+2 there is nothing to run as `v2` → write what to `run`, here or in the service's section
"#,
    );
}

#[test]
fn versions_are_checked() {
    check_all(
        VERSIONS,
        r#"
v1]
  5:21+2 `v1` is the service's own `version` → give one of them another name

"v 2"]
  5:21+5 `v 2` is not a version → a version has 1 to 63 of a-z, A-Z, 0-9 and inner . _ -

v2]
run = ""
  6:7+2 `run` ("") is not a command → write a shell command, or leave the key out

v2]
replicas = 101
  6:12+3 `replicas` (101) is out of range → write a whole number from 0 to 100

v2]
env = { PORT = "1" }
  6:9+4 `PORT` is set by Bowline itself → remove it, or give it another name

v2]
check = { http = "/x" }
  6:1+5 unknown key `check` in a version → a version has: build, run, replicas, env
"#,
    );
    let mut text = "name = \"t\"\n[service.a]\nrun = \"x\"\nversion = \"v0\"\n".to_owned();
    for index in 1..=16 {
        writeln!(text, "[service.a.versions.v{index}]").unwrap();
    }
    check(&text, &["20:21+3 `versions` has 16 entries, above the limit of 15 → remove this one and those after it"]);
}

#[test]
fn calls_are_for_what_is_offered() {
    check_all(
        CALL,
        r#"
operations = ["POST /charges", "GET /charges/{key}", "GET /charges/5", "GET /reports/**", "GET /reports/a/{b}"]

operations = ["POST /charges", "POST /charges"]
  6:32+15 `operations` has this twice → remove one of them

operations = ["POST"]
  6:15+6 `operations` ("POST") is not an operation → write a method and a path: "GET /orders/{id}"

operations = []
  6:14+2 `operations` is empty, which would allow nothing → name one, or leave the key out for all

operations = "POST /charges"
  6:14+15 `operations` is a string, not a list → write `operations = ["POST /charges"]`
"#,
    );
}

#[test]
fn what_is_right_is_read() {
    let text = r#"name = "t"
[mesh]
mode = "permissive"
authorization = "dry-run"
certificate_ttl = "1m"
[service.order]
outbound = "application"
bind = "port"
build = "make"
run = "./order"
version = "v1"
[service.order.versions."2.0"]
run = "./order-2"
replicas = 3
env = { A = "1" }
[service.order.versions.v3]
[service.order.calls.payment]
operations = ["POST /charges"]
[service.payment]
"#;
    let system = parse(text).unwrap();
    let ttl = Duration::from_mins(1);
    let policy = MeshPolicy { mode: Mode::Permissive, authorization: Authorization::DryRun, certificate_ttl: ttl };
    assert_eq!(system.mesh, Some(policy));
    let order = system.service("order").unwrap();
    assert_eq!((order.outbound, order.bind, order.version.as_str()), (Outbound::Application, Bind::Port, "v1"));
    let versions: Vec<_> = order.versions.iter().map(|v| (v.name.as_str(), v.run.as_deref(), v.replicas)).collect();
    assert_eq!(versions, [("2.0", Some("./order-2"), 3), ("v3", None, 1)]);
    assert_eq!(order.versions[0].env["A"], "1");
    let operation = &order.calls[0].operations[0];
    assert_eq!((operation.method.as_str(), String::from(operation.path.clone())), ("POST", "/charges".to_owned()));
    let payment = system.service("payment").unwrap();
    assert_eq!((payment.outbound, payment.bind, payment.version.as_str()), (Outbound::Sidecar, Bind::Unix, ""));

    assert_eq!(parse("name = \"t\"\n[mesh]").unwrap().mesh, Some(MeshPolicy::default()));
    assert_eq!(parse("name = \"t\"").unwrap().mesh, None);

    let text = "name = \"t\"\n[boundary]\nenforce = \"warn\"\namplification_max = 1000000\n";
    let policy = BoundaryPolicy { enforce: Enforce::Warn, amplification_max: 1_000_000 };
    assert_eq!(parse(text).unwrap().boundaries, policy);
    assert_eq!(parse("name = \"t\"").unwrap().boundaries, BoundaryPolicy::default());
}

#[test]
fn routes_are_read_where_the_services_are_not_known() {
    let text = "[[route]]\nname = \"r\"\nbackends = [{ service = \"whoever\" }]\n";
    assert_eq!(routes_of_any(text).unwrap().routes[0].backends[0].service.as_str(), "whoever");
    let faulty = routes_of_any(&format!("{text}auth = \"nobody\"\n")).unwrap_err();
    assert_eq!(
        faulty.iter().map(told).collect::<Vec<_>>(),
        ["4:8+8 unknown auth `nobody` → declare it with `[auth.nobody]`"]
    );
}
