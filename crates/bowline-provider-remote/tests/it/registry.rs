//! What a registry's client makes of answers that are none of a registry.

use std::time::Duration;

use bowline_model::{Code, Instance, InstanceId, ServiceName};
use bowline_provider_remote::{
    RemoteRegistry,
    wire::{decode_history, encode_history},
};
use bowline_registry::{Error, HistoryId, Query, Registry as _};
use bowline_testkit::{Answer, HttpServer};

fn instance() -> Instance {
    let (id, service) = (InstanceId::new("order-1").unwrap(), ServiceName::new("order").unwrap());
    Instance::new(id, service, "127.0.0.1:9000".parse().unwrap())
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable() {
    let registry = RemoteRegistry::new(bowline_testkit::free_addr());
    for error in [
        registry.register(instance(), None).await.unwrap_err(),
        registry.heartbeat(&[instance().id]).await.unwrap_err(),
        registry.deregister(&instance().id).await.unwrap_err(),
        registry.discover(&Query::default()).await.unwrap_err(),
        registry.services().await.unwrap_err(),
        registry.watch(&Query::default(), 0).await.err().unwrap(),
    ] {
        assert!(matches!(error, Error::Unavailable(Some(_))), "{error:?}");
        assert!(error.retryable());
    }
}

#[tokio::test]
async fn an_answer_that_is_no_problem_is_told_by_its_status() {
    let server = HttpServer::start(|_| Answer::Status(503, "try later".to_owned()));
    let error = RemoteRegistry::new(server.addr()).services().await.unwrap_err();
    assert!(matches!(&error, Error::Refused { code: Code::Unavailable, detail } if detail == "try later"), "{error:?}");
    assert!(error.retryable());
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_unavailable() {
    let server = HttpServer::start(|_| Answer::Status(200, "hello".to_owned()));
    let registry = RemoteRegistry::new(server.addr());
    let error = registry.discover(&Query::default()).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable(Some(_))), "{error:?}");
}

#[tokio::test]
async fn queries_and_registrations_are_written_as_the_api_reads_them() {
    let server = HttpServer::start(|request| match &*request.method {
        "PUT" => Answer::Status(200, r#"{"revision":7}"#.to_owned()),
        _ => Answer::Status(200, r#"{"revision":7,"history":"00000000000000aa","instances":[]}"#.to_owned()),
    });
    let registry = RemoteRegistry::new(server.addr());
    assert_eq!(registry.register(instance(), Some(Duration::from_millis(2500))).await.unwrap(), 7);
    let query = Query { limit: Some(5), after: Some(instance().id), ..Query::service(instance().service) };
    let found = registry.discover(&query).await.unwrap();
    assert_eq!((found.revision, found.history, found.more), (7, Some(HistoryId(0xaa)), false));
    let requests = server.requests();
    let body: serde_json::Value = serde_json::from_slice(&requests[0].body).unwrap();
    assert_eq!(requests[0].path, "/v1/instances/order-1");
    assert_eq!((&body["service"], &body["ttl"]), (&"order".into(), &"2s 500ms".into()));
    assert_eq!(body.get("id"), None, "it stands in the path");
    assert_eq!(requests[1].path, "/v1/instances?service=order&after=order-1&limit=5");
}

#[test]
fn a_history_has_one_name() {
    assert_eq!(encode_history(HistoryId(0xaa)), "00000000000000aa");
    assert_eq!(decode_history("00000000000000aa"), Some(HistoryId(0xaa)));
    for bad in ["", "aa", "+0000000000000aa", "000000000000000xx", "0000000000000000a"] {
        assert_eq!(decode_history(bad), None, "{bad}");
    }
}
