//! Services: what they run, own, and how they are checked.

use super::check_all;

const SERVICE: &str = r#"name = "t"
[service.b]
[service.a]
$"#;
const CHECK: &str = r#"name = "t"
[service.a.check]
$"#;
const ENV: &str = r#"name = "t"
[service.a.env]
$"#;
const BOUNDARY: &str = r#"name = "t"
[service.b.boundary]
api = ["GET /b/{id}"]
data = ["sqlite:b.db"]
state = ["topic:b"]
[service.a.boundary]
$"#;

#[test]
fn services() {
    check_all(
        SERVICE,
        r#"
run = ""
  4:7+2 `run` ("") is not a command → write a shell command, or leave the key out

run = 5
  4:7+1 `run` is a whole number, not a string → write `run = "${target}/release/shop-order"`

run = ["a"]
  4:7+5 `run` is a list, not a string → write `run = "${target}/release/shop-order"`

run = "a\u0000"
  4:7+9 `run` ("a\u{0}") is not a command → a command holds no NUL

build = true
  4:9+4 `build` is a boolean, not a string → write `build = "cargo build --release -p shop-order"`

replicas = 2
  4:12+1 `replicas` (2) without `run` → write what to `run`, or remove `replicas`

run = "x"
replicas = 101
  5:12+3 `replicas` (101) is out of range → write a whole number from 0 to 100

run = "x"
replicas = -1
  5:12+2 `replicas` (-1) is out of range → write a whole number from 0 to 100

run = "x"
replicas = 99999999999999999999999
  5:12+23 `replicas` (99999999999999999999999) is out of range → write a whole number from 0 to 100

run = "x"
replicas = "2"
  5:12+3 `replicas` is a string, not a whole number → write `replicas = 2`

run = "x"
replicas = 2.0
  5:12+3 `replicas` is a number with decimals, not a whole number → write `replicas = 2`

buidl = "x"
  4:1+5 unknown key `buidl` in a service → did you mean `build`?

image = "x"
  4:1+5 unknown key `image` in a service → a service has: build, run, replicas, check, env, boundary, calls, outbound, bind, metrics, version, versions, listen, shed

check = "/x"
  4:9+4 `check` is a string, not a table → write `check = { http = "/readyz", every = "2s", timeout = "500ms" }`

env = []
  4:7+2 `env` is a list, not a table → write `env = { RUST_LOG = "info" }`

boundary = 1
  4:12+1 `boundary` is a whole number, not a table → write `[service.order.boundary]`

calls = "a"
  4:9+3 `calls` is a string, not a table → write `[service.order.calls.payment]`

[service.A_b]
  4:10+3 `A_b` is not a name → only a-z, 0-9 and - are allowed

[service.-x]
  4:10+2 `-x` is not a name → it begins and ends with a letter or a digit

[service]
c = 5
  5:5+1 `c` is a whole number, not a table → write `[service.order]`
"#,
    );
}

#[test]
fn listeners() {
    check_all(
        SERVICE,
        r#"
listen = "mqtt:1883"
  4:10+11 `listen` is a string, not a list → write `listen = ["mqtt:1883"]`

listen = ["mqtt"]
  4:11+6 `listen` ("mqtt") is not where something listens → write NAME:PORT, or NAME:IP:PORT where others than this machine are to reach it: "mqtt:1883"

listen = ["mqtt:host:1883"]
  4:11+16 `listen` ("mqtt:host:1883") is not where something listens → write NAME:PORT, or NAME:IP:PORT where others than this machine are to reach it: "mqtt:1883"

listen = ["mqtt:0"]
  4:11+8 `listen` ("mqtt:0") is not where something listens → write the port that clients are told: 0 would be another one each time

listen = ["mqtt:1883", "mqtt:8883"]
  4:24+11 `listen` has this twice → remove one of them

listen = ["mqtt:1883", "other:0.0.0.0:1883"]
  4:24+20 port 1883 is `a`'s already → choose another one: two cannot listen on it

run = "x"
replicas = 2
listen = ["mqtt:1883"]
  6:1+6 `listen` of a service with several instances → leave `replicas` at 1: a port is one's

version = "v1"
listen = ["mqtt:1883"]
versions = { v2 = { run = "x" } }
  5:1+6 `listen` of a service with `versions` → remove one of them: a port is one release's
"#,
    );
}

#[test]
fn checks() {
    check_all(
        CHECK,
        r#"
http = "readyz"
  3:8+8 `http` ("readyz") is not a path → begin it with a slash: "/readyz"

http = "/a b"
  3:8+6 `http` ("/a b") is not a path → write at most 1024 visible ASCII characters without #, others percent-encoded

http = 1
  3:8+1 `http` is a whole number, not a string → write `http = "/readyz"`

every = "0s"
  3:9+4 `every` (0s) must be above zero → write `every = "2s"`

every = "2d"
  3:9+4 `every` (2d) is above 1d → write 1d or less

every = 5
  3:9+1 `every` is a whole number, not a string → write `every = "2s"`

timeout = "5"
  3:11+3 `timeout` ("5") is not a duration → write a number with a unit: "250ms", "2s", "1h 30m"

timeout = "30s 1m"
  3:11+8 `timeout` ("30s 1m") is not a duration → write the larger unit first, and each once: "1h 30m"

healthy_after = 0
  3:17+1 `healthy_after` (0) is out of range → write a whole number from 1 to 100

unhealthy_after = 101
  3:19+3 `unhealthy_after` (101) is out of range → write a whole number from 1 to 100

unhealthy_after = "2"
  3:19+3 `unhealthy_after` is a string, not a whole number → write `unhealthy_after = 2`

evry = "1s"
  3:1+4 unknown key `evry` in a check → did you mean `every`?
"#,
    );
}

#[test]
fn environments() {
    check_all(
        ENV,
        r#"
1A = "x"
  3:1+2 `1A` is not the name of a variable → use letters, digits and _, no digit first

"A-B" = "x"
  3:1+5 `A-B` is not the name of a variable → use letters, digits and _, no digit first

PORT = "80"
  3:1+4 `PORT` is set by Bowline itself → remove it, or give it another name

BOWLINE_TREE = "x"
  3:1+12 `BOWLINE_TREE` is set by Bowline itself → remove it, or give it another name

BOWLINE_DATA_X = "1"
  3:1+14 `BOWLINE_DATA_X` is set by Bowline itself → remove it, or give it another name

N = 5
  3:5+1 `N` is a whole number, not a string → write `N = "value"`

Z = "\u0000"
  3:5+8 `Z` holds a NUL → no variable can: remove it
"#,
    );
}

#[test]
fn boundaries() {
    check_all(
        BOUNDARY,
        r#"
api = ["GET"]
  7:8+5 `api` ("GET") is not an operation → write a method and a path: "GET /orders/{id}"

api = ["FETCH /x"]
  7:8+10 unknown method `FETCH` → write one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS

api = ["get /x"]
  7:8+8 unknown method `get` → did you mean `GET`?

api = ["GET x"]
  7:8+7 `x` is not a path → write "/orders", "/orders/**" or "/orders/{id}"

api = ["GET /a/**/b"]
  7:8+13 `/a/**/b` is not a path → a segment holds no { } * ? # or blanks; ** stands only at the end

api = [5]
  7:8+1 an element of `api` is a whole number, not a string → write `api = ["POST /orders", "GET /orders/{id}"]`

api = "GET /x"
  7:7+8 `api` is a string, not a list → write `api = ["POST /orders", "GET /orders/{id}"]`

api = ["GET /o/{id}", "GET /o/{key}"]
  7:23+14 `GET /o/{key}` is listed twice → remove it: line 7 has it

data = ["sqlite"]
  7:9+8 `data` ("sqlite") is not a resource → write a kind and a name of a-z, 0-9 and inner . _ -, nested by /: "sqlite:order.db"

data = ["sqlit:a"]
  7:9+9 unknown kind `sqlit` → did you mean `sqlite:a`?

data = ["sqlite:../x"]
  7:9+13 `data` ("sqlite:../x") is not a resource → write a kind and a name of a-z, 0-9 and inner . _ -, nested by /: "sqlite:order.db"

data = ["sqlite:.x"]
  7:9+11 `data` ("sqlite:.x") is not a resource → write a kind and a name of a-z, 0-9 and inner . _ -, nested by /: "sqlite:order.db"

data = ["Sqlite:x"]
  7:9+10 `data` ("Sqlite:x") is not a resource → write a kind and a name of a-z, 0-9 and inner . _ -, nested by /: "sqlite:order.db"

data = ["sqlite:a//b"]
  7:9+13 `data` ("sqlite:a//b") is not a resource → write a kind and a name of a-z, 0-9 and inner . _ -, nested by /: "sqlite:order.db"

data = ["sqlite:a/"]
  7:9+11 `data` ("sqlite:a/") is not a resource → write a kind and a name of a-z, 0-9 and inner . _ -, nested by /: "sqlite:order.db"

data = ["sqlite:_a"]
  7:9+11 `data` ("sqlite:_a") is not a resource → write a kind and a name of a-z, 0-9 and inner . _ -, nested by /: "sqlite:order.db"

data = ["sqlite:a/.b"]
  7:9+13 `data` ("sqlite:a/.b") is not a resource → write a kind and a name of a-z, 0-9 and inner . _ -, nested by /: "sqlite:order.db"

data = ["sqlite:"]
  7:9+9 `data` ("sqlite:") is not a resource → write a kind and a name of a-z, 0-9 and inner . _ -, nested by /: "sqlite:order.db"

data = ["sqlite:a", "sqlite:a"]
  7:21+10 `sqlite:a` is listed twice → remove it: line 7 has it

data = ["sqlite:a.b", "sqlite:a-b"]
  7:23+12 `sqlite:a-b` and `sqlite:a.b` would both be told in BOWLINE_DATA_A_B → give one of them another name

data = ["sqlite:a.b/x", "sqlite:a.b/y", "sqlite:a-b/x"]
  7:41+14 `sqlite:a-b` and `sqlite:a.b` would both be told in BOWLINE_DATA_A_B → give one of them another name

data = ["sqlite:dir"]
  7:9+12 `sqlite:dir` would be told in BOWLINE_DATA_DIR, which has a meaning → give it another name

state = "topic:x"
  7:9+9 `state` is a string, not a list → write `state = ["topic:order.placed", "cache:order"]`

data = ["cache:a"]
state = ["cache:a"]
  8:10+9 `cache:a` is listed twice → remove it: line 7 has it

stat = []
  7:1+4 unknown key `stat` in a boundary → did you mean `state`?

tables = []
  7:1+6 unknown key `tables` in a boundary → a boundary has: api, data, state
"#,
    );
}
