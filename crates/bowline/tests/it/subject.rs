//! Who asks, as a handler is told.

use axum::{Router, routing::get};
use bowline::{
    Code,
    extract::{SUBJECT_BYTES_MAX, Subject},
};

use crate::support::{Answer, Running, ask};

fn app() -> Router {
    let maybe = |subject: Option<Subject>| async move {
        subject.map_or_else(|| "nobody".to_owned(), |subject| subject.as_str().to_owned())
    };
    Router::new().route("/me", get(|subject: Subject| async move { subject.to_string() })).route("/maybe", get(maybe))
}

async fn get_as(running: &Running, path: &str, subjects: &[&str]) -> Answer {
    let headers: Vec<_> = subjects.iter().map(|subject| ("x-bowline-subject", *subject)).collect();
    ask(running.addr, "GET", path, &headers, "").await
}

#[tokio::test]
async fn a_handler_is_told_who_asks() {
    let running = Running::alone(app()).await;
    let longest = "x".repeat(SUBJECT_BYTES_MAX);
    for name in ["u-1", "auth0|7", "ada@example.com", "Ada Lovelace", &longest] {
        for path in ["/me", "/maybe"] {
            let answer = get_as(&running, path, &[name]).await;
            assert_eq!((answer.status, answer.text()), (200, name), "{path}");
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn without_a_subject_the_answer_is_401_or_the_handlers_business() {
    let running = Running::alone(app()).await;
    let refused = get_as(&running, "/me", &[]).await;
    let detail = refused.traced_problem(401, "unauthenticated");
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    assert!(detail.contains("gateway") && detail.contains("auth"), "{detail}");
    let answer = get_as(&running, "/maybe", &[]).await;
    assert_eq!((answer.status, answer.text()), (200, "nobody"));
    running.stop().await;
}

#[tokio::test]
async fn what_is_no_subject_is_refused_and_never_nobody() {
    let running = Running::alone(app()).await;
    let too_long = "x".repeat(SUBJECT_BYTES_MAX + 1);
    for names in [&[""][..], &["u\t1"], &["\u{fc}"], &[&too_long], &["u-1", "u-2"], &["u-1", "u-1"]] {
        for path in ["/me", "/maybe"] {
            let detail = get_as(&running, path, names).await.traced_problem(400, "invalid_argument");
            assert!(detail.starts_with("x-bowline-subject: "), "{names:?}: {detail}");
        }
    }
    running.stop().await;
}

#[test]
fn names_are_read_by_the_same_rule_elsewhere() {
    assert_eq!(Subject::new("u-1").unwrap().as_str(), "u-1");
    for bad in ["", " ", " u", "u ", "u\n", "ü"] {
        assert_eq!(Subject::new(bad).unwrap_err().code(), Code::InvalidArgument, "{bad:?}");
    }
}
