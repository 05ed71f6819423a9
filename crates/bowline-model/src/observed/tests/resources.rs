//! B0103, B0104.

use super::*;
use crate::system::Resource;

#[track_caller]
fn check_uses(uses: &[ObservedUse], expect: &[(&'static str, Severity, &[usize])], message: &str) {
    check_shop(&observed(Vec::new(), uses.to_vec(), Vec::new()), expect, message);
}

#[test]
fn who_touches_what_another_owns_is_told_with_both_places() {
    let uses = [
        using("order", "sqlite", "order.db", Some("orders")),
        using("user", "sqlite", "order.db", Some("orders")),
        using("user", "sqlite", "order.db", Some("lines")),
    ];
    let message = "`user` touched `sqlite:order.db` (`lines`, `orders`) 4 times, which `order` owns";
    check_uses(&uses, &[("B0103", Severity::Error, &[3, 9])], message);
    let job = [using("nightly-job", "sqlite", "order.db", None)];
    check_uses(
        &job,
        &[("B0103", Severity::Error, &[9])],
        "`nightly-job` touched `sqlite:order.db` 2 times, which `order` owns",
    );
}

#[test]
fn what_nobody_owns_is_a_fault_where_two_share_it() {
    let one = [using("order", "redis", "carts", None)];
    let message = "`order` touched `redis:carts` 2 times, and nobody owns it";
    check_uses(&one, &[("B0103", Severity::Warning, &[7])], message);
    let two = [using("order", "redis", "carts", None), using("user", "redis", "carts", None)];
    let message = "`order`, `user` share `redis:carts`: each touched it, and nobody owns it";
    check_uses(&two, &[("B0103", Severity::Error, &[7, 3])], message);
    check_uses(&[using("load-test", "redis", "carts", None)], &[], "");
}

#[test]
fn tables_of_one_database_have_owners_of_their_own() {
    let mut system = shop();
    for (service, name) in [("order", "shop/orders"), ("payment", "shop/charges")] {
        let service = system.services.iter_mut().find(|known| known.name.as_str() == service).unwrap();
        let position = service.position;
        service.boundary.data.push(Resource { kind: "postgres".to_owned(), name: name.to_owned(), position });
    }
    let cases = [
        ("order", Some("orders"), ""),
        ("order", None, ""),
        ("payment", Some("charges"), ""),
        ("payment", Some("orders"), "`payment` touched `postgres:shop/orders` (`orders`) 2 times, which `order` owns"),
        ("user", None, "`user` touched `postgres:shop/orders` 2 times, which `order` owns"),
        ("user", Some("users"), "`user` touched `postgres:shop` (`users`) 2 times, and nobody owns it"),
    ];
    for (service, table, message) in cases {
        let seen = observed(Vec::new(), vec![using(service, "postgresql", "shop", table)], Vec::new());
        let violations = check(&system, &seen);
        assert_eq!(violations.first().map_or("", |violation| &*violation.message), message);
    }
}

#[test]
fn a_table_of_a_schema_has_its_owner() {
    let mut system = shop();
    for (service, name) in [("order", "shop/sales/orders"), ("payment", "shop/bank"), ("user", "shop/web/orders")] {
        let service = system.services.iter_mut().find(|known| known.name.as_str() == service).unwrap();
        let position = service.position;
        service.boundary.data.push(Resource { kind: "postgres".to_owned(), name: name.to_owned(), position });
    }
    let cases = [
        ("order", "orders", ""),
        ("order", "sales.orders", ""),
        ("payment", "bank.charges", ""),
        ("user", "orders", ""),
        (
            "user",
            "sales.orders",
            "`user` touched `postgres:shop/sales/orders` (`sales.orders`) 2 times, which `order` owns",
        ),
        ("user", "bank.charges", "`user` touched `postgres:shop/bank` (`bank.charges`) 2 times, which `payment` owns"),
    ];
    for (service, table, message) in cases {
        let seen = observed(Vec::new(), vec![using(service, "postgresql", "shop", Some(table))], Vec::new());
        let violations = check(&system, &seen);
        assert_eq!(violations.first().map_or("", |violation| &*violation.message), message, "{service} {table}");
    }
}

#[test]
fn files_of_one_name_are_one_database_only_where_they_are_one_file() {
    let touch = |service, name| using(service, "sqlite", name, Some("orders"));
    // Each its own, wherever it is.
    let own = [touch("order", "/srv/a/order.db"), touch("user", "/srv/b/user.db"), touch("order", "order.db")];
    check_uses(&own, &[], "");
    let another = [touch("order", "/srv/a/order.db"), touch("user", "/srv/b/order.db")];
    let message = "`user` touched `sqlite:/srv/b/order.db` (`orders`) 2 times, and nobody owns it";
    check_uses(&another, &[("B0103", Severity::Warning, &[3])], message);
    let violations = check(&shop(), &observed(Vec::new(), another.to_vec(), Vec::new()));
    assert!(violations[0].help.starts_with("add \"sqlite:order.db\", a name that no other file has, to `data`"));
    let same = [touch("order", "/srv/a/order.db"), touch("user", "/srv/a/order.db")];
    let message = "`user` touched `sqlite:order.db` (`orders`) 2 times, which `order` owns";
    check_uses(&same, &[("B0103", Severity::Error, &[3, 9])], message);
    let unowned = [touch("order", "/srv/a/carts.db"), touch("user", "/srv/b/carts.db")];
    let warnings = [("B0103", Severity::Warning, &[3][..]), ("B0103", Severity::Warning, &[7])];
    check_uses(&unowned, &warnings, "`user` touched `sqlite:/srv/b/carts.db` (`orders`) 2 times, and nobody owns it");
}

#[test]
fn what_is_shared_is_a_table_where_tables_are_known() {
    let touch = |service, table| using(service, "postgresql", "shop", table);
    let apart = [touch("order", Some("a2")), touch("user", Some("b2")), touch("order", Some("a3"))];
    let message = "`user` touched `postgres:shop` (`b2`) 2 times, and nobody owns it";
    check_uses(&apart, &[("B0103", Severity::Warning, &[3]), ("B0103", Severity::Warning, &[7])], message);
    let together = [touch("order", Some("web.x")), touch("user", Some("web.x")), touch("user", Some("y"))];
    let message = "`order`, `user` share `postgres:shop/web/x`: each touched it, and nobody owns it";
    let expect = [("B0103", Severity::Error, &[7, 3][..]), ("B0103", Severity::Warning, &[3])];
    check_uses(&together, &[expect[1], expect[0]], "`user` touched `postgres:shop` (`y`) 2 times, and nobody owns it");
    check_uses(&together[..2], &expect[..1], message);
    let unknown = [touch("order", None), touch("user", Some("y"))];
    let message = "`order`, `user` share `postgres:shop`: each touched it, and nobody owns it";
    check_uses(&unknown, &expect[..1], message);
}

#[test]
fn a_topic_is_written_by_its_owner_alone_and_read_by_everybody() {
    let topic =
        |service: &str, name: &str, is_written| ObservedUse { is_written, ..using(service, "topic", name, None) };
    check_uses(&[topic("order", "order.placed", true), topic("user", "order.placed", false)], &[], "");
    let message = "`user` wrote `topic:order.placed` 2 times, which `order` owns";
    check_uses(&[topic("user", "order.placed", true)], &[("B0104", Severity::Error, &[3, 10])], message);
    let message = "`user` wrote `topic:news` 2 times, and nobody owns it";
    check_uses(&[topic("user", "news", true)], &[("B0104", Severity::Warning, &[3])], message);
    // Who owns a topic owns what is below it, and no more.
    let mut system = shop();
    let order = system.services.iter_mut().find(|service| service.name.as_str() == "order").unwrap();
    let position = order.position;
    order.boundary.state.push(Resource { kind: "topic".to_owned(), name: "orders/paid".to_owned(), position });
    let written = |name: &str| {
        let seen = observed(Vec::new(), vec![topic("order", name, true)], Vec::new());
        check(&system, &seen).into_iter().map(|violation| violation.message).collect::<Vec<_>>()
    };
    assert_eq!(written("orders/paid/late"), Vec::<String>::new());
    assert_eq!(written("orders"), ["`order` wrote `topic:orders` 2 times, and nobody owns it"]);
}
