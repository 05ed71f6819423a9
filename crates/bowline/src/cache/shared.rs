//! Where the processes of a service share what they cache.

use std::sync::Arc;

use bowline_cache::SharedCache;
use bowline_provider_remote::{Link, RemoteCache};

use crate::Settings;

/// Where it is, as the process was told; else why it cannot be there.
pub(super) type Place = Result<Option<Arc<dyn SharedCache>>, String>;

pub(super) fn of(settings: &Settings, link: Option<&Link>) -> Place {
    if let Some(redis) = &settings.redis {
        return redis::open(settings, redis).map(Some);
    }
    Ok(link.map(|link| Arc::new(RemoteCache::over(link)) as Arc<dyn SharedCache>))
}

#[cfg(feature = "redis")]
mod redis {
    use std::sync::Arc;

    use bowline_cache::SharedCache;
    use bowline_provider_redis::{RedisCache, Settings};

    use crate::settings::Redis;

    pub(super) fn open(settings: &crate::Settings, redis: &Redis) -> Result<Arc<dyn SharedCache>, String> {
        let prefix = settings.system.as_ref().ok_or("BOWLINE_SYSTEM: it is not set")?.to_string();
        let credential = redis.token.as_ref().map(|token| token.expose().to_owned().into());
        let redis = Settings { url: redis.url.clone(), credential, prefix };
        let opened = RedisCache::new(&redis).map_err(|error| format!("BOWLINE_REDIS: {error}"))?;
        Ok(Arc::new(opened))
    }
}

#[cfg(not(feature = "redis"))]
mod redis {
    use std::sync::Arc;

    use bowline_cache::SharedCache;

    use crate::settings::Redis;

    pub(super) fn open(_: &crate::Settings, _: &Redis) -> Result<Arc<dyn SharedCache>, String> {
        Err("BOWLINE_REDIS names a Redis, and this program is built without the feature `redis` of the crate `bowline`: \
             add it, or have `[caches]` of bowline.toml name none"
            .to_owned())
    }
}
