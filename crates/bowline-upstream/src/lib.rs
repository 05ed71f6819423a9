//! One outbound call, the same for proxy and application: deadline, retry, pick, breaker, send.
//!
//! [`Upstream`] holds what is known of one service as this process calls it: its instances, their
//! breakers and load, the retry budget. It is shared by all cores; the connections are the
//! caller's, in whichever [`Pool`](bowline_transport::Pool) it has. Whoever calls through an
//! [`Upstream`] has exactly one hop's policy applied, and must not retry on its own.

mod active;
mod attempt;
mod body;
mod breakers;
mod call;
mod error;
mod fallback;
mod guard;
mod key;
mod member;
mod metrics;
mod mirror;
mod pick;
mod race;
mod security;
mod split;
mod upstream;
#[cfg(any(test, feature = "vectors"))]
pub mod vectors;

pub use body::ResponseBody;
pub use error::Error;
pub use fallback::NoFallback;
pub use security::Security;
pub use upstream::{InstanceStatus, Standpoint, Upstream};
