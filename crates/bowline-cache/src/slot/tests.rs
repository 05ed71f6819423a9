//! The table explored exhaustively: what is cached changes, its invalidations are late, loads end in any order or fail,
//! entries are evicted, time passes, and for a while nobody knows whether invalidations were missed.

use bowline_testkit::proof;
use stateright::{Model, Property};

use super::*;

const BACKOFF: Backoff = Backoff { min: 2, max: 2 };

/// The bounds of what is explored, and the windows of what is kept.
#[derive(Debug, Clone)]
struct Life {
    now_max: Ms,
    changes_max: u8,
    loads_max: u64,
    fresh: Ms,
    revalidate: Ms,
    if_error: Ms,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    slot: Slot,
    /// The version that is kept.
    version: u8,
    /// The version where it comes from, and up to which invalidations were applied.
    source: u8,
    applied: u8,
    loads: Vec<Load>,
    now: Ms,
    is_followed: bool,
    seen: Seen,
    fault: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Load {
    number: u64,
    began: Ms,
    /// What it read, once it did.
    read: Option<u8>,
    /// The newest version that somebody who waits for it has to get at least.
    asked: u8,
}

/// What happened at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Seen {
    is_discarded: bool,
    is_stale: bool,
    is_revalidated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Action {
    Change,
    /// The invalidation of the next change arrives.
    Apply,
    Get,
    /// A load reads where it comes from.
    Read(usize),
    Finish(usize),
    Fail(usize),
    Evict,
    Blind(bool),
    Tick,
}

impl World {
    fn start() -> Self {
        Self {
            slot: Slot::default(),
            version: 0,
            source: 0,
            applied: 0,
            loads: Vec::new(),
            now: 0,
            is_followed: true,
            seen: Seen::default(),
            fault: None,
        }
    }

    fn step(&mut self, event: Event) -> Effect {
        let moment = Moment { now: self.now, is_followed: self.is_followed, luck: u16::MAX };
        let (slot, effect) = self.slot.step(BACKOFF, event, moment);
        self.slot = slot;
        effect
    }

    fn act(&mut self, life: &Life, action: Action) -> bool {
        match action {
            Action::Change => {
                self.source += 1;
                self.source <= life.changes_max
            }
            Action::Apply => {
                if self.applied == self.source {
                    return false;
                }
                self.applied += 1;
                if self.step(Event::Invalidate) != Effect::Drop {
                    self.fault = Some("an invalidation drops nothing");
                }
                true
            }
            Action::Get => self.get(life),
            Action::Read(at) => {
                let source = self.source;
                let Some(load) = self.loads.get_mut(at) else { return false };
                load.read.replace(source).is_none()
            }
            Action::Finish(at) => self.finish(life, at),
            Action::Fail(at) => {
                if at >= self.loads.len() {
                    return false;
                }
                let load = self.loads.remove(at);
                if self.step(Event::Failed { number: load.number }) == Effect::ServeStale {
                    self.serve(load.asked);
                    self.seen.is_stale = true;
                }
                true
            }
            Action::Evict => self.slot.kept.take().is_some(),
            Action::Blind(is_blind) => std::mem::replace(&mut self.is_followed, !is_blind) == is_blind,
            Action::Tick => {
                self.now += 1;
                self.now <= life.now_max
            }
        }
    }

    fn get(&mut self, life: &Life) -> bool {
        let before = self.slot;
        let effect = self.step(Event::Get);
        match effect {
            Effect::Serve | Effect::ServeAndBegin { .. } => {
                let is_due = before.kept.is_some_and(|kept| self.now < kept.revalidate);
                if !self.is_followed || !is_due {
                    self.fault = Some("served past its time, or while nobody follows");
                }
                self.serve(self.applied);
            }
            Effect::ServeStale => {
                self.seen.is_stale = true;
                self.serve(self.applied);
            }
            Effect::Wait => {
                let asked = self.applied;
                match self.loads.iter_mut().find(|load| Some(load.number) == before.load) {
                    Some(load) => load.asked = load.asked.max(asked),
                    None => self.fault = Some("somebody waits for a load that does not run"),
                }
            }
            Effect::InLine if self.loads.len() < usize::from(RUNNING_MAX) => {
                self.fault = Some("somebody is in line though a load could begin");
            }
            Effect::Refuse if before.failed.is_none() => self.fault = Some("refused though nothing failed"),
            _ => {}
        }
        if let Effect::Begin { number } | Effect::ServeAndBegin { number } = effect {
            self.seen.is_revalidated |= matches!(effect, Effect::ServeAndBegin { .. });
            if before.failed.is_some_and(|failed| self.now < failed.until) {
                self.fault = Some("a load begins within a back-off");
            }
            self.loads.push(Load { number, began: self.now, read: None, asked: self.applied });
        }
        self.slot.next <= life.loads_max
    }

    fn finish(&mut self, life: &Life, at: usize) -> bool {
        let Some(Load { number, began, read: Some(read), asked }) = self.loads.get(at).copied() else { return false };
        self.loads.remove(at);
        let fresh = began + life.fresh;
        let keep = Kept { fresh, revalidate: fresh + life.revalidate, if_error: fresh + life.if_error };
        match self.step(Event::Loaded { number, keep: Some(keep) }) {
            Effect::Keep => self.version = read,
            Effect::Discard => self.seen.is_discarded = true,
            _ => self.fault = Some("a load that ended is neither kept nor discarded"),
        }
        if read < asked {
            self.fault = Some("who waited got what was invalid when they asked");
        }
        true
    }

    /// What is kept is served to who asked when these invalidations were applied.
    fn serve(&mut self, asked: u8) {
        if self.version < asked {
            self.fault = Some("served what was invalid");
        }
    }
}

impl Model for Life {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::start()]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        actions.extend([Action::Change, Action::Apply, Action::Get, Action::Evict, Action::Tick]);
        actions.extend([Action::Blind(true), Action::Blind(false)]);
        for at in 0..world.loads.len() {
            actions.extend([Action::Read(at), Action::Finish(at), Action::Fail(at)]);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        (next.act(self, action) && next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "whoever asks after an invalidation was applied gets nothing older, and nobody is served past its time",
                |_, world: &World| world.fault.is_none(),
            ),
            Property::always(
                "what is kept is not older than the invalidations that were applied",
                |_, world: &World| world.slot.kept.is_none() || world.version >= world.applied,
            ),
            Property::always("at most four loads run, and each is known", |_, world: &World| {
                world.loads.len() <= usize::from(RUNNING_MAX) && world.loads.len() == usize::from(world.slot.running)
            }),
            Property::always("the load that is waited for runs", |_, world: &World| {
                world.slot.load.is_none_or(|number| world.loads.iter().any(|load| load.number == number))
            }),
            Property::sometimes("what an invalidation has overtaken is discarded", |_, world: &World| {
                world.seen.is_discarded
            }),
            Property::sometimes("a stale value is served where a load failed", |_, world: &World| world.seen.is_stale),
            Property::sometimes("a value is served while the next is loaded", |_, world: &World| {
                world.seen.is_revalidated
            }),
        ]
    }
}

#[test]
fn proof() {
    let long = Life { now_max: 5, changes_max: 1, loads_max: 3, fresh: 1, revalidate: 1, if_error: 3 };
    let crowded = Life { now_max: 2, changes_max: 2, loads_max: 4, fresh: 1, revalidate: 1, if_error: 1 };
    let table = proof::Table {
        name: "Cache slot",
        file: "crates/bowline-cache/src/slot.rs",
        formula: "Cache(k) = L1(k) ∨ load(k), load(k) ∥ invalidate(k) = invalidate(k)",
        diagram: &diagram(),
    };
    table.prove(500, [long, crowded]);
}

/// The table drawn by running it.
fn diagram() -> String {
    let keep = Some(Kept { fresh: 10, revalidate: 20, if_error: 30 });
    let at = |now| Moment { now, is_followed: true, luck: u16::MAX };
    let empty = Slot::default();
    let after = |slot: Slot, event, now| slot.step(BACKOFF, event, at(now)).0;
    let loading = after(empty, Event::Get, 0);
    let kept = after(loading, Event::Loaded { number: 0, keep }, 0);
    let renewing = after(kept, Event::Get, 15);
    let failed = after(loading, Event::Failed { number: 0 }, 0);
    let detached = after(loading, Event::Invalidate, 0);
    let cases = [
        (empty, Event::Get, 0, "asked"),
        (loading, Event::Loaded { number: 0, keep }, 0, "loaded"),
        (loading, Event::Failed { number: 0 }, 0, "failed"),
        (loading, Event::Invalidate, 0, "invalidated"),
        (detached, Event::Loaded { number: 0, keep }, 0, "loaded, discarded"),
        (detached, Event::Get, 0, "asked"),
        (kept, Event::Get, 15, "asked when it is no longer fresh"),
        (kept, Event::Invalidate, 0, "invalidated"),
        (renewing, Event::Loaded { number: 1, keep }, 15, "loaded"),
        (renewing, Event::Failed { number: 1 }, 15, "failed"),
        (renewing, Event::Invalidate, 15, "invalidated"),
        (failed, Event::Get, 50, "asked after the back-off"),
    ];
    let transitions = cases.map(|(before, event, now, label)| {
        let to = after(before, event, now);
        (name(before).to_owned(), name(to).to_owned(), label.to_owned())
    });
    proof::diagram("empty", transitions)
}

fn name(slot: Slot) -> &'static str {
    match slot {
        Slot { kept: Some(_), load: Some(_), .. } => "kept_and_loading",
        Slot { kept: Some(_), failed: Some(_), .. } => "kept_and_failed",
        Slot { kept: Some(_), .. } => "kept",
        Slot { load: Some(_), .. } => "loading",
        Slot { failed: Some(_), .. } => "failed",
        Slot { running: 1.., .. } => "overtaken",
        Slot { .. } => "empty",
    }
}

#[test]
fn a_back_off_doubles_to_its_bound() {
    let backoff = Backoff { min: 100, max: 10_000 };
    let waits: Vec<Ms> = (1..=9).map(|times| backoff.wait(times, u16::MAX)).collect();
    assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    assert_eq!((backoff.wait(3, 0), backoff.wait(200, u16::MAX)), (200, 10_000));
}

#[test]
fn a_fifth_load_waits_until_one_of_four_that_were_overtaken_has_ended() {
    let moment = Moment { now: 0, is_followed: true, luck: 0 };
    let mut slot = Slot::default();
    for expect in 0..u64::from(RUNNING_MAX) {
        let (next, effect) = slot.step(BACKOFF, Event::Get, moment);
        assert_eq!(effect, Effect::Begin { number: expect });
        slot = next.step(BACKOFF, Event::Invalidate, moment).0;
    }
    assert_eq!(slot.step(BACKOFF, Event::Get, moment).1, Effect::InLine);
    let (slot, effect) = slot.step(BACKOFF, Event::Failed { number: 1 }, moment);
    assert_eq!(effect, Effect::Discard);
    assert_eq!(slot.step(BACKOFF, Event::Get, moment).1, Effect::Begin { number: 4 });
}
