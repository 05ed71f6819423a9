//! The race explored exhaustively, and calls over virtual time.

use std::{cell::Cell, fmt::Write as _};

use bowline_model::units::Share;
use bowline_testkit::proof;
use stateright::{Model, Property};

use super::*;

/// One call, a budget with that much in it, and answers in any order.
#[derive(Debug, Clone)]
struct Call {
    attempts_max: u32,
    budget: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    race: Race,
    budget: u32,
    good: u32,
    bad: u32,
    due: u32,
    end: Option<Step>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Action {
    Due,
    Good,
    Bad,
}

impl Model for Call {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let race = Race::new(self.attempts_max);
        vec![World { race, budget: self.budget, good: 0, bad: 0, due: 0, end: None }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.end.is_none() && world.due < 10 {
            actions.extend([Action::Due, Action::Good, Action::Bad]);
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        let event = match action {
            Action::Due => {
                let is_granted = world.race.is_open() && world.budget > 0;
                world.budget -= u32::from(is_granted);
                world.due += 1;
                Event::Due { is_granted }
            }
            Action::Good => {
                world.good += 1;
                Event::Good
            }
            Action::Bad => {
                world.bad += 1;
                Event::Bad
            }
        };
        let (race, step) = world.race.step(event);
        world.race = race;
        world.end = matches!(step, Step::Won | Step::Lost).then_some(step);
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("never more attempts than may be", |model: &Self, world: &World| {
                world.race.sent <= model.attempts_max
            }),
            Property::always("each further attempt was paid for out of the budget", |model: &Self, world: &World| {
                world.race.sent - 1 == model.budget - world.budget
            }),
            Property::always("it is won by the first good answer", |_, world: &World| {
                (world.end == Some(Step::Won)) == (world.good > 0)
            }),
            Property::always("it is lost when every attempt has failed, and not before", |_, world: &World| {
                (world.end == Some(Step::Lost)) == (world.good == 0 && world.bad == world.race.sent)
            }),
            Property::always("what has ended sends nothing", |_, world: &World| {
                world.end.is_none() || world.race.step(Event::Due { is_granted: true }).1 == Step::Wait
            }),
            Property::sometimes("a later attempt wins after an earlier one failed", |_, world: &World| {
                world.end == Some(Step::Won) && world.bad > 0
            }),
            Property::sometimes("all fail", |_, world: &World| world.end == Some(Step::Lost) && world.bad > 1),
        ]
    }
}

/// The race as a Mermaid state diagram, drawn by running it.
fn diagram() -> String {
    let one = Race::new(3);
    let two = one.step(Event::Due { is_granted: true }).0;
    let last = two.step(Event::Bad).0;
    let cases = [
        (one, Event::Due { is_granted: true }, "it is due, and the budget grants it / send"),
        (one, Event::Due { is_granted: false }, "it is due, and the budget does not"),
        (one, Event::Good, "a good answer"),
        (one, Event::Bad, "it failed"),
        (two, Event::Due { is_granted: true }, "it is due, and the budget grants it / send"),
        (two, Event::Good, "a good answer / drop the others"),
        (two, Event::Bad, "one failed"),
        (last, Event::Bad, "the last failed"),
    ];
    let name = |race: Race, step| match step {
        Step::Won => "Won",
        Step::Lost => "Lost",
        Step::Wait | Step::Send if race.sent == 1 => "One",
        Step::Wait | Step::Send => "Several",
    };
    let mut text = "stateDiagram-v2\n    [*] --> One\n".to_owned();
    for (race, event, label) in cases {
        let (next, step) = race.step(event);
        writeln!(text, "    {} --> {}: {label}", name(race, Step::Wait), name(next, step)).unwrap();
    }
    text
}

#[test]
fn proof() {
    let table = proof::Table {
        name: "Hedged call",
        file: "crates/bowline-resilience/src/hedge.rs",
        formula: "In place of a second request at will: attempts ≤ attempts_max, further attempts ≤ budget",
        diagram: &diagram(),
    };
    table.prove(30, [(2, 1), (2, 9), (5, 2), (5, 9)].map(|(attempts_max, budget)| Call { attempts_max, budget }));
}

#[test]
fn the_diagram_in_the_documentation_is_the_table_s() {
    let page = include_str!("../../docs/hedge.md");
    let drawn = format!("```mermaid\n{}```\n", diagram());
    assert!(page.contains(&drawn), "put this into docs/hedge.md:\n{drawn}");
}

const AFTER: Duration = Duration::from_millis(50);

fn hedge(attempts_max: u32) -> Hedge {
    Hedge::new(&HedgePolicy { after: AFTER, attempts_max, budget: Share::ALL })
}

/// Answers after that many milliseconds, each attempt its own; none where there is no number.
async fn call(hedge: &Hedge, answers: &[Option<(u64, Result<u32, ()>)>]) -> (Result<u32, ()>, u32, Duration) {
    let (began, sent) = (time::now(), Cell::new(0));
    let make = |attempt: u32| {
        sent.set(attempt);
        let answer = answers[attempt as usize - 1];
        async move {
            match answer {
                None => std::future::pending().await,
                Some((0, answer)) => answer,
                Some((millis, answer)) => {
                    time::sleep(Duration::from_millis(millis)).await;
                    answer
                }
            }
        }
    };
    let answer = hedge.call(began, make, Result::is_ok).await;
    (answer, sent.get(), time::now() - began)
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_time_is_the_only_attempt() {
    assert_eq!(call(&hedge(2), &[Some((0, Ok(1)))]).await, (Ok(1), 1, Duration::ZERO));
    assert_eq!(call(&hedge(2), &[Some((49, Ok(1)))]).await, (Ok(1), 1, Duration::from_millis(49)));
    assert_eq!(call(&hedge(2), &[Some((10, Err(())))]).await, (Err(()), 1, Duration::from_millis(10)));
}

#[tokio::test(start_paused = true)]
async fn the_first_good_answer_counts_and_the_others_are_dropped() {
    let hung = call(&hedge(3), &[None, Some((100, Ok(2))), Some((20, Ok(3)))]).await;
    assert_eq!(hung, (Ok(3), 3, Duration::from_millis(120)));
    let slow = call(&hedge(2), &[Some((60, Ok(1))), Some((60, Ok(2)))]).await;
    assert_eq!(slow, (Ok(1), 2, Duration::from_millis(60)));
    let failed = call(&hedge(2), &[Some((60, Err(()))), Some((60, Ok(2)))]).await;
    assert_eq!(failed, (Ok(2), 2, Duration::from_millis(110)));
    let both = call(&hedge(2), &[Some((60, Err(()))), Some((5, Err(())))]).await;
    assert_eq!(both, (Err(()), 2, Duration::from_millis(60)));
}

#[tokio::test(start_paused = true)]
async fn without_budget_nothing_is_sent_twice() {
    let hedge = Hedge::new(&HedgePolicy { after: AFTER, attempts_max: 2, budget: Share::ZERO });
    let mut twice = 0;
    for _ in 0..20 {
        // All at once, as far as the budget sees: its floor is ten a second.
        twice += u32::from(hedge.due(Race::new(2), time::now()).1 == Step::Send);
    }
    assert_eq!(twice, 10);
    assert_eq!(call(&hedge, &[Some((200, Ok(1)))]).await.1, 1);
}
