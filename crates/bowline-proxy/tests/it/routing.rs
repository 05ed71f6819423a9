//! Which requests go where, and what is said of those that go nowhere.

use bowline_model::{ServiceName, route::Backend};
use bowline_runtime::rand;
use http::Request;

use crate::support::{Fake, Proxy, answer, attribute, full, http1, raw, read, route, with_host};

#[tokio::test]
async fn host_path_and_method_choose_the_route() {
    let (order, user) = (Fake::named("order"), Fake::named("user"));
    let mut orders = with_host(route("order", "/orders/**"), "shop.localhost");
    orders.matches[0].methods = vec!["GET".to_owned(), "POST".to_owned()];
    let routes = [orders, route("user", "/users/{id}")];
    let proxy = Proxy::start(&routes, &[order.instance("order", "o-1"), user.instance("user", "u-1")]);
    let ask = async |method: &str, host: &str, path: &str| {
        proxy.send(Request::builder().method(method).uri(path).header("host", host).body(full("")).unwrap()).await
    };
    assert_eq!(ask("GET", "Shop.Localhost:8080", "/orders/7?x=//").await.text(), "order");
    assert_eq!(ask("GET", "anything", "/users/7").await.text(), "user");
    ask("GET", "other.localhost", "/orders/7").await.assert_refused(404, "not_found", "no_route");
    let other_method = ask("DELETE", "shop.localhost", "/orders/7").await;
    other_method.assert_refused(405, "method_not_allowed", "method_not_allowed");
    assert_eq!(other_method.headers["allow"], "GET, POST");
    assert_eq!(proxy.counted("order", 200), 1);
    assert_eq!(proxy.counted("", 404), 1);
}

#[tokio::test]
async fn nothing_is_at_paths_that_are_bowlines_own() {
    let fake = Fake::named("all");
    let mut own = route("own", "/-/bowline/**");
    own.matches[0].methods = vec!["POST".to_owned()];
    let proxy = Proxy::start(&[route("all", "/**"), own], &[fake.instance("all", "a-1"), fake.instance("own", "o-1")]);
    for (method, path) in [("GET", "/-/bowline/sagas"), ("POST", "/-/bowline/sagas/o-1/retry"), ("GET", "/-/bowline/")]
    {
        let request = Request::builder().method(method).uri(path).header("host", "a").body(full("")).unwrap();
        proxy.send(request).await.assert_refused(404, "not_found", "no_route");
    }
    for path in ["/-/healthy", "/a/-/bowline/", "/-/bowlines"] {
        assert_eq!(proxy.get(path).await.text(), "all", "{path}");
    }
}

#[tokio::test]
async fn an_answer_passes_as_it_is_and_names_its_trace() {
    let fake = Fake::http1(|request| async move {
        let mut response = answer(418, format!("{} {}", request.method(), request.uri()));
        response.headers_mut().insert("server", "teapot/1".parse().unwrap());
        response.headers_mut().insert("x-trace-id", "forged".parse().unwrap());
        response
    });
    let proxy = Proxy::start(&[route("tea", "/**")], &[fake.instance("tea", "t-1")]);
    let got = proxy.get("/a%20b/c;d?e=f&g").await;
    assert_eq!((got.status.as_u16(), got.text()), (418, "GET /a%20b/c;d?e=f&g"));
    assert_eq!(got.headers["server"], "teapot/1");
    assert!(!got.headers.contains_key("x-bowline-reason"));
    let span = proxy.spans.only().await;
    assert_eq!(got.headers.get_all("x-trace-id").iter().collect::<Vec<_>>(), [&span.trace_id.to_string()]);
    assert_eq!(span.name, "GET tea");
    let expected = [
        ("bowline.route", "tea"),
        ("bowline.backend", "tea"),
        ("http.request.method", "GET"),
        ("url.path", "/a%20b/c;d"),
        ("http.response.status_code", "418"),
        ("client.address", "127.0.0.1"),
    ];
    for (key, value) in expected {
        assert_eq!(attribute(&span, key).as_deref(), Some(value), "{key}");
    }
}

#[tokio::test]
async fn targets_that_can_be_read_in_two_ways_are_refused() {
    let proxy = Proxy::start(&[route("all", "/**")], &[]);
    for (head, reason) in [
        ("GET / HTTP/1.1\r\n", "bad_host"),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n", "bad_host"),
        ("GET / HTTP/1.1\r\nhost: a b\r\n", "bad_host"),
        ("GET //a HTTP/1.1\r\nhost: a\r\n", "bad_path"),
        ("GET /a/../b HTTP/1.1\r\nhost: a\r\n", "bad_path"),
        ("GET /a/%2E%2e/b HTTP/1.1\r\nhost: a\r\n", "bad_path"),
        ("GET /%61dmin HTTP/1.1\r\nhost: a\r\n", "bad_path"),
        ("GET /public/..%2fadmin HTTP/1.1\r\nhost: a\r\n", "bad_path"),
        ("GET /public/..%5Cadmin HTTP/1.1\r\nhost: a\r\n", "bad_path"),
        ("GET /a%00 HTTP/1.1\r\nhost: a\r\n", "bad_path"),
        ("GET /;x/a HTTP/1.1\r\nhost: a\r\n", "bad_path"),
        ("GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: WebSocket\r\n", "upgrade_unsupported"),
        ("CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n", "connect_unsupported"),
    ] {
        let text = raw(proxy.addr(), format!("{head}connection: close\r\n\r\n").as_bytes()).await;
        assert!(text.starts_with("HTTP/1.1 400 "), "{head}: {text}");
        assert!(text.contains(&format!("x-bowline-reason: {reason}\r\n")), "{head}: {text}");
        assert!(text.contains("x-trace-id: "), "{text}");
    }
}

#[tokio::test]
async fn no_spelling_of_a_path_walks_round_its_route() {
    let (admin, all) = (Fake::named("admin"), Fake::named("all"));
    let routes = [
        with_host(route("admin", "/admin/**"), "*.test"),
        with_host(route("all", "/**"), "*.test"),
        route("all-hosts", "/**"),
    ];
    let instances = [admin.instance("admin", "a-1"), all.instance("all", "b-1"), all.instance("all-hosts", "c-1")];
    let proxy = Proxy::start(&routes, &instances);
    for path in ["/admin/x", "/admin;v=1/x", "/admin;/x", "/admin;a=%2e%2e/x"] {
        let got = proxy.get(path).await;
        assert!(got.status == 400 || got.text() == "admin", "{path}: {got:?}");
    }
    assert_eq!(proxy.get("/admin;v=1/x").await.text(), "admin");
    for path in
        ["/%61dmin/x", "/%61DMIN/x", "//admin/x", "/x/../admin/x", "/x%2f..%2fadmin/x", "/;/admin/x", "/x/..;/admin"]
    {
        proxy.get(path).await.assert_refused(400, "invalid_argument", "bad_path");
    }
    assert_eq!(proxy.get("/adminx;v=1/x").await.text(), "all");
    // Looking for the wildcard of such a host would take a core a second.
    let long = Request::get("/").header("host", "a.".repeat(30_000)).body(full("")).unwrap();
    proxy.send(long).await.assert_refused(400, "invalid_argument", "bad_host");
}

#[tokio::test]
async fn methods_that_clients_invent_do_not_name_spans() {
    let fake = Fake::named("tea");
    let proxy = Proxy::start(&[route("tea", "/**")], &[fake.instance("tea", "t-1")]);
    let request = Request::builder().method("BREW").uri("/pot").body(full("")).unwrap();
    assert_eq!(proxy.send(request).await.text(), "tea");
    let span = proxy.spans.only().await;
    assert_eq!(span.name, "HTTP tea");
    assert_eq!(attribute(&span, "http.request.method").as_deref(), Some("_OTHER"));
    assert_eq!(attribute(&span, "http.request.method_original").as_deref(), Some("BREW"));
}

#[tokio::test]
async fn an_http_1_0_client_without_a_host_is_served() {
    let fake = Fake::named("old");
    let proxy = Proxy::start(&[route("old", "/**")], &[fake.instance("old", "o-1")]);
    let text = raw(proxy.addr(), b"GET / HTTP/1.0\r\n\r\n").await;
    assert!(text.contains(" 200 OK\r\n") && text.ends_with("\r\n\r\nold"), "{text}");
}

#[tokio::test]
async fn an_offer_to_upgrade_is_ignored() {
    let fake = Fake::http1(|request| async move { answer(200, format!("{:?}", request.headers().get("upgrade"))) });
    let proxy = Proxy::start(&[route("a", "/**")], &[fake.instance("a", "a-1")]);
    let request = Request::get("/").header("connection", "upgrade, http2-settings").header("upgrade", "h2c");
    assert_eq!(proxy.send(request.body(full("")).unwrap()).await.text(), "None");
}

#[tokio::test]
async fn weights_divide_the_traffic() {
    println!("seed {}", rand::u64());
    let (blue, green) = (Fake::named("blue"), Fake::named("green"));
    let mut split = route("split", "/**");
    let backend = |name, weight| Backend { service: ServiceName::new(name).unwrap(), weight };
    split.backends = vec![backend("blue", 90), backend("green", 10), backend("off", 0)];
    let proxy = Proxy::start(&[split], &[blue.instance("blue", "b-1"), green.instance("green", "g-1")]);
    let mut client = http1(proxy.addr()).await;
    let mut greens = 0;
    for _ in 0..1000 {
        client.ready().await.unwrap();
        let request = Request::get("/").header("host", "a").body(full("")).unwrap();
        let got = read(client.send_request(request).await.unwrap()).await;
        greens += u32::from(got.text() == "green");
    }
    // Six standard deviations around 100.
    assert!((43..157).contains(&greens), "{greens}");
}
