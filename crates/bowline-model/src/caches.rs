//! Where the processes of services share what they cache, as the file says it.

use crate::{
    monitor::SecretText,
    system::{Resource, Service},
};

/// What the file says of caches: `[caches]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachesPolicy {
    /// The Redis that keeps what processes share; absent: Bowline does, in its memory.
    pub redis: Option<RedisServer>,
    /// How much memory Bowline takes for it, in bytes.
    pub bytes_max: u64,
}

/// A Redis, or what speaks as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisServer {
    /// Where it is: `redis://127.0.0.1:6379`.
    pub url: String,
    /// Where the password stands that it demands, if it does: `PASSWORD`, or `USER:PASSWORD`.
    pub credential: Option<SecretText>,
}

/// How much memory Bowline takes for what processes share, where nothing is said.
pub const SHARED_BYTES_DEFAULT: u64 = 64 << 20;
/// The least and the most of that.
pub const SHARED_BYTES_RANGE: (u64, u64) = (32 << 20, 1 << 40);

/// The kind of resources that are caches.
pub const CACHE: &str = "cache";

impl Default for CachesPolicy {
    fn default() -> Self {
        Self { redis: None, bytes_max: SHARED_BYTES_DEFAULT }
    }
}

impl Service {
    /// The caches that it owns.
    pub fn caches(&self) -> impl Iterator<Item = &Resource> {
        self.boundary.state.iter().filter(|resource| resource.kind == CACHE)
    }
}
