//! The rules there are: their stable ids, and their pages.

use crate::observed::rules::OBSERVED;

/// A rule that a system may break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rule {
    /// Its stable name: `B0003`. `B00..` are proved of what is declared, `B01..` of what was observed.
    pub id: &'static str,
    /// What breaks it, in a few words, lower case: `data with two owners`.
    pub title: &'static str,
    /// Its page: the seed's formula, an example that breaks it, one that does not, why, what to do. Markdown.
    pub page: &'static str,
}

impl Rule {
    /// Every rule, sorted by id.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        TABLES.iter().copied().flatten().copied()
    }

    /// The rule of that id.
    pub fn find(id: &str) -> Option<&'static Self> {
        Self::all().find(|rule| rule.id == id)
    }
}

/// The tables of rules, one for each way to find out; sorted by id.
static TABLES: [&[&Rule]; 2] = [&DECLARED, &OBSERVED];

/// What is proved of what is declared.
pub static DECLARED: [&Rule; 12] = [
    &OPERATION_OWNERS,
    &DATA_OWNERS,
    &STATE_OWNERS,
    &CALL_TARGET,
    &CALL_OPERATION,
    &TOPIC_OWNER,
    &TOPIC_WRITER,
    &CYCLE,
    &DEADLINE,
    &AMPLIFICATION,
    &PACKAGE,
    &TABLE,
];

/// One request that two services answer.
pub static OPERATION_OWNERS: Rule =
    Rule { id: "B0001", title: "operation with two owners", page: include_str!("../../../../docs/rules/B0001.md") };

/// Data that two services own.
pub static DATA_OWNERS: Rule =
    Rule { id: "B0002", title: "data with two owners", page: include_str!("../../../../docs/rules/B0002.md") };

/// State that two services own.
pub static STATE_OWNERS: Rule =
    Rule { id: "B0003", title: "state with two owners", page: include_str!("../../../../docs/rules/B0003.md") };

/// A call to a service that is not there.
pub static CALL_TARGET: Rule =
    Rule { id: "B0004", title: "call without a target", page: include_str!("../../../../docs/rules/B0004.md") };

/// A call for what its target does not offer.
pub static CALL_OPERATION: Rule = Rule {
    id: "B0005",
    title: "call for an operation that is not offered",
    page: include_str!("../../../../docs/rules/B0005.md"),
};

/// A topic that nobody owns.
pub static TOPIC_OWNER: Rule =
    Rule { id: "B0006", title: "topic without an owner", page: include_str!("../../../../docs/rules/B0006.md") };

/// A topic that is written by another than its owner.
pub static TOPIC_WRITER: Rule =
    Rule { id: "B0007", title: "topic written by a stranger", page: include_str!("../../../../docs/rules/B0007.md") };

/// Services that wait for each other.
pub static CYCLE: Rule =
    Rule { id: "B0008", title: "synchronous cycle", page: include_str!("../../../../docs/rules/B0008.md") };

/// A wait that ends before what is waited for can come.
pub static DEADLINE: Rule = Rule {
    id: "B0009",
    title: "timeout below what is waited for",
    page: include_str!("../../../../docs/rules/B0009.md"),
};

/// One request that becomes too many.
pub static AMPLIFICATION: Rule =
    Rule { id: "B0010", title: "retries that multiply", page: include_str!("../../../../docs/rules/B0010.md") };

/// A service that is built from another's package.
pub static PACKAGE: Rule = Rule {
    id: "B0011",
    title: "package that depends on another service's",
    page: include_str!("../../../../docs/rules/B0011.md"),
};

/// A migration that names what its service does not own.
pub static TABLE: Rule =
    Rule { id: "B0012", title: "table that belongs to another", page: include_str!("../../../../docs/rules/B0012.md") };
