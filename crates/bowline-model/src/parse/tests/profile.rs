//! What is laid over the file where a profile is chosen: `[profile.NAME]`.

use std::fmt::Write as _;

use super::{check, check_all, parse, parse_with, told};
use crate::{data::PostgresServer, parse::PROFILES_MAX, problem::Position, system::System};

const SHOP: &str = r#"name = "shop"

[service.order]
run = "./order"
replicas = 2
check = { http = "/readyz", every = "1s" }
env = { A = "1", B = "2" }

[service.order.boundary]
data = ["sqlite:order.db", "sqlite:old.db"]

[service.user]
run = "./user"

[profile.postgres.databases]
postgres = "postgres://shop@db:5432"

[profile.postgres.service.order.boundary]
data = ["postgres:order"]

[profile.postgres.service.order]
check.every = "3s"
env = { B = "3", C = "4" }

[profile.postgres.service.log]
run = "./log"

[profile.small.service.order]
replicas = 1
"#;

/// The problems of a text with that profile.
fn problems(text: &str, profile: Option<&str>) -> Vec<String> {
    parse_with(text, profile).err().unwrap_or_default().iter().map(told).collect()
}

#[test]
fn tables_are_merged_and_everything_else_is_replaced() {
    let shop = parse_with(SHOP, Some("postgres")).unwrap();
    let order = shop.service("order").unwrap();
    assert_eq!((order.run.as_deref(), order.replicas), (Some("./order"), 2));
    assert_eq!((order.check.http.as_str(), order.check.every.as_secs()), ("/readyz", 3));
    let env: Vec<_> = order.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(env, ["A=1", "B=3", "C=4"]);
    let data: Vec<_> = order.boundary.data.iter().map(ToString::to_string).collect();
    assert_eq!(data, ["postgres:order"]);
    assert_eq!(shop.databases.postgres, PostgresServer::parse("postgres://shop@db:5432", None));
    // What a profile adds comes where it stands; what it changes stays where it is.
    let names: Vec<_> = shop.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["order", "user", "log"]);
    assert_eq!(order.position, Position { line: 3, column: 10 });
    assert_eq!(order.boundary.data[0].position, Position { line: 19, column: 9 });
    assert_eq!(shop.services[2].position, Position { line: 25, column: 27 });
}

#[test]
fn nothing_changes_where_none_is_chosen() {
    let (without, _) = SHOP.split_once("[profile.").unwrap();
    assert_eq!(parse(SHOP), parse(without));
    let small = parse_with(SHOP, Some("small")).unwrap();
    let System { mut services, .. } = parse(without).unwrap();
    services[0].replicas = 1;
    assert_eq!(small.services, services);
}

#[test]
fn what_is_always_the_same_is_in_no_profile() {
    check_all(
        "name = \"t\"\n[service.a]\n$",
        r#"
[profile.p]
name = "u"
  4:1+4 `name` in a profile → move it out of the profile: a system's name, its routes and its profiles are always the same

[[profile.p.route]]
name = "r"
  3:13+5 `route` in a profile → move it out of the profile: a system's name, its routes and its profiles are always the same

[profile.p.gateway]
[profile.p.auth.x]
  3:12+7 `gateway` in a profile → move it out of the profile: a system's name, its routes and its profiles are always the same
  4:12+4 `auth` in a profile → move it out of the profile: a system's name, its routes and its profiles are always the same

[profile.p.profile.q]
  3:12+7 `profile` in a profile → move it out of the profile: a system's name, its routes and its profiles are always the same
"#,
    );
}

#[test]
fn what_is_wrong_is_told_once_whichever_is_chosen() {
    let text = r#"name = "t"
[service.a]
run = "./a"
replicaz = 2
[profile.P]
[profile.q.service.a]
replicas = 101
[profile.q.service.b]
replicas = 1
[profile.r]
databses = {}
service = 5
[profile]
s = 1
"#;
    let expect = [
        "4:1+8 unknown key `replicaz` in a service → did you mean `replicas`?",
        "5:10+1 `P` is not a name → only a-z, 0-9 and - are allowed",
        "7:12+3 `replicas` (101) is out of range (profile `q`) → write a whole number from 0 to 100",
        "9:12+1 `replicas` (1) without `run` (profile `q`) → write what to `run`, or remove `replicas`",
        "11:1+8 unknown key `databses` in the file (profile `r`) → did you mean `databases`?",
        "12:11+1 `service` is a whole number, not a table (profile `r`) → write `[service.order]`",
        "14:5+1 `s` is a whole number, not a table → write `[profile.postgres]`",
    ];
    for profile in [None, Some("q"), Some("r")] {
        assert_eq!(problems(text, profile), expect, "{profile:?}");
    }
}

#[test]
fn a_profile_that_is_not_there_is_refused_with_those_that_are() {
    let told = problems(SHOP, Some("postgre"));
    assert_eq!(
        told,
        ["15:2+7 there is no profile `postgre` → did you mean `postgres`? the file has: `postgres`, `small`"]
    );
    let told = problems(SHOP, Some("large"));
    assert_eq!(told, ["15:2+7 there is no profile `large` → the file has: `postgres`, `small`"]);
    let told = problems("name = \"t\"", Some("large"));
    let help = "the file has none: write `[profile.large]`, or leave `--profile` out";
    assert_eq!(told, [format!("1:1+1 there is no profile `large` → {help}")]);
}

#[test]
fn there_are_so_many_at_most() {
    let mut text = String::from("name = \"t\"\n");
    for number in 0..=PROFILES_MAX {
        writeln!(text, "[profile.p{number}]").unwrap();
    }
    check(&text, &["18:10+3 `profile` has 17 entries, above the limit of 16 → remove this one and those after it"]);
}
