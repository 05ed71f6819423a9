//! The monitors, explored: they accept the words of their formulas and no others.

use bowline_testkit::proof::Table;
use stateright::{Checker, Model, Property};

use crate::{
    observed::{Event, Monitor, monitor::diagram},
    system::CallMode,
};

/// The seed's formulas, written once more.
const FORMULAS: [(CallMode, &[Event]); 3] = [
    (CallMode::Sync, &[Event::Send, Event::Wait, Event::Receive, Event::Respond, Event::ReceiveAnswer]),
    (CallMode::Async, &[Event::Send, Event::Continue, Event::Receive, Event::Process]),
    (CallMode::Message, &[Event::Queue, Event::Deliver, Event::Process]),
];
/// One more than the longest of them.
const LENGTH_MAX: usize = 6;

/// Every sequence of events up to that length, befalling one message.
struct Words {
    mode: CallMode,
    formula: &'static [Event],
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Word {
    events: Vec<Event>,
    /// None: it was refused.
    monitor: Option<Monitor>,
}

impl Model for Words {
    type State = Word;
    type Action = Event;

    fn init_states(&self) -> Vec<Word> {
        vec![Word { events: Vec::new(), monitor: Some(Monitor::new(self.mode)) }]
    }

    fn actions(&self, word: &Word, actions: &mut Vec<Event>) {
        // What was refused stays so: what follows it is not looked at.
        let is_open = word.monitor.is_some() && word.events.len() < LENGTH_MAX;
        actions.extend(Event::ALL.into_iter().filter(|_| is_open));
    }

    fn next_state(&self, word: &Word, event: Event) -> Option<Word> {
        let events = word.events.iter().copied().chain([event]).collect();
        Some(Word { events, monitor: word.monitor.and_then(|monitor| monitor.step(event).ok()) })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "what is accepted is a beginning of the formula, and the other way round",
                |model: &Self, word: &Word| word.monitor.is_some() == model.formula.starts_with(&word.events),
            ),
            Property::always("it is done at the formula's end, and only there", |model: &Self, word: &Word| {
                word.monitor.is_some_and(Monitor::is_done) == (model.formula == word.events)
            }),
            Property::always("what is expected is what is accepted next", |model: &Self, word: &Word| {
                let next = model.formula.get(word.events.len()).copied();
                word.monitor.is_none_or(|monitor| monitor.expected() == next)
            }),
            Property::sometimes("the formula itself is accepted", |model: &Self, word: &Word| {
                word.monitor.is_some() && model.formula == word.events
            }),
        ]
    }
}

/// Each event in each place of a formula, and the beginning.
fn states(formula: &[Event]) -> usize {
    1 + Event::ALL.len() * (formula.len() + 1)
}

#[test]
fn proof() {
    let table = Table {
        name: "Communication",
        file: "crates/bowline-model/src/observed/monitor.rs",
        formula: "SyncComm(s₁, s₂, m), AsyncComm(s₁, s₂, m), MessagePassing(s₁, s₂)",
        diagram: &diagram(),
    };
    for (mode, formula) in FORMULAS {
        let explored = Words { mode, formula }.checker().spawn_bfs().join().unique_state_count();
        assert_eq!(explored, states(formula), "{mode:?}");
    }
    let states_min = FORMULAS.iter().map(|(_, formula)| states(formula)).min().unwrap();
    table.prove(states_min, FORMULAS.map(|(mode, formula)| Words { mode, formula }));
}

/// Two messages of two modes between the same services: whatever the order in which their events are mixed.
struct Mixed;

impl Model for Mixed {
    type State = [(usize, Monitor); 2];
    type Action = usize;

    fn init_states(&self) -> Vec<Self::State> {
        vec![[(0, Monitor::new(CallMode::Sync)), (0, Monitor::new(CallMode::Message))]]
    }

    fn actions(&self, state: &Self::State, actions: &mut Vec<usize>) {
        actions.extend((0..2).filter(|at| !state[*at].1.is_done()));
    }

    fn next_state(&self, state: &Self::State, at: usize) -> Option<Self::State> {
        let mut next = *state;
        let (place, monitor) = &mut next[at];
        let formula = FORMULAS[if at == 0 { 0 } else { 2 }].1;
        *monitor = monitor.step(formula[*place]).unwrap();
        *place += 1;
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::eventually("both come to their ends", |_: &Self, state: &Self::State| {
            state.iter().all(|(_, monitor)| monitor.is_done())
        })]
    }
}

#[test]
fn messages_that_are_mixed_do_not_disturb_each_other() {
    let checked = Mixed.checker().spawn_bfs().join();
    checked.assert_properties();
    // Six places of the one times four of the other.
    assert_eq!(checked.unique_state_count(), 24);
}
