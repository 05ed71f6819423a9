//! A watch over bodies that end, lie or never end a line.

use bowline_model::Code;
use bowline_provider_remote::RemoteRegistry;
use bowline_registry::{Error, InstanceChange, InstanceWatch, Query, Registry as _};
use bowline_runtime::time::timeout;
use bowline_testkit::{Answer, HttpServer};

use crate::BOUND;

const PUT: &str =
    r#"{"type":"put","revision":7,"instance":{"id":"order-1","service":"order","address":"127.0.0.1:9000"}}"#;
const DELETE: &str = r#"{"type":"delete","revision":8,"id":"order-1","service":"order"}"#;

/// A watch from revision 5 of a server that answers so.
async fn watch(body: &str) -> (HttpServer, Box<dyn InstanceWatch>) {
    let body = body.to_owned();
    let server = HttpServer::start(move |_| Answer::Status(200, body.clone()));
    let watch = RemoteRegistry::new(server.addr()).watch(&Query::default(), 5).await.unwrap();
    (server, watch)
}

async fn fails(watch: &mut Box<dyn InstanceWatch>) -> Error {
    timeout(BOUND, watch.next()).await.unwrap().unwrap_err()
}

#[tokio::test]
async fn events_are_told_and_bookmarks_are_where_to_resume() {
    let (server, mut watch) = watch(&format!("{PUT}\n{DELETE}\n{{\"type\":\"bookmark\",\"revision\":12}}\n")).await;
    assert_eq!(server.requests()[0].path, "/v1/instances?watch=true&from=5");
    assert_eq!(watch.revision(), Some(5));
    let put = watch.next().await.unwrap();
    assert!(matches!(put.change, InstanceChange::Put(instance) if instance.id.as_str() == "order-1"));
    let delete = watch.next().await.unwrap();
    assert!(matches!(delete.change, InstanceChange::Delete { service, .. } if service.as_str() == "order"));
    assert_eq!((put.revision, delete.revision), (7, 8));
    assert!(watch.revision().is_some_and(|seen| (5..=8).contains(&seen)));
    assert_eq!(fails(&mut watch).await.code(), Code::Unavailable, "the body has ended");
    assert_eq!(watch.revision(), Some(12));
}

#[tokio::test]
async fn an_error_event_ends_the_watch_with_its_code() {
    let error = r#"{"type":"error","code":"out_of_range","detail":"gone"}"#;
    let (_server, mut gone) = watch(&format!("{error}\n")).await;
    assert!(matches!(fails(&mut gone).await, Error::OtherHistory));
    let error = r#"{"type":"error","code":"unavailable","detail":"too slow"}"#;
    let (_server, mut lagged) = watch(&format!("{error}\n")).await;
    let error = fails(&mut lagged).await;
    assert!(error.retryable() && error.code() == Code::Unavailable, "{error:?}");
}

#[tokio::test]
async fn what_is_no_event_is_an_error() {
    for body in ["hello\n", "{\"type\":\"surprise\",\"revision\":1}\n", "\n", &PUT[..40]] {
        let (_server, mut watch) = watch(body).await;
        assert_eq!(fails(&mut watch).await.code(), Code::Unavailable, "{body}");
    }
}

#[tokio::test]
async fn a_line_is_bounded() {
    let (_server, mut watch) = watch(&"x".repeat(3 << 20)).await;
    let error = fails(&mut watch).await;
    let Error::Unavailable(Some(cause)) = error else { panic!("{error:?}") };
    assert!(cause.to_string().contains("too long"), "{cause}");
}

#[tokio::test]
async fn a_refusal_is_told_by_its_status_where_it_is_no_problem() {
    let server = HttpServer::start(|_| Answer::Status(503, "<html>busy</html>".to_owned()));
    let error = RemoteRegistry::new(server.addr()).watch(&Query::default(), 5).await.err().unwrap();
    assert!(matches!(error, Error::Refused { code: Code::Unavailable, .. }), "{error:?}");
    let server = HttpServer::start(|_| Answer::status(410));
    let error = RemoteRegistry::new(server.addr()).watch(&Query::default(), 5).await.err().unwrap();
    assert!(matches!(error, Error::OtherHistory), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up() {
    let server = HttpServer::start(|_| Answer::Hang);
    let error = RemoteRegistry::new(server.addr()).watch(&Query::default(), 5).await.err().unwrap();
    assert!(matches!(error, Error::Unavailable(Some(_))), "{error:?}");
}
