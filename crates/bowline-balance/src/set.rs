//! The instances of one service, and what is remembered of each from one update to the next.

use std::sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed};

use arc_swap::{ArcSwap, ArcSwapOption};
use bowline_model::{Health, Instance, InstanceId, Protocol};
use bowline_runtime::time::{self, Duration, Instant};

use crate::{
    chunks::{Chunks, Members, Wish},
    load::{InFlight, Load},
    outlier::{Ejection, Phase},
    parts::{Part, parts},
    route::{Leg, Sound, legs},
    shape::Shape,
    shared::Shared,
};

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

/// The members at one moment, and who of them is picked from. Immutable.
#[derive(Debug)]
pub struct Snapshot<T> {
    pub(crate) chunks: Chunks<T>,
    pub(crate) parts: Box<[Part]>,
    /// As long as nobody is ejected.
    pub(crate) legs: Box<[Leg]>,
    /// While somebody is.
    swayed: ArcSwapOption<Swayed>,
    pub(crate) shape: Arc<Shape>,
    pub(crate) shared: Arc<Shared>,
}

/// The legs while somebody is ejected, and for how long they hold.
#[derive(Debug)]
pub(crate) struct Swayed {
    pub(crate) legs: Box<[Leg]>,
    changes: u64,
    until: u64,
}

/// A snapshot borrowed from its set: cheap to get, not to be held across an await.
pub type Guard<T> = arc_swap::Guard<Arc<Snapshot<T>>>;

/// The instances of one service, replaced as a whole. Shared by all cores; reading takes no lock.
#[derive(Debug)]
pub struct InstanceSet<T> {
    current: ArcSwap<Snapshot<T>>,
    /// Updates one at a time, so that none builds upon a set that another has replaced.
    updating: Mutex<()>,
    pub(crate) shared: Arc<Shared>,
}

impl<T> InstanceSet<T> {
    /// A set without members, for picks by the policy of that shape.
    pub fn new(shape: Shape) -> Self {
        let shared = Shared::new();
        let empty = Snapshot::of(Chunks::default(), Arc::new(shape), Arc::clone(&shared));
        Self { current: ArcSwap::from_pointee(empty), updating: Mutex::new(()), shared }
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
    /// decide. Picks go on meanwhile, on the members before.
    ///
    /// O(n), and O(n log n) where they do not come sorted by id. Who knows what has changed asks for
    /// [`InstanceSet::change`], which does not compare the others. The strategies that hash have their tables made anew
    /// where members came, went or changed their weight, which takes milliseconds: not to be done where requests wait.
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
        let wishes = instances.iter().map(|instance| Wish { id: &instance.id, instance: Some(instance) });
        self.apply(&sorted(wishes.collect()), false, fits, make);
    }

    /// Replaces or adds the `changed` instances, and takes out the `gone`; all others stay as they are.
    ///
    /// As [`InstanceSet::update`] otherwise; an id that is among both is gone.
    pub fn change(&self, changed: &[Instance], gone: &[InstanceId], make: impl Fn(&Instance) -> T) {
        self.change_fitting(changed, gone, |_, _| true, make);
    }

    /// As [`InstanceSet::change`], where a state must fit as in [`InstanceSet::update_fitting`].
    pub fn change_fitting(
        &self,
        changed: &[Instance],
        gone: &[InstanceId],
        fits: impl Fn(&T, &Instance) -> bool,
        make: impl Fn(&Instance) -> T,
    ) {
        let changed = changed.iter().map(|instance| Wish { id: &instance.id, instance: Some(instance) });
        let wishes = changed.chain(gone.iter().map(|id| Wish { id, instance: None })).collect();
        self.apply(&sorted(wishes), true, fits, make);
    }

    /// Has the set picked from in another way; its members stay, with all that is known of them. O(n).
    pub fn reshape(&self, shape: Shape) {
        let _updating = self.updating.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.current.load_full();
        if *before.shape != shape {
            let (shape, shared) = (Arc::new(shape), Arc::clone(&self.shared));
            self.current.store(Arc::new(Snapshot::of(before.chunks.reshaped(&shape), shape, shared)));
        }
    }

    /// Has all that are ejected come back at once: for when nobody judges them any more.
    pub fn recall(&self) {
        for member in self.snapshot().members() {
            member.load.record().recall(&self.shared.hot.0.room);
        }
    }

    fn apply(
        &self,
        wishes: &[Wish<'_, Instance>],
        keeps_others: bool,
        fits: impl Fn(&T, &Instance) -> bool,
        make: impl Fn(&Instance) -> T,
    ) {
        let _updating = self.updating.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.current.load_full();
        let arrival = Arrival { shared: &self.shared, shape: &before.shape, is_late: before.chunks.len() > 0 };
        let mut left = Vec::new();
        let next = |member: Option<&Arc<Member<T>>>, instance: Option<&Instance>| {
            let fitting = member.filter(|member| instance.is_some_and(|instance| fits(&member.state, instance)));
            let next = instance.map(|instance| next_member(fitting, instance, &make, &arrival));
            let is_kept = |member: &Member<T>| next.as_ref().is_some_and(|next| Arc::ptr_eq(&next.load, &member.load));
            left.extend(member.filter(|member| !is_kept(member)).map(Arc::clone));
            next
        };
        if let Some(chunks) = before.chunks.with(wishes, keeps_others, &before.shape, next) {
            self.shared.hot.0.members.store(chunks.len() as u64, Relaxed);
            let (shape, shared) = (Arc::clone(&before.shape), Arc::clone(&self.shared));
            self.current.store(Arc::new(Snapshot::of(chunks, shape, shared)));
        }
        for member in left {
            member.load.record().leave(&self.shared.hot.0.room);
        }
    }
}

/// By id, each once: the last of several counts.
fn sorted(mut wishes: Vec<Wish<'_, Instance>>) -> Vec<Wish<'_, Instance>> {
    if !wishes.is_sorted_by(|one, other| one.id < other.id) {
        wishes.sort_by(|one, other| one.id.cmp(other.id));
        // Of equals the first is left: it takes on what the last one says.
        wishes.dedup_by(|later, kept| {
            let is_same = later.id == kept.id;
            if is_same {
                kept.instance = later.instance;
            }
            is_same
        });
    }
    wishes
}

impl<T> Default for InstanceSet<T> {
    /// For picks by the default policy.
    fn default() -> Self {
        Self::new(Shape::default())
    }
}

impl<T> Snapshot<T> {
    fn of(chunks: Chunks<T>, shape: Arc<Shape>, shared: Arc<Shared>) -> Self {
        if shape.headroom.is_some() {
            chunks.iter().for_each(|member| shared.tally(&member.load, &member.instance));
        }
        let parts = parts(&chunks, &shape, &shared);
        let sounds: Vec<Sound> = parts.iter().map(|part| part.sound).collect();
        let legs = legs(&sounds, shape.panic_below);
        Self { chunks, parts, legs, swayed: ArcSwapOption::empty(), shape, shared }
    }

    /// All members, whatever their health, sorted by id.
    pub fn members(&self) -> Members<'_, T> {
        Members::new(&self.chunks)
    }

    /// The member of that id. O(log n).
    pub fn get(&self, id: &InstanceId) -> Option<&Arc<Member<T>>> {
        self.chunks.get(id)
    }

    /// How many can be picked, ejections aside: the healthy, or where too few are, all that are not draining.
    pub fn eligible_count(&self) -> usize {
        self.legs.iter().map(|leg| self.parts[leg.part].lot(leg.panics).slots.len()).sum()
    }

    /// Whether a healthy one can be picked.
    pub fn is_healthy(&self) -> bool {
        self.parts.iter().any(|part| !part.lot(false).slots.is_empty())
    }

    /// Some of the members, to be picked from by themselves, in the same way: they share state and load with these. O(n).
    pub fn subset(&self, is_in: impl Fn(&Instance) -> bool) -> Self {
        let members = self.chunks.iter().filter(|member| is_in(&member.instance)).map(Arc::clone);
        let chunks = Chunks::of(members, &self.shape);
        Self::of(chunks, Arc::clone(&self.shape), Arc::clone(&self.shared))
    }

    /// The legs while somebody is ejected: worked out anew by the first who picks after that has changed, in O(n).
    ///
    /// Borrowed, as a count of references that every pick changes would be fought over by the cores.
    pub(crate) fn swayed(&self, now: u64) -> arc_swap::Guard<Option<Arc<Swayed>>> {
        let changes = self.shared.hot.0.room.changes();
        let known = self.swayed.load();
        if known.as_ref().is_some_and(|swayed| swayed.changes == changes && now < swayed.until) {
            return known;
        }
        let mut until = u64::MAX;
        let sounds: Vec<Sound> = self.parts.iter().map(|part| self.sound(part, now, &mut until)).collect();
        let swayed = Arc::new(Swayed { legs: legs(&sounds, self.shape.panic_below), changes, until });
        self.swayed.store(Some(Arc::clone(&swayed)));
        arc_swap::Guard::from_inner(Some(swayed))
    }

    /// How sound a part is without the ejected; `until` becomes the first end of an ejection.
    fn sound(&self, part: &Part, now: u64, until: &mut u64) -> Sound {
        let slots = &part.lot(false).slots;
        let mut out = 0_u32;
        for slot in slots {
            let standing = self.chunks.load(*slot).record().standing();
            if let Phase::Out { until: end, .. } = standing.phase {
                let end = u64::try_from(end.as_nanos()).unwrap_or(u64::MAX);
                if now < end {
                    out += 1;
                    *until = end.min(*until);
                }
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of instances")]
        let share = if slots.is_empty() { 0.0 } else { 1.0 - f64::from(out) / slots.len() as f64 };
        Sound { well: part.sound.well * share, ..part.sound }
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

    /// Whether it is ejected, until when, why, and how often in a row.
    pub fn ejection(&self, now: Instant) -> Option<Ejection> {
        Ejection::of(self.load.record().standing(), self.load.epoch(), now)
    }
}

/// What a member is made by.
struct Arrival<'a> {
    shared: &'a Shared,
    shape: &'a Shape,
    /// Whether others were there before.
    is_late: bool,
}

fn next_member<T>(
    before: Option<&Arc<Member<T>>>,
    instance: &Instance,
    make: impl Fn(&Instance) -> T,
    arrival: &Arrival<'_>,
) -> Arc<Member<T>> {
    let place = |i: &Instance| (i.address.clone(), i.protocol == Protocol::Http2);
    let member = match before {
        Some(member) if member.instance == *instance => return Arc::clone(member),
        Some(member) if place(&member.instance) == place(instance) => {
            Member { instance: instance.clone(), state: Arc::clone(&member.state), load: Arc::clone(&member.load) }
        }
        _ => Member {
            instance: instance.clone(),
            state: Arc::new(make(instance)),
            load: Arc::new(Load::new(arrival.shared.epoch)),
        },
    };
    if instance.health == Health::Healthy {
        arrival.note(&member.load);
    }
    Arc::new(member)
}

impl Arrival<'_> {
    /// Begins the slow start of who is seen healthy for the first time, where others were there before.
    fn note(&self, load: &Load) {
        let now = self.shared.nanos(time::now());
        let slow_start = self.shape.slow_start.filter(|_| self.is_late);
        if load.seen_healthy(slow_start.is_some(), now) {
            let length = slow_start.map_or(0, nanos_of);
            self.shared.hot.0.warming_until.fetch_max(now.saturating_add(length), Relaxed);
        }
    }
}

pub(crate) fn nanos_of(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
