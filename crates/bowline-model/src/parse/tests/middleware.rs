//! What is done to requests and answers.

use super::check_all;

const ROUTE: &str = r#"name = "t"
[service.order]
[[route]]
name = "r"
backends = [{ service = "order" }]
$"#;
const CORS: &str = r#"name = "t"
[service.order]
[[route]]
name = "r"
backends = [{ service = "order" }]
$"#;
const EDITS: &str = r#"name = "t"
[service.order]
[[route]]
name = "r"
backends = [{ service = "order" }]
$"#;

#[test]
fn switches() {
    check_all(
        ROUTE,
        r#"
request_id = "x-request-id"
  6:14+14 `request_id` is a string, not a boolean → write `request_id = true`

compress = 1
  6:12+1 `compress` is a whole number, not a boolean → write `compress = true`

compression = true
  6:1+11 unknown key `compression` in a route → did you mean `compress`?
"#,
    );
}

#[test]
fn cors() {
    check_all(
        CORS,
        r#"
cors = "*"
  6:8+3 `cors` is a string, not a table → write `cors = { origins = ["https://shop.example"] }`

cors = {}
  6:8+2 a cors has no `origins` → write `origins = ["https://shop.example"]`

cors = { origins = [] }
  6:20+2 a cors without origins → name those whose pages may ask: ["https://shop.example"]

cors = { origins = "*" }
  6:20+3 `origins` is a string, not a list → write `origins = ["https://shop.example"]`

cors = { origins = ["shop.example"] }
  6:21+14 `origins` ("shop.example") is not an origin → write scheme and host without a path: "https://shop.example"; or "*" alone for every origin

cors = { origins = ["https://shop.example/"] }
  6:21+23 `origins` ("https://shop.example/") is not an origin → write scheme and host without a path: "https://shop.example"; or "*" alone for every origin

cors = { origins = ["https://*.shop.example"] }
  6:21+24 `origins` ("https://*.shop.example") is not an origin → write scheme and host without a path: "https://shop.example"; or "*" alone for every origin

cors = { origins = ["https://shop.example:443", "http://a:80"] }
  6:21+26 `origins` ("https://shop.example:443") is not an origin → leave the usual port out, as browsers do
  6:49+13 `origins` ("http://a:80") is not an origin → leave the usual port out, as browsers do

cors = { origins = ["https://shop.example:99999"] }
  6:21+28 `origins` ("https://shop.example:99999") is not an origin → write scheme and host without a path: "https://shop.example"; or "*" alone for every origin

cors = { origins = ["null"] }
  6:21+6 `origins` ("null") is not an origin → write scheme and host without a path: "https://shop.example"; or "*" alone for every origin

cors = { origins = ["*", "https://shop.example"] }
  6:21+3 "*" beside others → keep it alone, or remove it: it means every one

cors = { origins = ["https://a.example", "https://A.example"] }
  6:42+19 `origins` has this twice → remove one of them

cors = { origins = ["*"], credentials = true }
  6:41+4 credentials beside "*" → name the origins and headers: browsers refuse "*" with credentials

cors = { origins = ["https://a"], headers = ["*"], credentials = true }
  6:66+4 credentials beside "*" → name the origins and headers: browsers refuse "*" with credentials

cors = { origins = ["https://a"], headers = ["content type", "*"] }
  6:46+14 `headers` ("content type") is not the name of a header → use letters, digits and -: `x-canary`
  6:62+3 "*" beside others → keep it alone, or remove it: it means every one

cors = { origins = ["https://a"], headers = ["x-a", "X-A"] }
  6:53+5 `headers` has this twice → remove one of them

cors = { origins = ["https://a"], methods = ["PTU", "PUT", "PUT"] }
  6:46+5 unknown method `PTU` → did you mean `PUT`?
  6:60+5 `methods` has this twice → remove one of them

cors = { origins = ["https://a"], expose = ["*", "a b"] }
  6:45+3 `expose` ("*") is not the name of a header → name each header
  6:50+5 `expose` ("a b") is not the name of a header → use letters, digits and -: `x-canary`

cors = { origins = ["https://a"], credentials = "include" }
  6:49+9 `credentials` is a string, not a boolean → write `credentials = true`

cors = { origins = ["https://a"], max_age = "2d" }
  6:45+4 `max_age` (2d) is above 1d → write 1d or less

cors = { origin = ["https://a"] }
  6:10+6 unknown key `origin` in a cors → did you mean `origins`?
"#,
    );
}

#[test]
fn header_edits() {
    check_all(
        EDITS,
        r#"
request_headers = ["x-a"]
  6:19+7 `request_headers` is a list, not a table → write `request_headers = { remove = ["x-debug"], set = { x-shop = "1" } }`

request_headers = { remove = "x-a" }
  6:30+5 `remove` is a string, not a list → write `remove = ["x-debug"]`

request_headers = { remove = ["x a", "x-a", "X-A"] }
  6:31+5 `x a` is not the name of a header → use letters, digits and -: `x-canary`
  6:45+5 `remove` has this twice → remove one of them

request_headers = { remove = ["Host", "content-length", "connection", "x-bowline-subject"] }
  6:31+6 the header `host` is the gateway's own → leave it to the gateway: remove it here
  6:39+16 the header `content-length` is the gateway's own → leave it to the gateway: remove it here
  6:57+12 the header `connection` is the gateway's own → leave it to the gateway: remove it here
  6:71+19 the header `x-bowline-subject` is set by Bowline itself → use a name that does not begin with `x-bowline-`

request_headers = { set = { "x a" = "1", Transfer-Encoding = "chunked", X-Bowline-Subject = "u-1" } }
  6:29+5 `x a` is not the name of a header → use letters, digits and -: `x-canary`
  6:42+17 the header `transfer-encoding` is the gateway's own → leave it to the gateway: remove it here
  6:73+17 the header `x-bowline-subject` is set by Bowline itself → use a name that does not begin with `x-bowline-`

response_headers = { set = { x-a = " 1", x-b = 2, x-c = "a\r\nb" } }
  6:36+4 `x-a` (" 1") is not the value of a header → write visible ASCII characters without blanks around them
  6:48+1 `x-b` is a whole number, not a string → write `x-b = "value"`
  6:57+8 `x-c` ("a\r\nb") is not the value of a header → write visible ASCII characters without blanks around them

response_headers = { add = { vary = "x", Vary = "y" } }
  6:42+4 the header `vary` is there twice → keep one of them

response_headers = { replace = {} }
  6:22+7 unknown key `replace` in a change of headers → a change of headers has: remove, set, add

response_headers = { add = ["x"] }
  6:28+5 `add` is a list, not a table → write `add = { vary = "x-shop" }`
"#,
    );
}
