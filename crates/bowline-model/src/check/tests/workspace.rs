//! What is proved of what a workspace says beside the file.

use super::check_with;
use crate::{
    Position,
    check::{Dependency, Facts, TableUse},
};

fn dependency(from: &str, to: &str, path: &[&str]) -> Dependency {
    Dependency {
        from: from.to_owned(),
        to: to.to_owned(),
        path: path.iter().map(|package| (*package).to_owned()).collect(),
        file: format!("{from}/Cargo.toml"),
        position: Position { line: 9, column: 1 },
    }
}

#[test]
fn packages() {
    let dependencies =
        vec![dependency("a", "b", &["pkg-a", "pkg-b"]), dependency("a", "c", &["pkg-a", "lib-x", "lib-y", "pkg-c"])];
    check_with(
        "name = \"t\"\n[service.a]\n[service.b]\n[service.c]\n",
        &Facts { dependencies, ..Facts::default() },
        &[
            "B0011 the package of `a` depends on that of `b` | a/Cargo.toml:9:1 `pkg-a` depends on `pkg-b`",
            "B0011 the package of `a` depends on that of `c` | a/Cargo.toml:9:1 `pkg-a` depends on `pkg-c` by way of `lib-x`, `lib-y`",
        ],
    );
}

/// Whose migration names which tables; `!` before it: it changes the table; `?` after it: it is a view.
#[track_caller]
fn check_tables(boundaries: &str, service: &str, tables: &[&str], expect: &[&str]) {
    let uses = tables.iter().enumerate().map(|(line, table)| {
        let written = table.strip_prefix('!');
        let shown = written.unwrap_or(table);
        let full = shown.trim_end_matches('?');
        let (schema, name) = match full.split_once('.') {
            Some((schema, name)) => (Some(schema.to_owned()), name),
            None => (None, full),
        };
        TableUse {
            service: service.to_owned(),
            table: name.to_owned(),
            schema,
            is_written: written.is_some(),
            is_view: full != shown,
            file: "m.sql".to_owned(),
            position: Position { line: line + 1, column: 1 },
        }
    });
    let facts = Facts { tables: uses.collect(), ..Facts::default() };
    check_with(&format!("name = \"t\"\n{boundaries}"), &facts, expect);
}

#[test]
fn tables_of_a_shared_database() {
    const SHARED: &str = "[service.order.boundary]\ndata = [\"postgres:shop/orders\"]\n\
                          [service.payment.boundary]\ndata = [\"postgres:shop/charges\", \"postgres:shop/bank\"]\n";
    check_tables(SHARED, "order", &["!orders", "public.orders", "shop.orders"], &[]);
    check_tables(
        SHARED,
        "order",
        &["!orders", "!charges", "charges"],
        &["B0012 a migration of `order` names `charges`, which belongs to `payment` \
           | m.sql:2:1 changed by a migration of `order` | m.sql:3:1 read by a migration of `order` \
           | 5:9 owned by `payment`"],
    );
    check_tables(
        SHARED,
        "order",
        &["bank.transfers"],
        &["B0012 a migration of `order` names `bank.transfers`, which belongs to `payment` \
           | m.sql:1:1 read by a migration of `order` | 5:34 owned by `payment`"],
    );
    check_tables(
        SHARED,
        "order",
        &["!parcels"],
        &["B0012 a migration of `order` names `parcels`, which is not in the `data` of `order` \
           | m.sql:1:1 changed by a migration of `order` | 3:9 what `order` owns"],
    );
}

#[test]
fn a_view_is_its_makers_unless_another_owns_it() {
    const SHARED: &str = "[service.order.boundary]\ndata = [\"postgres:shop/orders\"]\n\
                          [service.payment.boundary]\ndata = [\"postgres:shop/open\"]\n";
    check_tables(SHARED, "order", &["!orders", "!paid?", "paid?"], &[]);
    check_tables("[service.order]\n", "order", &["!paid?"], &[]);
    check_tables(
        SHARED,
        "order",
        &["!open?"],
        &["B0012 a migration of `order` names `open`, which belongs to `payment` \
           | m.sql:1:1 changed by a migration of `order` | 5:9 owned by `payment`"],
    );
}

#[test]
fn tables_of_whole_databases() {
    const WHOLE: &str = "[service.order.boundary]\ndata = [\"sqlite:order.db\"]\n\
                         [service.payment.boundary]\ndata = [\"sqlite:payment.db\", \"postgres:all/orders\"]\n";
    check_tables(WHOLE, "order", &["!orders", "main.orders", "order.x", "whatever"], &[]);
    check_tables(
        WHOLE,
        "order",
        &["payment.charges"],
        &["B0012 a migration of `order` names `payment.charges`, which belongs to `payment` \
           | m.sql:1:1 read by a migration of `order` | 5:9 owned by `payment`"],
    );
}

#[test]
fn a_schema_is_a_database_only_where_the_kind_has_it_so() {
    const BOTH: &str = "[service.order.boundary]\ndata = [\"sqlite:order.db\"]\n\
                        [service.log.boundary]\ndata = [\"sqlite:main.db\", \"postgres:public\", \"mysql:lines\"]\n";
    const SCHEMAS: &str = "[service.order.boundary]\ndata = [\"postgres:order\"]\n\
                           [service.log.boundary]\ndata = [\"postgres:log\", \"postgres:all/bank\"]\n";
    check_tables(BOTH, "order", &["main.orders", "temp.x", "public.lines", "lines.x"], &[]);
    check_tables(SCHEMAS, "order", &["log.lines", "bank.x", "bank"], &[]);
    check_tables(
        "[service.order.boundary]\ndata = [\"mysql:order\"]\n[service.log.boundary]\ndata = [\"mysql:log\"]\n",
        "order",
        &["log.lines"],
        &["B0012 a migration of `order` names `log.lines`, which belongs to `log` \
           | m.sql:1:1 read by a migration of `order` | 5:9 owned by `log`"],
    );
}

#[test]
fn a_table_is_owned_by_the_name_that_sql_lets_it_have() {
    const OWNED: &str = "[service.order.boundary]\ndata = [\"postgres:shop/_archive\", \"postgres:shop/old_/__x__\"]\n";
    check_tables(OWNED, "order", &["!_archive", "old_.__x__"], &[]);
}

#[test]
fn tables_of_who_owns_nothing_are_told_once() {
    check_tables(
        "[service.order]\n[service.payment]\n",
        "order",
        &["!orders", "!items"],
        &["B0012 a migration of `order` names `items`, and `order` owns no data \
           | m.sql:2:1 changed by a migration of `order` | 2:10 owns no data"],
    );
    check_tables("[service.order]\n", "stranger", &["!orders"], &[]);
}
