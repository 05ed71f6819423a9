//! What is kept of lines, and what of them is told.

use std::path::PathBuf;

use super::*;
use crate::{lines::LINE_BYTES_MAX, workspace::Layout};

fn settings() -> Settings {
    let layout = Layout { root: PathBuf::new(), target_dir: PathBuf::new() };
    Settings::new(layout, PathBuf::new(), PathBuf::new())
}

fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

fn id(id: &str) -> InstanceId {
    InstanceId::new(id).unwrap()
}

fn order(logs: &Logs, instance: &str, text: &str) {
    logs.push(&service("order"), &id(instance), false, text);
}

fn read(logs: &Logs, after: Option<u64>, limit: usize) -> LogPage {
    logs.read(&service("order"), &LogQuery { instance: None, after, limit })
}

fn texts(page: &LogPage) -> Vec<&str> {
    page.lines.iter().map(|line| line.text.as_str()).collect()
}

#[test]
fn the_last_lines_are_told_and_then_what_comes() {
    let logs = Logs::new(&settings());
    let none = read(&logs, None, 10);
    assert_eq!((texts(&none), none.more), (Vec::new(), false));
    for text in ["a", "b", "c"] {
        order(&logs, "order-1", text);
    }
    let last = read(&logs, None, 2);
    assert_eq!((texts(&last), last.more, last.is_cut), (vec!["b", "c"], true, false));
    assert_eq!(texts(&read(&logs, Some(none.next), 10)), ["a", "b", "c"]);
    let nothing = read(&logs, Some(last.next), 10);
    assert_eq!((texts(&nothing), nothing.next), (Vec::new(), last.next));

    for text in ["d", "e", "f"] {
        order(&logs, "order-2", text);
    }
    let first = read(&logs, Some(last.next), 2);
    assert_eq!((texts(&first), first.more), (vec!["d", "e"], true));
    let rest = read(&logs, Some(first.next), 2);
    assert_eq!((texts(&rest), rest.more), (vec!["f"], false));
    assert!(rest.lines[0].number > first.lines[1].number);
}

#[test]
fn lines_of_one_instance_are_told_past_those_of_others() {
    let logs = Logs::new(&settings());
    for text in ["a", "b", "c"] {
        order(&logs, "order-1", text);
        order(&logs, "order-2", &text.to_uppercase());
    }
    logs.push(&service("user"), &id("user-1"), true, "x");
    let query = LogQuery { instance: Some(id("order-2")), after: None, limit: 2 };
    let page = logs.read(&service("order"), &query);
    assert_eq!((texts(&page), page.more), (vec!["B", "C"], true));
    let query = LogQuery { after: Some(page.next), ..query };
    order(&logs, "order-1", "d");
    let page = logs.read(&service("order"), &query);
    assert_eq!((texts(&page), page.more), (Vec::new(), false));
    order(&logs, "order-2", "D");
    assert_eq!(texts(&logs.read(&service("order"), &LogQuery { after: Some(page.next), ..query })), ["D"]);
    let user = logs.read(&service("user"), &LogQuery { limit: 9, ..LogQuery::default() });
    assert!(user.lines[0].is_stderr && user.lines[0].instance == id("user-1"));
}

#[test]
fn the_oldest_lines_go_and_who_has_missed_some_is_told() {
    let settings = settings();
    let logs = Logs::new(&settings);
    order(&logs, "order-1", "first");
    let begin = read(&logs, None, 1).next;
    for at in 0..LOG_LINES_MAX {
        order(&logs, "order-1", &at.to_string());
    }
    let all = read(&logs, None, usize::MAX);
    assert_eq!((all.lines.len(), texts(&all)[0]), (LOG_LINES_MAX, "0"));
    assert!(!read(&logs, Some(begin), 1).is_cut, "it had read the one that went");
    order(&logs, "order-1", "one more");
    let page = read(&logs, Some(begin), 1);
    assert_eq!((texts(&page), page.is_cut, page.more), (vec!["1"], true, true));
    assert!(settings.metrics.render().contains("bowline_supervisor_log_lines_dropped_total 2\n"));
}

#[test]
fn long_lines_leave_place_for_fewer() {
    let logs = Logs::new(&settings());
    let long = "x".repeat(LINE_BYTES_MAX);
    for _ in 0..LOG_LINES_MAX {
        order(&logs, "order-1", &long);
    }
    let kept = read(&logs, None, usize::MAX).lines.len();
    assert!((60..=64).contains(&kept), "{kept}");
    // 64 services take all the place there is: one more takes of theirs.
    for at in 0..80 {
        for _ in 0..64 {
            logs.push(&service(&format!("s{at}")), &id("s-1"), false, &long);
        }
    }
    let kept = logs.lock();
    let by_service: Vec<usize> = kept.services.values().map(|ring| ring.lines.len()).collect();
    assert!(by_service.iter().all(|count| (40..=64).contains(count)), "{by_service:?}");
    let bytes: usize = kept.services.values().map(|ring| ring.bytes).sum();
    assert!(kept.bytes == bytes && bytes <= BYTES_MAX, "{bytes} of {}", kept.bytes);
}

#[test]
fn secrets_of_the_processes_are_not_told() {
    let mut settings = settings();
    settings.token = Some(Secret::new("bwl_ab_cdefgh"));
    settings.postgres_credential = Some(Secret::new("s3cr@t"));
    settings.redis_token = Some(Secret::new("in"));
    let logs = Logs::new(&settings);
    order(&logs, "order-1", "in: token=bwl_ab_cdefgh, postgres://ada:s3cr%40t@db/shop s3cr@t");
    assert_eq!(texts(&read(&logs, None, 1)), ["in: token=***, postgres://ada:***@db/shop ***"]);
    assert!(!format!("{logs:?}").contains("bwl_"));
}

#[test]
fn the_password_of_a_credential_is_not_told_alone_nor_encoded() {
    let mut settings = settings();
    settings.postgres_credential = Some(Secret::new("ada:s3cr@t\"1"));
    settings.redis_token = Some(Secret::new("default:s3cr@t\"1-prod"));
    let logs = Logs::new(&settings);
    order(&logs, "order-1", r#"postgres://ada:s3cr%40t%221@db/shop {"password":"s3cr@t\"1"} s3cr@t"1 s3cr@t"1-prod"#);
    assert_eq!(texts(&read(&logs, None, 1)), [r#"postgres://ada:***@db/shop {"password":"***"} *** ***"#]);
}

#[test]
fn what_is_a_token_by_its_form_is_not_told() {
    let logs = Logs::new(&settings());
    let (secret, print) = ("0a".repeat(32), "f".repeat(32));
    order(&logs, "order-1", &format!("BOWLINE_JOIN=bwj_{secret}_{print} bwl_root_{secret}, bwk_{secret}; bwl_id bwj_"));
    assert_eq!(texts(&read(&logs, None, 1)), ["BOWLINE_JOIN=*** ***, ***; bwl_id bwj_"]);
}
