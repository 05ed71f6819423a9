//! Where processes share what they cache: `[caches]`.

use super::{check_all, parse};
use crate::caches::{CachesPolicy, SHARED_BYTES_DEFAULT};

#[test]
fn caches() {
    check_all(
        "name = \"t\"\n$",
        r#"
[caches]
redis = "http://127.0.0.1:6379"
  3:9+23 `redis` is not the URL of a Redis → write "redis://HOST:PORT", or "rediss://HOST:PORT"; who asks is said by `credential`

[caches]
redis = "redis://:secret@127.0.0.1:6379"
  3:9+32 `redis` is not the URL of a Redis → write "redis://HOST:PORT", or "rediss://HOST:PORT"; who asks is said by `credential`

[caches]
redis = "redis://cache.example:99999"
  3:9+29 `redis` is not the URL of a Redis → write "redis://HOST:PORT", or "rediss://HOST:PORT"; who asks is said by `credential`

[caches]
credential = "env:TOKEN"
  2:1+8 `credential` without `redis` → name the server that it is for, or remove it

[caches]
redis = "redis://127.0.0.1:6379"
credential = "hunter2"
  4:14+9 `credential` is not the place of a secret → write "env:NAME" or "file:PATH"

[caches]
bytes_max = "1 MiB"
  3:13+7 `bytes_max` is out of range → write a size from 32 MiB to 1024 GiB

[caches]
redis = "redis://127.0.0.1:6379"
bytes_max = "64 MiB"
  2:1+8 `bytes_max` beside `redis` → it is Bowline's own memory: say in Redis how much it takes
"#,
    );
    let system = parse("name = \"t\"\n[caches]\nredis = \"rediss://cache.example:6380/2\"\ncredential = \"env:REDIS\"");
    let redis = system.unwrap().caches.redis.unwrap();
    assert_eq!(redis.url, "rediss://cache.example:6380/2");
    assert!(redis.credential.is_some());
    assert_eq!(parse("name = \"t\"\n[caches]\nbytes_max = \"1 GiB\"").unwrap().caches.bytes_max, 1 << 30);
    assert_eq!(parse("name = \"t\"").unwrap().caches, CachesPolicy { redis: None, bytes_max: SHARED_BYTES_DEFAULT });
}
