//! Who waits, and who is next: the table that production runs and the model checker explores.
//!
//! It knows no waker, no lock and no clock. Each waiting one has a slot from its arrival until it has taken note of
//! what it was told; slots are used again, so that nothing is allocated once there have been as many at a time.
//!
//! - Served first is who has the higher priority; among equals who came first or, while the queue stands
//!   ([`Delay`]), who came last: the newest has the best prospect of being answered in time.
//! - Where the line is full, the one that would be served last of all gives way, the newcomer included. A newcomer with
//!   less time left than the target is taken for one that is served too late: nobody gives way to it.
//! - While the queue stands, the oldest of the lowest priority that waits are turned away once they have waited
//!   twice the target.

use bowline_model::policy::Priority;

use super::{delay::Delay, places::Places};

const PRIORITIES: usize = Priority::ALL.len();

/// Where one waits. Its own until it is collected or abandoned.
pub(super) type At = u32;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Table {
    queue_max: u32,
    slots: Vec<Slot>,
    /// The first free slot, which names the next.
    free: Option<At>,
    lines: [Line; PRIORITIES],
    delay: Option<Delay>,
}

/// Who waits of one priority, the oldest at the front.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Line {
    front: Option<At>,
    back: Option<At>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Slot {
    Free { next: Option<At> },
    Waiting(Waiting),
    Told(Told),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Waiting {
    who: Arriving,
    since: u64,
    before: Option<At>,
    after: Option<At>,
}

/// Who comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Arriving {
    pub(super) priority: Priority,
    /// From when on a place is of no use to it; in nanoseconds.
    pub(super) until: u64,
}

/// What one that waited is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Told {
    Granted,
    Refused(Why),
}

/// Why one gets no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Why {
    /// The line is full of those who are served before.
    Full,
    /// Its time was over before its turn.
    TimedOut,
    /// The queue stands, and it waited for too long.
    Overloaded,
}

/// What becomes of one that comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Decision {
    Take,
    Queue,
    /// It takes that one's place in the line.
    Displace(At),
    Refuse(Why),
}

impl Table {
    pub(super) fn new(queue_max: u32, delay: Option<Delay>) -> Self {
        Self { queue_max, slots: Vec::new(), free: None, lines: [Line::default(); PRIORITIES], delay }
    }

    /// What is to become of one that comes, and the places when it has; nothing is changed yet.
    pub(super) fn decide(&self, places: Places, who: Arriving, now: u64) -> (Places, Decision) {
        if let Some(taken) = places.taken() {
            return (taken, Decision::Take);
        }
        if places.waiting < self.queue_max {
            let is_late = who.until <= now;
            return if is_late {
                (places, Decision::Refuse(Why::TimedOut))
            } else {
                (places.queued(), Decision::Queue)
            };
        }
        let is_in_time = who.until > now.saturating_add(self.delay.map_or(0, Delay::target));
        match self.last_served().filter(|(priority, _)| is_in_time && self.gives_way(*priority, who.priority)) {
            Some((_, at)) => (places, Decision::Displace(at)),
            None => (places, Decision::Refuse(Why::Full)),
        }
    }

    /// Whether one of that priority that waits is served after a newcomer.
    fn gives_way(&self, waiting: Priority, newcomer: Priority) -> bool {
        waiting < newcomer || (waiting == newcomer && self.is_standing())
    }

    /// Puts it into the line.
    pub(super) fn push(&mut self, who: Arriving, now: u64) -> At {
        if self.oldest_since().is_none() {
            self.delay = self.delay.map(|delay| delay.begin(now));
        }
        let before = self.line(who.priority).back;
        let at = self.occupy(Slot::Waiting(Waiting { who, since: now, before, after: None }));
        match before {
            Some(before) => self.waiting_mut(before).after = Some(at),
            None => self.line_mut(who.priority).front = Some(at),
        }
        self.line_mut(who.priority).back = Some(at);
        at
    }

    /// Looks at how long the oldest has waited.
    pub(super) fn observe(&mut self, now: u64) {
        if let (Some(delay), Some(since)) = (self.delay, self.oldest_since()) {
            self.delay = Some(delay.observe(now.saturating_sub(since), now));
        }
    }

    /// Who is to be told what next; nobody when all who wait must go on waiting. Nothing is changed yet.
    pub(super) fn next(&self, places: Places, now: u64) -> Option<(At, Told)> {
        let lowest = self.lines.iter().find_map(|line| line.front);
        let age = |at| now.saturating_sub(self.waiting(at).since);
        if let (Some(at), Some(delay)) = (lowest, self.delay)
            && delay.is_too_old(age(at))
        {
            return Some((at, Told::Refused(Why::Overloaded)));
        }
        let first = self.first_served().filter(|_| places.has_room())?;
        let is_late = self.waiting(first).who.until <= now;
        Some((first, if is_late { Told::Refused(Why::TimedOut) } else { Told::Granted }))
    }

    /// Takes it out of the line and leaves it a word.
    pub(super) fn tell(&mut self, at: At, told: Told) {
        self.unlink(at);
        self.slots[at as usize] = Slot::Told(told);
    }

    /// What it was told, if it was: its slot is then no longer its own.
    pub(super) fn collect(&mut self, at: At) -> Option<Told> {
        match self.slots[at as usize] {
            Slot::Told(told) => {
                self.vacate(at);
                Some(told)
            }
            Slot::Waiting(_) => None,
            Slot::Free { .. } => unreachable!("a slot is its waiter's until it is collected"),
        }
    }

    /// It waits no longer, of itself: its slot is no longer its own.
    pub(super) fn withdraw(&mut self, at: At) {
        self.unlink(at);
        self.vacate(at);
    }

    fn is_standing(&self) -> bool {
        self.delay.is_some_and(Delay::is_standing)
    }

    /// Who of all is served first.
    fn first_served(&self) -> Option<At> {
        let line = self.lines.iter().rev().find(|line| line.front.is_some())?;
        if self.is_standing() { line.back } else { line.front }
    }

    /// Who of all is served last.
    fn last_served(&self) -> Option<(Priority, At)> {
        let (priority, line) = Priority::ALL.iter().zip(&self.lines).find(|(_, line)| line.front.is_some())?;
        let at = if self.is_standing() { line.front } else { line.back };
        at.map(|at| (*priority, at))
    }

    fn oldest_since(&self) -> Option<u64> {
        self.lines.iter().filter_map(|line| line.front).map(|at| self.waiting(at).since).min()
    }

    fn occupy(&mut self, slot: Slot) -> At {
        let Some(at) = self.free else {
            self.slots.push(slot);
            return At::try_from(self.slots.len() - 1).expect("no more wait than the memory holds");
        };
        let Slot::Free { next } = self.slots[at as usize] else { unreachable!("the free list holds free slots") };
        self.free = next;
        self.slots[at as usize] = slot;
        at
    }

    fn vacate(&mut self, at: At) {
        self.slots[at as usize] = Slot::Free { next: self.free };
        self.free = Some(at);
    }

    fn unlink(&mut self, at: At) {
        let Waiting { who, before, after, since: _ } = *self.waiting(at);
        match before {
            Some(before) => self.waiting_mut(before).after = after,
            None => self.line_mut(who.priority).front = after,
        }
        match after {
            Some(after) => self.waiting_mut(after).before = before,
            None => self.line_mut(who.priority).back = before,
        }
    }

    fn line(&self, priority: Priority) -> &Line {
        &self.lines[priority as usize]
    }

    fn line_mut(&mut self, priority: Priority) -> &mut Line {
        &mut self.lines[priority as usize]
    }

    fn waiting(&self, at: At) -> &Waiting {
        match &self.slots[at as usize] {
            Slot::Waiting(waiting) => waiting,
            Slot::Free { .. } | Slot::Told(_) => unreachable!("a line holds who waits"),
        }
    }

    fn waiting_mut(&mut self, at: At) -> &mut Waiting {
        match &mut self.slots[at as usize] {
            Slot::Waiting(waiting) => waiting,
            Slot::Free { .. } | Slot::Told(_) => unreachable!("a line holds who waits"),
        }
    }
}

#[cfg(test)]
mod tests;
