//! Where processes share what they cache: `[caches]`.

use super::{messages, schema, value::Value};
use crate::{
    caches::{CachesPolicy, RedisServer, SHARED_BYTES_RANGE, check_redis_url},
    units,
};

pub(super) fn read(value: Value<'_>) -> CachesPolicy {
    let default = CachesPolicy::default();
    let Some(table) = value.table(&schema::CACHES) else { return default };
    let credential = messages::credential(&table, "redis");
    if table.has("bytes_max") && table.has("redis") {
        table.fault("`bytes_max` beside `redis`", "it is Bowline's own memory: say in Redis how much it takes");
    }
    let url = table.get("redis").and_then(redis_url);
    let bytes_max = table.get("bytes_max").and_then(bytes_max).unwrap_or(default.bytes_max);
    CachesPolicy { redis: url.map(|url| RedisServer { url, credential }), bytes_max }
}

/// A URL, which is not told again where it is wrong: it may hold a password.
fn redis_url(value: Value<'_>) -> Option<String> {
    let text = value.text()?;
    if check_redis_url(text).is_ok() {
        return Some(text.to_owned());
    }
    let help = "write \"redis://HOST:PORT\", or \"rediss://HOST:PORT\"; who asks is said by `credential`";
    value.refuse("`redis` is not the URL of a Redis", help)
}

fn bytes_max(value: Value<'_>) -> Option<u64> {
    let bytes = value.parsed("a size", units::parse_bytes)?;
    let (least, most) = SHARED_BYTES_RANGE;
    if (least..=most).contains(&bytes) {
        return Some(bytes);
    }
    value.refuse(format!("{} is out of range", value.key_quoted()), "write a size from 32 MiB to 1024 GiB")
}
