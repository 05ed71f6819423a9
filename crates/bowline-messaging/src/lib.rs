//! Durable topics: groups of consumers, ordering keys, delay, dead letters.
//!
//! [`MessageBus`] is the port. A message is published once it is durable; a group of consumers gets it, at least
//! once, until it is acknowledged or a dead letter. [`delivery`] is the transition table of that.
//!
//! The provider here is `Embedded` (feature `embedded`): a log for each topic, one sync for many messages. Every
//! provider passes the suite in `conformance` (feature `conformance`).

pub mod delivery;
mod error;
mod limits;
mod metrics;
mod port;
pub mod saga;
pub mod tail;

#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(feature = "embedded")]
pub mod embedded;

#[cfg(feature = "embedded")]
pub use embedded::{Embedded, Settings};
pub use error::Error;
pub use limits::{
    ATTEMPTS_MAX, BACKOFF_MAX, CREDIT_MAX, DELAY_MAX, DELAYED_MAX, HEADERS_BYTES_MAX, HEADERS_MAX, ID_BYTES_MAX,
    LEASE_RANGE, NAME_BYTES_MAX, PAGE_BYTES_MAX, PAGE_MAX, PAYLOAD_BYTES_MAX, TAIL_WAIT_MAX, TOPIC_BYTES_RANGE,
    check_credit, check_group, check_lease, check_message, check_name, check_then, check_topic,
};
pub use metrics::Metrics;
pub use port::{
    DeadLetter, Delivery, DeliverySource, GroupInfo, GroupSettings, Lease, Message, MessageBus, NewMessage, Published,
    Start, Subscription, Tail, Then, TopicInfo, TopicSettings, Which,
};
