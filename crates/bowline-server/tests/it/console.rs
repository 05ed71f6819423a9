//! The console's page and its files, as a browser loads them.

use std::io::Read as _;

use crate::support::{Answer, Fixture};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

#[track_caller]
fn is_guarded(answer: &Answer) {
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cache-control", "no-cache"),
        ("vary", "accept-encoding"),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
}

async fn load(fixture: &Fixture, path: &str, headers: &[(&str, &str)]) -> Answer {
    let answer = fixture.ask_with("GET", path, headers, "").await;
    is_guarded(&answer);
    answer
}

#[tokio::test]
async fn the_page_is_at_every_path_of_the_console() {
    let fixture = Fixture::start().await;
    for path in ["/", "/ui"] {
        let answer = fixture.get(path).await;
        assert_eq!((answer.status, answer.header("location")), (307, "/ui/"), "{path}");
    }
    let page = load(&fixture, "/ui/", &[]).await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.body.starts_with(b"<!doctype html>"), "{page:?}");
    for path in ["/ui/services/order", "/ui/config/shop/order?tab=history", "/ui/traces/%E4%B8%AD"] {
        assert_eq!(load(&fixture, path, &[]).await.body, page.body, "{path}");
    }
    let head = fixture.ask("HEAD", "/ui/", "").await;
    assert_eq!((head.status, head.header("etag"), head.body.len()), (200, page.header("etag"), 0));
    fixture.ask("POST", "/ui/", "").await.problem(405, "method_not_allowed");
    fixture.get("/ui/%FF").await.problem(400, "invalid_argument");
}

#[tokio::test]
async fn every_file_that_the_page_names_is_there() {
    let fixture = Fixture::start().await;
    let page = load(&fixture, "/ui/", &[]).await;
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    let named: Vec<&str> = text.split('"').filter(|text| text.starts_with("/ui/assets/")).collect();
    assert!(named.len() > 2, "{named:?}");
    for path in named {
        let file = load(&fixture, path, &[]).await;
        assert_eq!(file.status, 200, "{path}");
        let is_script = path.rsplit_once('.').is_some_and(|(_, extension)| extension == "js");
        assert_eq!(file.header("content-type").starts_with("text/javascript"), is_script, "{path}");
    }
    for nowhere in ["/ui/assets/nothing.js", "/ui/assets/", "/ui/assets/../main.js", "/ui/assets/%2e%2e/Cargo.toml"] {
        let answer = fixture.get(nowhere).await;
        assert!(answer.problem(404, "not_found").contains("reload"), "{nowhere}");
    }
}

#[tokio::test]
async fn a_file_is_sent_once_and_compressed_for_those_who_accept_it() {
    let fixture = Fixture::start().await;
    let path = "/ui/assets/vendor/preact.js";
    let plain = load(&fixture, path, &[]).await;
    let gzip = load(&fixture, path, &[("accept-encoding", "br, gzip;q=0.8")]).await;
    assert_eq!((plain.header("content-encoding"), gzip.header("content-encoding")), ("", "gzip"));
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&gzip.body[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain.body);
    assert!(gzip.body.len() * 2 < plain.body.len());
    for no in ["identity", "gzip;q=0", "gzip;q=0, *", "br", "gzip;q=x"] {
        assert_eq!(load(&fixture, path, &[("accept-encoding", no)]).await.body, plain.body, "{no}");
    }

    let (plain_tag, gzip_tag) = (plain.header("etag"), gzip.header("etag"));
    assert!(plain_tag.starts_with('"') && plain_tag != gzip_tag, "other bytes, another tag: {plain_tag} {gzip_tag}");
    let list = format!("\"other\", W/{plain_tag}");
    for kept in [plain_tag, &list, "*"] {
        let answer = load(&fixture, path, &[("if-none-match", kept)]).await;
        assert_eq!((answer.status, answer.body.len(), answer.header("etag")), (304, 0, plain_tag), "{kept}");
    }
    let accepted = [("accept-encoding", "gzip"), ("if-none-match", gzip_tag)];
    assert_eq!(load(&fixture, path, &accepted).await.status, 304);
    for other in [gzip_tag, "\"\"", "x"] {
        assert_eq!(load(&fixture, path, &[("if-none-match", other)]).await.status, 200, "{other}");
    }
}

#[tokio::test]
async fn the_page_is_open_and_what_it_shows_is_not() {
    let fixture = Fixture::start_everywhere().await;
    assert_eq!(fixture.get("/").await.status, 307);
    for path in ["/ui/", "/ui/traces", "/ui/assets/main.js"] {
        assert_eq!(load(&fixture, path, &[("authorization", "Bearer x")]).await.status, 200, "{path}");
    }
    fixture.get("/v1/services").await.problem(401, "unauthenticated");
    fixture.get("/uix").await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn the_page_is_guarded_as_the_api_is() {
    let fixture = Fixture::start().await;
    for path in ["/", "/ui/", "/ui/assets/main.js"] {
        for foreign in [("host", "evil.example"), ("origin", "http://evil.example")] {
            fixture.ask_with("GET", path, &[foreign], "").await.problem(403, "permission_denied");
        }
    }
    assert_eq!(fixture.get("/v1/services").await.header("x-content-type-options"), "nosniff");
}
