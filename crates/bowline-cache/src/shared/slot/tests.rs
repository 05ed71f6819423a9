//! The table explored exhaustively, with two processes that each keep a value of their own: what is cached changes, a
//! feed tells both, late; it is made anew, and what it told before arrives late; calls to the shared level fail; it
//! loses everything, or goes back to what it was; a process begins anew.

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
    /// Whether the feed is made anew, once.
    is_made_anew: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    /// The version where it comes from; its changes are the positions of the feed.
    source: u8,
    /// The version when the feed was made anew: its positions are counted from there.
    anew: Option<u8>,
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
    mark: Option<At>,
}

/// A mark, of the feed that was made anew or of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct At {
    position: u64,
    is_anew: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Process {
    kept: Option<u8>,
    /// Up to where it has applied the feed.
    mark: u64,
    /// It follows the feed that was made anew.
    is_anew: bool,
    /// It is between the shared level and its own.
    is_applying: bool,
    missed: Missed,
    load: Option<Load>,
}

/// What has not reached the shared level, which is left alone until it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Missed {
    Nothing,
    /// All of the feed after that position.
    Since(u64),
    /// It has to be cleared.
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Load {
    ticket: Option<u64>,
    read: Option<u8>,
    /// The version that its process knew of when it began: what it brings is not older.
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
    /// It makes up for what did not reach the shared level.
    Repair(usize),
    MakeAnew,
    /// A process hears that the feed was made anew.
    Gap(usize),
    /// A process begins anew.
    Restart(usize),
    /// The shared level has lost everything.
    Lose,
    Copy,
    GoBack,
}

impl World {
    fn start() -> Self {
        let process = Process::new(0, false);
        let shared = Shared { slot: Slot::Absent, mark: Some(process.mark(0)) };
        Self {
            source: 0,
            anew: None,
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
        let own = process.mark(process.mark);
        let has_applied = |mark: &At| mark.position > own.position || *mark == own;
        process.missed == Missed::Nothing && self.shared.mark.as_ref().is_some_and(has_applied)
    }

    /// Where the feed ends that a process follows.
    fn end(&self, is_anew: bool) -> u64 {
        let anew = self.anew.unwrap_or(self.source);
        u64::from(if is_anew { self.source - anew } else { anew })
    }

    /// The version up to which a process has heard.
    fn heard(&self, process: &Process) -> u64 {
        process.mark + if process.is_anew { self.anew.map_or(0, u64::from) } else { 0 }
    }

    fn begin(&mut self, life: &Life, at: usize) -> bool {
        let process = self.processes[at];
        if process.kept.is_some() || process.load.is_some() || self.loads >= life.loads {
            return false;
        }
        self.loads += 1;
        let asked = self.heard(&process);
        let mut load = Load { ticket: None, read: None, asked, is_overtaken: false, has_landed: false };
        if process.missed == Missed::Nothing {
            self.tickets += 1;
            let (slot, answer) = self.shared.slot.clone().get(0, self.tickets, 1);
            self.shared.slot = slot;
            match answer {
                _ if !self.is_trusted(&process) => self.processes[at].missed = Missed::All,
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
        if let (Missed::Nothing, Some(ticket), Some(read)) = (process.missed, load.ticket, load.read) {
            let (slot, is_filled) = self.shared.slot.clone().fill(0, ticket, read, 1);
            self.shared.slot = slot;
            self.seen.is_refused |= !is_filled;
        }
        true
    }

    fn apply(&mut self, life: &Life, at: usize, is_good: bool) -> bool {
        let process = self.processes[at];
        if process.is_applying || process.mark >= self.end(process.is_anew) {
            return false;
        }
        self.processes[at].is_applying = true;
        if process.missed != Missed::Nothing {
            return true;
        }
        if !is_good {
            self.failures += 1;
            self.processes[at].missed = Missed::Since(process.mark);
            return self.failures <= life.failures;
        }
        self.apply_to_shared(at, process.mark, process.mark + 1);
        true
    }

    fn apply_to_shared(&mut self, at: usize, after: u64, upto: u64) {
        let process = &mut self.processes[at];
        let (after, upto) = (process.mark(after), process.mark(upto));
        match judge(self.shared.mark.map(At::mark).as_ref(), &after.mark(), &upto.mark()) {
            Judged::Next => self.shared = Shared { slot: Slot::Absent, mark: Some(upto) },
            Judged::Known => {}
            Judged::Missing => {
                self.seen.is_behind = true;
                process.missed = Missed::All;
            }
        }
    }

    /// Makes up for what the shared level has missed: it is cleared for a mark only that holds.
    fn repair(&mut self, at: usize) -> bool {
        let process = self.processes[at];
        match process.missed {
            Missed::Since(after) if !process.is_applying => {
                self.processes[at].missed = Missed::Nothing;
                self.apply_to_shared(at, after, process.mark);
                true
            }
            Missed::All if !process.is_applying && process.is_anew == self.anew.is_some() => {
                self.processes[at].missed = Missed::Nothing;
                self.shared = Shared { slot: Slot::Absent, mark: Some(process.mark(process.mark)) };
                true
            }
            Missed::Nothing | Missed::Since(_) | Missed::All => false,
        }
    }

    fn restart(&mut self, at: usize) {
        let is_anew = self.anew.is_some();
        let end = Process::new(self.end(is_anew), is_anew);
        let holds = self.shared.mark.filter(|mark| mark.is_anew == is_anew).map(|mark| mark.position);
        if holds.is_none() {
            self.shared = Shared { slot: Slot::Absent, mark: Some(end.mark(end.mark)) };
        }
        self.processes[at] = Process::new(holds.unwrap_or(end.mark), is_anew);
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
                (process.is_applying, process.mark) = (false, process.mark + 1);
                process.forget();
                true
            }
            Action::Repair(at) => self.repair(at),
            Action::MakeAnew => life.is_made_anew && self.anew.replace(self.source).is_none(),
            Action::Gap(at) => {
                let end = self.end(true);
                let process = &mut self.processes[at];
                let is_due = self.anew.is_some() && !process.is_anew && !process.is_applying;
                (process.mark, process.is_anew, process.missed) = (end, true, Missed::All);
                process.forget();
                is_due
            }
            Action::Restart(at) => {
                self.restart(at);
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

impl At {
    fn mark(self) -> Mark {
        Mark { position: self.position, id: if self.is_anew { "anew" } else { "first" }.to_owned() }
    }
}

impl Process {
    fn new(mark: u64, is_anew: bool) -> Self {
        Self { kept: None, mark, is_anew, is_applying: false, missed: Missed::Nothing, load: None }
    }

    /// A mark of the feed that it follows.
    fn mark(&self, position: u64) -> At {
        At { position, is_anew: self.is_anew }
    }

    /// Drops what it keeps, and makes its load count no longer; one that has landed may still fill the shared level.
    fn forget(&mut self) {
        self.kept = None;
        if let Some(load) = &mut self.load {
            load.is_overtaken = true;
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
        actions.extend([Action::Change, Action::Lose, Action::Copy, Action::GoBack, Action::MakeAnew]);
        for at in 0..2 {
            actions.extend([Action::Begin, Action::Read, Action::Land, Action::Fill].map(|action| action(at)));
            actions.extend([Action::Finish, Action::Repair, Action::Restart, Action::Gap].map(|action| action(at)));
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
                    let is_good =
                        |process: &Process| process.kept.is_none_or(|kept| u64::from(kept) >= world.heard(process));
                    world.processes.iter().all(is_good)
                },
            ),
            Property::always("what it takes from the shared level is, too", |_, world: &World| {
                let Slot::Full { value, .. } = &world.shared.slot else { return true };
                let is_good =
                    |process: &Process| !world.is_trusted(process) || u64::from(*value) >= world.heard(process);
                world.processes.iter().all(is_good)
            }),
            Property::sometimes("one process gets what another has loaded", |life: &Self, world: &World| {
                world.seen.is_hit || life.loads < 2
            }),
            Property::sometimes("who loaded what is invalid may not fill", |_, world: &World| world.seen.is_refused),
            Property::sometimes("a level that went back is found out", |life: &Self, world: &World| {
                world.seen.is_behind || life.losses == 0
            }),
            Property::sometimes(
                "what a feed told before it was made anew arrives late",
                |life: &Self, world: &World| {
                    let is_late = |process: &Process| process.is_applying && !process.is_anew;
                    !life.is_made_anew || world.anew.is_some() && world.processes.iter().any(is_late)
                },
            ),
        ]
    }
}

#[test]
fn proof() {
    let lives = [
        Life { changes: 2, loads: 2, failures: 1, losses: 0, is_made_anew: false },
        Life { changes: 2, loads: 2, failures: 0, losses: 1, is_made_anew: false },
        Life { changes: 1, loads: 2, failures: 0, losses: 2, is_made_anew: false },
        Life { changes: 3, loads: 1, failures: 0, losses: 0, is_made_anew: true },
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
    let mark = |position, id: &str| Mark { position, id: id.to_owned() };
    let judge = |position, id| judge(Some(&mark(position, id)), &mark(3, "c"), &mark(5, "e"));
    assert_eq!(super::judge(None, &mark(3, "c"), &mark(5, "e")), Judged::Missing);
    for (position, id, expect) in [
        (2, "b", Judged::Missing),
        (3, "c", Judged::Next),
        (3, "", Judged::Next),
        (3, "x", Judged::Missing),
        (4, "d", Judged::Next),
        (5, "e", Judged::Known),
        (5, "x", Judged::Missing),
        (9, "i", Judged::Known),
    ] {
        assert_eq!(judge(position, id), expect, "{position} {id:?}");
    }
}
