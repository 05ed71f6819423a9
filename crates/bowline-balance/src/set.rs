//! The instances of one service, and what is remembered of each from one update to the next.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use bowline_model::{Health, Instance, InstanceId, Protocol};
use bowline_runtime::time::{Duration, Instant};

use crate::load::{InFlight, Load};

/// One instance with its state and its load.
#[derive(Debug)]
pub struct Member<T> {
    /// The instance as last told.
    pub instance: Instance,
    /// The caller's own state of it (breaker, counters). It and the load survive every update that
    /// keeps id and address, whatever else changes, unless it speaks HTTP/1 no longer, or only now.
    pub state: Arc<T>,
    pub(crate) load: Arc<Load>,
}

/// The members at one moment. Immutable.
#[derive(Debug)]
pub struct Snapshot<T> {
    members: Box<[Arc<Member<T>>]>,
    pub(crate) eligible: Eligible<T>,
}

/// Those that may be picked, in the order of their ids.
#[derive(Debug)]
pub(crate) struct Eligible<T> {
    pub(crate) members: Box<[Arc<Member<T>>]>,
    /// Of the same members, so that a comparison need not touch them.
    pub(crate) loads: Box<[Arc<Load>]>,
    /// Of the same members: the sum of the weights up to and with each.
    pub(crate) weight_sums: Box<[u64]>,
}

/// A snapshot borrowed from its set: cheap to get, not to be held across an await.
pub type Guard<T> = arc_swap::Guard<Arc<Snapshot<T>>>;

/// The instances of one service, replaced as a whole. Shared by all cores; reading takes no lock.
#[derive(Debug)]
pub struct InstanceSet<T> {
    current: ArcSwap<Snapshot<T>>,
    /// Updates one at a time, so that none builds upon a set that another has replaced.
    updating: Mutex<()>,
}

impl<T> InstanceSet<T> {
    /// A set without members.
    pub fn new() -> Self {
        let empty = Snapshot { members: Box::default(), eligible: Eligible::of(&[]) };
        Self { current: ArcSwap::from_pointee(empty), updating: Mutex::new(()) }
    }

    /// The members now, borrowed: for one pick.
    #[inline]
    pub fn load(&self) -> Guard<T> {
        self.current.load()
    }

    /// The members now, owned: for listings and whatever awaits.
    pub fn snapshot(&self) -> Arc<Snapshot<T>> {
        self.current.load_full()
    }

    /// Replaces the instances; `make` gives the state of each that was not there before.
    ///
    /// One that keeps id and address keeps its state and its load, whatever else changed, unless it
    /// speaks HTTP/1 no longer, or only now; wholly unchanged it stays the same [`Member`]. Of several with one id the
    /// last counts. An empty update empties the set: whether it is to be believed is the caller's to
    /// decide. Picks go on meanwhile, on the members before. O(n log n).
    pub fn update(&self, instances: &[Instance], make: impl Fn(&Instance) -> T) {
        self.update_fitting(instances, |_, _| true, make);
    }

    /// As [`InstanceSet::update`], where the state of an instance is of no more use once it no longer
    /// `fits` it: then it begins anew, and the load with it.
    pub fn update_fitting(
        &self,
        instances: &[Instance],
        fits: impl Fn(&T, &Instance) -> bool,
        make: impl Fn(&Instance) -> T,
    ) {
        let _updating = self.updating.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.current.load_full();
        let by_id: BTreeMap<&InstanceId, &Instance> = instances.iter().map(|i| (&i.id, i)).collect();
        let members: Box<[_]> = by_id
            .values()
            .map(|instance| {
                let fitting = before.get(&instance.id).filter(|member| fits(&member.state, instance));
                next_member(fitting, instance, &make)
            })
            .collect();
        let is_same = members.len() == before.members.len()
            && members.iter().zip(&before.members).all(|(a, b)| Arc::ptr_eq(a, b));
        if !is_same {
            self.current.store(Arc::new(Snapshot { eligible: Eligible::of(&members), members }));
        }
    }
}

impl<T> Default for InstanceSet<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Snapshot<T> {
    /// All members, whatever their health, sorted by id.
    pub fn members(&self) -> &[Arc<Member<T>>] {
        &self.members
    }

    /// The member of that id. O(log n).
    pub fn get(&self, id: &InstanceId) -> Option<&Arc<Member<T>>> {
        self.members.binary_search_by(|member| member.instance.id.cmp(id)).ok().map(|at| &self.members[at])
    }

    /// How many can be picked: the healthy, or where there is none, the unhealthy.
    pub fn eligible_count(&self) -> usize {
        self.eligible.members.len()
    }

    /// Whether a healthy one can be picked.
    pub fn is_healthy(&self) -> bool {
        self.eligible.members.first().is_some_and(|member| member.instance.health == Health::Healthy)
    }

    /// Some of the members, to be picked from by themselves: they share state and load with these. O(n).
    pub fn subset(&self, is_in: impl Fn(&Instance) -> bool) -> Self {
        let members: Box<[_]> = self.members.iter().filter(|member| is_in(&member.instance)).map(Arc::clone).collect();
        Self { eligible: Eligible::of(&members), members }
    }
}

impl<T> Member<T> {
    /// Counts a request as in flight from `now` on, until the guard is finished or dropped.
    #[inline]
    pub fn begin(&self, now: Instant) -> InFlight {
        InFlight::begin(&self.load, now)
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> u64 {
        self.load.in_flight()
    }

    /// The peak-sensitive average of its latency as of `now`; zero when none is known.
    pub fn latency(&self, now: Instant) -> Duration {
        self.load.latency(now)
    }
}

impl<T> Eligible<T> {
    /// The healthy; the unhealthy only where none is healthy; the draining never.
    fn of(members: &[Arc<Member<T>>]) -> Self {
        let with = |health| members.iter().filter(move |member| member.instance.health == health).map(Arc::clone);
        let mut members: Box<[_]> = with(Health::Healthy).collect();
        if members.is_empty() {
            members = with(Health::Unhealthy).collect();
        }
        let loads = members.iter().map(|member| Arc::clone(&member.load)).collect();
        let add = |sum: &mut u64, member: &Arc<Member<T>>| {
            *sum += u64::from(member.instance.weight.max(1));
            Some(*sum)
        };
        let weight_sums = members.iter().scan(0, add).collect();
        Self { members, loads, weight_sums }
    }
}

fn next_member<T>(
    before: Option<&Arc<Member<T>>>,
    instance: &Instance,
    make: impl Fn(&Instance) -> T,
) -> Arc<Member<T>> {
    let place = |i: &Instance| (i.address.clone(), i.protocol == Protocol::Http2);
    match before {
        Some(member) if member.instance == *instance => Arc::clone(member),
        Some(member) if place(&member.instance) == place(instance) => Arc::new(Member {
            instance: instance.clone(),
            state: Arc::clone(&member.state),
            load: Arc::clone(&member.load),
        }),
        _ => Arc::new(Member {
            instance: instance.clone(),
            state: Arc::new(make(instance)),
            load: Arc::new(Load::new()),
        }),
    }
}
