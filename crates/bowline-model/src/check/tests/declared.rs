//! What is proved of what is declared.

use super::{check_all, check_with};
use crate::{
    check::{ATTEMPTS_MAX, Facts, amplification, check, route_loads},
    parse,
};

#[test]
fn operations() {
    check_all(
        r#"
[service.a.boundary]
api = ["GET /a/{x}", "POST /{y}/b"]
[service.b.boundary]
api = ["GET /{y}/b", "PUT /a/{x}"]
  B0001 `a` and `b` both answer `GET /a/b` | 5:8 owned by `b` | 3:8 owned by `a`
---
[service.a.boundary]
api = ["GET /a/{x}", "GET /a/b", "GET /a/**"]
[service.b.boundary]
api = ["GET /a"]
  B0001 `a` and `b` both answer `GET /a` | 5:8 owned by `b` | 3:34 owned by `a`
---
[service.a.boundary]
api = ["GET /a/{x}", "GET /a/c/d"]
[service.b.boundary]
api = ["GET /**"]
  B0001 `a` and `b` both answer `GET /a/1` | 5:8 owned by `b` | 3:8 owned by `a` | 3:22 owned by `a`
---
[service.a.boundary]
api = ["GET /caf%C3%A9/a", "GET /100%/a"]
[service.b.boundary]
api = ["GET /café/{x}", "GET /100%25/b"]
[service.c.boundary]
api = ["GET /caf%c3%a9/b", "GET /caf%c3/a"]
  B0001 `a` and `b` both answer `GET /café/a` | 5:8 owned by `b` | 3:8 owned by `a`
  B0001 `b` and `c` both answer `GET /caf%c3%a9/b` | 7:8 owned by `c` | 5:8 owned by `b`
---
[service.a.boundary]
api = ["GET /"]
[service.b.boundary]
api = ["GET /{x}", "GET /a/**"]
---
[service.b.boundary]
api = ["GET /x"]
[service.a]
boundary.api = ["GET /y"]
[service.c.boundary]
api = ["GET /x", "GET /y"]
  B0001 `b` and `c` both answer `GET /x` | 7:8 owned by `c` | 3:8 owned by `b`
  B0001 `a` and `c` both answer `GET /y` | 7:18 owned by `c` | 5:17 owned by `a`
"#,
    );
}

#[test]
fn data_and_state() {
    check_all(
        r#"
[service.a.boundary]
data = ["sqlite:a.db"]
[service.b.boundary]
data = ["sqlite:a.db"]
  B0002 `a` and `b` both own `sqlite:a.db` | 5:9 owned by `b` | 3:9 owned by `a`
---
[service.a.boundary]
data = ["postgres:s/x", "postgres:s/y"]
[service.b.boundary]
data = ["postgres:s/z", "postgres:s-2", "mysql:s"]
[service.c.boundary]
data = ["postgres:s"]
  B0002 `a` owns `postgres:s/x`, which is within `postgres:s` of `c` | 7:9 owned by `c` | 3:9 owned by `a` | 3:25 owned by `a` | 5:9 owned by `b`
---
[service.a.boundary]
state = ["cache:s"]
[service.b.boundary]
state = ["cache:s/x/y"]
  B0003 `b` owns `cache:s/x/y`, which is within `cache:s` of `a` | 5:10 owned by `b` | 3:10 owned by `a`
---
[service.a.boundary]
state = ["sqlite:a.db"]
[service.b.boundary]
data = ["sqlite:a.db"]
  B0002 `a` and `b` both own `sqlite:a.db` | 5:9 owned by `b` | 3:10 owned by `a`
---
[service.a.boundary]
data = ["cache:s"]
[service.b.boundary]
state = ["cache:s/x"]
[service.c.boundary]
state = ["cache:s"]
  B0002 `b` owns `cache:s/x`, which is within `cache:s` of `a` | 5:10 owned by `b` | 3:9 owned by `a`
  B0002 `a` and `c` both own `cache:s` | 7:10 owned by `c` | 3:9 owned by `a`
  B0003 `b` owns `cache:s/x`, which is within `cache:s` of `c` | 7:10 owned by `c` | 5:10 owned by `b`
---
[service.a.boundary]
data = ["postgres:s", "postgres:s/x"]
[service.b.boundary]
state = ["topic:s"]
"#,
    );
}

#[test]
fn targets_and_operations() {
    check_all(
        r#"
[service.order.calls.paymnt]
[service.order.calls.zzz]
[service.payment]
  B0004 `order` calls `paymnt`, which is not declared | 2:22 no such service
  B0004 `order` calls `zzz`, which is not declared | 3:22 no such service
---
[service.a.calls.b]
operations = ["GET /b/{id}", "POST /b/1", "GET /b/**", "GET /c"]
[service.b.boundary]
api = ["GET /b/{id}", "POST /b/{id}"]
  B0005 `a` calls `b` for `GET /b/**`, which it does not offer | 3:43 not in the `api` of `b` | 5:8 what `b` offers
  B0005 `a` calls `b` for `GET /c`, which it does not offer | 3:56 not in the `api` of `b` | 5:8 what `b` offers
---
[service.a.calls.b]
operations = ["GET /café"]
[service.b.boundary]
api = ["GET /caf%C3%A9"]
---
[service.a.calls.b]
operations = ["GET /b"]
[service.b]
"#,
    );
}

#[test]
fn what_was_meant_is_guessed() {
    let text = "name = \"t\"\n[service.order.calls.paymnt]\n[service.payment.boundary]\napi = [\"GET /charges\"]\n\
                [service.user.calls.payment]\noperations = [\"GET /charge\"]\n[service.user.calls.far-away]\n";
    let violations = check(&parse(text).unwrap(), &Facts::default());
    let helps: Vec<&str> = violations.iter().map(|violation| violation.help.as_str()).collect();
    let expect = [
        "did you mean `payment`?",
        "did you mean \"GET /charges\"?",
        "declare it with `[service.far-away]`; without `run` it may run elsewhere",
    ];
    assert_eq!(helps, expect);
}

#[test]
fn topics() {
    check_all(
        r#"
[service.a.boundary]
state = ["topic:a", "topic:all"]
[service.b.boundary]
state = ["topic:b"]
[service.a.calls.b]
mode = "message"
topics = ["a", "all", "b", "c"]
  B0007 `a` writes `topic:b`, which `b` owns | 8:23 written by `a` | 5:10 owned by `b`
  B0006 `a` sends messages through `topic:c`, which nobody owns | 8:28 no service has it in its `state`
"#,
    );
}

#[test]
fn cycles() {
    check_all(
        r#"
[service.a.calls.b]
[service.b.calls.c]
[service.c.calls.d]
[service.d.calls.b]
[service.d.calls.c]
  B0008 `c` waits for `d`, which waits for `c`; 1 more are in cycles with them | 6:18 `d` waits for `c` | 4:18 `c` waits for `d`
---
[service.a.calls.b]
[service.b.calls.c]
mode = "message"
topics = ["b"]
[service.c.calls.a]
[service.b.boundary]
state = ["topic:b"]
---
[service.a.calls.b]
[service.b.calls.a]
mode = "async"
---
[service.a.calls.b]
[service.b.calls.a]
[service.c.calls.a]
[service.c.calls.d]
[service.d.calls.e]
[service.e.calls.c]
  B0008 `a` waits for `b`, which waits for `a` | 3:18 `b` waits for `a` | 2:18 `a` waits for `b`
  B0008 `c` waits for `d`, which waits for `e`, which waits for `c` | 7:18 `e` waits for `c` | 5:18 `c` waits for `d` | 6:18 `d` waits for `e`
"#,
    );
}

#[test]
fn deadlines() {
    check_all(
        r#"
[service.a.calls.b]
timeout = "1s"
[service.b.calls.c]
timeout = "500ms"
[service.b.calls.d]
[service.c]
[service.d]
  B0009 `a` waits 1s for `b`, which waits up to 15s for `d` | 3:11 gives up after 1s | 6:18 waits up to 15s, the default
---
[service.a.calls.b]
retry.per_try_timeout = "1s"
[service.b.calls.c]
timeout = "2s"
[service.c]
  B0009 `a` waits 1s for `b`, which waits up to 2s for `c` | 2:18 gives up an attempt after 1s | 5:11 waits up to 2s
---
[[route]]
name = "r"
backends = [{ service = "a" }, { service = "b" }]
timeout = "1s"
[service.a]
[service.b.calls.a]
timeout = "3s"
  B0009 route `r` waits 1s for `b`, which waits up to 3s for `a` | 5:11 gives up after 1s | 8:11 waits up to 3s
---
[[route]]
name = "r"
backends = [{ service = "a" }, { service = "b", weight = 0 }]
timeout = "1s"
[service.a]
[service.b.calls.a]
timeout = "3s"
---
[[route]]
name = "r"
backends = [{ service = "a" }]
[service.a.calls.b]
timeout = "20s"
[service.b]
  B0009 route `r` waits 15s for `a`, which waits up to 20s for `b` | 3:8 gives up after 15s | 6:11 waits up to 20s
---
[service.a.calls.b]
timeout = "1s"
mode = "async"
[service.b.calls.c]
timeout = "3s"
[service.c.calls.d]
timeout = "3s"
[service.d.calls.e]
mode = "async"
timeout = "9s"
[service.e]
"#,
    );
}

#[test]
fn attempts_multiply() {
    check_all(
        r#"
[[route]]
name = "r"
backends = [{ service = "a" }]
retry = { attempts_max = 2 }
[service.a.calls.b]
retry = { attempts_max = 5 }
[service.a.calls.c]
retry = "off"
[service.b.calls.d]
retry = { attempts_max = 5 }
[service.c.calls.d]
retry = { attempts_max = 2 }
[service.d.calls.e]
[service.e]
  B0010 a request through route `r` may become 54 attempts at `d`, above 50 | 10:18 up to 5 attempts | 6:18 up to 5 attempts | 3:8 up to 2 attempts
---
[service.a.calls.b]
retry = { attempts_max = 10 }
[service.b.calls.c]
retry = { attempts_max = 6 }
[service.c]
  B0010 what `a` does once may become 60 attempts at `c`, above 50 | 2:18 up to 10 attempts | 4:18 up to 6 attempts
---
[[route]]
name = "r"
backends = [{ service = "a" }, { service = "b" }]
retry = { attempts_max = 10 }
[service.a.calls.c]
[service.b.calls.c]
[service.c]
---
[[route]]
name = "r"
backends = [{ service = "c" }, { service = "b", weight = 0 }]
retry = { attempts_max = 10 }
[service.a.calls.b]
retry = "off"
[service.b.calls.c]
retry = { attempts_max = 10 }
[service.c]
---
[service.a.calls.b]
retry = { attempts_max = 10 }
[service.b.calls.c]
retry = { attempts_max = 10 }
mode = "message"
topics = ["b"]
[service.b.boundary]
state = ["topic:b"]
[service.c.calls.d]
retry = { attempts_max = 10 }
[service.d]
"#,
    );
}

#[test]
fn what_only_a_cycle_leads_to_has_no_figure() {
    let text = "name = \"t\"\n[service.in.calls.a]\n[service.a.calls.b]\n[service.b.calls.a]\n[service.b.calls.c]\n\
                [service.a.calls.d]\n[service.c]\n[service.d]\n";
    let loads = amplification(&parse(text).unwrap());
    let edges: Vec<(&str, &str)> = loads.iter().map(|load| (&*load.caller, &*load.callee)).collect();
    assert_eq!(edges, [("in", "a"), ("a", "d")]);
}

#[test]
fn a_route_tries_again_where_it_does_not_say_otherwise() {
    let route = |name: &str, more: &str| {
        let backends = "[{ service = \"a\" }, { service = \"b\", weight = 0 }]";
        format!("[[route]]\nname = \"{name}\"\nhosts = [\"{name}.x\"]\nbackends = {backends}\n{more}\n")
    };
    let text =
        format!("name = \"t\"\n{}{}[service.a]\n[service.b]\n", route("r", ""), route("once", "retry = \"off\""));
    let loads = route_loads(&parse(&text).unwrap());
    let told: Vec<_> = loads.iter().map(|it| (&*it.caller, &*it.callee, it.attempts_worst)).collect();
    assert_eq!(told, [("route r", "a", 3), ("route once", "a", 1)]);
}

#[test]
fn figures_end_at_their_bounds() {
    const LONG: usize = 2000;
    let call = |at| format!("[service.s{at}.calls.s{}]\nretry = {{ attempts_max = 10, budget = \"100%\" }}\n", at + 1);
    let text = format!("name = \"t\"\n{}[service.s{LONG}]\n", (0..LONG).map(call).collect::<String>());
    let last = amplification(&parse(&text).unwrap()).pop().unwrap();
    assert_eq!(last.attempts_worst, ATTEMPTS_MAX);
    assert!(last.load_sustained.is_finite(), "{last:?}");
}

#[test]
fn violations_come_in_the_order_of_the_file() {
    check_with(
        r#"name = "t"
[service.b.calls.c]
timeout = "1s"
[service.c.calls.nobody]
timeout = "2s"
[service.c.boundary]
data = ["sqlite:c"]
[service.b.boundary]
data = ["sqlite:c"]
"#,
        &Facts::default(),
        &[
            "B0009 `b` waits 1s for `c`, which waits up to 2s for `nobody` | 3:11 gives up after 1s | 5:11 waits up to 2s",
            "B0004 `c` calls `nobody`, which is not declared | 4:18 no such service",
            "B0002 `c` and `b` both own `sqlite:c` | 9:9 owned by `b` | 7:9 owned by `c`",
        ],
    );
}

#[test]
fn the_example_holds() {
    check_with(include_str!("../../../../../examples/shop/bowline.toml"), &Facts::default(), &[]);
}
