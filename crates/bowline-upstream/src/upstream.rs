//! A service as this process calls it.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use bowline_balance::{InstanceSet, Member as Entry, Shape, Snapshot, Why};
use bowline_model::{
    Instance, ServiceName,
    mesh::{BreakerOrder, Steering},
    policy::CallPolicy,
};
use bowline_resilience::{Deadline, breaker::State, bulkhead::Bulkhead, outcome::Verdict};
use bowline_runtime::{
    metric::Registry,
    time::{self, Instant},
};
use bowline_telemetry::{Span, names};
use bowline_transport::{Body, Pool};
use futures_util::{StreamExt as _, stream};
use http::{Request, Response};

use crate::{
    active::{Active, Kept},
    attempt::{Judged, grpc_code},
    body::ResponseBody,
    breakers,
    call::Call,
    error::Error,
    fallback,
    guard::{BreakerRules, Shared},
    member::Member,
    metrics::Metrics,
    mirror::{Mirror, UnderWay},
    pick::{Picked, Search, Wish},
    security::Security,
    split::Split,
};

/// How many connections are made ahead, and how many at once.
const WARM_MAX: usize = 64;
const WARM_AT_ONCE_MAX: usize = 16;

/// A service as this process calls it: its instances, what is known of them, and the policy.
///
/// Shared by all cores.
#[derive(Debug)]
pub struct Upstream {
    service: ServiceName,
    active: ArcSwap<Active>,
    /// The one set there ever is: policies, and what is known of the instances, come and go in it.
    members: Arc<InstanceSet<Member>>,
    /// The instances as last told; held while they or the policy are replaced.
    told: Mutex<Vec<Instance>>,
    /// Locked only while `told` is; so is the standpoint.
    security: Mutex<Security>,
    standpoint: Mutex<Standpoint>,
    mirrored: UnderWay,
    /// Whether instances that speak both are spoken to in HTTP/2.
    prefers_http2: bool,
    pub(crate) metrics: Metrics,
}

/// Who calls, and from where: what its instances are picked by beside the policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standpoint {
    /// The zone it is in, where it says so: its instances may be preferred.
    pub zone: Option<String>,
    /// Its id: callers with different ones use different subsets.
    pub caller: String,
}

/// An instance, and what is known of it here: for listings.
#[derive(Debug, Clone)]
pub struct InstanceStatus {
    /// The instance as last told.
    pub instance: Instance,
    /// Its breaker; `None` where the policy has none.
    pub breaker: Option<State>,
    /// Why it is left out for a while, where it does worse than it may; `None` where it is not.
    pub ejected: Option<Why>,
    /// Requests in flight from here.
    pub in_flight: u64,
    /// The recent latency as the balancer sees it; zero when none is known.
    pub latency: Duration,
}

impl Upstream {
    /// A service without instances yet; those that speak both protocols are called over HTTP/1.1. `reporter` is
    /// `gateway` or `client`, for the metrics.
    pub fn new(service: ServiceName, policy: CallPolicy, reporter: &'static str, metrics: &Registry) -> Arc<Self> {
        Arc::new(Self::make(service, policy, reporter, metrics))
    }

    /// As [`Upstream::new`], but those that speak both protocols are called over HTTP/2.
    pub fn multiplexed(
        service: ServiceName,
        policy: CallPolicy,
        reporter: &'static str,
        metrics: &Registry,
    ) -> Arc<Self> {
        Arc::new(Self { prefers_http2: true, ..Self::make(service, policy, reporter, metrics) })
    }

    fn make(service: ServiceName, policy: CallPolicy, reporter: &'static str, metrics: &Registry) -> Self {
        let metrics = Metrics::new(metrics, reporter, service.as_str());
        let kept = Kept::begin(&policy, &metrics);
        let members = Arc::new(InstanceSet::new(Standpoint::default().shape(&policy)));
        let active = ArcSwap::from_pointee(Active::new(policy, kept));
        let (told, security, standpoint) = (Mutex::default(), Mutex::default(), Mutex::default());
        let mirrored = UnderWay::default();
        Self { service, active, members, told, security, standpoint, mirrored, prefers_http2: false, metrics }
    }

    /// Whom it calls.
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// Replaces the instances; what is known of one is kept while its id, address and version are the same,
    /// whether it is called under TLS, and whether it speaks HTTP/1.
    ///
    /// An empty list empties the service: whether it is to be believed is the caller's to decide.
    pub fn set_instances(&self, instances: &[Instance]) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        *told = instances.to_vec();
        let active = self.active.load();
        let orders = &active.steering.breakers;
        self.update(BreakerRules::of(&active.policy).as_ref(), instances, orders, false);
        active.renew(&self.members.snapshot());
    }

    /// Says who calls, and from where: by it instances of its own zone are preferred, and its subset is chosen, where
    /// the policy says so. What is known of the instances stays.
    pub fn set_standpoint(&self, standpoint: Standpoint) {
        let _told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let active = self.active.load();
        self.members.reshape(standpoint.shape(&active.policy));
        *self.standpoint.lock().unwrap_or_else(PoisonError::into_inner) = standpoint;
        active.renew(&self.members.snapshot());
    }

    /// Replaces the policy, for calls that begin from now on; the budgets of retries and hedges and the bulkhead begin
    /// anew, the last beside what is still under way in the one before. Where the
    /// breaker's part changed, all breakers begin anew, and the load with them; so they do where a
    /// timeout above half a minute changed, which bounds how long a breaker waits for its probes.
    pub fn set_policy(&self, policy: CallPolicy) {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let active = self.active.load_full();
        if active.policy == policy {
            return;
        }
        let mut kept = Kept::begin(&policy, &self.metrics);
        let rules = BreakerRules::of(&policy);
        if BreakerRules::of(&active.policy) == rules {
            kept.shared.clone_from(&active.kept.shared);
        } else {
            self.update(rules.as_ref(), &told, &active.steering.breakers, true);
            self.obey(&kept, &[], &active.steering.breakers);
        }
        let is_judged_alike = policy.outlier == active.policy.outlier;
        if is_judged_alike {
            kept.detector.clone_from(&active.kept.detector);
        }
        self.members.reshape(self.standpoint.lock().unwrap_or_else(PoisonError::into_inner).shape(&policy));
        self.serve(policy, kept, active.steering.clone());
        if !is_judged_alike {
            // After the one before ejects nobody any more.
            self.members.recall();
        }
    }

    /// Replaces how calls that begin from now on are steered: between the versions of the service, and by orders to
    /// the breakers of its instances.
    ///
    /// Of a split, each call takes one version, in proportion to the weights of those that have a
    /// healthy instance (any, where none has). Its retries stay there while somebody is left whom
    /// it has not tried, and go on to the other versions of weight above 0 then. Versions that are
    /// not named, and those of weight 0, get nothing: without an instance of the others, calls
    /// fail with [`Error::NoInstance`].
    ///
    /// Of a mirror, a share of the calls is sent to an instance of that version, too, whatever the
    /// split says: those whose body is at hand, or of a known length up to 64 KiB (which is read up
    /// front). The copy carries `x-bowline-mirror: 1`, has the time of the call, and is tried once;
    /// nothing that comes of it reaches the caller, a breaker or the load. There are at most 64
    /// under way; beyond, they are dropped and counted.
    ///
    /// Orders hold the breakers of those instances that they are about, also of those that come later, until they are
    /// taken back: then a breaker judges for itself again, with nothing counted. Whom they are of is not looked at:
    /// who hands them in leaves out those of others. A reset is done once, when it comes, where no order holds.
    ///
    /// What else is known of the instances stays, and so does the retry budget.
    pub fn set_steering(&self, steering: Steering) {
        let _told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let active = self.active.load_full();
        if active.steering != steering {
            self.obey(&active.kept, &active.steering.breakers, &steering.breakers);
            self.serve(active.policy.clone(), active.kept.clone(), steering);
        }
    }

    /// Serves by these from now on; the instances are held meanwhile.
    fn serve(&self, policy: CallPolicy, kept: Kept, steering: Steering) {
        let all = self.members.snapshot();
        let split = Split::new(&steering.split, &policy.balance, &all);
        let mirror = steering.mirror.as_ref().map(|mirror| {
            let metrics = self.metrics.mirrored(self.service.as_str());
            Arc::new(Mirror::new(mirror, &policy.balance, &all, self.mirrored.clone(), metrics))
        });
        let active = Active { steering, split, mirror, ..Active::new(policy, kept) };
        self.active.store(Arc::new(active));
    }

    /// Replaces which instances are called under TLS, for calls that begin from now on. Where that is a
    /// change, all that is known of the instances begins anew, the retry budget with it.
    pub fn set_security(&self, security: Security) {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let before = mem::replace(&mut *self.security.lock().unwrap_or_else(PoisonError::into_inner), security);
        if before == security {
            return;
        }
        let active = self.active.load_full();
        let policy = active.policy.clone();
        let kept = Kept::begin(&policy, &self.metrics);
        self.update(BreakerRules::of(&policy).as_ref(), &told, &active.steering.breakers, true);
        self.obey(&kept, &[], &active.steering.breakers);
        self.serve(policy, kept, active.steering.clone());
    }

    /// Tells the set who is there; `anew`: with nothing known of anybody.
    fn update(&self, rules: Option<&BreakerRules>, instances: &[Instance], orders: &[BreakerOrder], anew: bool) {
        let security = *self.security.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoint = |instance: &Instance| security.endpoint(&self.service, instance);
        let fits = |member: &Member, instance: &Instance| {
            let is_as_secure = member.endpoint.tls.is_some() == security.demands(instance);
            !anew && is_as_secure && member.version == instance.version
        };
        self.members.update_fitting(instances, fits, |instance| {
            let member = Member::new(endpoint(instance), self.prefers_http2, instance, rules, &self.metrics);
            // Before anybody calls it.
            if let Some(guard) = &member.breaker {
                guard.hold(breakers::held(orders, &instance.id), time::now());
            }
            member
        });
    }

    /// Acts by orders to the breakers, of which those before were acted by.
    fn obey(&self, kept: &Kept, before: &[BreakerOrder], orders: &[BreakerOrder]) {
        breakers::obey(before, orders, &self.members.snapshot(), kept.shared.as_deref());
    }

    /// How long a whole call may take by the policy now.
    pub fn timeout(&self) -> Duration {
        self.active.load().policy.timeout
    }

    /// The policy now.
    pub fn policy(&self) -> CallPolicy {
        self.active.load().policy.clone()
    }

    /// The instances, sorted by id.
    pub fn instances(&self) -> Vec<InstanceStatus> {
        let now = time::now();
        let snapshot = self.members.snapshot();
        let status = |entry: &Arc<Entry<Member>>| InstanceStatus {
            instance: entry.instance.clone(),
            breaker: entry.state.breaker.as_ref().map(|guard| guard.breaker.state(now)),
            ejected: entry.ejection(now).map(|ejection| ejection.why),
            in_flight: entry.in_flight(),
            latency: entry.latency(now),
        };
        snapshot.members().iter().map(status).collect()
    }

    /// How it is steered, its instances, and whether its policy has a breaker.
    pub(crate) fn guarded(&self) -> (Steering, Arc<Snapshot<Member>>, Option<Arc<Shared>>, bool) {
        let active = self.active.load();
        let shared = active.kept.shared.clone();
        (active.steering.clone(), self.members.snapshot(), shared, active.policy.breaker.is_some())
    }

    /// Has a connection wait for each instance, of 64 at most, 16 at once; those that cannot be made are left out.
    ///
    /// # Cancel safety
    /// Dropping the future closes what was being made; what was made stays.
    pub async fn warm_up<P: Pool>(&self, pool: &P) {
        let snapshot = self.members.snapshot();
        let endpoints: Vec<_> =
            snapshot.members().iter().take(WARM_MAX).map(|member| Member::endpoint_of(member).clone()).collect();
        let connect = async |endpoint| drop(bowline_transport::connect_ahead(pool, &endpoint).await);
        stream::iter(endpoints).for_each_concurrent(WARM_AT_ONCE_MAX, connect).await;
    }

    /// Makes one call: fallback, deadline, bulkhead, retry, hedge, and per attempt pick, breaker, time limit, send.
    ///
    /// The deadline is the earlier of the policy's timeout and the caller's `deadline`; it bounds
    /// the time to the head of the answer, not its body. `traceparent` and `x-bowline-timeout-ms`
    /// are written into the request. Each attempt is an event on the span; the attributes name the
    /// last instance and the count of attempts.
    ///
    /// An attempt is repeated while attempts, deadline and budget last, preferably at an instance
    /// that was not tried: when no connection was made, whatever the method (which the budget does
    /// not pay), also where a verified sidecar made none to its application, and the body is at hand;
    /// when an HTTP/2 instance said that it has not looked at it, whatever the method, and
    /// its body is at hand; when there was no answer, or one that the policy tries again or that turned it away for
    /// want of capacity, and besides the request may be sent twice: it is idempotent, carries an `Idempotency-Key`, or
    /// the policy says so. When the instance says it is to be asked again is heeded. Bodies of a known length up to 64 KiB are read
    /// up front for that. While the next attempt is waited for, the answer before it keeps its
    /// connection and its place in the load, as it stands if there is nobody left to ask.
    ///
    /// Breakers, and who leaves out those that do worse, are told of every attempt but of those that were ignored,
    /// turned away for want of capacity, or given up for another, and of those that the caller's own body or deadline
    /// ended: of a timeout only when the attempt had the time that the policy itself gives it (its
    /// `per_try_timeout`, `slow_call`, or nine tenths of `timeout`). They are told at the head of
    /// the answer: what befalls its body is no failure.
    ///
    /// The future is `Send` where the pool is.
    ///
    /// # Errors
    /// Any [`Error`]; an answer with a bad status is no error here.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the attempt under way; its permit and its place in the load are
    /// given back, and it counts neither as a success nor as a failure.
    pub async fn call<P: Pool>(
        &self,
        pool: &P,
        request: Request<Body>,
        span: &mut Span,
        deadline: Option<Instant>,
    ) -> Result<Response<ResponseBody<P>>, Error> {
        let (head, body) = request.into_parts();
        let mut plan = self.active.load().plan(&head, time::now(), deadline);
        let (bulkhead, fallback, deadline) = (plan.bulkhead.take(), plan.fallback.take(), plan.deadline);
        let mut call = Call::new(self, plan, head, body, span);
        let answer = match bulkhead {
            None => call.run(pool).await,
            Some(bulkhead) => self.call_within(&bulkhead, deadline, pool, &mut call).await,
        };
        call.conclude(&answer);
        match fallback.map(|fallback| (fallback, self.fallback_reason(&answer))) {
            Some((fallback, Some(reason))) => {
                span.set(names::BOWLINE_FALLBACK, reason);
                Ok(fallback::answer(&fallback, reason))
            }
            _ => answer,
        }
    }

    /// Makes a call that takes a place first, and holds it until its answer's body has ended.
    async fn call_within<P: Pool>(
        &self,
        bulkhead: &Bulkhead,
        deadline: Instant,
        pool: &P,
        call: &mut Call<'_>,
    ) -> Result<Response<ResponseBody<P>>, Error> {
        let begun = time::now();
        let place = if let Some(place) = bulkhead.try_acquire_owned(begun) {
            place
        } else {
            let place = bulkhead.acquire_owned(Some(Deadline::at(deadline)), begun).await;
            let place = place.map_err(|source| {
                self.metrics.bulkhead_refused.increment();
                Error::Bulkhead { service: self.service.clone(), source }
            })?;
            let waited = time::now().saturating_duration_since(begun);
            call.plan.after_waiting(self.timeout(), waited);
            place
        };
        match call.run(pool).await {
            // What fails at once, and what is no answer of the callee's work, says nothing of how long its work takes.
            Ok(answer) if self.judge(&answer).verdict == Verdict::Good => Ok(answer.map(|body| body.holding(place))),
            Err(error @ Error::Timeout { .. }) => {
                place.record(true, time::now());
                Err(error)
            }
            other => other,
        }
    }

    /// Picks an instance whose breaker grants, or that of the call's route or key: one that was not tried, else one
    /// that was reached, else any.
    pub(crate) fn pick(&self, now: Instant, wish: &Wish<'_>) -> Result<Picked, Error> {
        let active = self.active.load();
        let rejected = |retry_after| Error::BreakerOpen { service: self.service.clone(), retry_after };
        let permit = wish.guard.map(|guard| guard.breaker.acquire_owned(now)).transpose();
        let permit = permit.map_err(|error| rejected(Some(error.retry_after)))?;
        let mut search = Search::new(now, wish);
        let picked = match &active.split {
            None => {
                let all = self.members.load();
                search.run(|search, is_excluded| search.pick(&active.balancer, &all, is_excluded))
            }
            Some(split) => search.run(|search, is_excluded| split.pick(search, is_excluded)),
        };
        match picked {
            Some(picked) => Ok(Picked { permit: permit.or(picked.permit), member: picked.member }),
            None if search.retry_after.is_some() => Err(rejected(search.retry_after)),
            None => Err(Error::NoInstance { service: self.service.clone() }),
        }
    }

    /// What the policy says of an answer.
    pub(crate) fn judge<B>(&self, answer: &Response<B>) -> Judged {
        let active = self.active.load();
        let (status, grpc) = (answer.status().as_u16(), grpc_code(answer.headers()));
        Judged { verdict: active.classifier.verdict(status, grpc), is_retried: active.retried.holds(status, grpc) }
    }

    /// How many instances a call could choose from, breakers aside.
    pub(crate) fn eligible_count(&self) -> usize {
        let active = self.active.load();
        active.split.as_ref().map_or_else(|| self.members.load().eligible_count(), Split::eligible_count)
    }

    /// Tells who leaves out those that do worse what came of an attempt.
    pub(crate) fn detect(&self, member: &Entry<Member>, is_good: bool, now: Instant) {
        if let Some(detector) = &self.active.load().kept.detector {
            detector.record(&self.members, member, is_good, now);
        }
    }

    /// Takes one retry out of the budget.
    pub(crate) fn withdraw(&self, now: Instant) -> bool {
        self.active.load().kept.budget.as_ref().is_some_and(|budget| budget.try_withdraw(now))
    }
}

impl Standpoint {
    fn shape(&self, policy: &CallPolicy) -> Shape {
        Shape::of(&policy.balance, self.zone.as_deref(), &self.caller)
    }
}

#[cfg(test)]
mod tests;
