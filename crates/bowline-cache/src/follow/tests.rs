//! The table explored exhaustively: changes are told by a feed whose answers are late, lost or come twice; which is
//! trimmed, and made anew; while the cache loads.

use bowline_testkit::proof;
use stateright::{Model, Property};

use super::*;

const BLIND_MAX: Ms = 2;

#[derive(Debug, Clone)]
struct Life {
    last: Ms,
    changes: u8,
    /// How often the feed is trimmed or made anew.
    losses: u8,
}

/// A mark: which of the feeds it is of, one made anew being another, and the position.
type At = (u8, u64);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    follow: Follow<At>,
    /// The feed: how often it was made anew, its first position, and the next.
    anew: u8,
    first: u64,
    next: u64,
    /// The version where it comes from, and what it was when each moment began.
    source: u8,
    history: Vec<u8>,
    kept: Option<u8>,
    asked: Option<Asked>,
    /// An answer that was given before and may come once more.
    repeated: Option<(Heard<At>, Ms)>,
    now: Ms,
    losses: u8,
    seen: Seen,
}

/// A question that is under way; once the feed has read it, with its answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Asked {
    at: Ms,
    answer: Option<Heard<At>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Seen {
    is_gap: bool,
    is_dropped: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Action {
    /// What is cached changes, and the feed is told.
    Change,
    Load,
    Ask,
    /// The feed reads what it was asked and answers.
    Answer,
    /// The answer arrives, and what it says is brought about.
    Hear,
    Lose,
    /// An earlier answer arrives again.
    Repeat,
    Trim,
    Anew,
    Tick,
}

impl World {
    fn start() -> Self {
        Self {
            follow: Follow::default(),
            anew: 0,
            first: 1,
            next: 1,
            source: 0,
            history: vec![0],
            kept: None,
            asked: None,
            repeated: None,
            now: 0,
            losses: 0,
            seen: Seen::default(),
        }
    }

    fn is_fresh(&self) -> bool {
        self.kept.is_some() && self.now < self.follow.until
    }

    /// What a provider answers to a follower of that state.
    fn answer(&self) -> Heard<At> {
        let end = (self.anew, self.next - 1);
        let is_there = |(anew, position): At| anew == self.anew && self.first <= position + 1 && position < self.next;
        match self.follow.mark.filter(|mark| is_there(*mark)) {
            None => Heard::Gap(end),
            Some(mark) if self.follow.is_unsure() => Heard::At(mark),
            // One at a time.
            Some((anew, position)) => {
                let upto = (position + 1).min(self.next - 1);
                Heard::Batch { upto: (anew, upto), is_end: upto + 1 == self.next }
            }
        }
    }

    fn hear(&mut self, heard: Heard<At>, asked: Ms) {
        let (next, apply) = self.follow.clone().step(heard, asked, BLIND_MAX);
        // One key: what is invalid is it, unless the answer has no positions.
        match apply {
            Apply::Clear => {
                self.seen.is_gap |= self.kept.is_some();
                self.kept = None;
            }
            Apply::Batch if next.mark != self.follow.mark => self.seen.is_dropped |= self.kept.take().is_some(),
            Apply::Batch | Apply::Nothing => {}
        }
        self.follow = next;
    }

    fn act(&mut self, life: &Life, action: Action) -> bool {
        match action {
            Action::Change => {
                self.source += 1;
                self.next += 1;
                self.source <= life.changes
            }
            Action::Load => !self.is_fresh() && self.kept.replace(self.source) != Some(self.source),
            Action::Ask => {
                let is_free = self.asked.is_none();
                self.asked.get_or_insert(Asked { at: self.now, answer: None });
                is_free
            }
            Action::Answer => {
                let answer = self.answer();
                let Some(asked) = self.asked.as_mut().filter(|asked| asked.answer.is_none()) else { return false };
                asked.answer = Some(answer);
                true
            }
            Action::Hear => {
                let Some(Asked { at, answer: Some(answer) }) = self.asked.take() else { return false };
                self.repeated = Some((answer.clone(), at));
                self.hear(answer, at);
                true
            }
            Action::Lose => self.asked.take().is_some(),
            Action::Repeat => {
                // The follower takes an answer to what it asked last only.
                let Some((answer, at)) = self.repeated.take() else { return false };
                let is_for_it = matches!(&answer, Heard::Batch { upto, .. } if Some(*upto) == self.follow.mark);
                if is_for_it {
                    self.hear(answer, at);
                }
                is_for_it
            }
            Action::Trim => {
                self.losses += 1;
                let is_more = self.first < self.next;
                self.first = self.next;
                is_more && self.losses <= life.losses
            }
            Action::Anew => {
                self.losses += 1;
                (self.anew, self.first, self.next) = (self.anew + 1, 1, 1);
                self.losses <= life.losses
            }
            Action::Tick => {
                self.now += 1;
                self.history.push(self.source);
                self.now <= life.last
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
        actions.extend([Action::Change, Action::Load, Action::Ask, Action::Answer, Action::Hear]);
        actions.extend([Action::Lose, Action::Repeat, Action::Trim, Action::Anew, Action::Tick]);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        (next.act(self, action) && next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "what is taken for fresh is as new as the source was when the feed was last asked and heard out",
                |_, world: &World| {
                    let proved = world.follow.until.saturating_sub(BLIND_MAX);
                    !world.is_fresh() || world.kept >= world.history.get(usize::try_from(proved).unwrap_or(0)).copied()
                },
            ),
            Property::always(
                "nothing is taken for fresh that changed longer ago than `blind_max`",
                |_, world: &World| {
                    let then = usize::try_from(world.now.saturating_sub(BLIND_MAX)).unwrap_or(0);
                    !world.is_fresh() || world.kept >= world.history.get(then).copied()
                },
            ),
            Property::always("nothing is taken for fresh before the feed was heard", |_, world: &World| {
                world.follow.mark.is_some() || world.follow.until == 0
            }),
            Property::sometimes("what was kept over a loss of the feed is dropped", |_, world: &World| {
                world.seen.is_gap
            }),
            Property::sometimes("an invalidation drops what was kept", |_, world: &World| world.seen.is_dropped),
            Property::sometimes("something is taken for fresh after a loss", |_, world: &World| {
                world.losses > 0 && world.is_fresh()
            }),
            Property::sometimes("the cache is blind, and knows it", |_, world: &World| {
                world.kept.is_some() && world.follow.mark.is_some() && !world.is_fresh()
            }),
        ]
    }
}

#[test]
fn proof() {
    let lives = [Life { last: 4, changes: 2, losses: 1 }, Life { last: 3, changes: 1, losses: 2 }];
    let table = proof::Table {
        name: "Cache feed",
        file: "crates/bowline-cache/src/follow.rs",
        formula: "follow(f) = resume(f) · after(f)*, lost(f) ⇒ clear(L1 · L2 · L3)",
        diagram: &diagram(),
    };
    table.prove(500, lives);
}

/// The table drawn by running it.
fn diagram() -> String {
    let start = Follow::<u8>::default();
    let after = |follow: &Follow<u8>, heard| follow.clone().step(heard, 0, BLIND_MAX).0;
    let behind = after(&start, Heard::At(1));
    let following = after(&behind, Heard::Batch { upto: 2, is_end: true });
    let cases = [
        (&start, Heard::At(1), "all after its mark is there"),
        (&start, Heard::Gap(1), "lost, all cleared"),
        (&behind, Heard::Batch { upto: 2, is_end: false }, "applied, not to the end"),
        (&behind, Heard::Batch { upto: 2, is_end: true }, "applied to the end"),
        (&behind, Heard::Gap(2), "lost, all cleared"),
        (&following, Heard::Batch { upto: 3, is_end: true }, "applied to the end"),
        (&following, Heard::Batch { upto: 3, is_end: false }, "applied, not to the end"),
        (&following, Heard::Gap(3), "lost, all cleared"),
    ];
    let transitions = cases.map(|(before, heard, label)| {
        let to = after(before, heard);
        (name(before).to_owned(), name(&to).to_owned(), label.to_owned())
    });
    proof::diagram("unsure", transitions)
}

fn name(follow: &Follow<u8>) -> &'static str {
    match follow.standing {
        Standing::Unsure => "unsure",
        Standing::Behind => "behind",
        Standing::Following => "following",
    }
}
