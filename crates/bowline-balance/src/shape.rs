//! What a set must know of the policy to be shaped for its picks.

use std::{sync::Arc, time::Duration};

use bowline_model::{
    Instance,
    policy::{Balance, BalancePolicy, Share, Zones},
};

use crate::hash::hash;

/// The metadata key of an instance that says at which level it stands: `0`, the first and the one without the key, to
/// `9`. A further level gets what the ones before it cannot bear.
pub const METADATA_PRIORITY: &str = "priority";

/// The last level.
pub const PRIORITY_MAX: u8 = 9;

/// What a set must know of the policy, and of its caller, to be shaped for its picks.
///
/// A snapshot is made once and picked from often: tables, levels, zones and subsets are worked out when the set
/// changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    pub(crate) by: Balance,
    pub(crate) headroom: Option<Share>,
    pub(crate) subset: Option<usize>,
    pub(crate) slow_start: Option<Duration>,
    pub(crate) panic_below: Share,
    /// The caller's zone, where instances of it are preferred.
    pub(crate) zone: Option<Arc<str>>,
    /// The caller, hashed: whose subset it is.
    pub(crate) caller: u64,
}

impl Shape {
    /// The shape for a policy, of a caller in that zone, whose id `caller` is: callers with different ids use
    /// different subsets.
    ///
    /// Without a zone of its own a caller prefers none.
    pub fn of(policy: &BalancePolicy, zone: Option<&str>, caller: &str) -> Self {
        let BalancePolicy { by, key: _, headroom, subset, slow_start, zones, panic_below } = policy;
        Self {
            by: *by,
            headroom: headroom.filter(|_| *by == Balance::Ring),
            subset: subset.map(|count| count as usize),
            slow_start: *slow_start,
            panic_below: *panic_below,
            zone: zone.filter(|_| *zones == Zones::Prefer).map(Arc::from),
            caller: hash(caller.as_bytes()),
        }
    }

    /// Whether an instance is where the caller is, or no zone is preferred.
    pub(crate) fn is_near(&self, instance: &Instance) -> bool {
        self.zone.as_deref().is_none_or(|zone| instance.zone.as_deref() == Some(zone))
    }
}

impl Default for Shape {
    /// That of the default policy.
    fn default() -> Self {
        Self::of(&BalancePolicy::default(), None, "")
    }
}

/// The level at which an instance stands; what is not a number from 0 to 9 is as if it were not there.
pub(crate) fn level_of(instance: &Instance) -> u8 {
    let said = instance.metadata.get(METADATA_PRIORITY).and_then(|text| text.parse().ok());
    said.filter(|level| *level <= PRIORITY_MAX).unwrap_or_default()
}
