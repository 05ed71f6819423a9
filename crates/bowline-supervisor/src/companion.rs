//! Who stands beside an instance and takes its requests: the port by which a mesh comes in.

use std::{collections::BTreeMap, fmt, io, time::Duration};

use bowline_model::{Address, InstanceId, ServiceName};
use bowline_runtime::BoxFuture;

/// Starts a companion for each instance.
pub trait Companions: Send + Sync {
    /// Starts the companion of an instance, before the instance's first process.
    ///
    /// # Errors
    /// Whatever keeps it from starting: the instance's start has failed then, and is tried again after
    /// the usual wait.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    fn start(&self, beside: Beside) -> BoxFuture<'_, io::Result<Box<dyn Companion>>>;
}

/// Whom a companion stands beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside {
    /// The instance's service.
    pub service: ServiceName,
    /// The instance.
    pub instance: InstanceId,
    /// The release it runs; empty when not told.
    pub version: String,
    /// Where the application listens, once it runs.
    pub app: Address,
}

/// Stands beside one instance: requests reach the application through it.
///
/// It lives as long as the application's address stays, whatever becomes of the processes behind it: a
/// process that is started again is reached where the last one was, over connections that still stand.
/// On a Unix socket that is as long as the instance is supervised. Dropping it closes everything at once.
pub trait Companion: Send + Sync {
    /// Where others reach the instance: what is registered.
    fn address(&self) -> Address;

    /// What a process of the instance finds in its environment beside the rest. Asked for before each
    /// start of a process, so that what serves only once is new each time. A variable that the service
    /// sets itself, in capitals or not, stays the service's.
    ///
    /// # Errors
    /// Whatever keeps it from being told: the start of the process has failed then.
    fn environment(&self) -> BoxFuture<'_, io::Result<BTreeMap<String, String>>>;

    /// Takes nothing new for the application: no connection, and on those that stand at most the request that
    /// is on its way already. Ends when what was taken is answered. What the application itself asks for goes on.
    ///
    /// It comes between the word to the registry and SIGTERM, and is given a second at most. Whoever has not
    /// heard of the drain yet is refused a connection, and may safely ask another instance, whatever the
    /// request; behind a process that has closed its socket it would have been answered an error.
    ///
    /// # Cancel safety
    /// Nothing new is taken all the same.
    fn refuse_new(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Ends, once the process has: answers that are under way still leave, within the grace.
    ///
    /// # Cancel safety
    /// Dropping the future cuts them off.
    fn drain(self: Box<Self>, grace: Duration) -> BoxFuture<'static, ()>;
}

impl fmt::Debug for dyn Companions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Companions")
    }
}

impl fmt::Debug for dyn Companion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Companion").field(&self.address()).finish()
    }
}
