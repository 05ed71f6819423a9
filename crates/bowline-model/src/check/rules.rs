//! The rules there are: their stable ids, and their pages.

use crate::observed::rules::OBSERVED;

/// A table of rules, sorted by id, and each of them by a name of its own; a rule's page is named by its id.
macro_rules! rules {
    (#[doc = $table_doc:literal] $table:ident: $(#[doc = $doc:literal] $name:ident = $id:literal, $title:literal;)+) => {
        #[doc = $table_doc]
        pub static $table: &[&Rule] = &[$(&$name),+];
        $(
            #[doc = $doc]
            pub static $name: Rule = Rule {
                id: $id,
                title: $title,
                page: include_str!(concat!("../../../../docs/rules/", $id, ".md")),
            };
        )+
    };
}
pub(crate) use rules;

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
static TABLES: [&[&Rule]; 2] = [DECLARED, OBSERVED];

rules! {
    /// What is proved of what is declared.
    DECLARED:

    /// One request that two services answer.
    OPERATION_OWNERS = "B0001", "operation with two owners";

    /// Data that two services own.
    DATA_OWNERS = "B0002", "data with two owners";

    /// State that two services own.
    STATE_OWNERS = "B0003", "state with two owners";

    /// A call to a service that is not there.
    CALL_TARGET = "B0004", "call without a target";

    /// A call for what its target does not offer.
    CALL_OPERATION = "B0005", "call for an operation that is not offered";

    /// A topic that nobody owns.
    TOPIC_OWNER = "B0006", "topic without an owner";

    /// A topic that is written by another than its owner.
    TOPIC_WRITER = "B0007", "topic written by a stranger";

    /// Services that wait for each other.
    CYCLE = "B0008", "synchronous cycle";

    /// A wait that ends before what is waited for can come.
    DEADLINE = "B0009", "timeout below what is waited for";

    /// One request that becomes too many.
    AMPLIFICATION = "B0010", "retries that multiply";

    /// A service that is built from another's package.
    PACKAGE = "B0011", "package that depends on another service's";

    /// A migration that names what its service does not own.
    TABLE = "B0012", "table that belongs to another";
}
