//! Does to requests on purpose what befalls them in production by chance: delays, refusals.

use std::time::Duration;

use bowline_model::{
    Code, ServiceName,
    mesh::{FAULT_DELAY_MAX, Fault, Snapshot, Workload},
};
use bowline_proxy::Visit;
use bowline_runtime::{
    metric::{Counter, Registry},
    rand, time,
};
use bowline_telemetry::{Key, Value, names};
use bowline_transport::problem::Problem;
use bytes::Bytes;
use http::{Response, StatusCode};

/// The reason of what is aborted, in `x-bowline-reason`.
const REASON: &str = "fault";

/// The faults of one service.
#[derive(Debug, Default)]
pub(crate) struct Faults(Box<[Injector]>);

#[derive(Debug)]
struct Injector {
    fault: Fault,
    abort: Option<StatusCode>,
    delayed: Counter,
    aborted: Counter,
}

/// What befalls one request.
#[derive(Debug, Default)]
pub(crate) struct Injected {
    pub(crate) delay: Option<Duration>,
    pub(crate) abort: Option<Abort>,
}

/// What a request is answered with in the place of the service.
#[derive(Debug, Clone)]
pub(crate) struct Abort {
    status: StatusCode,
    fault: String,
}

impl Faults {
    pub(crate) fn new(service: &ServiceName, snapshot: &Snapshot, metrics: &Registry) -> Self {
        let injector = |fault: &Fault| Injector {
            abort: fault.abort.and_then(|status| StatusCode::from_u16(status).ok()),
            delayed: counter(metrics, service, fault, "delay"),
            aborted: counter(metrics, service, fault, "abort"),
            fault: fault.clone(),
        };
        Self(snapshot.faults.iter().map(injector).collect())
    }

    /// Draws what befalls a request, counts it, and says so on its span.
    ///
    /// Each fault is drawn by itself. Delays add up to [`FAULT_DELAY_MAX`]; the first abort counts. What has
    /// ended befalls nobody, by the clock of this machine: nobody has to say so. Bowline's own requests are
    /// spared, so that a fault is not taken for a dead instance, unless a fault is for them alone.
    pub(crate) fn draw(&self, visit: &mut Visit<'_>) -> Injected {
        let mut injected = Injected::default();
        if self.0.is_empty() {
            return injected;
        }
        let (now, caller) = (time::unix_millis_now(), visit.peer.map(|peer| &peer.workload));
        for injector in self.0.iter().filter(|injector| injector.hits(caller, now)) {
            injector.apply(&mut injected, visit);
        }
        injected
    }
}

impl Injector {
    fn hits(&self, caller: Option<&Workload>, now: u64) -> bool {
        let Fault { from, share, until_unix_ms, .. } = &self.fault;
        let is_meant = match from {
            Some(from) => caller == Some(from),
            None => caller != Some(&Workload::Platform),
        };
        is_meant && now < *until_unix_ms && rand::hits(share.millionths())
    }

    fn apply(&self, injected: &mut Injected, visit: &mut Visit<'_>) {
        let mut attributes = vec![(Key::from(names::BOWLINE_FAULT), Value::from(self.fault.id.clone()))];
        if let Some(delay) = self.fault.delay {
            self.delayed.increment();
            let sum = injected.delay.unwrap_or_default().saturating_add(delay).min(FAULT_DELAY_MAX);
            injected.delay = Some(sum);
            let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            attributes.push((names::BOWLINE_FAULT_DELAY_MS.into(), millis.into()));
        }
        if let Some(status) = self.abort {
            self.aborted.increment();
            attributes.push((names::BOWLINE_FAULT_ABORT.into(), i64::from(status.as_u16()).into()));
            injected.abort.get_or_insert_with(|| Abort { status, fault: self.fault.id.clone() });
        }
        for (key, value) in &attributes {
            visit.span.set(key.clone(), value.clone());
        }
        visit.span.event(names::EVENT_FAULT, attributes);
        visit.span.keep();
    }
}

impl Abort {
    /// The answer in the place of the service's.
    pub(crate) fn answer(&self, visit: &mut Visit<'_>) -> Response<Bytes> {
        let Self { status, fault } = self;
        visit.span.set(names::BOWLINE_REASON, REASON);
        let fallback = if status.is_server_error() { Code::Internal } else { Code::InvalidArgument };
        let code = Code::all().find(|code| code.http_status() == status.as_u16()).unwrap_or(fallback);
        let problem = Problem::new(code, format!("fault `{fault}` aborts this request: `bowline fault list`"));
        Problem { status: status.as_u16(), ..problem.with_reason(REASON) }.to_response()
    }
}

fn counter(metrics: &Registry, service: &ServiceName, fault: &Fault, kind: &str) -> Counter {
    let labels = [(names::LABEL_SERVICE, service.as_str()), ("fault", fault.id.as_str()), ("kind", kind)];
    metrics.counter("bowline_faults_injected_total", "Requests that were delayed or aborted on purpose.", &labels)
}
