//! Tells of tasks that hold their thread: while one does, all others of that thread wait.
//!
//! Each thread that polls tasks notes, in a cell of its own, which one it is at, and a thread of the watchdog looks at
//! these cells every [`LOOK`]. A poll that it finds at two looks at least [`STALL`] apart is told: in the log, and as
//! `bowline_task_stalls_total`. So none below that is told, and each is that lasts a look longer. A task goes by where
//! it was spawned, or by its [name](named).
//!
//! Watched is what is spawned through [`crate::task`]; not what a runtime is made to block on, as `main`, nor what runs
//! on threads for what blocks. Under simulation, nobody looks.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    fmt,
    panic::Location,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    thread::{self, JoinHandle},
    time::Duration,
};

use pin_project_lite::pin_project;

use crate::{
    metric::{Counter, Histogram, Padded, Registry},
    time::{self, Instant},
};

/// How long a task may hold its thread until it is told.
pub const STALL: Duration = Duration::from_millis(50);
/// The time between two looks.
pub const LOOK: Duration = Duration::from_millis(10);
/// The most names and places that are told apart; further ones are told as `other`.
pub const NAMES_MAX: usize = 2048;

/// No task.
const NONE: u32 = 0;
/// One beyond [`NAMES_MAX`].
const OTHER: u32 = 1;

/// What a thread is at.
#[derive(Debug, Default)]
struct Slot {
    id: u64,
    /// Counts polls of tasks, by the thread itself.
    polls: AtomicU64,
    /// Whose poll it is in: the number of a name.
    task: AtomicU32,
}

/// What all threads share.
#[derive(Debug, Default)]
struct Shared {
    slots: Vec<Weak<Padded<Slot>>>,
    slot_count: u64,
    /// Names by their number less two.
    names: Vec<String>,
    numbers: BTreeMap<String, u32>,
}

static SHARED: Mutex<Option<Shared>> = Mutex::new(None);

thread_local! {
    static SLOT: Arc<Padded<Slot>> = with_shared(Shared::new_slot);
    /// The numbers of places that this thread spawned at, and of names.
    static NUMBERS: RefCell<(HashMap<usize, u32>, HashMap<String, u32>)> = RefCell::default();
}

fn with_shared<T>(f: impl FnOnce(&mut Shared) -> T) -> T {
    let mut shared: MutexGuard<'_, Option<Shared>> = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    f(shared.get_or_insert_default())
}

impl Shared {
    fn new_slot(&mut self) -> Arc<Padded<Slot>> {
        self.slots.retain(|slot| slot.strong_count() > 0);
        self.slot_count += 1;
        let slot = Arc::new(Padded(Slot { id: self.slot_count, ..Slot::default() }));
        self.slots.push(Arc::downgrade(&slot));
        slot
    }

    fn number(&mut self, name: String) -> u32 {
        if let Some(number) = self.numbers.get(&name) {
            return *number;
        }
        if self.names.len() >= NAMES_MAX {
            return OTHER;
        }
        self.names.push(name.clone());
        let number = OTHER + u32::try_from(self.names.len()).expect("they are bounded");
        self.numbers.insert(name, number);
        number
    }

    fn name(&self, number: u32) -> String {
        let at = number.checked_sub(OTHER + 1).map(|at| at as usize);
        at.and_then(|at| self.names.get(at)).cloned().unwrap_or_else(|| "other".to_owned())
    }
}

/// The number of a place in the code.
fn number_of_place(place: &'static Location<'static>) -> u32 {
    let key = std::ptr::from_ref(place).addr();
    let known = NUMBERS.try_with(|numbers| {
        let mut numbers = numbers.borrow_mut();
        let number = || with_shared(|shared| shared.number(format!("{}:{}", place.file(), place.line())));
        *numbers.0.entry(key).or_insert_with(number)
    });
    known.unwrap_or(OTHER)
}

/// The number of a name.
fn number_of_name(name: &str) -> u32 {
    let known = NUMBERS.try_with(|numbers| {
        let mut numbers = numbers.borrow_mut();
        if let Some(number) = numbers.1.get(name) {
            return *number;
        }
        let number = with_shared(|shared| shared.number(name.to_owned()));
        // What has no number of its own would fill the map.
        if number != OTHER {
            numbers.1.insert(name.to_owned(), number);
        }
        number
    });
    known.unwrap_or(OTHER)
}

/// While it lives, the thread is at a task.
struct At {
    /// At which it was before; none at the end of a thread.
    before: Option<u32>,
}

impl At {
    fn enter(number: u32) -> Self {
        let before = SLOT.try_with(|slot| {
            let Padded(slot) = &**slot;
            let before = slot.task.load(Relaxed);
            if before == NONE {
                // Nobody else writes it.
                slot.polls.store(slot.polls.load(Relaxed) + 1, Relaxed);
            }
            slot.task.store(number, Relaxed);
            before
        });
        Self { before: before.ok() }
    }
}

impl Drop for At {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            SLOT.try_with(|slot| slot.0.task.store(before, Relaxed)).ok();
        }
    }
}

pin_project! {
    /// A future whose polls are watched.
    #[must_use = "futures do nothing unless polled"]
    pub struct Watched<F> {
        number: u32,
        #[pin]
        future: F,
    }
}

impl<F> Watched<F> {
    /// Watches it under the name of that place.
    pub(crate) fn at(place: &'static Location<'static>, future: F) -> Self {
        Self { number: number_of_place(place), future }
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _at = At::enter(*this.number);
        this.future.poll(cx)
    }
}

impl<F> fmt::Debug for Watched<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("number", &self.number).finish_non_exhaustive()
    }
}

/// A name that what holds a thread is told by, looked up once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name(u32);

impl Name {
    /// Names are few: routes and topics, not requests.
    pub fn new(name: &str) -> Self {
        Self(number_of_name(name))
    }

    /// Has what holds a thread within this future be told by it, whatever task it is in.
    pub fn watch<F: Future>(self, future: F) -> Watched<F> {
        Watched { number: self.0, future }
    }
}

/// Has what holds a thread within this future be told by that [`Name`].
pub fn named<F: Future>(name: &str, future: F) -> Watched<F> {
    Name::new(name).watch(future)
}

/// Watches as long as it lives.
#[derive(Debug)]
pub struct Watchdog {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Begins to watch the threads of this process, and counts there.
pub fn start(metrics: &Registry) -> Watchdog {
    let is_over = Arc::new(AtomicBool::new(false));
    let mut watch = Watch {
        metrics: metrics.clone(),
        lasted: metrics.histogram("bowline_task_stall_seconds", "How long tasks held their threads.", &[]),
        seen: BTreeMap::new(),
    };
    let ends = is_over.clone();
    let looking = move || {
        while !ends.load(Relaxed) {
            watch.look(time::now());
            thread::park_timeout(LOOK);
        }
    };
    let thread = if cfg!(bowline_sim) {
        None
    } else {
        let begun = thread::Builder::new().name("watchdog".to_owned()).spawn(looking);
        begun.inspect_err(|error| tracing::warn!(%error, "tasks that hold their threads are not told")).ok()
    };
    Watchdog { is_over, thread }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
        }
    }
}

struct Watch {
    metrics: Registry,
    lasted: Histogram,
    /// What each thread was at, by the number of its cell.
    seen: BTreeMap<u64, Seen>,
}

struct Seen {
    poll: u64,
    since: Instant,
    is_told: bool,
}

impl Watch {
    fn look(&mut self, now: Instant) {
        let slots: Vec<Arc<Padded<Slot>>> =
            with_shared(|shared| shared.slots.iter().filter_map(Weak::upgrade).collect());
        self.seen.retain(|id, _| slots.iter().any(|slot| slot.0.id == *id));
        for slot in slots {
            self.look_at(&slot.0, now);
        }
    }

    fn look_at(&mut self, slot: &Slot, now: Instant) {
        let (poll, number) = (slot.polls.load(Relaxed), slot.task.load(Relaxed));
        match self.seen.get_mut(&slot.id).filter(|seen| seen.poll == poll && number != NONE) {
            Some(seen) if !seen.is_told && now - seen.since >= STALL => {
                seen.is_told = true;
                let lasted = now - seen.since;
                self.tell(number, lasted);
            }
            Some(_) => {}
            None => {
                let before = self.seen.insert(slot.id, Seen { poll, since: now, is_told: false });
                if let Some(before) = before.filter(|before| before.is_told) {
                    self.lasted.record(now - before.since);
                }
            }
        }
    }

    fn tell(&self, number: u32, lasted: Duration) {
        let task = with_shared(|shared| shared.name(number));
        let milliseconds = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(task, milliseconds, "a task holds its thread, others wait: have what blocks run elsewhere");
        self.stalls(&task).increment();
    }

    fn stalls(&self, task: &str) -> Counter {
        let help = "Tasks that held their thread for 50 ms or longer, once each time.";
        self.metrics.counter("bowline_task_stalls_total", help, &[("task", task)])
    }
}
