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
async fn an_answer_passes_as_it_is_and_names_its_trace() {
    let fake = Fake::http1(|request| async move {
        let mut response = answer(418, format!("{} {}", request.method(), request.uri()));
        response.headers_mut().insert("server", "teapot/1".parse().unwrap());
        response.headers_mut().insert("x-trace-id", "forged".parse().unwrap());
        response
    });
    let proxy = Proxy::start(&[route("tea", "/**")], &[fake.instance("tea", "t-1")]);
    let got = proxy.get("/a%20b/;c?d=e&f").await;
    assert_eq!((got.status.as_u16(), got.text()), (418, "GET /a%20b/;c?d=e&f"));
    assert_eq!(got.headers["server"], "teapot/1");
    assert!(!got.headers.contains_key("x-bowline-reason"));
    let span = proxy.spans.only().await;
    assert_eq!(got.headers.get_all("x-trace-id").iter().collect::<Vec<_>>(), [&span.trace_id.to_string()]);
    assert_eq!(span.name, "GET tea");
    let expected = [
        ("bowline.route", "tea"),
        ("bowline.backend", "tea"),
        ("http.request.method", "GET"),
        ("url.path", "/a%20b/;c"),
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
