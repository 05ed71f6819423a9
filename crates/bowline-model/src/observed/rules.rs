//! The rules that are held against what was observed.

use crate::check::Rule;

/// What is proved of what was observed, sorted by id.
pub static OBSERVED: [&Rule; 9] = [
    &UNDECLARED_CALL,
    &NEVER_SEEN,
    &FOREIGN_DATA,
    &FOREIGN_TOPIC,
    &WAIT,
    &SYNC_BROKEN,
    &ASYNC_BROKEN,
    &MESSAGE_BROKEN,
    &NO_IDENTITY,
];

/// A call that nothing declares.
pub static UNDECLARED_CALL: Rule =
    Rule { id: "B0101", title: "undeclared call", page: include_str!("../../../../docs/rules/B0101.md") };

/// A declared call that nobody made.
pub static NEVER_SEEN: Rule =
    Rule { id: "B0102", title: "declared call never seen", page: include_str!("../../../../docs/rules/B0102.md") };

/// Data that another than its owner touches.
pub static FOREIGN_DATA: Rule =
    Rule { id: "B0103", title: "data touched by a stranger", page: include_str!("../../../../docs/rules/B0103.md") };

/// A topic that another than its owner writes.
pub static FOREIGN_TOPIC: Rule =
    Rule { id: "B0104", title: "topic written by a stranger", page: include_str!("../../../../docs/rules/B0104.md") };

/// A caller that waits although it declares not to.
pub static WAIT: Rule = Rule {
    id: "B0105",
    title: "synchronous wait in an asynchronous call",
    page: include_str!("../../../../docs/rules/B0105.md"),
};

/// Events of a synchronous call in another order than its formula's.
pub static SYNC_BROKEN: Rule =
    Rule { id: "B0106", title: "SyncComm broken", page: include_str!("../../../../docs/rules/B0106.md") };

/// Events of an asynchronous call in another order than its formula's.
pub static ASYNC_BROKEN: Rule =
    Rule { id: "B0107", title: "AsyncComm broken", page: include_str!("../../../../docs/rules/B0107.md") };

/// Events of a message in another order than its formula's.
pub static MESSAGE_BROKEN: Rule =
    Rule { id: "B0108", title: "MessagePassing broken", page: include_str!("../../../../docs/rules/B0108.md") };

/// A call of which nobody knows who made it.
pub static NO_IDENTITY: Rule =
    Rule { id: "B0109", title: "caller without identity", page: include_str!("../../../../docs/rules/B0109.md") };
