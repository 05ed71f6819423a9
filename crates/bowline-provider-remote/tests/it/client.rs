//! Answers that come in parts, or are long.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use bowline_model::Code;
use bowline_provider_remote::{Client, RemoteRegistry};
use bowline_registry::{HistoryId, Query, Registry as _};
use bowline_testkit::{Answer, HttpServer};

/// A page of instances of those ids, at that revision of that history.
fn page(ids: &[&str], revision: u64, history: &str, more: bool) -> Answer {
    let instance = |id: &&str| format!(r#"{{"id":"{id}","service":"order","address":"127.0.0.1:9000"}}"#);
    let instances = ids.iter().map(instance).collect::<Vec<_>>().join(",");
    let text = format!(
        r#"{{"revision":{revision},"history":"00000000000000{history}","instances":[{instances}],"more":{more}}}"#
    );
    Answer::Status(200, text)
}

fn paths(server: &HttpServer) -> Vec<String> {
    server.requests().into_iter().map(|request| request.path).collect()
}

#[tokio::test]
async fn pages_are_one_list_as_of_the_first() {
    let server = HttpServer::start(|request| match &request.path {
        path if path.contains("after=a-2") => page(&["a-3"], 9, "aa", false),
        _ => page(&["a-1", "a-2"], 7, "aa", true),
    });
    let found = RemoteRegistry::new(server.addr()).discover(&Query::default()).await.unwrap();
    let ids: Vec<_> = found.instances.iter().map(|instance| instance.id.as_str()).collect();
    assert_eq!(ids, ["a-1", "a-2", "a-3"]);
    assert_eq!((found.revision, found.history, found.more), (7, Some(HistoryId(0xaa)), false));
    assert_eq!(paths(&server), ["/v1/instances?limit=1000", "/v1/instances?after=a-2&limit=1000"]);
    assert_eq!(Client::new(server.addr()).instances(Some("order")).await.unwrap().instances, found.instances);
}

#[tokio::test]
async fn a_list_is_begun_anew_where_the_store_was_replaced() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let server = HttpServer::start(move |_| match count.fetch_add(1, Relaxed) {
        0 => page(&["a-1"], 7, "aa", true),
        1 => page(&["a-2"], 1, "bb", false),
        _ => page(&["a-9"], 2, "bb", false),
    });
    let list = Client::new(server.addr()).instances(None).await.unwrap();
    assert_eq!((list.revision, list.instances.len(), asked.load(Relaxed)), (2, 1, 3));
    assert_eq!(list.instances[0].id.as_str(), "a-9");
}

#[tokio::test]
async fn a_server_whose_pages_never_end_is_given_up() {
    for ids in [&["a-1"][..], &[]] {
        let server = HttpServer::start(move |_| page(ids, 7, "aa", true));
        let error = Client::new(server.addr()).instances(None).await.unwrap_err();
        assert_eq!((error.code(), error.retryable()), (Code::Unavailable, true), "{error}");
    }
}

#[tokio::test]
async fn a_long_trace_is_read() {
    let trace = format!(r#"{{"trace_id":"ab",{}"spans":[]}}"#, " ".repeat(17 << 20));
    let server = HttpServer::start(move |_| Answer::Status(200, trace.clone()));
    assert_eq!(Client::new(server.addr()).trace("ab").await.unwrap().trace_id, "ab");
}
