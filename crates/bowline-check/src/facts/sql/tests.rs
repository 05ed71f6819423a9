//! Which tables scripts name: by statement, and that no text is too strange.

use proptest::prelude::*;

use super::*;

/// Each table as `schema.table`, with `!` where it is written, and `?` where it is a view.
fn tell(named: Named) -> String {
    let Named { schema, table, is_written, is_view, position: _ } = named;
    let schema = schema.map(|schema| schema + ".").unwrap_or_default();
    format!("{schema}{table}{}{}", if is_written { "!" } else { "" }, if is_view { "?" } else { "" })
}

/// The tables that a script alone names.
fn tables(text: &str, dialect: Dialect) -> Result<Vec<Named>, Error> {
    let mut scripts = Scripts::new(dialect);
    let names = scripts.read(text, Way::Up)?;
    Ok(scripts.lasting(names))
}

fn told(text: &str, dialect: Dialect) -> Vec<String> {
    tables(text, dialect).unwrap().into_iter().map(tell).collect()
}

/// What lasts of each of several scripts, in every dialect; `-` before it: it undoes.
#[track_caller]
fn check_all<const N: usize>(scripts: [(&str, &[&str]); N]) {
    for dialect in ALL {
        let mut read = Scripts::new(dialect);
        let names = scripts.map(|(text, _)| {
            let undoing = text.strip_prefix('-');
            let way = if undoing.is_some() { Way::Down } else { Way::Up };
            read.read(undoing.unwrap_or(text), way).unwrap()
        });
        for (names, (text, expect)) in names.into_iter().zip(scripts) {
            let told: Vec<String> = read.lasting(names).into_iter().map(tell).collect();
            assert_eq!(told, expect, "{dialect:?}: {text}");
        }
    }
}

const ALL: [Dialect; 5] = [Dialect::Sqlite, Dialect::Postgres, Dialect::Mysql, Dialect::SqlServer, Dialect::Any];

/// The same in every dialect.
#[track_caller]
fn check(text: &str, expect: &[&str]) {
    for dialect in ALL {
        assert_eq!(told(text, dialect), expect, "{dialect:?}: {text}");
    }
}

#[track_caller]
fn check_in(dialect: Dialect, text: &str, expect: &[&str]) {
    assert_eq!(told(text, dialect), expect, "{text}");
}

#[test]
fn what_makes_changes_and_drops_tables_writes_them() {
    check("CREATE TABLE orders (id TEXT PRIMARY KEY) STRICT;", &["orders!"]);
    check("create table if not exists shop.orders (id int)", &["shop.orders!"]);
    check("CREATE VIRTUAL TABLE texts USING fts5(body);", &["texts!"]);
    check("CREATE OR REPLACE VIEW paid AS SELECT * FROM orders WHERE is_paid", &["paid!?", "orders"]);
    check("CREATE MATERIALIZED VIEW sums AS SELECT sum(a) FROM b GROUP BY c, d", &["sums!?", "b"]);
    check("ALTER TABLE IF EXISTS ONLY orders ADD COLUMN a INT, DROP COLUMN b", &["orders!"]);
    check("ALTER TABLE orders RENAME TO old_orders", &["orders!", "old_orders!"]);
    check("ALTER TABLE shop.orders RENAME COLUMN a TO b", &["shop.orders!"]);
    check("ALTER TABLE orders ATTACH PARTITION may FOR VALUES FROM (1) TO (2)", &["orders!", "may!"]);
    check("DROP TABLE IF EXISTS a, b.c CASCADE; DROP VIEW d", &["a!", "b.c!", "d!?"]);
    check("RENAME TABLE a TO b, c TO d", &["a!", "b!", "c!", "d!"]);
    check("TRUNCATE TABLE ONLY a, b RESTART IDENTITY; truncate c", &["a!", "b!", "c!"]);
    check("CREATE TABLE may PARTITION OF orders FOR VALUES FROM ('a') TO ('b')", &["may!", "orders!"]);
}

#[test]
fn indexes_triggers_and_policies_are_of_their_table() {
    check("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON ONLY a (x) WHERE x > 0", &["a!"]);
    check("CREATE INDEX ON a USING btree (x)", &["a!"]);
    check("DROP INDEX i; DROP INDEX j ON a; DROP TRIGGER t ON b", &["a!", "b!"]);
    check("CREATE TRIGGER t AFTER UPDATE OF x, y ON a FOR EACH ROW EXECUTE FUNCTION f()", &["a!"]);
    check(
        "CREATE TRIGGER t BEFORE INSERT OR DELETE ON a BEGIN UPDATE b SET c = 1; DELETE FROM d; END",
        &["a!", "b!", "d!"],
    );
    check("CREATE TRIGGER t AFTER INSERT ON a FOR EACH ROW INSERT INTO log VALUES (NEW.id)", &["a!", "log!"]);
    check("CREATE POLICY p ON a FOR UPDATE USING (owner = current_user)", &["a!"]);
}

#[test]
fn rows_are_written_and_read() {
    check("INSERT INTO a (x, y) VALUES (1, 2) ON CONFLICT (x) DO UPDATE SET y = excluded.y", &["a!"]);
    check("INSERT OR IGNORE INTO a SELECT x FROM b, c AS d, e f", &["a!", "b", "c", "e"]);
    check("REPLACE INTO a SELECT replace(x, 'a', 'b') FROM b", &["a!", "b"]);
    check("UPDATE a SET x = (SELECT max(y) FROM b), z = 1 FROM c WHERE c.id IN (1, 2)", &["a!", "b", "c"]);
    check("DELETE FROM a USING b JOIN c USING (id) WHERE a.x = b.x", &["a!", "b", "c"]);
    check("DELETE FROM a WHERE EXISTS (SELECT 1 FROM b)", &["a!", "b"]);
    check(
        "MERGE INTO a USING b ON a.x = b.x WHEN MATCHED THEN UPDATE SET y = 1 WHEN NOT MATCHED THEN INSERT (x) VALUES (1)",
        &["a!", "b"],
    );
    check(
        "SELECT * FROM a LEFT JOIN b ON f(a.x, b.y), c CROSS JOIN (d JOIN e ON true) ORDER BY x, y",
        &["a", "b", "c", "d", "e"],
    );
    check("SELECT 1 FROM a UNION SELECT 2 FROM b", &["a", "b"]);
    check("CREATE TABLE a AS SELECT * FROM (SELECT * FROM b) AS c, d", &["a!", "b", "d"]);
    check_in(Dialect::Sqlite, "UPDATE OR IGNORE a SET x = 1", &["a!"]);
    check_in(Dialect::Mysql, "UPDATE a JOIN b ON a.x = b.x SET a.y = 1", &["a!", "b"]);
    check_in(Dialect::Mysql, "DELETE x FROM a AS x JOIN b ON x.y = b.y", &["a!", "b"]);
    check_in(Dialect::Mysql, "LOAD DATA INFILE 'a.csv' INTO TABLE a", &["a!"]);
}

#[test]
fn what_a_table_refers_to_is_read() {
    check("CREATE TABLE a (b INT REFERENCES b (id) ON DELETE CASCADE ON UPDATE SET NULL)", &["a!", "b"]);
    check("ALTER TABLE a ADD CONSTRAINT c FOREIGN KEY (x) REFERENCES s.b", &["a!", "s.b"]);
    check("CREATE TABLE a (LIKE b INCLUDING ALL, x INT) INHERITS (c, d)", &["a!", "b", "c", "d"]);
    check("CREATE TABLE a LIKE b", &["a!", "b"]);
}

#[test]
fn copied_rows_are_no_sql() {
    let text = "COPY a (x, y) FROM stdin;\n1\tDROP TABLE b;\n\\.\nCOPY c TO STDOUT;\nSELECT 1 FROM d;";
    check_in(Dialect::Postgres, text, &["a!", "c", "d"]);
    check_in(Dialect::Postgres, "COPY (SELECT * FROM a) TO STDOUT", &["a"]);
}

#[test]
fn common_table_expressions_are_no_tables() {
    check("WITH x AS (SELECT * FROM a), y (p, q) AS (SELECT 1, 2 FROM x) SELECT * FROM x, y, b", &["a", "b"]);
    check("INSERT INTO a WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n", &["a!"]);
    check("WITH x AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM x; SELECT 1 FROM x", &["a!", "b!", "x"]);
    check("WITH x AS NOT MATERIALIZED (SELECT 1 FROM a) UPDATE b SET c = 1 FROM x", &["a", "b!"]);
    check("SELECT * FROM (WITH x AS (SELECT 1) SELECT * FROM x) AS y, x", &["x"]);
    // Its own name is the table's, within what defines it, where it is not recursive.
    check_in(Dialect::Postgres, "WITH a AS (SELECT * FROM a) SELECT * FROM a", &["a"]);
    check_in(Dialect::Sqlite, "WITH a AS (SELECT * FROM a) SELECT * FROM a", &[]);
    // Rows are deleted through it in SQL Server alone.
    check_in(Dialect::SqlServer, "WITH x AS (SELECT * FROM a) DELETE FROM x WHERE n > 1", &["a"]);
    check_in(Dialect::Postgres, "WITH x AS (SELECT * FROM a) DELETE FROM x WHERE n > 1", &["a", "x!"]);
}

#[test]
fn functions_and_other_froms_are_no_tables() {
    check("SELECT extract(year FROM x), trim(both 'a' FROM y), substring(z FROM 2) FROM a", &["a"]);
    check("SELECT a IS NOT DISTINCT FROM b, c IS DISTINCT FROM d FROM e", &["e"]);
    check("SELECT * FROM json_each(a.b) AS c, generate_series(1, 2), LATERAL (SELECT 1 FROM d) AS e", &["d"]);
    check("SELECT * FROM ROWS FROM (f(1), g(2)) AS x (a, b), h", &["h"]);
    check("SELECT * FROM (VALUES (1, 2), (3, 4)) AS x (a, b)", &[]);
    check("REVOKE SELECT, UPDATE ON a FROM b; GRANT INSERT ON c TO d; COMMENT ON TABLE e IS 'f'", &[]);
    check("SELECT 1 FROM a FOR UPDATE OF a", &["a"]);
    check("CREATE FUNCTION f() RETURNS TABLE (x INT) LANGUAGE sql", &[]);
    check("SELECT 1 FROM information_schema.tables, pg_catalog.pg_class, sqlite_master, pg_class, dual", &[]);
}

#[test]
fn temporary_tables_are_nobodys() {
    check("CREATE TEMP TABLE x AS SELECT * FROM a; INSERT INTO b SELECT * FROM x; DROP TABLE x", &["a", "b!"]);
    check("CREATE TEMPORARY TABLE x (y INT); DROP TABLE x; DELETE FROM x", &["x!"]);
    check_in(Dialect::SqlServer, "SELECT * FROM #x, @y, a", &["a"]);
}

#[test]
fn a_table_that_comes_and_goes_is_no_bodys_business() {
    let anew = "CREATE TABLE new (x INT); INSERT INTO new SELECT x FROM a; DROP TABLE a; ALTER TABLE new RENAME TO a;";
    check(anew, &["a!"]);
    check("CREATE TABLE x (y INT); INSERT INTO x VALUES (1); DROP TABLE x", &[]);
    check("DROP TABLE x; CREATE TABLE x (y INT)", &["x!"]);
    check("CREATE TABLE IF NOT EXISTS x (y INT); DROP TABLE IF EXISTS x", &[]);
    check("ALTER TABLE a RENAME TO b; DROP TABLE b", &["a!", "b!"]);
    check("SELECT 1 FROM x; CREATE TABLE IF NOT EXISTS x (y INT); DROP TABLE x", &["x!"]);
    check("CREATE TABLE x (y INT); ALTER TABLE x SET SCHEMA old; DROP TABLE old.x", &[]);
    check("ALTER TABLE a SET SCHEMA old; ALTER TABLE b ALTER COLUMN c SET DEFAULT 1", &["a!", "old.a!", "b!"]);
    check_in(Dialect::Postgres, "CREATE TABLE public.x (y INT); DROP TABLE x", &[]);
    check_in(Dialect::Sqlite, "CREATE TABLE x (y INT); DROP TABLE main.x", &[]);
    check_in(Dialect::Mysql, "CREATE TABLE public.x (y INT); DROP TABLE x", &["public.x!", "x!"]);
}

#[test]
fn a_table_comes_in_one_script_and_goes_in_another() {
    check_all([
        ("CREATE TABLE IF NOT EXISTS x (y INT REFERENCES a)", &["a"]),
        ("INSERT INTO x SELECT y FROM b", &["b"]),
        ("DROP TABLE IF EXISTS x", &[]),
    ]);
    check_all([("CREATE TABLE x (y INT)", &[]), ("ALTER TABLE x RENAME TO z", &["z!"]), ("SELECT 1 FROM z", &["z"])]);
    // What has its name after it is another's, or anew its own.
    check_all([("CREATE TABLE x (y INT); DROP TABLE x", &[]), ("SELECT 1 FROM x", &[])]);
    check_all([("CREATE TABLE x (y INT)", &[]), ("DROP TABLE x; CREATE TABLE x (z INT)", &["x!"])]);
    check_all([("DROP TABLE x", &["x!"]), ("CREATE TABLE x (y INT)", &[]), ("DROP TABLE x", &[])]);
    check_all([("SELECT 1 FROM x", &["x"]), ("DROP TABLE x", &["x!"])]);
}

#[test]
fn what_undoes_does_not_do_away_with_a_table() {
    check_all([("CREATE TABLE x (y INT)", &["x!"]), ("-DROP TABLE x; SELECT 1 FROM a", &["x!", "a"])]);
    check_all([
        ("CREATE TABLE x (y INT)", &[]),
        ("DROP TABLE x", &[]),
        ("-CREATE TABLE x (y INT)", &[]),
        ("-DROP TABLE x", &[]),
    ]);
    check("-- migrate:up\nCREATE TABLE x (y INT);\n-- migrate:down\nDROP TABLE x;", &["x!"]);
    check("-- +goose Up\nCREATE TABLE x (y INT)\n-- +goose Down\nDROP TABLE x", &["x!"]);
    check("--  +migrate Down\nDROP TABLE x;\n-- +migrate Up notransaction\nCREATE TABLE x (y INT)", &["x!"]);
    check("CREATE TABLE x (y INT);\n-- migrate: no\nDROP TABLE x;", &[]);
}

#[test]
fn views_are_told_from_tables() {
    check_all([
        ("CREATE VIEW u AS SELECT * FROM a; CREATE VIEW v AS SELECT * FROM u", &["u!?", "a"]),
        ("SELECT 1 FROM u, v", &["u?"]),
        ("ALTER VIEW v RENAME TO w; SELECT 1 FROM w", &["w!?"]),
    ]);
    check_all([("CREATE VIEW v AS SELECT 1", &[]), ("DROP VIEW v", &[])]);
    check("DROP VIEW IF EXISTS v; CREATE VIEW v AS SELECT 1", &["v!?"]);
    check("SELECT 1 FROM v; CREATE TABLE w (x INT)", &["v", "w!"]);
    check("CREATE TEMP VIEW v AS SELECT * FROM a; SELECT 1 FROM v", &["a"]);
}

#[test]
fn a_query_makes_a_table() {
    for dialect in [Dialect::Postgres, Dialect::SqlServer] {
        check_in(dialect, "SELECT x, y INTO z FROM a WHERE x > 1", &["z!", "a"]);
        check_in(dialect, "WITH b AS (SELECT 1 FROM a) SELECT * INTO s.z FROM b UNION SELECT 1", &["a", "s.z!"]);
        check_in(dialect, "SELECT x INTO z FROM a; DROP TABLE z", &["a"]);
    }
    check_in(Dialect::Postgres, "SELECT x INTO UNLOGGED TABLE z FROM a", &["z!", "a"]);
    check_in(Dialect::Postgres, "SELECT x INTO TEMPORARY TABLE z FROM a; DELETE FROM b USING z", &["a", "b!"]);
    check_in(Dialect::SqlServer, "SELECT x INTO #z FROM a; SELECT 1 FROM #z", &["a"]);
    // Variables of a procedure, or a file.
    check_in(Dialect::Mysql, "SELECT count(*) INTO z FROM a; SELECT 1 INTO OUTFILE 'x' FROM b", &["a", "b"]);
}

#[test]
fn comments_and_strings_are_not_read() {
    check("-- DROP TABLE a\n/* DELETE FROM b; */ INSERT INTO c VALUES ('DROP TABLE d; SELECT 1 FROM e')", &["c!"]);
    check_in(Dialect::Postgres, "CREATE FUNCTION f() RETURNS trigger AS $x$ DELETE FROM a; $x$ LANGUAGE plpgsql", &[]);
    check_in(Dialect::Postgres, "INSERT INTO a VALUES (E'it\\'s; DROP TABLE b')", &["a!"]);
    check_in(Dialect::Mysql, "INSERT INTO a VALUES ('it\\'s; DROP TABLE b'), (\"; DROP TABLE c\")", &["a!"]);
}

#[test]
fn names_are_quoted_in_every_way() {
    for dialect in [Dialect::Sqlite, Dialect::Any] {
        check_in(dialect, "SELECT 1 FROM \"From\".\"Order Lines\" AS x, `users`", &["from.order lines", "users"]);
    }
    check_in(Dialect::Postgres, "SELECT 1 FROM \"From\".\"Order Lines\"", &["from.order lines"]);
    check_in(Dialect::Sqlite, "INSERT INTO [order] SELECT * FROM main.[Lines]", &["order!", "main.lines"]);
    check_in(Dialect::Any, "INSERT INTO [order] SELECT * FROM [dbo].[Lines]", &["order!", "dbo.lines"]);
    check_in(Dialect::SqlServer, "UPDATE shop.dbo.[orders] SET x = 1", &["dbo.orders!"]);
    check_in(Dialect::Mysql, "DELETE FROM `shop`.`orders`", &["shop.orders!"]);
}

#[test]
fn a_table_is_where_it_is_first_written() {
    let position = |text: &str| {
        let named = tables(text, Dialect::Postgres).unwrap();
        (named[0].position.line, named[0].position.column)
    };
    assert_eq!(position("\u{feff}SELECT 1 FROM a"), (1, 15));
    assert_eq!(position("SELECT 'ä',\r\n\t1 FROM s . \"A\""), (2, 13));
    assert_eq!(position("SELECT 1 FROM a;\nINSERT INTO a VALUES (1);\nDROP TABLE a"), (2, 13));
}

#[test]
fn what_is_no_sql_is_an_error_with_its_place() {
    let error = |text: &str| tables(text, Dialect::Sqlite).unwrap_err().to_string();
    assert_eq!(error("SELECT 1;\n  'open"), "it is not understood as SQL at 2:3: Unterminated string literal");
    assert_eq!(error(&"(".repeat(300)), "its parentheses are more than 256 deep at 1:257");
}

/// Pieces that the scan knows of, in any order.
fn soup() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "SELECT",
        "FROM",
        "JOIN",
        "ON",
        "USING",
        "WITH",
        "RECURSIVE",
        "AS",
        "INSERT",
        "INTO",
        "UPDATE",
        "SET",
        "DELETE",
        "MERGE",
        "CREATE",
        "TEMP",
        "TABLE",
        "VIEW",
        "INDEX",
        "TRIGGER",
        "IF",
        "NOT",
        "EXISTS",
        "ALTER",
        "RENAME",
        "TO",
        "DROP",
        "TRUNCATE",
        "COPY",
        "REFERENCES",
        "LIKE",
        "INHERITS",
        "PARTITION",
        "OF",
        "BEGIN",
        "THEN",
        "VALUES",
        "ROWS",
        "ONLY",
        "GRANT",
        "DISTINCT",
        "IS",
        "a",
        "b",
        "\"c\"",
        "[d]",
        "1",
        "'e'",
        ".",
        ",",
        ";",
        "(",
        ")",
    ]);
    prop::collection::vec(words, 0..60).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        for dialect in ALL {
            let _read_or_refused = tables(&text, dialect);
        }
    }

    #[test]
    fn what_is_found_is_where_it_says(text in soup()) {
        for dialect in ALL {
            for named in tables(&text, dialect).unwrap_or_default() {
                let rest: String = text.chars().skip(named.position.column - 1).collect();
                let name = rest.trim_start_matches(['"', '[', ' ']).to_lowercase();
                prop_assert!(name.starts_with(&named.table), "{named:?} in {text}");
            }
        }
    }

    #[test]
    fn every_table_that_is_read_is_found(names in prop::collection::vec("t[a-z]{1,8}_", 1..8), lists in any::<u8>()) {
        let mut text = "SELECT * FROM x_".to_owned();
        for (bit, name) in names.iter().enumerate() {
            let between = match lists >> (bit % 7) & 3 {
                0 => ", ",
                1 => " AS y, ",
                2 => " JOIN ",
                _ => " y ON y.a = 1 LEFT JOIN ",
            };
            text += between;
            text += name;
        }
        let mut expect: Vec<&str> = names.iter().map(String::as_str).chain(["x_"]).collect();
        expect.sort_unstable();
        expect.dedup();
        let mut found = told(&text, Dialect::Any);
        found.sort_unstable();
        prop_assert_eq!(found, expect, "{}", text);
    }
}
