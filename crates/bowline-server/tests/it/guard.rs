//! Whose requests are refused: those that a page of another site makes a browser send.

use crate::support::Fixture;

#[tokio::test]
async fn foreign_hosts_are_refused() {
    let fixture = Fixture::start().await;
    for host in ["evil.example", "evil.example:7117", "localhost.evil.example", "10.0.0.1", "", "user@evil.example"] {
        let answer = fixture.ask_with("GET", "/v1/services", &[("host", host)], "").await;
        let detail = answer.problem(403, "permission_denied");
        assert!(detail.contains(&format!("`{host}`")), "{detail}");
    }
    for host in ["localhost", "LOCALHOST:1", "bowline.localhost:7117", "127.0.0.1", "[::1]:80"] {
        assert_eq!(fixture.ask_with("GET", "/v1/services", &[("host", host)], "").await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn foreign_origins_are_refused() {
    let fixture = Fixture::start().await;
    for origin in ["http://evil.example", "https://127.0.0.1.evil.example", "null", "file://", "127.0.0.1"] {
        let answer = fixture.ask_with("DELETE", "/v1/instances/order-1", &[("origin", origin)], "").await;
        answer.problem(403, "permission_denied");
    }
    let own = [("origin", "http://localhost:7117")];
    assert_eq!(fixture.ask_with("GET", "/v1/services", &own, "").await.status, 200);
    let both = [("origin", "http://localhost:7117"), ("origin", "http://evil.example")];
    fixture.ask_with("GET", "/v1/services", &both, "").await.problem(403, "permission_denied");
}

#[tokio::test]
async fn health_and_the_document_are_guarded_too() {
    let fixture = Fixture::start().await;
    for path in ["/livez", "/metrics", "/openapi.json", "/nothing-here"] {
        fixture.ask_with("GET", path, &[("host", "evil.example")], "").await.problem(403, "permission_denied");
    }
}

#[tokio::test]
async fn a_request_names_one_host() {
    let fixture = Fixture::start().await;
    let ask = async |head: &str| fixture.raw(&format!("GET {head}\r\nConnection: close\r\n\r\n")).await;
    let two = ask("/livez HTTP/1.1\r\nHost: localhost\r\nHost: evil.example").await;
    assert!(two.starts_with("HTTP/1.1 400 ") && two.contains("more than one Host header"), "{two}");
    let none = ask("/livez HTTP/1.1").await;
    assert!(none.starts_with("HTTP/1.1 400 "), "{none}");
    // The target's host counts before the header's, so neither may be another's.
    let target = ask("http://evil.example/livez HTTP/1.1\r\nHost: localhost").await;
    assert!(target.starts_with("HTTP/1.1 403 "), "{target}");
    let header = ask("http://localhost/livez HTTP/1.1\r\nHost: evil.example").await;
    assert!(header.starts_with("HTTP/1.1 403 "), "{header}");
    let good = ask("http://localhost/livez HTTP/1.1\r\nHost: localhost").await;
    assert!(good.starts_with("HTTP/1.1 200 "), "{good}");
}

#[tokio::test]
async fn answers_are_for_this_origin_and_kept_by_nobody_unless_they_say_so() {
    let fixture = Fixture::start().await;
    for target in ["/v1/services", "/v1/nothing", "/livez", "/openapi.json", "/metrics"] {
        let answer = fixture.get(target).await;
        assert_eq!(answer.header("cache-control"), "no-store", "{target}");
        assert_eq!(answer.header("cross-origin-resource-policy"), "same-origin", "{target}");
    }
    let page = fixture.get("/ui/").await;
    assert_eq!(
        (page.header("cache-control"), page.header("cross-origin-resource-policy")),
        ("no-cache", "same-origin")
    );
    let foreign = fixture.ask_with("GET", "/v1/services", &[("origin", "http://evil.example")], "").await;
    assert_eq!((foreign.status, foreign.header("cross-origin-resource-policy")), (403, "same-origin"));
}
