//! The file as a whole: its syntax, its sections.

use super::check_all;

const SYSTEM: &str = "$";

#[test]
fn the_file() {
    check_all(
        SYSTEM,
        r#"
# nothing
  1:1+1 the file has no `name` → write `name = "shop"`

name = 5
  1:8+1 `name` is a whole number, not a string → write `name = "shop"`

name = "Shop"
  1:8+6 `name` ("Shop") is not a name → only a-z, 0-9 and - are allowed

name = ""
  1:8+2 `name` ("") is not a name → it has 1 to 63 characters

nam = "a"
  1:1+3 unknown key `nam` in the file → did you mean `name`?

name = "a"
colour = "red"
  2:1+6 unknown key `colour` in the file → the file has: name, boundary, mesh, tracing, metrics, alerts, messages, caches, databases, topic, service, gateway, auth, route, config, deploy, profile

name = "a"
service = 5
  2:11+1 `service` is a whole number, not a table → write `[service.order]`

name = "a"
[[service]]
  2:1+11 `service` is a list, not a table → write `[service.order]`

name = "a"
route = 1
  2:9+1 `route` is a whole number, not a list → write `[[route]]`

name = "a"
[route]
  2:1+7 `route` is a table, not a list → write `[[route]]`

name = "a"
deploy = []
  2:10+2 `deploy` is a list, not a table → write `[deploy.order]`

name = "a"
"a\u001bb" = 1
  2:1+10 unknown key `a\u{1b}b` in the file → the file has: name, boundary, mesh, tracing, metrics, alerts, messages, caches, databases, topic, service, gateway, auth, route, config, deploy, profile
"#,
    );
}

#[test]
fn syntax() {
    check_all(
        SYSTEM,
        r#"
name = "a
  1:10+1 the string has no end → close it

name = a
  1:8+1 string values must be quoted → put it in quotes: "…"

name = "a"
name = "b"
  2:1+4 `name` is there twice → keep one of them

name = "a"
[service.a]
run = "x"
[service.a]
  4:10+1 `a` is there twice → keep one of them

name = "a"
[service.a
  2:11+1 unclosed table → expected `]`

name "a"
  1:6+1 key with no value → expected `=`

name = "a\qb"
  1:11+1 missing escaped value → expected `b`, `e`, `f`, `n`, `r`, `\`, `"`, `x`, `u`, `U`

name = "a"
x = [1 2]
  2:6+3 string values must be quoted → put it in quotes: "…"

name = "a"
x = 02
  2:5+1 unexpected leading zero → remove it

name = "a"
[service.a]
run = ./run
  3:7+1 this is not a number → put text in quotes: "…"

name =
x = "a"
= 5
  1:7+1 string values must be quoted → put it in quotes: "…"
  3:1+1 unquoted keys cannot be empty → expected letters, numbers, `-`, `_`

name = "a"
x = 'b
  2:7+1 the string has no end → close it

name = "a"
check = { a = 1 b = 2 }
  2:15+3 string values must be quoted → put it in quotes: "…"

name = x
service.a =
build = "a" b
run = "a
[service.b
  1:8+1 string values must be quoted → put it in quotes: "…"
  2:12+1 string values must be quoted → put it in quotes: "…"
  3:13+1 unexpected key or value → expected newline, `#`
  4:9+1 the string has no end → close it
  5:11+1 unclosed table → expected `]`

a.b.c.d.e.f.g.h.i = 1
  1:16+1 the key nests too deep → no key has more than eight parts

name = "a"
service.a.run = "x"
service.a = 5
  3:9+1 `a` is there twice → keep one of them
"#,
    );
}
