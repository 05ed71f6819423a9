//! What a group wants to read after a restart, and what it does not.

use super::*;

fn resumed(next: Position, pending: &[Position], done: impl IntoIterator<Item = Position>) -> Group {
    let mut kept = Kept::new(Group::new("mail", &GroupSettings::default(), 1, 1).begun(next));
    kept.add(pending.iter().map(|position| (*position, 1, 0)).collect());
    done.into_iter().for_each(|position| kept.done(position));
    Group::resume(kept, 2)
}

fn read(group: &mut Group, position: Position) {
    group.pass_unread(position, Moment { now: 0, luck: 0 });
}

#[test]
fn what_was_done_without_a_gap_is_not_read_again() {
    let group = resumed(1, &[], 1..=20_000);
    assert_eq!((group.wants(), group.lag(20_001), group.floor()), (Some(20_001), 0, 20_001));
}

#[test]
fn what_was_done_beyond_a_gap_is_passed_over_once_the_gap_is_read() {
    let mut group = resumed(5, &[3], (5..=99).chain(101..=200));
    for position in [3, 100] {
        assert_eq!(group.wants(), Some(position));
        read(&mut group, position);
    }
    // Both wait to be read once more; the rest is done.
    assert_eq!((group.wants(), group.lag(201), group.floor()), (Some(201), 2, 3));
}
