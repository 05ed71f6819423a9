//! Picks, at times that no test could wait for.

use bowline_model::{
    Address, InstanceId,
    instance::{METADATA_MESH, METADATA_MESH_MTLS},
    policy::{Balance, BreakerPolicy},
};
use bowline_resilience::breaker::Outcome;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn instance(id: &str) -> Instance {
    let address: Address = format!("unix:/nonexistent/{id}.sock").parse().unwrap();
    Instance::new(InstanceId::new(id).unwrap(), ServiceName::new("callee").unwrap(), address)
}

fn upstream(policy: CallPolicy, instances: &[Instance]) -> Arc<Upstream> {
    let upstream = Upstream::new(ServiceName::new("callee").unwrap(), policy, "client", &Registry::default());
    upstream.set_instances(instances);
    upstream
}

fn policy(timeout: Duration) -> CallPolicy {
    let breaker = BreakerPolicy { calls_min: 1, open_for: SECOND, probes_max: 1, ..BreakerPolicy::default() };
    CallPolicy { timeout, retry: None, breaker: Some(breaker), balance: Balance::RoundRobin }
}

/// Opens the only instance's breaker; gives the probe it grants when its time has come, and when that was.
fn probe(upstream: &Upstream) -> (Picked, Instant) {
    let now = time::now();
    let Picked { member, permit } = upstream.pick(now, &[]).unwrap();
    member.state.record(permit, Some(Outcome::Failure), now);
    assert!(matches!(upstream.pick(now, &[]), Err(Error::BreakerOpen { .. })));
    let due = now + SECOND * 2;
    (upstream.pick(due, &[]).unwrap(), due)
}

#[test]
fn a_probe_is_not_lost_before_its_call_can_have_ended() {
    const LONG: Duration = Duration::from_mins(5);
    let upstream = upstream(policy(LONG), &[instance("a")]);
    let (_out, due) = probe(&upstream);
    // The permit that was leaked is taken for lost at last, which counts as a failure.
    for (after, is_rejected) in [(LONG / 2, true), (LONG, true), (LONG * 19 / 10, true), (LONG * 3, false)] {
        let picked = upstream.pick(due + after, &[]);
        assert_eq!(picked.is_err(), is_rejected, "{after:?}");
    }
    upstream.set_policy(policy(LONG * 10));
    let (_out, due) = probe(&upstream);
    assert!(upstream.pick(due + LONG * 10, &[]).is_err(), "a longer timeout is a longer probe");
}

#[test]
fn the_longest_timeout_is_no_overflow() {
    let upstream = upstream(policy(Duration::MAX), &[instance("a")]);
    let (_out, due) = probe(&upstream);
    assert!(upstream.pick(due + call::TIMEOUT_MAX, &[]).is_err());
}

#[test]
fn an_instance_that_was_tried_is_known_again_after_an_update() {
    let (a, b) = (instance("a"), instance("b"));
    let upstream = upstream(policy(SECOND), &[a.clone(), b.clone()]);
    let tried = loop {
        let Picked { member, .. } = upstream.pick(time::now(), &[]).unwrap();
        if member.instance.id == a.id {
            break [Tried { member, is_unreachable: false }];
        }
    };
    upstream.set_instances(&[Instance { weight: 7, ..a.clone() }, b.clone()]);
    for _ in 0..10 {
        let picked = upstream.pick(time::now(), &tried).unwrap();
        assert_eq!(picked.member.instance.id, b.id);
    }
    // Of the same name, but elsewhere: it was not tried.
    upstream.set_instances(&[Instance { address: instance("c").address, ..a.clone() }]);
    assert_eq!(upstream.pick(time::now(), &tried).unwrap().member.instance.id, a.id);
}

#[test]
fn security_says_who_is_called_under_tls_and_a_change_begins_anew() {
    let mesh = (METADATA_MESH.to_owned(), METADATA_MESH_MTLS.to_owned());
    let (a, b) = (instance("a"), Instance { metadata: [mesh].into(), ..instance("b") });
    let upstream = upstream(policy(SECOND), &[a.clone(), b.clone()]);
    let members = || upstream.active.load().members.snapshot();
    let under_tls = || members().members().iter().map(|entry| entry.state.endpoint.tls.clone()).collect::<Vec<_>>();
    let name = Some(ServiceName::new("callee").unwrap());
    assert_eq!(under_tls(), [None, None]);
    for (security, expect) in [
        (Security::Strict, [name.clone(), name.clone()]),
        (Security::Permissive, [None, name.clone()]),
        (Security::Plain, [None, None]),
        (Security::Permissive, [None, name.clone()]),
    ] {
        let before = members();
        upstream.set_security(security);
        assert_eq!(under_tls(), expect, "{security:?}");
        for (before, after) in before.members().iter().zip(members().members()) {
            assert!(!Arc::ptr_eq(&before.state, &after.state), "breakers begin anew");
        }
        let before = members();
        upstream.set_security(security);
        upstream.set_policy(CallPolicy { timeout: SECOND * 2, ..upstream.policy() });
        upstream.set_policy(policy(SECOND));
        assert_eq!(under_tls(), expect, "{security:?} stays");
        assert!(Arc::ptr_eq(&before.members()[0].state, &members().members()[0].state));
    }
    // What an instance says of itself may change: then it is another to us.
    let before = members();
    upstream.set_instances(&[Instance { metadata: b.metadata.clone(), ..a }, b]);
    assert_eq!(under_tls(), [name.clone(), name]);
    let is_same = |at: usize| Arc::ptr_eq(&before.members()[at].state, &members().members()[at].state);
    assert_eq!([is_same(0), is_same(1)], [false, true]);
}
