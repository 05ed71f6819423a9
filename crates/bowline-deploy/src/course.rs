//! A rollout's course in numbers: which instances run and who gets which share, step by step.

use bowline_model::{
    deploy::{Plan, Strategy},
    units::Share,
};

/// All requests, in a split.
pub const WEIGHT_ALL: u32 = 1000;

/// The steps of one rollout. Step 0 is where it begins, the last one where it ends: promoted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Course {
    steps: Vec<Step>,
}

/// What is so when a step is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Step {
    /// How many instances of the new release run.
    pub count: u32,
    /// The new release's share of requests, of [`WEIGHT_ALL`].
    pub weight: u32,
    /// How many instances of the old release are kept once the step was found good.
    pub kept: u32,
}

impl Course {
    /// The course by which `new` instances take the place of `old` ones.
    pub fn new(plan: &Plan, old: u32, new: u32) -> Self {
        let begin = Step { count: 0, weight: 0, kept: old };
        let end = Step { count: new, weight: WEIGHT_ALL, kept: 0 };
        let between: Vec<Step> = match plan.strategy {
            Strategy::Rolling => rolling(old, new),
            Strategy::BlueGreen => vec![Step { kept: old, ..end }],
            Strategy::Canary => {
                plan.steps.iter().map(|share| Step { count: new, weight: weight(*share), kept: old }).collect()
            }
        };
        Self { steps: std::iter::once(begin).chain(between).chain([end]).collect() }
    }

    /// A step; beyond the last one, that.
    pub fn step(&self, number: u32) -> Step {
        self.steps[(number as usize).min(self.steps.len() - 1)]
    }

    /// The number of the step that promotes.
    pub fn last(&self) -> u32 {
        u32::try_from(self.steps.len() - 1).expect("a course has fewer steps than there are instances and shares")
    }

    /// How many instances of the old release there were.
    pub fn old(&self) -> u32 {
        self.steps[0].kept
    }
}

/// One new instance after the other; the old ones go at the same pace.
fn rolling(old: u32, new: u32) -> Vec<Step> {
    // In u64: neither product leaves it.
    let part = |whole: u32, count: u32| {
        let part = u64::from(whole) * u64::from(count) / u64::from(new);
        u32::try_from(part).expect("a part is not above its whole")
    };
    (1..=new).map(|count| Step { count, weight: part(WEIGHT_ALL, count), kept: old - part(old, count) }).collect()
}

/// A share as a weight, rounded down, but never to nothing.
fn weight(share: Share) -> u32 {
    (share.millionths() / (Share::ALL.millionths() / WEIGHT_ALL)).max(1)
}
