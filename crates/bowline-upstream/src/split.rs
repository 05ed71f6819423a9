//! Calls shared out between the versions of a service.
//!
//! Each version has a set of its own to pick from, and a balancer of its own: a set of all with a
//! predicate would meet a canary of one among a hundred by luck only, and turns that versions share
//! would skip some of their instances for ever.

use std::collections::BTreeMap;

use arc_swap::ArcSwap;
use bowline_balance::{Balancer, Snapshot};
use bowline_model::{mesh::VERSIONS_MAX, policy::BalancePolicy};
use bowline_runtime::rand;

use crate::{
    member::Member,
    pick::{Picked, Search, Tried},
};

/// How calls are shared out between versions, and whom each has.
#[derive(Debug)]
pub(crate) struct Split {
    versions: Box<[Version]>,
    lots: ArcSwap<Lots>,
}

#[derive(Debug)]
struct Version {
    name: String,
    weight: u64,
    balancer: Balancer,
}

/// The instances of each version at one moment, and the weights that count: none while others have
/// a healthy instance and this one has not.
#[derive(Debug)]
struct Lots(Box<[Lot]>);

#[derive(Debug)]
struct Lot {
    weight: u64,
    set: Snapshot<Member>,
}

/// The versions that were asked, by their places.
#[derive(Debug, Clone, Copy, Default)]
struct Asked(u32);

const _: () = assert!(VERSIONS_MAX <= 32, "each version has a bit");

impl Split {
    /// None where the weights are empty: versions are not looked at. Of more than [`VERSIONS_MAX`]
    /// above 0 the others get nothing.
    pub(crate) fn new(
        weights: &BTreeMap<String, u32>,
        balance: &BalancePolicy,
        all: &Snapshot<Member>,
    ) -> Option<Self> {
        if weights.is_empty() {
            return None;
        }
        let version = |(name, weight): (&String, &u32)| Version {
            name: name.clone(),
            weight: u64::from(*weight),
            balancer: Balancer::new(balance),
        };
        let above_zero = weights.iter().filter(|(_, weight)| **weight > 0);
        let versions: Box<[_]> = above_zero.take(VERSIONS_MAX).map(version).collect();
        let lots = ArcSwap::from_pointee(Lots::of(&versions, all));
        Some(Self { versions, lots })
    }

    /// Takes note of who is there now.
    pub(crate) fn renew(&self, all: &Snapshot<Member>) {
        self.lots.store(Lots::of(&self.versions, all).into());
    }

    /// Picks from a version drawn by weight, where it has nobody from another, and so on. A call
    /// that has tried somebody stays with that version while it has somebody.
    pub(crate) fn pick(&self, search: &mut Search<'_>, is_excluded: fn(&Tried) -> bool) -> Option<Picked> {
        let lots = self.lots.load();
        let mut asked = Asked::default();
        let mut next = search.tried.first().and_then(|tried| self.place(&tried.member.instance.version));
        loop {
            let at = next.take().or_else(|| lots.draw(asked))?;
            if lots.0[at].weight > 0
                && let Some(picked) = search.pick(&self.versions[at].balancer, &lots.0[at].set, is_excluded)
            {
                return Some(picked);
            }
            asked.insert(at);
        }
    }

    fn place(&self, version: &str) -> Option<usize> {
        self.versions.iter().position(|known| known.name == version)
    }

    /// How many instances a call could choose from, breakers aside.
    pub(crate) fn eligible_count(&self) -> usize {
        let lots = self.lots.load();
        lots.0.iter().filter(|lot| lot.weight > 0).map(|lot| lot.set.eligible_count()).sum()
    }
}

impl Lots {
    fn of(versions: &[Version], all: &Snapshot<Member>) -> Self {
        let lot = |version: &Version| Lot {
            weight: version.weight,
            set: all.subset(|instance| instance.version == version.name),
        };
        let mut lots: Box<[Lot]> = versions.iter().map(lot).collect();
        let has_healthy = lots.iter().any(|lot| lot.set.is_healthy());
        for lot in &mut lots {
            let is_better = lot.set.is_healthy() || !has_healthy;
            lot.weight *= u64::from(is_better && lot.set.eligible_count() > 0);
        }
        Self(lots)
    }

    /// One of those that were not asked, each with the chance of its weight.
    fn draw(&self, asked: Asked) -> Option<usize> {
        let left = || self.0.iter().enumerate().filter(|(at, _)| !asked.contains(*at));
        let total: u64 = left().map(|(_, lot)| lot.weight).sum();
        if total == 0 {
            return None;
        }
        let mut point = rand::below(usize::try_from(total).unwrap_or(usize::MAX)) as u64;
        let is_hit = |(_, lot): &(usize, &Lot)| {
            let is_hit = point < lot.weight;
            point = point.saturating_sub(lot.weight);
            is_hit
        };
        left().find(is_hit).map(|(at, _)| at)
    }
}

impl Asked {
    fn insert(&mut self, at: usize) {
        self.0 |= 1 << at;
    }

    fn contains(self, at: usize) -> bool {
        self.0 & (1 << at) != 0
    }
}
