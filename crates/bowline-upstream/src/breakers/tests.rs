//! Orders as breakers obey them: those that are there, and those that come.

use std::sync::Arc;

use bowline_model::{
    Address, Instance, InstanceId, ServiceName,
    mesh::Steering,
    policy::{BreakerPolicy, CallPolicy},
};
use bowline_runtime::metric::Registry;

use super::*;
use crate::{error::Error, pick::Wish};

fn instance(id: &str) -> Instance {
    let address: Address = format!("unix:/nonexistent/{id}.sock").parse().unwrap();
    Instance::new(InstanceId::new(id).unwrap(), ServiceName::new("callee").unwrap(), address)
}

fn upstream(metrics: &Registry) -> Arc<Upstream> {
    let upstream = Upstream::new(ServiceName::new("callee").unwrap(), CallPolicy::default(), "client", metrics);
    upstream.set_instances(&[instance("a"), instance("b")]);
    upstream
}

fn steering(orders: &str) -> Steering {
    Steering { breakers: serde_json::from_str(orders).unwrap(), ..Steering::default() }
}

#[track_caller]
fn check(upstream: &Upstream, expect: &[(&str, &str)]) {
    let told = upstream.breakers().breakers;
    let states: Vec<_> = told.iter().map(|it| (it.instance.as_str(), it.state.as_str())).collect();
    assert_eq!(states, expect);
}

#[test]
fn orders_hold_the_breakers_that_they_are_about_until_they_are_taken_back() {
    let metrics = Registry::default();
    let upstream = upstream(&metrics);
    check(&upstream, &[("a", "closed"), ("b", "closed")]);
    upstream.set_steering(steering(r#"[{"order":"open"},{"instance":"b","order":"disabled"}]"#));
    check(&upstream, &[("a", "forced_open"), ("b", "disabled")]);
    assert_eq!(upstream.breakers().orders.len(), 2);
    let text = metrics.render();
    for state in ["forced_open", "disabled"] {
        assert!(text.contains(&format!("state=\"{state}\"}} 1")), "{text}");
    }
    let told = &upstream.breakers().breakers[0];
    let last = &told.transitions[0];
    assert_eq!((&*last.from, &*last.to, &*last.why, told.retry_after_ms), ("closed", "forced_open", "ordered", None));

    upstream.set_steering(steering(r#"[{"instance":"b","order":"closed"}]"#));
    check(&upstream, &[("a", "closed"), ("b", "forced_closed")]);
    upstream.set_steering(steering(r#"[{"order":"reset","until_unix_ms":18446744073709551615}]"#));
    check(&upstream, &[("a", "closed"), ("b", "closed")]);
    let told = &upstream.breakers().breakers[1].transitions;
    assert_eq!((&*told[0].from, &*told[0].to, told.len()), ("forced_closed", "closed", 3), "told once: {told:?}");
    assert!(metrics.render().contains("state=\"forced_open\"} 0"));
}

#[test]
fn nobody_is_called_whose_breaker_is_held_open() {
    let upstream = upstream(&Registry::default());
    upstream.set_steering(steering(r#"[{"instance":"a","order":"open"}]"#));
    for _ in 0..10 {
        let picked = upstream.pick(time::now(), &Wish::default()).unwrap();
        assert_eq!(picked.member.instance.id.as_str(), "b");
    }
    upstream.set_steering(steering(r#"[{"order":"open"}]"#));
    assert!(matches!(upstream.pick(time::now(), &Wish::default()), Err(Error::BreakerOpen { .. })));
}

#[test]
fn instances_that_come_later_are_held_as_well_and_so_are_breakers_that_begin_anew() {
    let upstream = upstream(&Registry::default());
    upstream.set_steering(steering(r#"[{"order":"open"}]"#));
    upstream.set_instances(&[instance("b"), instance("c")]);
    check(&upstream, &[("b", "forced_open"), ("c", "forced_open")]);
    // One that was started anew, elsewhere.
    let moved = Instance { address: "unix:/nonexistent/other.sock".parse().unwrap(), ..instance("b") };
    upstream.set_instances(&[moved, instance("c")]);
    check(&upstream, &[("b", "forced_open"), ("c", "forced_open")]);
    let breaker = Some(BreakerPolicy { calls_min: 3, ..BreakerPolicy::default() });
    upstream.set_policy(CallPolicy { breaker, ..CallPolicy::default() });
    check(&upstream, &[("b", "forced_open"), ("c", "forced_open")]);
    upstream.set_policy(CallPolicy { breaker: None, ..CallPolicy::default() });
    let told = upstream.breakers();
    assert!(!told.is_guarded && told.breakers.is_empty());
}

#[test]
fn what_is_over_holds_nothing() {
    let upstream = upstream(&Registry::default());
    upstream.set_steering(steering(r#"[{"order":"open","until_unix_ms":1}]"#));
    check(&upstream, &[("a", "closed"), ("b", "closed")]);
}

#[test]
fn a_reset_is_done_once_and_not_where_an_order_holds() {
    let upstream = upstream(&Registry::default());
    let policy = BreakerPolicy { calls_min: 1, ..BreakerPolicy::default() };
    upstream.set_policy(CallPolicy { breaker: Some(policy), ..CallPolicy::default() });
    let fail = || {
        for _ in 0..2 {
            let now = time::now();
            let picked = upstream.pick(now, &Wish::default()).unwrap();
            let guard = picked.member.state.breaker.as_ref().unwrap();
            guard.record(picked.permit, Some(bowline_resilience::breaker::Outcome::Failure), now);
        }
    };
    fail();
    check(&upstream, &[("a", "open"), ("b", "open")]);
    let told = upstream.breakers().breakers;
    assert!(told[0].retry_after_ms.is_some(), "{told:?}");
    assert_eq!((told[0].transitions[0].failures, &*told[0].transitions[0].why), (1, "failure_rate"));
    let reset = r#"[{"order":"reset","until_unix_ms":18446744073709551615},{"instance":"b","order":"open"}]"#;
    upstream.set_steering(steering(reset));
    check(&upstream, &[("a", "closed"), ("b", "forced_open")]);
    upstream.set_steering(steering(r#"[{"order":"reset","until_unix_ms":18446744073709551615}]"#));
    fail();
    check(&upstream, &[("a", "open"), ("b", "open")]);
    upstream.set_steering(Steering {
        mirror: None,
        ..steering(r#"[{"order":"reset","until_unix_ms":18446744073709551615}]"#)
    });
    check(&upstream, &[("a", "open"), ("b", "open")]);
    upstream.set_steering(steering(r#"[{"order":"reset","until_unix_ms":18446744073709551614}]"#));
    check(&upstream, &[("a", "closed"), ("b", "closed")]);
}

#[test]
fn an_order_for_all_holds_the_breaker_of_a_route_and_of_keys_that_are_still_to_come() {
    for (per, expect) in [("route", "route"), ("path", "key-")] {
        let breaker = BreakerPolicy { per: per.to_owned().try_into().unwrap(), ..BreakerPolicy::default() };
        let policy = CallPolicy { breaker: Some(breaker), ..CallPolicy::default() };
        let upstream = Upstream::new(ServiceName::new("callee").unwrap(), policy, "client", &Registry::default());
        upstream.set_instances(&[instance("a"), instance("b")]);
        upstream.set_steering(steering(r#"[{"order": "open"}]"#));
        let (head, ()) = http::Request::get("/some").body(()).unwrap().into_parts();
        let (.., shared, _) = upstream.guarded();
        let guard = shared.unwrap().guard(&head, time::now());
        let told = upstream.breakers().breakers;
        assert_eq!((told.len(), told[0].state.as_str()), (1, "forced_open"));
        assert!(told[0].instance.as_str().starts_with(expect), "{told:?}");
        upstream.set_steering(Steering::default());
        assert_eq!(guard.breaker.state(time::now()), State::Closed);
    }
}

#[test]
fn an_order_to_the_breaker_of_one_key_holds_it_beside_others_and_when_it_comes_again() {
    let breaker = BreakerPolicy { per: "path".to_owned().try_into().unwrap(), ..BreakerPolicy::default() };
    let policy = CallPolicy { breaker: Some(breaker), ..CallPolicy::default() };
    let upstream = Upstream::new(ServiceName::new("callee").unwrap(), policy, "client", &Registry::default());
    let state = |path: &str| {
        let (head, ()) = http::Request::get(path).body(()).unwrap().into_parts();
        let (.., shared, _) = upstream.guarded();
        let guard = shared.unwrap().guard(&head, time::now());
        (guard.name.to_string(), guard.breaker.state(time::now()), guard.breaker.transitions().len())
    };
    let (name, ..) = state("/held");
    let orders = format!(r#"[{{"order": "closed"}}, {{"order": "open", "instance": "{name}"}}]"#);
    upstream.set_steering(steering(&orders));
    assert_eq!(state("/held"), (name.clone(), State::ForcedOpen, 1));
    assert_eq!(state("/other").1, State::ForcedClosed);
    // Another order comes beside them: this one has nothing to do with it.
    let more = orders.replace(']', r#", {"order": "disabled", "instance": "key-none"}]"#);
    upstream.set_steering(steering(&more));
    assert_eq!(state("/held"), (name.clone(), State::ForcedOpen, 1));
    for key in 0..crate::guard::KEYS_MAX * 4 {
        state(&format!("/{key}"));
    }
    assert_eq!(state("/held").1, State::ForcedOpen);
}

#[test]
fn requests_without_the_key_have_a_breaker_together() {
    let breaker = BreakerPolicy { per: "header:x-tenant".to_owned().try_into().unwrap(), ..BreakerPolicy::default() };
    let policy = CallPolicy { breaker: Some(breaker), ..CallPolicy::default() };
    let upstream = Upstream::new(ServiceName::new("callee").unwrap(), policy, "client", &Registry::default());
    let (.., shared, _) = upstream.guarded();
    let (shared, now) = (shared.unwrap(), time::now());
    let guard = |path: &str| {
        let (head, ()) = http::Request::get(path).body(()).unwrap().into_parts();
        shared.guard(&head, now)
    };
    assert!(Arc::ptr_eq(&guard("/a"), &guard("/b")));
    check(&upstream, &[("key-none", "closed")]);
}
