//! The rules that are held against what was observed.

use crate::check::Rule;

/// Every rule there is for what was observed, by its name.
pub static RULES: [Rule; 9] = [
    Rule { id: "B0101", title: "undeclared call", page: include_str!("../../../../docs/rules/B0101.md") },
    Rule { id: "B0102", title: "declared call never seen", page: include_str!("../../../../docs/rules/B0102.md") },
    Rule { id: "B0103", title: "data touched by a stranger", page: include_str!("../../../../docs/rules/B0103.md") },
    Rule { id: "B0104", title: "topic written by a stranger", page: include_str!("../../../../docs/rules/B0104.md") },
    Rule {
        id: "B0105",
        title: "synchronous wait in an asynchronous call",
        page: include_str!("../../../../docs/rules/B0105.md"),
    },
    Rule { id: "B0106", title: "SyncComm broken", page: include_str!("../../../../docs/rules/B0106.md") },
    Rule { id: "B0107", title: "AsyncComm broken", page: include_str!("../../../../docs/rules/B0107.md") },
    Rule { id: "B0108", title: "MessagePassing broken", page: include_str!("../../../../docs/rules/B0108.md") },
    Rule { id: "B0109", title: "caller without identity", page: include_str!("../../../../docs/rules/B0109.md") },
];

pub(super) static UNDECLARED_CALL: &Rule = &RULES[0];
pub(super) static NEVER_SEEN: &Rule = &RULES[1];
pub(super) static FOREIGN_DATA: &Rule = &RULES[2];
pub(super) static FOREIGN_TOPIC: &Rule = &RULES[3];
pub(super) static WAIT: &Rule = &RULES[4];
pub(super) static SYNC_BROKEN: &Rule = &RULES[5];
pub(super) static ASYNC_BROKEN: &Rule = &RULES[6];
pub(super) static MESSAGE_BROKEN: &Rule = &RULES[7];
pub(super) static NO_IDENTITY: &Rule = &RULES[8];
