//! The client of tools, against raw sockets.

use std::time::Duration;

use bowline_model::{Address, Code};
use bowline_transport::{ClientError, HttpClient, problem::Problem};
use http::Method;
use serde_json::{Value, json};

use crate::peer::{Peer, run};

fn client(peer: &Peer) -> HttpClient {
    HttpClient::new(peer.endpoint.address.clone()).with_timeout(Duration::from_secs(5))
}

fn answer(status: &str, content_type: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn json_goes_and_comes() {
    run(async |_| {
        let peer = Peer::answering(answer("200 OK", "application/json", r#"{"a":[1,2]}"#));
        let client = client(&peer);
        assert_eq!(client.get_json::<Value>("/v1/a?b=c").await.unwrap(), json!({"a": [1, 2]}));
        let read: Value = client.post_json("/v1/a", &json!({"x": 1})).await.unwrap();
        assert_eq!(read["a"][1], 2);
        assert_eq!(peer.accepted(), 1);
        let empty = Peer::answering("HTTP/1.1 204 No Content\r\n\r\n");
        let () = self::client(&empty).send_json(Method::DELETE, "/", &()).await.unwrap();
    });
}

#[test]
fn problems_are_told() {
    run(async |_| {
        let problem = Problem::new(Code::NotFound, "no such instance").with_trace_id("ab");
        let text = String::from_utf8(problem.to_json().to_vec()).unwrap();
        let peer = Peer::answering(answer("404 Not Found", "application/problem+json", &text));
        let error = client(&peer).get_json::<Value>("/").await.unwrap_err();
        assert_eq!((error.code(), error.retryable()), (Code::NotFound, false));
        let ClientError::Answer { problem: told, .. } = &error else { panic!("{error:?}") };
        assert_eq!(**told, problem);
        assert!(error.to_string().ends_with("answered 404: no such instance"), "{error}");
        let bare = Peer::answering(answer("503 Busy", "text/plain", "come later\n"));
        let error = client(&bare).get_json::<Value>("/").await.unwrap_err();
        assert_eq!((error.code(), error.retryable()), (Code::Unavailable, true));
        assert!(error.to_string().ends_with("answered 503: come later"), "{error}");
    });
}

#[test]
fn other_failures_are_told_apart() {
    run(async |_| {
        let prose = Peer::answering(answer("200 OK", "text/html", "<p>"));
        let error = client(&prose).get_json::<Value>("/").await.unwrap_err();
        assert!(matches!(error, ClientError::Decode { .. }));
        let silent = Peer::answering("");
        let error = client(&silent).with_timeout(Duration::from_millis(20)).get_json::<Value>("/").await.unwrap_err();
        assert_eq!((error.code(), error.retryable()), (Code::DeadlineExceeded, true));
        let huge =
            Peer::answering("HTTP/1.1 200 OK\r\ncontent-length: 16777217\r\n\r\n".to_owned() + &"x".repeat(16_777_217));
        let error = client(&huge).get_json::<Value>("/").await.unwrap_err();
        assert!(matches!(error, ClientError::TooLarge { .. }));
        let error = client(&silent).get_json::<Value>("not a path").await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        let nobody = HttpClient::new("unix:/nonexistent/socket".parse::<Address>().unwrap());
        let error = nobody.get_json::<Value>("/").await.unwrap_err();
        assert_eq!((error.code(), error.retryable()), (Code::Unavailable, true));
    });
}

#[test]
fn a_header_of_the_client_goes_with_every_request_and_is_not_printed() {
    run(async |_| {
        let server = bowline_testkit::HttpServer::start(|_| bowline_testkit::Answer::Status(200, "1".to_owned()));
        let client = HttpClient::new(server.addr())
            .with_header(http::header::AUTHORIZATION, http::HeaderValue::from_static("Bearer hunter2"));
        let _: Value = client.get_json("/a").await.unwrap();
        let own = http::Request::get("/b").header("authorization", "own").body(bowline_transport::Body::empty());
        client.request(own.unwrap()).await.unwrap();
        let seen: Vec<_> = server.requests().iter().map(|request| request.headers["authorization"].clone()).collect();
        assert_eq!(seen, ["Bearer hunter2", "own"]);
        assert!(!format!("{client:?}").contains("hunter2"), "{client:?}");
    });
}
