//! What a call tells: its span, its counters.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, Mutex},
    time::Duration,
};

use bowline_model::policy::{BreakerPolicy, CallPolicy};
use bowline_model::{Instance, InstanceId, Protocol};
use bowline_resilience::breaker::State;
use bowline_runtime::metric::Registry;
use bowline_runtime::time;
use bowline_telemetry::{Always, Reporter, SpanData, SpanKind, Tracer, Value, names, propagation};
use bowline_transport::{LocalPool, Side};
use http::HeaderMap;

use crate::support::{HANGING, ask, breaker, dead, get, plain, retrying, run, serve, status, upstream};

/// Spans as they end.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl Reporter for Kept {
    fn report(&self, span: SpanData) {
        self.0.lock().unwrap().push(span);
    }
}

fn attribute<'a>(attributes: &'a [(bowline_telemetry::Key, Value)], key: &str) -> &'a Value {
    &attributes.iter().find(|(name, _)| name == key).unwrap_or_else(|| panic!("no {key}")).1
}

#[test]
fn the_span_tells_every_attempt_and_the_instance_is_told_the_trace() {
    run(async || {
        let seen: Rc<RefCell<Vec<HeaderMap>>> = Rc::default();
        let see = Rc::clone(&seen);
        let callee = serve("b", Protocol::Http2, move |request| {
            see.borrow_mut().push(request.headers().clone());
            status(if see.borrow().len() == 1 { 503 } else { 200 })
        });
        let upstream = upstream(retrying(), &Registry::default(), &[dead("a"), callee.instance.clone()]);
        let kept = Kept::default();
        let tracer = Tracer::new("caller", "caller-1", Always, kept.clone());
        let pool = LocalPool::default();
        // In turn: one of two calls begins at the dead instance.
        for _ in 0..2 {
            let mut span = tracer.start("call", SpanKind::Client, None);
            let context = span.context();
            let deadline = Some(time::now() + Duration::from_secs(3));
            upstream.call(&pool, get(), &mut span, deadline).await.unwrap();
            drop(span);
            let headers = seen.borrow().last().unwrap().clone();
            assert_eq!(propagation::extract(&headers), Some(context));
            let millis: u64 = headers["x-bowline-timeout-ms"].to_str().unwrap().parse().unwrap();
            assert!((2000..=3000).contains(&millis), "{millis}");
        }
        let spans = kept.0.lock().unwrap();
        let outcomes: Vec<Vec<String>> = spans
            .iter()
            .map(|span| {
                assert_eq!(*attribute(&span.attributes, names::BOWLINE_INSTANCE), Value::from("b"));
                let count = i64::try_from(span.events.len()).unwrap();
                assert_eq!(*attribute(&span.attributes, names::BOWLINE_ATTEMPTS), Value::from(count));
                let outcome = |event: &bowline_telemetry::Event| {
                    let Value::Text(instance) = attribute(&event.attributes, names::BOWLINE_INSTANCE) else { panic!() };
                    let Value::Text(outcome) = attribute(&event.attributes, names::BOWLINE_OUTCOME) else { panic!() };
                    format!("{instance} {outcome}")
                };
                span.events.iter().map(outcome).collect()
            })
            .collect();
        let all: Vec<&str> = outcomes.iter().flatten().map(String::as_str).collect();
        assert_eq!(all.iter().filter(|outcome| **outcome == "b ok").count(), 2, "{outcomes:?}");
        assert_eq!(all.iter().filter(|outcome| **outcome == "b server_error").count(), 1, "{outcomes:?}");
        assert!(all.contains(&"a connect"), "{outcomes:?}");
    });
}

#[test]
fn a_failed_call_says_why_on_its_span() {
    run(async || {
        let upstream = upstream(plain(), &Registry::default(), &[]);
        let kept = Kept::default();
        let tracer = Tracer::new("caller", "caller-1", Always, kept.clone());
        let mut span = tracer.start("call", SpanKind::Client, None);
        let error = upstream.call(&LocalPool::default(), get(), &mut span, None).await.unwrap_err();
        assert_eq!((error.reason(), error.side(), error.retryable()), ("no_instance", Side::Upstream, true));
        assert_eq!(error.to_string(), "service callee has no instance");
        drop(span);
        let spans = kept.0.lock().unwrap();
        assert_eq!(*attribute(&spans[0].attributes, names::BOWLINE_REASON), Value::from("no_instance"));
    });
}

#[test]
fn attempts_retries_and_breakers_are_counted() {
    run(async || {
        let metrics = Registry::default();
        let callee = serve("b", Protocol::Http1, |_| status(503));
        let policy = CallPolicy { breaker: Some(BreakerPolicy { calls_min: 2, ..breaker() }), ..retrying() };
        let upstream = upstream(policy, &metrics, std::slice::from_ref(&callee.instance));
        assert_eq!(ask(&upstream, &LocalPool::default()).await.unwrap(), 503);
        let text = metrics.render();
        for line in [
            "bowline_attempts_total{reporter=\"client\",service=\"callee\",outcome=\"server_error\"} 2",
            "bowline_retries_total{reporter=\"client\",service=\"callee\",granted=\"true\"} 2",
            "bowline_breakers{reporter=\"client\",service=\"callee\",state=\"open\"} 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        upstream.set_instances(&[]);
        let text = metrics.render();
        assert!(text.contains("state=\"open\"} 0"), "an instance that is gone is not counted\n{text}");
    });
}

#[test]
fn attempts_are_counted_by_the_version_of_who_was_called() {
    run(async || {
        let metrics = Registry::default();
        let served = serve("b", Protocol::Http1, |_| status(200));
        let mut callee = served.instance.clone();
        callee.version = "v1".to_owned();
        let upstream = upstream(plain(), &metrics, std::slice::from_ref(&callee));
        ask(&upstream, &LocalPool::default()).await.unwrap();
        // Another release at the same address is another one.
        callee.version = "v2".to_owned();
        upstream.set_instances(std::slice::from_ref(&callee));
        ask(&upstream, &LocalPool::default()).await.unwrap();
        ask(&upstream, &LocalPool::default()).await.unwrap();
        let text = metrics.render();
        for (version, count) in [("v1", 1), ("v2", 2)] {
            let labels = format!("outcome=\"ok\",callee_version=\"{version}\"}} {count}\n");
            assert!(text.contains(&labels), "{labels}\n{text}");
        }
    });
}

/// The versions that are counted apart.
fn versions_counted(metrics: &Registry) -> Vec<String> {
    let text = metrics.render();
    let lines = text.lines().filter(|line| line.contains("bowline_attempts_total") && line.contains("outcome=\"ok\""));
    lines.filter_map(|line| Some(line.split_once("callee_version=\"")?.1.split_once('"')?.0.to_owned())).collect()
}

#[test]
fn versions_that_are_gone_are_forgotten_and_those_that_are_there_are_bounded() {
    run(async || {
        let metrics = Registry::default();
        let served = serve("b", Protocol::Http1, |_| status(200));
        let of = |version: usize| Instance { version: format!("v{version}"), ..served.instance.clone() };
        let upstream = upstream(plain(), &metrics, &[of(1)]);
        for version in 2..=100 {
            upstream.set_instances(&[of(version)]);
            ask(&upstream, &LocalPool::default()).await.unwrap();
        }
        let counted = versions_counted(&metrics);
        assert!(counted.contains(&"v100".to_owned()) && counted.contains(&"v99".to_owned()), "{counted:?}");
        assert!(counted.len() <= 6, "{counted:?}");
        let many: Vec<Instance> = (100..200)
            .map(|version| Instance { id: InstanceId::new(&format!("b-{version}")).unwrap(), ..of(version) })
            .collect();
        upstream.set_instances(&many);
        assert_eq!(versions_counted(&metrics).len(), 64);
        for _ in 0..100 {
            ask(&upstream, &LocalPool::default()).await.unwrap();
        }
        let text = metrics.render();
        let rest = "bowline_attempts_total{reporter=\"client\",service=\"callee\",outcome=\"ok\"} ";
        let rest: u64 = text.split_once(rest).unwrap().1.lines().next().unwrap().parse().unwrap();
        assert!(rest > 0, "{text}");
    });
}

#[test]
fn a_slow_success_that_opens_the_breaker_is_counted_at_once() {
    run(async || {
        let metrics = Registry::default();
        let callee = serve("a", Protocol::Http1, |_| async {
            // tidy: sleep: slowness is what it is about
            time::sleep(Duration::from_millis(20)).await;
            status(200).await
        });
        let slow_call = Some(Duration::from_millis(10));
        let breaker = BreakerPolicy { slow_call, open_for: HANGING.into(), ..breaker() };
        let policy = CallPolicy { breaker: Some(breaker), ..plain() };
        let upstream = upstream(policy, &metrics, std::slice::from_ref(&callee.instance));
        assert_eq!(ask(&upstream, &LocalPool::default()).await.unwrap(), 200);
        assert_eq!(upstream.instances()[0].breaker, Some(State::Open));
        let text = metrics.render();
        assert!(text.contains("state=\"open\"} 1"), "{text}");
    });
}
