//! Who is told when, and what the ledger says of it: grouping, silences, receivers that fail, crashes.

use std::{sync::Mutex, time::Duration};

use bowline_testkit::logs::{self, Line};
use tracing::Level;

use super::fixture::{Act, World, parse, seconds};
use crate::alerts::{
    Alert, AlertManager, Error, NewSilence, SilenceState,
    ledger::{self, Decision},
    rfc3339,
};
use crate::labels::Labels;

/// No `for`; a group waits 10 s, then 60 s; reminders after 10 min.
const CONFIG: &str = r#"
groups: [{ name: shop, rules: [{ alert: Down, expr: down }] }]
group_wait: 10s
group_interval: 1m
repeat_interval: 10m
receivers: [{ name: hook, webhook: "http://hook.test" }]
"#;

#[tokio::test(start_paused = true)]
async fn a_group_waits_for_others_and_people_are_reminded() {
    let world = World::new();
    let running = world.start(CONFIG).await;
    world.answer("down", &["a"]);
    seconds(8).await;
    world.answer("down", &["a", "b"]);
    seconds(10).await;
    assert_eq!(world.told(), ["+a +b"]);
    // What joins later waits for the group's next time, and the whole group is told.
    world.answer("down", &["a", "b", "c"]);
    seconds(30).await;
    assert_eq!(world.told().len(), 1);
    seconds(40).await;
    assert_eq!(world.told(), ["+a +b", "+a +b +c"]);
    world.answer("down", &["b", "c"]);
    seconds(65).await;
    assert_eq!(world.told()[2], "+b +c -a");
    seconds(520).await;
    assert_eq!(world.told().len(), 3);
    let is_unchanged = |decision: &&String| *decision == "unchanged";
    assert_eq!(running.decisions().iter().filter(is_unchanged).count(), 2, "it is said once of each");
    seconds(140).await;
    assert_eq!(world.told()[3..], ["+b +c"]);
    assert!(running.decisions().contains(&"sent repeat".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn flapping_tells_nobody_more_than_there_is_to_tell() {
    let world = World::new();
    let running = world.start(CONFIG).await;
    // It comes and goes before its group's time: nobody hears of it.
    world.answer("down", &["a"]);
    seconds(6).await;
    world.answer("down", &[]);
    seconds(120).await;
    assert_eq!(world.told(), [""; 0]);
    assert_eq!(running.decisions(), ["grouped", "never_told"]);
    // It was told, and comes and goes until the group's next time.
    world.answer("down", &["a"]);
    seconds(20).await;
    for _ in 0..4 {
        world.answer("down", &[]);
        seconds(5).await;
        world.answer("down", &["a"]);
        seconds(5).await;
    }
    seconds(300).await;
    assert_eq!(world.told(), ["+a"]);
    world.answer("down", &[]);
    seconds(70).await;
    assert_eq!(world.told(), ["+a", "-a"]);
}

#[tokio::test(start_paused = true)]
async fn a_silence_holds_and_ends() {
    let world = World::new();
    let running = world.start(CONFIG).await;
    let new = NewSilence {
        matchers: vec!["service=~\"a|x\"".to_owned()],
        starts_at: None,
        ends_at: rfc3339(world.now_ms() + 3_600_000),
        created_by: "ann".to_owned(),
        comment: "deploy".to_owned(),
    };
    let silence = running.alerts.silence(new.clone()).await.unwrap();
    let bad = NewSilence { matchers: vec!["service".to_owned()], ..new };
    assert!(matches!(running.alerts.silence(bad).await, Err(Error::InvalidSilence { .. })));
    world.answer("down", &["a", "b"]);
    seconds(200).await;
    assert_eq!(world.told(), ["+b"]);
    let is_said = |entry: &ledger::Entry| {
        entry.decision == Decision::Silenced { silence: silence.id.clone() }
            && entry.alerts[0].contains("service=\"a\"")
    };
    assert_eq!(running.alerts.ledger().iter().filter(|entry| is_said(entry)).count(), 1, "it is said once");
    // It is kept, and holds on.
    running.stop().await;
    let running = world.start(CONFIG).await;
    seconds(200).await;
    assert_eq!(world.told(), ["+b"]);
    assert_eq!(running.alerts.silences(), std::slice::from_ref(&silence));
    let ended = running.alerts.expire(&silence.id).await.unwrap();
    assert_eq!(ended.state(ended.ends_at), SilenceState::Expired);
    assert!(matches!(running.alerts.expire("none").await, Err(Error::NoSilence { .. })));
    seconds(70).await;
    assert_eq!(world.told(), ["+b", "+a +b"]);
    // Who was told that it fires is told its end under a silence too.
    let all = NewSilence {
        matchers: vec!["alertname=Down".to_owned()],
        starts_at: None,
        ends_at: rfc3339(world.now_ms() + 3_600_000),
        created_by: "ann".to_owned(),
        comment: "all".to_owned(),
    };
    running.alerts.silence(all).await.unwrap();
    world.answer("down", &[]);
    seconds(70).await;
    assert_eq!(world.told()[2..], ["-a -b"]);
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_hangs_and_fails_is_tried_again() {
    let world = World::new();
    let running = world.start(CONFIG).await;
    let later = Act::Later(429, Duration::from_secs(7));
    world.script(&[Act::Hang, Act::Status(500), later, Act::Status(200)]);
    world.answer("down", &["a"]);
    seconds(60).await;
    let at: Vec<u64> = world.posts().iter().map(|post| post.at).collect();
    assert_eq!(at.len(), 4);
    // 10 s for what hangs, then waits of 0.5 to 1 s, 1 to 2 s, and what the receiver asked for.
    assert!((10..=12).contains(&(at[1] - at[0])) && at[2] - at[1] <= 2 && at[3] - at[2] == 7, "{at:?}");
    let ledger = running.alerts.ledger();
    assert!(matches!(ledger[0].decision, Decision::Sent { attempts: 4, .. }), "{:?}", ledger[0]);
    assert!(world.metric("bowline_notifications_total{receiver=\"hook\",outcome=\"sent\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sent_is_said_and_sent_with_the_next() {
    let world = World::new();
    let running = world.start(CONFIG).await;
    // Its own fault: it is not tried again at once.
    world.script(&[Act::Status(404)]);
    world.answer("down", &["a"]);
    seconds(40).await;
    assert_eq!(world.posts().len(), 1);
    let Decision::Failed { attempts: 1, error, .. } = &running.alerts.ledger()[0].decision else { panic!() };
    assert_eq!(error, "it answered 404: busy");
    seconds(60).await;
    assert_eq!(running.decisions(), ["grouped", "failed news", "sent news"]);
    // What never arrived for certain needs no end.
    world.answer("down", &[]);
    seconds(70).await;
    assert_eq!(world.told()[2..], ["-a"]);
    world.script(&[Act::Refuse; 64]);
    world.answer("down", &["b"]);
    seconds(65).await;
    world.answer("down", &[]);
    seconds(70).await;
    assert_eq!(running.decisions().last().map(String::as_str), Some("never_told"));
}

/// What was logged of the receiver `unreached`.
static LINES: Mutex<Vec<Line>> = Mutex::new(Vec::new());

fn keep(line: Line) {
    if line.get("receiver").is_some_and(|receiver| receiver == "unreached") {
        LINES.lock().unwrap().push(line);
    }
}

#[tokio::test(start_paused = true)]
async fn that_a_receiver_is_not_reached_is_logged_until_it_changes() {
    logs::listen(Level::INFO, keep);
    let world = World::new();
    let running = world.start(&CONFIG.replace("name: hook", "name: unreached")).await;
    let logged = || LINES.lock().unwrap().iter().map(|line| line["message"].clone()).collect::<Vec<_>>();
    world.script(&[Act::Refuse; 200]);
    world.answer("down", &["a"]);
    seconds(600).await;
    assert_eq!(logged(), ["notification failed"]);
    assert!(running.decisions().iter().filter(|decision| decision.starts_with("failed")).count() > 5);
    // For another reason, and then no more.
    world.forget_script();
    world.script(&[Act::Status(404)]);
    seconds(150).await;
    assert_eq!(logged(), ["notification failed", "notification failed", "notifications arrive again"]);
    world.script(&[Act::Refuse; 200]);
    world.answer("down", &["a", "b"]);
    seconds(300).await;
    assert_eq!(logged()[3..], ["notification failed"]);
}

#[tokio::test(start_paused = true)]
async fn that_nobody_knows_where_a_receiver_is_is_said_once() {
    let dir = bowline_testkit::temp_dir();
    let file = dir.path().join("url");
    let world = World::new();
    let running = world.start(&CONFIG.replace("http://hook.test", &format!("file:{}", file.display()))).await;
    world.answer("down", &["a"]);
    seconds(600).await;
    assert_eq!((running.decisions(), world.posts().len()), (vec!["grouped".to_owned(), "not_set".to_owned()], 0));
    let Decision::NotSet { error } = running.alerts.ledger()[0].decision.clone() else { panic!() };
    assert!(error.contains("cannot be read"), "{error}");
    assert!(world.metric("bowline_alerts_suppressed_total{reason=\"not_set\"} 1"));
    // Another alert is another matter; what ended meanwhile nobody needs to hear of.
    world.answer("down", &["a", "b"]);
    seconds(120).await;
    world.answer("down", &["b"]);
    seconds(120).await;
    assert_eq!(running.decisions()[2..], ["grouped", "not_set", "never_told"]);
    std::fs::write(&file, "http://hook.test").unwrap();
    seconds(70).await;
    assert_eq!(world.told(), ["+b"]);
    assert_eq!(running.decisions().last().map(String::as_str), Some("sent news"));
}

#[tokio::test(start_paused = true)]
async fn what_is_over_while_it_is_tried_was_never_told() {
    let world = World::new();
    let running = world.start(CONFIG).await;
    world.script(&[Act::Refuse; 64]);
    world.answer("down", &["a"]);
    while world.posts().is_empty() {
        seconds(1).await;
    }
    world.answer("down", &[]);
    seconds(120).await;
    assert!(world.told().iter().all(|told| told == "+a"), "an end is not told of what nobody heard");
    assert_eq!(running.decisions(), ["grouped", "failed news", "never_told"]);
}

#[tokio::test(start_paused = true)]
async fn the_end_is_told_of_what_may_have_arrived() {
    let world = World::new();
    let running = world.start(CONFIG).await;
    world.script(&[Act::Status(504); 64]);
    world.answer("down", &["a"]);
    seconds(50).await;
    world.answer("down", &[]);
    // Long enough that the end is what is tried: a try of the firing that arrives would make it news.
    seconds(60).await;
    world.forget_script();
    seconds(120).await;
    assert_eq!(world.told().last().map(String::as_str), Some("-a"));
    assert_eq!(running.decisions().last().map(String::as_str), Some("sent again"));
}

#[tokio::test(start_paused = true)]
async fn what_was_killed_while_it_sent_sends_again_and_says_so() {
    let world = World::new();
    let _old = world.start(CONFIG).await;
    world.script(&[Act::Hang]);
    world.answer("down", &["a"]);
    while world.posts().is_empty() {
        seconds(1).await;
    }
    // Between intent and outcome.
    let after = world.killed();
    let running = after.start(CONFIG).await;
    seconds(30).await;
    assert_eq!(after.told(), ["+a"]);
    assert_eq!(running.decisions(), ["grouped", "interrupted", "sent again"]);
    // And it is told once from then on, and its end once.
    seconds(300).await;
    after.answer("down", &[]);
    seconds(130).await;
    assert_eq!(after.told(), ["+a", "-a"]);
    // Killed after the outcome: nothing is told again.
    let later = after.killed();
    let _running = later.start(CONFIG).await;
    seconds(300).await;
    assert_eq!(later.told(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_ledger_is_bounded_over_restarts() {
    let world = World::new();
    let running = world.start(CONFIG).await;
    let alert = |id: usize| Alert {
        labels: Labels::new([("alertname", "Many"), ("id", &id.to_string())]),
        annotations: [].into(),
        starts_at_ms: 1,
        ends_at_ms: None,
        generator_url: String::new(),
    };
    running.alerts.send((0..1500).map(alert).collect()).await.unwrap();
    assert_eq!(running.alerts.ledger().len(), ledger::ENTRIES_MAX);
    assert_eq!(world.store.keys("ledger/"), ledger::ENTRIES_MAX);
    seconds(20).await;
    let newest = running.alerts.ledger()[0].clone();
    assert_eq!((newest.alert_count, newest.alerts.len()), (1500, 20));
    let body = &world.posts()[0].body;
    assert_eq!((body["alerts"].as_array().unwrap().len(), body["truncatedAlerts"].as_u64()), (100, Some(1400)));
    running.stop().await;
    let running = world.start(CONFIG).await;
    assert_eq!(running.alerts.ledger()[0], newest);
    assert_eq!(running.alerts.ledger().len(), ledger::ENTRIES_MAX);
}

#[tokio::test(start_paused = true)]
async fn people_are_told_also_where_nothing_can_be_kept() {
    let world = World::new();
    let running = world.start(CONFIG).await;
    world.store.set_failing(true);
    world.answer("down", &["a"]);
    seconds(30).await;
    assert_eq!(world.told(), ["+a"]);
    world.store.set_failing(false);
    seconds(120).await;
    running.stop().await;
    // What could be kept only later is kept.
    let _running = world.start(CONFIG).await;
    seconds(120).await;
    assert_eq!(world.told(), ["+a"]);
}

#[tokio::test(start_paused = true)]
async fn the_first_receiver_that_matches_is_told() {
    const ROUTED: &str = r#"
groups: [{ name: shop, rules: [{ alert: Down, expr: down }] }]
group_wait: 0s
receivers:
  - { name: one, webhook: "http://one.test", matchers: ["service=a"] }
  - { name: two, webhook: "http://two.test", matchers: ["service=~a|b"], send_resolved: false }
"#;
    let world = World::new();
    let running = world.start(ROUTED).await;
    world.answer("down", &["a", "b", "c"]);
    seconds(10).await;
    let mut told: Vec<_> =
        world.posts().iter().map(|post| (post.target.clone(), post.body["receiver"].clone())).collect();
    told.sort_by_key(|(target, _)| target.clone());
    assert_eq!(told, [("http://one.test/…".to_owned(), "one".into()), ("http://two.test/…".to_owned(), "two".into())]);
    assert_eq!(running.decisions().iter().filter(|decision| *decision == "no_receiver").count(), 1);
    // It goes to another from now on: whom was told is told its end.
    running.alerts.set(parse(&ROUTED.replace("service=a\"", "service=x\""))).await.unwrap();
    seconds(320).await;
    let told = world.told();
    assert!(told.contains(&"-a".to_owned()) && told.contains(&"+a +b".to_owned()), "{told:?}");
    world.answer("down", &[]);
    seconds(320).await;
    assert_eq!(world.told().len(), told.len(), "two does not want to be told");
    assert!(running.decisions().contains(&"resolve_unwanted".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_receiver_can_be_tested() {
    let world = World::new();
    let running = world.start(CONFIG).await;
    world.script(&[Act::Status(503), Act::Refuse]);
    assert_eq!(running.alerts.test("hook").await.unwrap().unwrap().status, 503);
    assert_eq!(running.alerts.test("hook").await.unwrap().unwrap_err().reason, "refused");
    assert!(matches!(running.alerts.test("none").await, Err(Error::NoReceiver { .. })));
    assert_eq!(world.posts()[0].body["alerts"][0]["labels"]["alertname"], "BowlineTest");
}
