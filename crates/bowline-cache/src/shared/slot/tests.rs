//! The table explored exhaustively, with two processes that each keep a value of their own: what is cached changes, a
//! feed tells both, late; calls to the shared level fail; it loses everything, or goes back to what it was; a process
//! begins anew.

use bowline_testkit::proof;
use stateright::{Model, Property};

use super::*;

#[derive(Debug, Clone)]
struct Life {
    changes: u8,
    loads: u8,
    failures: u8,
    /// How often the shared level is lost or goes back, or a process begins anew.
    losses: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    /// The version where it comes from; its changes are the positions of the feed.
    source: u8,
    shared: Shared,
    /// What the shared level goes back to.
    copy: Shared,
    processes: [Process; 2],
    tickets: u64,
    loads: u8,
    failures: u8,
    losses: u8,
    seen: Seen,
    fault: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Shared {
    slot: Slot<u8>,
    mark: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Process {
    kept: Option<u8>,
    /// Up to where it has applied the feed.
    mark: u64,
    /// It is between the shared level and its own.
    is_applying: bool,
    /// An invalidation has not reached the shared level: it is left alone until it is cleared.
    is_pending: bool,
    load: Option<Load>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Load {
    ticket: Option<u64>,
    read: Option<u8>,
    /// Up to where the feed was applied when it began: what it brings is not older.
    asked: u64,
    is_overtaken: bool,
    has_landed: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Seen {
    is_hit: bool,
    is_refused: bool,
    is_behind: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Action {
    Change,
    /// A process asks the shared level, to load.
    Begin(usize),
    Read(usize),
    Land(usize),
    Fill(usize),
    /// A process applies the next of the feed to the shared level, or fails to.
    Apply(usize, bool),
    /// And to its own.
    Finish(usize),
    /// It clears the shared level, since something did not reach it or is missing there.
    Repair(usize),
    /// A process begins anew.
    Restart(usize),
    /// The shared level has lost everything.
    Lose,
    Copy,
    GoBack,
}

impl World {
    fn start() -> Self {
        let shared = Shared { slot: Slot::Absent, mark: Some(0) };
        let process = Process { kept: None, mark: 0, is_applying: false, is_pending: false, load: None };
        Self {
            source: 0,
            copy: shared.clone(),
            shared,
            processes: [process; 2],
            tickets: 0,
            loads: 0,
            failures: 0,
            losses: 0,
            seen: Seen::default(),
            fault: None,
        }
    }

    /// Whether a process may take what the shared level has.
    fn is_trusted(&self, process: &Process) -> bool {
        !process.is_pending && self.shared.mark.is_some_and(|mark| mark >= process.mark)
    }

    fn begin(&mut self, life: &Life, at: usize) -> bool {
        let process = self.processes[at];
        if process.kept.is_some() || process.load.is_some() || self.loads >= life.loads {
            return false;
        }
        self.loads += 1;
        let mut load = Load { ticket: None, read: None, asked: process.mark, is_overtaken: false, has_landed: false };
        if !process.is_pending {
            self.tickets += 1;
            let (slot, answer) = self.shared.slot.clone().get(0, self.tickets, 1);
            self.shared.slot = slot;
            match answer {
                _ if !self.is_trusted(&process) => self.processes[at].is_pending = true,
                Answer::Hit { value, .. } => {
                    self.seen.is_hit = true;
                    load.read = Some(value);
                }
                Answer::Ticket(ticket) => load.ticket = Some(ticket),
            }
        }
        self.processes[at].load = Some(load);
        true
    }

    fn land(&mut self, at: usize) -> bool {
        let process = &mut self.processes[at];
        let Some(load) = process.load.as_mut().filter(|load| !load.has_landed) else { return false };
        let Some(read) = load.read else { return false };
        if u64::from(read) < load.asked {
            self.fault = Some("who asked got what was invalid then");
        }
        load.has_landed = true;
        if !load.is_overtaken {
            process.kept = Some(read);
        }
        if load.ticket.is_none() || load.is_overtaken {
            process.load = None;
        }
        true
    }

    fn fill(&mut self, at: usize) -> bool {
        let process = &mut self.processes[at];
        let Some(load) = process.load.filter(|load| load.has_landed) else { return false };
        process.load = None;
        if let (false, Some(ticket), Some(read)) = (process.is_pending, load.ticket, load.read) {
            let (slot, is_filled) = self.shared.slot.clone().fill(0, ticket, read, 1);
            self.shared.slot = slot;
            self.seen.is_refused |= !is_filled;
        }
        true
    }

    fn apply(&mut self, life: &Life, at: usize, is_good: bool) -> bool {
        let process = &mut self.processes[at];
        if process.is_applying || process.mark >= u64::from(self.source) {
            return false;
        }
        process.is_applying = true;
        let (after, upto) = (process.mark, process.mark + 1);
        if process.is_pending {
            return true;
        }
        if !is_good {
            self.failures += 1;
            process.is_pending = true;
            return self.failures <= life.failures;
        }
        match judge(self.shared.mark, after, upto) {
            Judged::Next => self.shared = Shared { slot: Slot::Absent, mark: Some(upto) },
            Judged::Known => {}
            Judged::Missing => {
                self.seen.is_behind = true;
                process.is_pending = true;
            }
        }
        true
    }

    fn act(&mut self, life: &Life, action: Action) -> bool {
        match action {
            Action::Change => {
                self.source += 1;
                self.source <= life.changes
            }
            Action::Begin(at) => self.begin(life, at),
            Action::Read(at) => {
                let source = self.source;
                let load = self.processes[at].load.as_mut().filter(|load| load.read.is_none());
                load.is_some_and(|load| load.read.replace(source).is_none())
            }
            Action::Land(at) => self.land(at),
            Action::Fill(at) => self.fill(at),
            Action::Apply(at, is_good) => self.apply(life, at, is_good),
            Action::Finish(at) => {
                let process = &mut self.processes[at];
                if !process.is_applying {
                    return false;
                }
                (process.is_applying, process.kept, process.mark) = (false, None, process.mark + 1);
                if let Some(load) = &mut process.load {
                    load.is_overtaken = true;
                }
                if process.load.is_some_and(|load| load.has_landed) {
                    process.load = None;
                }
                true
            }
            Action::Repair(at) => {
                let process = &mut self.processes[at];
                let is_due = process.is_pending && !process.is_applying;
                if is_due {
                    process.is_pending = false;
                    self.shared = Shared { slot: Slot::Absent, mark: Some(process.mark) };
                }
                is_due
            }
            Action::Restart(at) => {
                let end = u64::from(self.source);
                if self.shared.mark.is_none() {
                    self.shared = Shared { slot: Slot::Absent, mark: Some(end) };
                }
                let mark = self.shared.mark.unwrap_or(end);
                self.processes[at] = Process { kept: None, mark, is_applying: false, is_pending: false, load: None };
                self.losses += 1;
                self.losses <= life.losses
            }
            Action::Lose => {
                self.shared = Shared { slot: Slot::Absent, mark: None };
                self.losses += 1;
                self.losses <= life.losses
            }
            Action::Copy => {
                self.copy = self.shared.clone();
                life.losses > self.losses
            }
            Action::GoBack => {
                self.shared = self.copy.clone();
                self.losses += 1;
                self.losses <= life.losses
            }
        }
    }
}

impl Model for Life {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::start()]
    }

    fn actions(&self, _: &World, actions: &mut Vec<Action>) {
        actions.extend([Action::Change, Action::Lose, Action::Copy, Action::GoBack]);
        for at in 0..2 {
            actions.extend([Action::Begin, Action::Read, Action::Land, Action::Fill].map(|action| action(at)));
            actions.extend([Action::Finish, Action::Repair, Action::Restart].map(|action| action(at)));
            actions.extend([true, false].map(|is_good| Action::Apply(at, is_good)));
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        (next.act(self, action) && next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("whoever asks gets nothing that its process knew to be invalid", |_, world: &World| {
                world.fault.is_none()
            }),
            Property::always(
                "what a process keeps is as new as the invalidations it has applied",
                |_, world: &World| {
                    world
                        .processes
                        .iter()
                        .all(|process| process.kept.is_none_or(|kept| u64::from(kept) >= process.mark))
                },
            ),
            Property::always("what it takes from the shared level is, too", |_, world: &World| {
                let Slot::Full { value, .. } = &world.shared.slot else { return true };
                let is_good = |process: &Process| !world.is_trusted(process) || u64::from(*value) >= process.mark;
                world.processes.iter().all(is_good)
            }),
            Property::sometimes("one process gets what another has loaded", |_, world: &World| world.seen.is_hit),
            Property::sometimes("who loaded what is invalid may not fill", |_, world: &World| world.seen.is_refused),
            Property::sometimes("a level that went back is found out", |life: &Self, world: &World| {
                world.seen.is_behind || life.losses == 0
            }),
        ]
    }
}

#[test]
fn proof() {
    let lives = [
        Life { changes: 2, loads: 2, failures: 1, losses: 0 },
        Life { changes: 2, loads: 2, failures: 0, losses: 1 },
        Life { changes: 1, loads: 2, failures: 0, losses: 2 },
    ];
    let table = proof::Table {
        name: "Shared cache slot",
        file: "crates/bowline-cache/src/shared/slot.rs",
        formula: "L3(k) = ticket · fill(ticket), invalidate(k) ⇒ ¬fill(ticket)",
        diagram: &diagram(),
    };
    table.prove(500, lives);
}

/// The table drawn by running it.
fn diagram() -> String {
    let absent = Slot::<u8>::Absent;
    let empty = absent.clone().get(0, 7, 10).0;
    let full = empty.clone().fill(0, 7, 1, 10).0;
    let cases = [
        (&absent, absent.clone().get(0, 7, 10).0, "asked, a ticket"),
        (&empty, empty.clone().get(0, 8, 10).0, "asked, the same ticket"),
        (&empty, empty.clone().fill(0, 7, 1, 10).0, "filled with its ticket"),
        (&empty, empty.clone().fill(0, 8, 1, 10).0, "another ticket, refused"),
        (&empty, Slot::Absent, "invalidated"),
        (&full, full.clone().get(0, 8, 10).0, "asked, a hit"),
        (&full, full.clone().fill(0, 7, 1, 10).0, "its old ticket, refused"),
        (&full, full.clone().get(10, 8, 10).0, "asked after its time, a ticket"),
        (&full, Slot::Absent, "invalidated"),
    ];
    let transitions =
        cases.map(|(before, to, label)| (name(before).to_owned(), name(&to).to_owned(), label.to_owned()));
    proof::diagram("absent", transitions)
}

fn name(slot: &Slot<u8>) -> &'static str {
    match slot {
        Slot::Absent => "absent",
        Slot::Empty { .. } => "empty",
        Slot::Full { .. } => "full",
    }
}

#[test]
fn a_mark_judges_what_comes_next() {
    let cases = [(None, Judged::Missing), (Some(2), Judged::Missing), (Some(3), Judged::Next), (Some(4), Judged::Next)];
    for (mark, expect) in cases {
        assert_eq!(judge(mark, 3, 5), expect, "{mark:?}");
    }
    assert_eq!((judge(Some(5), 3, 5), judge(Some(9), 3, 5)), (Judged::Known, Judged::Known));
}
