//! Caches on the wire: between a service and its server, and between that and tools.

use bowline_cache::{Applied, Feed, Mark, Outcome, Status};
use bowline_model::{InstanceId, ServiceName};
use serde::{Deserialize, Serialize};

/// `GET /v1/caches`: which are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[serde(deny_unknown_fields)]
pub struct CachesQuery {
    /// Of that service alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// `GET /-/bowline/caches`: those of one process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OwnCaches {
    /// What each says of itself, sorted by name.
    pub caches: Vec<Status>,
}

/// `GET /v1/caches`: caches of all instances, sorted by service, instance and name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CacheList {
    /// What was found.
    pub caches: Vec<InstanceCache>,
    /// Instances that did not say what they have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub missing: Vec<InstanceId>,
}

/// A cache of one process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstanceCache {
    /// Whose it is.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub service: ServiceName,
    /// In which process.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub instance: InstanceId,
    /// What it says of itself: `cache`, `classes` (`class`, `strategy`, `why`, `is_adaptive`), `entries`, `levels`
    /// (`level`, `hits`, `misses`, `bytes`, `bytes_max`, `failures`, `is_left_alone`, `why`), `requests`, `loads`,
    /// `invalidated_by_feed`, `invalidated_here`, `feeds` (`feed`, `standing`, `position`, `gaps`, `why`).
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub status: Status,
}

/// For how many milliseconds a value of the level that processes share is still kept; a header.
pub const LEFT_HEADER: &str = "x-bowline-left-ms";
/// What an empty slot of that level is called, 16 hexadecimal digits; a header.
pub const TICKET_HEADER: &str = "x-bowline-ticket";
/// Up to where invalidations were applied to a cache, as JSON of `[[feed, {position, id}], …]`, percent-encoded; a
/// header.
pub const MARKS_HEADER: &str = "x-bowline-marks";

/// `POST /v1/shared-caches/{cache}/invalidate`: what is invalid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SharedInvalidation {
    /// The keys, at most 1,000.
    pub keys: Vec<String>,
    /// Where they come from, if from a feed: `feed`, and `after` and `upto`, of `position` and `id` each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub applied: Option<Applied>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SharedOutcome {
    /// `"done"`, `"already_done"`, or `{"behind": MARK}` where something before is missing.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub outcome: Outcome,
}

/// `POST /v1/shared-caches/{cache}/clear`: the marks that the cache has from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SharedMarks {
    /// Of each feed: its name, and `position` and `id`.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub marks: Vec<(Feed, Mark)>,
}
