//! Breakers on the wire: what those who hold them tell, gathered.

use bowline_model::{
    InstanceId, ServiceName,
    mesh::{BreakerOrder, BreakerStatus, CallBreakers, Caller},
};
use serde::{Deserialize, Serialize};

/// `GET /v1/breakers`: which are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[serde(deny_unknown_fields)]
pub struct BreakersQuery {
    /// Those of that service's instances alone, or of `gateway`; others are not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Those that guard the calls to that service alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callee: Option<String>,
}

/// `GET /v1/breakers`: those of all holders, sorted by caller, callee and holder.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BreakerList {
    /// What was found.
    pub calls: Vec<HeldBreakers>,
    /// Who holds breakers, or may, and did not tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingHolder>,
}

/// The breakers that guard the calls of one process to one service, an instance each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeldBreakers {
    /// Who calls: a service, or `gateway`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub caller: ServiceName,
    /// The process that holds them.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub holder: InstanceId,
    /// Who is called.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub callee: ServiceName,
    /// By which route of the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Whether the calls' policy has a breaker.
    pub is_guarded: bool,
    /// What the holder acts by: `caller`, `instance`, `order`, `until_unix_ms`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub orders: Vec<BreakerOrder>,
    /// One for each instance of the callee: `instance`, `state` (`closed`, `open`, `half_open`, `forced_open`,
    /// `forced_closed`, `disabled`), `calls`, `failures`, `slow`, `failure_rate`, `slow_rate`, `retry_after_ms`,
    /// `transitions` (`age_ms`, `from`, `to`, `why`, `calls`, `failures`, `slow`), the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub breakers: Vec<BreakerStatus>,
    /// How many the holder does not tell of, as they are too many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

/// Somebody who may hold breakers and did not tell of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MissingHolder {
    /// Whose process it is: of a service, or `gateway`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub caller: ServiceName,
    /// The process.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub holder: InstanceId,
    /// Why, for people.
    pub why: String,
}

impl HeldBreakers {
    /// What a process tells, with whose it is.
    pub fn new(caller: ServiceName, holder: InstanceId, told: CallBreakers) -> Self {
        let CallBreakers { callee, route, is_guarded, orders, breakers, left_out } = told;
        Self { caller, holder, callee, route, is_guarded, orders, breakers, left_out }
    }

    /// Who calls, as orders name it.
    pub fn called_by(&self) -> Caller {
        match &self.route {
            Some(route) => Caller::Route(route.clone()),
            None => Caller::Service(self.caller.clone()),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
