//! Calls and their policies.

use super::{check_all, parse};
use crate::policy::CallPolicy;

const CALL: &str = r#"name = "t"
[service.payment]
[service.a.calls.payment]
$"#;

#[test]
fn calls() {
    check_all(
        CALL,
        r#"
[service.a.calls.a]
  4:18+1 `a` calls itself → remove it: what a service does itself is no call

[service.a.calls.A_b]
  4:18+3 `A_b` is not a name → only a-z, 0-9 and - are allowed

mode = "message"
  3:1+25 a call by message without `topics` → write `topics = ["order.placed"]`

mode = "message"
topics = ["order.placed", "order:placed", "order.placed", "-", "a/b"]
  5:27+14 `topics` ("order:placed") is not a topic → write a name of a-z, 0-9 and inner . _ -, without its kind: "order.placed"
  5:43+14 `topics` has this twice → remove one of them
  5:59+3 `topics` ("-") is not a topic → write a name of a-z, 0-9 and inner . _ -, without its kind: "order.placed"
  5:64+5 `topics` ("a/b") is not a topic → write a name of a-z, 0-9 and inner . _ -, without its kind: "order.placed"

mode = "message"
topics = []
  5:10+2 `topics` is empty → name the topic that messages go to

mode = "async"
topics = ["order.placed"]
  5:1+6 `topics` of a call that is handed over → write `mode = "message"`, or remove them

topics = []
  4:10+2 `topics` is empty → name the topic that messages go to

mode = "best"
  4:8+6 `mode` ("best") is unknown → write one of "sync", "async", "message"

mode = "snyc"
  4:8+6 `mode` ("snyc") is unknown → did you mean "sync"?

mode = 5
  4:8+1 `mode` is a whole number, not a string → write `mode = "sync"`

timeout = "800"
  4:11+5 `timeout` ("800") is not a duration → write a number with a unit: "250ms", "2s", "1h 30m"

timeout = "0s"
  4:11+4 `timeout` (0s) must be above zero → write `timeout = "800ms"`

timeout = 800
  4:11+3 `timeout` is a whole number, not a string → write `timeout = "800ms"`

timeout_ms = 800
  4:1+10 unknown key `timeout_ms` in a call → did you mean `timeout`?

retry = 5
  4:9+1 `retry` is a whole number, not a table → write `retry = { attempts_max = 3, backoff = "20ms..500ms", budget = "20%" }`

retry = "of"
  4:9+4 `retry` ("of") is neither a table nor "off" → write "off", a table, or leave the key out for the default

breaker = true
  4:11+4 `breaker` is a boolean, not a table → write `breaker = { failure_rate = "50%", window = "10s", open_for = "5s" }`

balance = "p2c"
  4:11+5 `balance` ("p2c") is unknown → did you mean "p2c-ewma"?

balance = "best"
  4:11+6 `balance` ("best") is unknown → write one of "round-robin", "random", "weighted", "least-connections", "p2c-ewma", "maglev", "ring"

"#,
    );
}

#[test]
fn retries() {
    check_all(
        CALL,
        r#"
retry.attempts_max = 0
  4:22+1 `attempts_max` (0) is out of range → write a whole number from 1 to 10

retry.attempts_max = 11
  4:22+2 `attempts_max` (11) is out of range → write a whole number from 1 to 10

retry.attempts_max = "3"
  4:22+3 `attempts_max` is a string, not a whole number → write `attempts_max = 3`

retry.max_attempts = 3
  4:7+12 unknown key `max_attempts` in a retry → did you mean `attempts_max`?

retry.backoff = "1s"
  4:17+4 `backoff` ("1s") is not a backoff → write the least and the most wait: "20ms..500ms"

retry.backoff = "1s..20ms"
  4:17+10 `backoff` ("1s..20ms") is not a backoff → the least is above zero and not above the most, the most not above 1h

retry.backoff = "0s..1s"
  4:17+8 `backoff` ("0s..1s") is not a backoff → the least is above zero and not above the most, the most not above 1h

retry.budget = "120%"
  4:16+6 `budget` ("120%") is not a share → write a percentage from 0% to 100%, with at most four decimals: "50%"

retry.budget = 20
  4:16+2 `budget` is a whole number, not a string → write `budget = "20%"`

retry.per_try_timeout = "0s"
  4:25+4 `per_try_timeout` (0s) must be above zero → write `per_try_timeout = "250ms"`

retry.per_try_timeout = "20s"
  4:25+5 `per_try_timeout` (20s) is above the default `timeout` (15s) → write 15s or less, or raise `timeout`

timeout = "1s"
retry.per_try_timeout = "2s"
  5:25+4 `per_try_timeout` (2s) is above `timeout` (1s) → write 1s or less, or raise `timeout`

timeout = "x"
retry.per_try_timeout = "20s"
  4:11+3 `timeout` ("x") is not a duration → write a number with a unit: "250ms", "2s", "1h 30m"

timeout = "20s"
retry = { per_try_timeout = "30s" }
  5:29+5 `per_try_timeout` (30s) is above `timeout` (20s) → write 20s or less, or raise `timeout`
"#,
    );
}

#[test]
fn breakers() {
    check_all(
        CALL,
        r#"
breaker.failure_rate = "0%"
  4:24+4 `failure_rate` (0%) must be above zero → write `failure_rate = "50%"`

breaker.failure_rate = "101%"
  4:24+6 `failure_rate` ("101%") is not a share → write a percentage from 0% to 100%, with at most four decimals: "50%"

breaker.failure_rate = 0.5
  4:24+3 `failure_rate` is a number with decimals, not a string → write `failure_rate = "50%"`

breaker.slow_call = "x"
  4:21+3 `slow_call` ("x") is not a duration → write a number with a unit: "250ms", "2s", "1h 30m"

breaker.slow_call = "0ms"
  4:21+5 `slow_call` (0s) must be above zero → write `slow_call = "300ms"`

timeout = "1s"
breaker.slow_call = "2s"
  5:21+4 `slow_call` (2s) is above `timeout` (1s) → write 1s or less, or raise `timeout`

breaker.window = "0s"
  4:18+4 `window` ("0s") is not a window → write a time above zero, and of 1d at most: "10s"

breaker.window = "0 calls"
  4:18+9 `window` ("0 calls") is not a window → write 1 to 10000 calls: "100 calls"

breaker.window = "soon"
  4:18+6 `window` ("soon") is not a window → write a time or a number of calls: "10s", "100 calls"

breaker = { window = "10 calls", calls_min = 20 }
  4:22+10 `window` (10 calls) never holds `calls_min` (20) calls → write `window = "20 calls"` or more, or lower `calls_min`

breaker.slow_rate = "50%"
  4:21+5 `slow_rate` says nothing without `slow_call` → add `slow_call = "300ms"`

breaker = { slow_call = "300ms", slow_rate = "0%" }
  4:46+4 `slow_rate` (0%) must be above zero → write `slow_rate = "50%"`

breaker.consecutive = 0
  4:23+1 `consecutive` (0) is out of range → write a whole number from 1 to 10000

breaker.open_for = "1m..5s"
  4:20+8 `open_for` ("1m..5s") is not an open time → write a first time above zero and a longest that is not below it, of 1d at most: "5s..1m"

breaker.window = 10
  4:18+2 `window` is a whole number, not a string → write `window = "10s"`

breaker.calls_min = 0
  4:21+1 `calls_min` (0) is out of range → write a whole number from 1 to 10000

breaker.open_for = "0s"
  4:20+4 `open_for` ("0s") is not an open time → write a first time above zero and a longest that is not below it, of 1d at most: "5s..1m"

breaker.probes_max = 0
  4:22+1 `probes_max` (0) is out of range → write a whole number from 1 to 1000

breaker.probes = 3
  4:9+6 unknown key `probes` in a breaker → did you mean `probes_max`?
"#,
    );
}

#[test]
fn parts_that_are_off_unless_written() {
    check_all(
        CALL,
        r#"
balance = "maglev"
  4:11+8 `balance` ("maglev") without a key to hash → write `balance = { by = "maglev", key = "header:x-user" }`

balance = 1
  4:11+1 `balance` is a whole number, not a table → write `balance = "p2c-ewma"`

balance = { by = "ring" }
  4:11+15 "ring" without a key to hash → add `key = "header:x-user"`

balance = { key = "path", headroom = "25%" }
  4:19+6 `key` says nothing to "p2c-ewma" → remove it, or write `by = "ring"`
  4:38+5 `headroom` says nothing to "p2c-ewma" → remove it, or write `by = "ring"`

balance = { by = "ring", key = "body", headroom = "0%", subset = 0, zones = "all", slow_start = "0s" }
  4:32+6 `key` ("body") is not a key → write "header:NAME", "cookie:NAME", "query:NAME" or "path"
  4:51+4 `headroom` (0%) must be above zero → write `headroom = "25%"`
  4:66+1 `subset` (0) is out of range → write a whole number from 1 to 10000
  4:77+5 `zones` ("all") is unknown → write one of "any", "prefer"
  4:97+4 `slow_start` (0s) must be above zero → write `slow_start = "30s"`

outcome = { failures = ["5xx", "5xx", "600"], ignored = 404 }
  4:32+5 `failures` has this twice → remove one of them
  4:39+5 `failures` ("600") is not a class of answers → write a status, a class or a gRPC code: "503", "5xx", "grpc:unavailable"
  4:57+3 `ignored` is a whole number, not a list → write `ignored = ["404"]`

outlier = { consecutive = 0, deviations = "0", failure_rate = "0%", ejected_max = "0%", eject_for = "5m..1m" }
  4:27+1 `consecutive` (0) is out of range → write a whole number from 1 to 10000
  4:43+3 `deviations` ("0") is not a number of deviations → write a number above 0 and up to 10, with at most three decimals: "1.9"
  4:63+4 `failure_rate` (0%) must be above zero → write `failure_rate = "85%"`
  4:83+4 `ejected_max` (0%) must be above zero → write `ejected_max = "10%"`
  4:101+8 `eject_for` ("5m..1m") is not a time of being ejected → write a first time above zero and a longest that is not below it, of 1d at most: "5s..1m"

outlier = { consecutive = "off", deviations = "off", failure_rate = "off" }
  4:11+65 an outlier that judges by nothing → remove `outlier`, or one of the three that are "off"

timeout = "1s"
hedge = { after = "2s", attempts_max = 1 }
  5:19+4 `after` (2s) is above `timeout` (1s) → write 1s or less, or raise `timeout`
  5:40+1 `attempts_max` (1) is out of range → write a whole number from 2 to 5

bulkhead = {}
  4:12+2 a bulkhead has no `calls_max` → write `calls_max = 100`

bulkhead = { calls_max = "10..5", queue_max = 5 }
  4:12+38 `queue_max` without how long one waits → add `queue_timeout = "100ms"`
  4:26+7 `calls_max` ("10..5") is not a number of calls → write 1 to 1000000, the least first: "10..500"

bulkhead = { calls_max = 5, queue_timeout = "1s" }
  4:45+4 `queue_timeout` says nothing where nobody waits → add `queue_max = 100`, or remove it

bulkhead = "on"
  4:12+4 `bulkhead` ("on") is neither a table nor "off" → write "off", a table, or leave the key out for the default

fallback = { status = 100, content_type = "json" }
  4:23+3 `status` (100) is out of range → write a whole number from 200 to 599
  4:43+6 `content_type` ("json") is not a content type → write a media type: "application/json"

fallback = { status = 204, body = "[]" }
  4:35+4 an answer of that status has no body → remove `body`, or write another `status`

mode = "async"
fallback = { status = 200 }
  5:12+16 `fallback` of a call that is handed over → remove it: it is tried until it was carried out, and answered by nothing else

retry.on = ["503", "connect"]
  4:20+9 `on` ("connect") is not a class of answers → write a status, a class or a gRPC code: "503", "5xx", "grpc:unavailable"

breaker.per = "zone"
  4:15+6 `per` ("zone") is not whose calls are counted together → write "instance", "route", or a key: "header:x-tenant"
"#,
    );
}

#[test]
fn every_part_is_read() {
    let text = r#"name = "t"
[service.b]
[service.a.calls.b]
balance = { by = "ring", key = "cookie:Basket", headroom = "25%", subset = 20, slow_start = "30s", zones = "prefer", panic_below = "50%" }
outcome = { failures = ["5xx", "429"], ignored = ["404"] }
outlier = { consecutive = "off", deviations = "2", eject_for = "10s" }
hedge = { after = "20ms" }
bulkhead = { calls_max = "10..500", queue_max = 50, queue_timeout = "100ms" }
fallback = { status = 203, body = "[]" }
retry = { on = ["503"] }
breaker = { per = "header:x-tenant" }
"#;
    let policy = &parse(text).unwrap().services[1].calls[0].policy;
    assert_eq!(policy.check(), Ok(()));
    let json = serde_json::to_value(policy).unwrap();
    assert_eq!(serde_json::from_value::<CallPolicy>(json.clone()).unwrap(), *policy);
    let expect = r#"{
        "balance": {"by": "ring", "key": "cookie:Basket", "headroom": "25%", "subset": 20, "slow_start": "30s",
            "zones": "prefer", "panic_below": "50%"},
        "outcome": {"failures": ["5xx", "429"], "ignored": ["404"]},
        "outlier": {"interval": "10s", "failure_rate": "85%", "deviations": "2", "calls_min": 100,
            "instances_min": 5, "eject_for": "10s", "ejected_max": "10%"},
        "hedge": {"after": "20ms", "attempts_max": 2, "budget": "10%"},
        "bulkhead": {"calls_max": "10..500", "queue_max": 50, "queue_timeout": "100ms"},
        "fallback": {"status": 203, "body": "[]", "content_type": "application/json"}
    }"#;
    let expect: serde_json::Value = serde_json::from_str(expect).unwrap();
    for (name, part) in expect.as_object().unwrap() {
        assert_eq!(&json[name], part, "{name}");
    }
    assert_eq!(json["retry"]["on"], serde_json::json!(["503"]));
    assert_eq!(json["breaker"]["per"], "header:x-tenant");
}
