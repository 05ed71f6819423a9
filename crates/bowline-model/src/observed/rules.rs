//! The rules that are held against what was observed.

use crate::check::{Rule, rules::rules};

rules! {
    /// What is proved of what was observed.
    OBSERVED:

    /// A call that nothing declares.
    UNDECLARED_CALL = "B0101", "undeclared call";

    /// A declared call that nobody made.
    NEVER_SEEN = "B0102", "declared call never seen";

    /// Data that another than its owner touches.
    FOREIGN_DATA = "B0103", "data touched by a stranger";

    /// A topic that another than its owner writes.
    FOREIGN_TOPIC = "B0104", "topic written by a stranger";

    /// A caller that waits although it declares not to.
    WAIT = "B0105", "synchronous wait in an asynchronous call";

    /// Events of a synchronous call in another order than its formula's.
    SYNC_BROKEN = "B0106", "SyncComm broken";

    /// Events of an asynchronous call in another order than its formula's.
    ASYNC_BROKEN = "B0107", "AsyncComm broken";

    /// Events of a message in another order than its formula's.
    MESSAGE_BROKEN = "B0108", "MessagePassing broken";

    /// A call of which nobody knows who made it.
    NO_IDENTITY = "B0109", "caller without identity";
}
