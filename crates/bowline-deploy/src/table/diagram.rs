//! The table as a picture, drawn by running it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Write as _,
};

use bowline_model::{
    deploy::{Plan, Strategy},
    units::Share,
};

use super::{Effect, Event, Judgement, Return, Side, Stage, State};
use crate::course::Course;

const EVENTS: [(Event, &str); 9] = [
    (Event::Done, "done"),
    (Event::Judged { verdict: Judgement::Good, is_over: true }, "good when the bake is over"),
    (Event::Judged { verdict: Judgement::Bad, is_over: false }, "bad"),
    (Event::GaveUp, "given up"),
    (Event::Abort, "abort"),
    (Event::Pause, "pause"),
    (Event::Resume, "resume"),
    (Event::Promote, "promote"),
    (Event::Restarted, "restart"),
];

/// The table as a Mermaid state diagram, drawn by running it through every strategy; `docs/deploy.md` holds the same
/// text. Left out is that a changed file leads to where versions are not looked at any more, from everywhere.
pub fn diagram() -> String {
    let mut picture = Picture::default();
    let share = Share::from_percent;
    for (strategy, steps) in
        [(Strategy::Rolling, vec![]), (Strategy::BlueGreen, vec![]), (Strategy::Canary, vec![share(5), share(50)])]
    {
        let plan = Plan { strategy, steps, ..Plan::default() };
        picture.explore(&Course::new(&plan, 3, 3));
    }
    picture.text()
}

#[derive(Debug, Default)]
struct Picture {
    /// In the order in which they were met.
    names: Vec<&'static str>,
    effects: BTreeMap<&'static str, &'static str>,
    /// Labels by both ends.
    arrows: BTreeMap<(usize, usize), Vec<&'static str>>,
}

impl Picture {
    fn explore(&mut self, course: &Course) {
        let mut waiting = VecDeque::from([State::START]);
        let mut met = BTreeSet::from([State::START]);
        while let Some(state) = waiting.pop_front() {
            let from = self.meet(state, course);
            for (event, label) in EVENTS {
                let Some((next, _)) = state.step(course, event) else { continue };
                let to = self.meet(next, course);
                let labels = self.arrows.entry((from, to)).or_default();
                if !labels.contains(&label) {
                    labels.push(label);
                }
                if met.insert(next) {
                    waiting.push_back(next);
                }
            }
        }
    }

    fn meet(&mut self, state: State, course: &Course) -> usize {
        let name = name(state, course);
        self.effects.insert(name, effect(state.effect(course), course));
        self.names.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.names.push(name);
            self.names.len() - 1
        })
    }

    fn text(&self) -> String {
        let mut text = "stateDiagram-v2\n".to_owned();
        for name in &self.names {
            writeln!(text, "    {name}: {} / {}", name.replace('_', " "), self.effects[name]).expect(WRITTEN);
        }
        writeln!(text, "    [*] --> {}", self.names[0]).expect(WRITTEN);
        for ((from, to), labels) in &self.arrows {
            writeln!(text, "    {} --> {}: {}", self.names[*from], self.names[*to], labels.join(", ")).expect(WRITTEN);
        }
        text
    }
}

const WRITTEN: &str = "a String takes any text";

fn name(state: State, course: &Course) -> &'static str {
    match state {
        State::Going(place) => match place.stage {
            Stage::Preparing => "preparing",
            Stage::Starting => "starting",
            Stage::Shifting => "shifting",
            Stage::Baking => "baking",
            Stage::Confirming => "confirming",
            Stage::Retiring if place.step < course.last() => "retiring_some",
            Stage::Retiring => "retiring_all",
            Stage::Clearing => "clearing",
        },
        State::Paused(_) => "paused",
        State::RollingBack { stage, .. } => match stage {
            Return::Restoring => "back_restoring",
            Return::Yielding => "back_yielding",
            Return::Recovering => "back_recovering",
            Return::Turning => "back_turning",
            Return::Retiring => "back_retiring",
            Return::Clearing => "back_clearing",
        },
        State::Promoted => "promoted",
        State::RolledBack => "rolled_back",
    }
}

fn effect(effect: Effect, course: &Course) -> &'static str {
    match effect {
        Effect::Scale(Side::New, 0) => "stop the new release",
        Effect::Scale(Side::New, _) => "start what the step needs of the new release",
        Effect::Scale(Side::Old, 0) => "stop the old release",
        Effect::Scale(Side::Old, count) if count == course.old() => "start again what was stopped",
        Effect::Scale(Side::Old, _) => "stop what the step makes dispensable of the old release",
        Effect::Split(None) => "versions are not looked at",
        Effect::Split(Some(0)) => "all requests to the old release",
        Effect::Split(Some(_)) => "the step's share of requests to the new release",
        Effect::Watch => "measure the new release",
        Effect::Finish => "over",
    }
}
