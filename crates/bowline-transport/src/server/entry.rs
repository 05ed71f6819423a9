//! What the accept loop knows of a connection: whether it is busy, and how to tell it to end.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{
            AtomicBool, AtomicU8, AtomicU32,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    task::Waker,
};

use bowline_runtime::time::Instant;
use tokio::sync::mpsc;

/// The listener's coarse clock: counts ticks, so that requests need not ask the time.
pub(super) type Clock = Arc<AtomicU32>;

/// What a connection was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) enum Order {
    Run,
    /// The next answer is the last.
    Last,
    /// Finish what you have.
    Finish,
    /// End now.
    Abort,
}

/// One connection, as the accept loop and the connection's own task share it.
#[derive(Debug)]
pub(super) struct Entry {
    order: AtomicU8,
    waker: Mutex<Option<Waker>>,
    /// Requests whose response has not ended.
    in_flight: AtomicU32,
    /// Whether a request's head has begun to arrive.
    is_head_begun: AtomicBool,
    /// Whether no byte has arrived, ever.
    is_silent: AtomicBool,
    /// The tick at which it became idle, or the head began.
    since: AtomicU32,
    /// One more than the tick at which the client took no more bytes; 0 while it takes them.
    blocked: AtomicU32,
    /// Until when it may stand, where that is bounded.
    until: OnceLock<Instant>,
    clock: Clock,
    /// Tells the accept loop that it ended.
    _alive: mpsc::Sender<()>,
}

/// What a connection is waiting for, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// A request is being served.
    Busy,
    /// The rest of a head, for so many ticks.
    Head(u32),
    /// The first byte, for so many ticks.
    Silent(u32),
    /// A request, for so many ticks.
    Idle(u32),
}

impl Entry {
    /// A connection that was just accepted.
    pub(super) fn new(clock: &Clock, alive: &mpsc::Sender<()>) -> Arc<Self> {
        Arc::new(Self {
            order: AtomicU8::new(Order::Run as u8),
            waker: Mutex::new(None),
            in_flight: AtomicU32::new(0),
            is_head_begun: AtomicBool::new(false),
            is_silent: AtomicBool::new(true),
            since: AtomicU32::new(clock.load(Relaxed)),
            blocked: AtomicU32::new(0),
            until: OnceLock::new(),
            clock: Arc::clone(clock),
            _alive: alive.clone(),
        })
    }

    /// Tells the connection what to do, unless it was told more already.
    pub(super) fn order(&self, order: Order) {
        if self.order.fetch_max(order as u8, Release) < order as u8
            && let Some(waker) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner)
        {
            waker.wake_by_ref();
        }
    }

    /// What the connection was told. One load.
    pub(super) fn orders(&self) -> Order {
        match self.order.load(Acquire) {
            0 => Order::Run,
            1 => Order::Last,
            2 => Order::Finish,
            _ => Order::Abort,
        }
    }

    /// Remembers whom to wake at every order.
    pub(super) fn listen(&self, waker: &Waker) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }

    /// Bytes arrived.
    #[inline]
    pub(super) fn bytes_read(&self) {
        if self.in_flight.load(Relaxed) == 0 && !self.is_head_begun.load(Relaxed) {
            self.since.store(self.clock.load(Relaxed), Relaxed);
            self.is_head_begun.store(true, Relaxed);
            self.is_silent.store(false, Relaxed);
        }
    }

    /// Whether the client takes no more bytes, from now on.
    pub(super) fn set_blocked(&self, is_blocked: bool) {
        let tick = if is_blocked { self.clock.load(Relaxed).wrapping_add(1).max(1) } else { 0 };
        self.blocked.store(tick, Relaxed);
    }

    /// For how many ticks the client has taken nothing of what waits for it.
    pub(super) fn blocked(&self) -> u32 {
        match self.blocked.load(Relaxed) {
            0 => 0,
            tick => self.clock.load(Relaxed).wrapping_add(1).wrapping_sub(tick),
        }
    }

    /// Its first head begins only now: what came before was the handshake, which says until when it may stand.
    pub(super) fn is_taken(&self, until: Option<Instant>) {
        if let Some(until) = until {
            self.until.get_or_init(|| until);
        }
        self.since.store(self.clock.load(Relaxed), Relaxed);
    }

    /// It is HTTP/2: what arrives between requests is mostly about the connection (`PING`,
    /// `WINDOW_UPDATE`), and begins no head. Whoever sends none is idle.
    pub(super) fn is_multiplexed(&self) {
        self.since.store(self.clock.load(Relaxed), Relaxed);
        self.is_head_begun.store(false, Relaxed);
    }

    /// A request's head is whole.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Relaxed);
        self.is_head_begun.store(false, Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Whether it has stood for as long as it may.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.until.get().is_some_and(|until| now >= *until)
    }

    /// What it is waiting for.
    pub(super) fn waiting(&self) -> Waiting {
        let ticks = self.clock.load(Relaxed).wrapping_sub(self.since.load(Relaxed));
        match (self.in_flight.load(Relaxed), self.is_head_begun.load(Relaxed)) {
            (1.., _) => Waiting::Busy,
            (0, true) => Waiting::Head(ticks),
            (0, false) if self.is_silent.load(Relaxed) => Waiting::Silent(ticks),
            (0, false) => Waiting::Idle(ticks),
        }
    }
}

/// A request between its head and the end of its response.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Entry>);

impl InFlight {
    /// Whether its connection takes no other.
    pub(super) fn is_last(&self) -> bool {
        self.0.orders() != Order::Run
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.since.store(self.0.clock.load(Relaxed), Relaxed);
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}
