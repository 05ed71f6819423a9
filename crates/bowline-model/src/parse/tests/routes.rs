//! Routes: matches, backends, policies.

use super::check_all;

const ROUTE: &str = r#"name = "t"
[service.order]
[[route]]
name = "r"
backends = [{ service = "order" }]
$"#;
const BACKENDS: &str = r#"name = "t"
[service.order]
[[route]]
name = "r"
backends = $"#;

#[test]
fn routes() {
    check_all(
        ROUTE,
        r#"
[[route]]
  6:1+9 a route has no `name` → write `name = "orders"`
  6:1+9 the route on line 3 takes these requests already → add `matches = [{ path = "/orders/**" }]`
  6:1+9 a route has no `backends` → write `backends = [{ service = "order", weight = 100 }]`

[[route]]
name = "r"
hosts = ["x"]
backends = [{ service = "order" }]
  7:8+3 two routes are named `r` → give this one another name; the first is on line 4

[[route]]
name = "R"
hosts = ["x"]
backends = [{ service = "order" }]
  7:8+3 `name` ("R") is not a name → only a-z, 0-9 and - are allowed

hosts = "a"
  6:9+3 `hosts` is a string, not a list → write `hosts = ["shop.localhost"]`

hosts = ["a:80"]
  6:10+6 `hosts` ("a:80") is not a host → write a host name without a port: "shop.localhost" or "*.shop.localhost"

hosts = ["http://a"]
  6:10+10 `hosts` ("http://a") is not a host → write a host name without a port: "shop.localhost" or "*.shop.localhost"

hosts = ["a", "A"]
  6:15+3 `hosts` has this twice → remove one of them

hosts = [5]
  6:10+1 an element of `hosts` is a whole number, not a string → write `hosts = ["shop.localhost"]`

body_max = "10 MB"
  6:12+7 `body_max` ("10 MB") is not a size → write a size with a unit: "512 B", "64 KiB", "10 MiB", "1 GiB"

body_max = "0 B"
  6:12+5 `body_max` (0 B) must be above zero → write `body_max = "10 MiB"`

body_max = 5
  6:12+1 `body_max` is a whole number, not a string → write `body_max = "10 MiB"`

timeout = "0s"
  6:11+4 `timeout` (0s) must be above zero → write `timeout = "800ms"`

retry.attempts_max = 0
  6:22+1 `attempts_max` (0) is out of range → write a whole number from 1 to 10

breaker.window = "0s"
  6:18+4 `window` ("0s") is not a window → write a time above zero, and of 1d at most: "10s"

balance = "maglev"
  6:11+8 `balance` ("maglev") without a key to hash → write `balance = { by = "maglev", key = "header:x-user" }`

host = ["a"]
  6:1+4 unknown key `host` in a route → did you mean `hosts`?
"#,
    );
}

#[test]
fn matches() {
    check_all(
        ROUTE,
        r#"
matches = [{ path = "x" }]
  6:21+3 `path` ("x") is not a path → write "/orders", "/orders/**" or "/orders/{id}"

matches = [{ path = "/a**" }]
  6:21+6 `path` ("/a**") is not a path → ** stands alone in the last segment: "/orders/**"

matches = [{ paht = "/x" }]
  6:14+4 unknown key `paht` in a match → did you mean `path`?

matches = [5]
  6:12+1 an element of `matches` is a whole number, not a table → write `matches = [{ path = "/orders/**", methods = ["GET", "POST"] }]`

matches = { path = "/x" }
  6:11+15 `matches` is a table, not a list → write `matches = [{ path = "/orders/**", methods = ["GET", "POST"] }]`

matches = [{ methods = ["FETCH"] }]
  6:25+7 unknown method `FETCH` → write one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS

matches = [{ methods = ["GET", "GET"] }]
  6:32+5 `methods` has this twice → remove one of them

matches = [{ methods = "GET" }]
  6:24+5 `methods` is a string, not a list → write `methods = ["GET", "POST"]`

matches = [{ headers = { "a b" = "x" } }]
  6:26+5 `a b` is not the name of a header → use letters, digits and -: `x-canary`

matches = [{ headers = { B = "1", b = "2" } }]
  6:35+1 the header `b` is asked for twice → remove one of them

matches = [{ headers = { b = " 2" } }]
  6:30+4 `b` (" 2") is not the value of a header → write visible ASCII characters without blanks around them

matches = [{ headers = { b = 2 } }]
  6:30+1 `b` is a whole number, not a string → write `b = "value"`

matches = [{ headers = ["b"] }]
  6:24+5 `headers` is a list, not a table → write `headers = { x-canary = "yes" }`

matches = [{ query = "x" }]
  6:14+5 unknown key `query` in a match → a match has: path, methods, headers

hosts = ["h"]
matches = [{ path = "/a/{x}" }]
[[route]]
name = "s"
hosts = ["g", "h"]
backends = [{ service = "order" }]
matches = [{ path = "/a/{y}" }, { path = "/b" }]
  12:12+19 the route on line 7 takes these requests already → change the path, the methods or the headers, or remove the match

[[route]]
name = "s"
backends = [{ service = "order" }]
  6:1+9 the route on line 3 takes these requests already → add `matches = [{ path = "/orders/**" }]`
"#,
    );
}

#[test]
fn backends() {
    check_all(
        BACKENDS,
        r#"
[]
  5:12+2 a route without backends → name a service with a weight above zero: [{ service = "order" }]

"order"
  5:12+7 `backends` is a string, not a list → write `backends = [{ service = "order", weight = 100 }]`

["order"]
  5:13+7 an element of `backends` is a string, not a table → write `backends = [{ service = "order", weight = 100 }]`

[{ service = "ordr" }]
  5:25+6 unknown service `ordr` → did you mean `order`?

[{ service = "zzz" }]
  5:25+5 unknown service `zzz` → declare it with `[service.zzz]`

[{ weight = 1 }]
  5:13+14 a backend has no `service` → write `service = "order"`

[{ servce = "order" }]
  5:15+6 unknown key `servce` in a backend → did you mean `service`?

[{ service = 5 }]
  5:25+1 `service` is a whole number, not a string → write `service = "order"`

[{ service = "order", weight = 1000001 }]
  5:43+7 `weight` (1000001) is out of range → write a whole number from 0 to 1000000

[{ service = "order", weight = -1 }]
  5:43+2 `weight` (-1) is out of range → write a whole number from 0 to 1000000

[{ service = "order", weight = 0 }]
  5:12+35 all weights are zero → name a service with a weight above zero: [{ service = "order" }]

[{ service = "order" }, { service = "order" }]
  5:48+7 `order` is a backend twice → name it once, with the sum of the weights

[{ service = "order", weight = 0 }, { service = "ordr" }]
  5:60+6 unknown service `ordr` → did you mean `order`?
"#,
    );
}
