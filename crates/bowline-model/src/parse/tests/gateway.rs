//! The listener, what routes demand, and limits.

use super::check_all;

const ROUTE: &str = r#"name = "t"
[service.order]
[auth.customers]
jwt = { issuer = "i", audience = "s", algorithms = ["EdDSA"], jwks = "file:k" }
[[route]]
name = "r"
backends = [{ service = "order" }]
$"#;
const LISTENER: &str = r#"name = "t"
[auth.customers]
jwt = { issuer = "i", audience = "s", algorithms = ["EdDSA"], jwks = "file:k" }
$"#;

#[test]
fn what_routes_demand() {
    check_all(
        ROUTE,
        r#"
auth = "custmers"
  8:8+10 unknown auth `custmers` → did you mean `customers`?

auth = "zzz"
  8:8+5 unknown auth `zzz` → declare it with `[auth.zzz]`

auth = "Customers"
  8:8+11 `auth` ("Customers") is not a name → only a-z, 0-9 and - are allowed

auth = ["customers"]
  8:8+13 `auth` is a list, not a string → write `auth = "customers"`

limit = "100/s"
  8:9+7 `limit` is a string, not a table → write `limit = { by = "address", rate = "100/s", burst = 200 }`

limit = {}
  8:9+2 a limit has no `by` → write `by = "address"`
  8:9+2 a limit has no `rate` → write `rate = "100/s"`
  8:9+2 a limit has no `burst` → write `burst = 200`

limit = { by = "client", rate = "1/s", burst = 1 }
  8:16+8 `by` ("client") is not what a limit counts by → write "address", "subject" or "header:x-tenant"

limit = { by = "header:", rate = "1/s", burst = 1 }
  8:16+9 `by` ("header:") is not what a limit counts by → write "address", "subject" or "header:x-tenant"

limit = { by = "header:x-bowline-subject", rate = "1/s", burst = 1 }
  8:16+26 `x-bowline-subject` is never a client's own → limit by "subject", "address" or another header

limit = { by = "header:x_bowline-subject", rate = "1/s", burst = 1 }
  8:16+26 `x_bowline-subject` is never a client's own → limit by "subject", "address" or another header

limit = { by = "subject", rate = "1/s", burst = 1 }
  8:16+9 a limit by subject without `auth` → add `auth`, so that subjects are known, or limit by "address"

auht = "customers"
limit = { by = "subject", rate = "1/s", burst = 1 }
  8:1+4 unknown key `auht` in a route → did you mean `auth`?

limit = { by = "address", rate = "100", burst = 1 }
  8:34+5 `rate` ("100") is not a rate → write how many in which time: "100/s", "10/m", "5000/h" or "1000/d"

limit = { by = "address", rate = "0/s", burst = 1 }
  8:34+5 `rate` ("0/s") is not a rate → a rate is 1 to 1,000,000 in its time

limit = { by = "address", rate = "1000001/s", burst = 1 }
  8:34+11 `rate` ("1000001/s") is not a rate → a rate is 1 to 1,000,000 in its time

limit = { by = "address", rate = 100, burst = 1 }
  8:34+3 `rate` is a whole number, not a string → write `rate = "100/s"`

limit = { by = "address", rate = "1/s", burst = 0 }
  8:49+1 `burst` (0) is out of range → write a whole number from 1 to 1000000

limit = { by = "address", rate = "1/s", burst = 1000001 }
  8:49+7 `burst` (1000001) is out of range → write a whole number from 1 to 1000000

limit = { by = "address", rate = "1/s", burst = "2" }
  8:49+3 `burst` is a string, not a whole number → write `burst = 200`

limit = { by = "address", rate = "1/d", burst = 31 }
  8:49+2 `burst` (31) takes 31d to refill at 1/d, longer than 30d → write 30 or less, or raise `rate`

limit = { by = "address", rate = "10/h", burst = 10000 }
  8:50+5 `burst` (10000) takes 41d 16h to refill at 10/h, longer than 30d → write 7200 or less, or raise `rate`

limit = { by = "address", rate = "1/s", brust = 1 }
  8:41+5 unknown key `brust` in a limit → did you mean `burst`?

limit = { by = "address", window = "100/m" }
  8:36+7 `window` ("100/m") is not a window → write how many in which time: "100 in 1m", "5000 in 1h"

limit = { by = "address", window = "100 in 31d" }
  8:36+12 `window` ("100 in 31d") is not a window → a window is 1ms to 30d long

limit = { by = "address", window = "100 in 1m", burst = 10 }
  8:49+5 `burst` beside `window` → keep `window` for so many in any time, or `rate` and `burst` for an even pace

limit = { by = "address", rate = "1/s", burst = 10, window = "100 in 1m" }
  8:27+4 `rate` beside `window` → keep `window` for so many in any time, or `rate` and `burst` for an even pace
  8:41+5 `burst` beside `window` → keep `window` for so many in any time, or `rate` and `burst` for an even pace

limit = { window = "100 in 1m" }
  8:9+24 a limit has no `by` → write `by = "address"`
"#,
    );
}

#[test]
fn the_listener() {
    check_all(
        LISTENER,
        r#"
[gateway]
auth = "custmers"
  5:8+10 unknown auth `custmers` → did you mean `customers`?

[gateway]
limit = { by = "subject", rate = "1/s", burst = 1 }
  5:16+9 a limit by subject without `auth` → add `auth`, so that subjects are known, or limit by "address"

[gateway]
limit = { by = "adress", rate = "1/s" }
  5:9+31 a limit has no `burst` → write `burst = 200`
  5:16+8 `by` ("adress") is not what a limit counts by → write "address", "subject" or "header:x-tenant"

[gateway]
cors = {}
  5:1+4 unknown key `cors` in the gateway → the gateway has: auth, limit

[[gateway]]
  4:1+11 `gateway` is a list, not a table → write `[gateway]`
"#,
    );
}
