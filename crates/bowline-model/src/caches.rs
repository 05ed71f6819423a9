//! Where the processes of services share what they cache, as the file says it.

use std::net::Ipv6Addr;

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
    /// Where the password stands that it demands, if it does: `PASSWORD`, or `USER:PASSWORD`. One with a colon in it is
    /// `default:PASS:WORD`.
    pub credential: Option<SecretText>,
}

/// How much memory Bowline takes for what processes share, where nothing is said.
pub const SHARED_BYTES_DEFAULT: u64 = 64 << 20;
/// The least and the most of that.
pub const SHARED_BYTES_RANGE: (u64, u64) = (32 << 20, 1 << 40);

/// How the URL of a Redis begins: in the clear, by TLS, by a socket of this machine.
const REDIS_SCHEMES: [&str; 4] = ["redis://", "rediss://", "valkey://", "valkeys://"];
const REDIS_SOCKET: &str = "redis+unix://";

/// The longest of them, in bytes.
const REDIS_URL_MAX: usize = 1024;

/// The kind of resources that are caches.
pub const CACHE: &str = "cache";

/// Checks the URL of a Redis: `redis://HOST:PORT`, `rediss://HOST:PORT` (TLS), either perhaps with `/DATABASE`, or
/// `redis+unix:///PATH`. It holds no credentials, so it may be told to anybody; one that is refused may hold some.
///
/// # Errors
/// The rule, where it breaks it.
pub fn check_redis_url(url: &str) -> Result<(), &'static str> {
    const RULE: &str = "it is `redis://HOST:PORT`, `rediss://HOST:PORT`, either perhaps with `/DATABASE`, or \
                        `redis+unix:///PATH`, without credentials";
    let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic() && !b"@?#".contains(&byte));
    let is_socket = url.strip_prefix(REDIS_SOCKET).is_some_and(|path| path.len() > 1 && path.starts_with('/'));
    let rest = REDIS_SCHEMES.iter().find_map(|scheme| url.strip_prefix(scheme));
    if url.len() <= REDIS_URL_MAX && is_plain && (is_socket || rest.is_some_and(is_server)) {
        return Ok(());
    }
    Err(RULE)
}

/// `HOST`, `HOST:PORT`, and the number of a database behind them.
fn is_server(rest: &str) -> bool {
    let (place, database) = rest.split_once('/').unwrap_or((rest, ""));
    is_place(place) && (database.is_empty() || is_number(database) && database.parse::<u16>().is_ok())
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `HOST` or `HOST:PORT`, of a server that is not asked over HTTP: a host may have a `_`.
pub(crate) fn is_place(place: &str) -> bool {
    let is_port = |port: &str| is_number(port) && port.parse::<u16>().is_ok_and(|port| port > 0);
    if let Some(address) = place.strip_prefix('[') {
        let Some((address, port)) = address.split_once(']') else { return false };
        let is_end = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return address.parse::<Ipv6Addr>().is_ok() && is_end;
    }
    let (host, port) = place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port)));
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !host.is_empty() && host.bytes().all(is_letter) && port.is_none_or(is_port)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_redis_has_a_place_and_no_credentials() {
        for good in [
            "redis://localhost",
            "redis://localhost:6379",
            "redis://redis_1.example:6379/3",
            "rediss://[::1]:6380",
            "valkey://[::1]/0",
            "redis+unix:///run/redis.sock",
        ] {
            assert_eq!(check_redis_url(good), Ok(()), "{good}");
        }
        for bad in [
            "http://localhost:6379",
            "redis://",
            "redis://:6379",
            "redis://h:99999",
            "redis://h:0",
            "redis://h:",
            "redis://h:+1",
            "redis://h/x",
            "redis://h/70000",
            "redis://h/1/2",
            "redis://[::1",
            "redis://::1",
            "redis://user:password@h",
            "rediss://h/#insecure",
            "redis://h?db=1",
            "redis+unix://",
            "redis+unix:///",
            "redis+unix://run",
            "redis://a b",
        ] {
            assert!(check_redis_url(bad).is_err(), "{bad}");
        }
    }
}
