//! B0002 and B0003: data and state that two services own, also where one's is within the other's.

use std::collections::BTreeMap;

use super::{OTHERS_MAX, Rule, Site, Violation, rules};
use crate::{
    parse::in_ticks,
    system::{Resource, System},
};

const WHY: &str = "isolation demands that what two services own has nothing in common; who shares it can change nothing \
                   of it without the other";

/// For each resource, those before it in the file that another service owns and that are the same, within it or
/// around it.
pub(super) fn check(system: &System) -> Vec<Violation> {
    let mut claims: Vec<Claim<'_>> = claims(system).collect();
    claims.sort_by_key(|claim| claim.resource.position);
    let mut before = Claims::default();
    let mut violations = Vec::new();
    for claim in claims {
        let (data, state): (Vec<_>, Vec<_>) =
            before.others(claim).into_iter().partition(|other| is_data(claim, *other));
        for (rule, others) in [(&rules::DATA_OWNERS, data), (&rules::STATE_OWNERS, state)] {
            if !others.is_empty() {
                violations.push(violation(rule, claim, &others));
            }
        }
        before.insert(claim);
    }
    violations
}

fn violation(rule: &'static Rule, claim: Claim<'_>, others: &[Claim<'_>]) -> Violation {
    let first = others[0];
    let shown = |claim: Claim<'_>| in_ticks(&claim.resource.to_string());
    let within = |inner: Claim<'_>, outer: Claim<'_>| {
        format!("`{}` owns {}, which is within {} of `{}`", inner.owner, shown(inner), shown(outer), outer.owner)
    };
    let message = if first.resource.name == claim.resource.name {
        format!("`{}` and `{}` both own {}", first.owner, claim.owner, shown(claim))
    } else if first.resource.holds(claim.resource) {
        within(claim, first)
    } else {
        within(first, claim)
    };
    let site = |claim: &Claim<'_>| Site::of_system(claim.resource.position, format!("owned by `{}`", claim.owner));
    let sites = std::iter::once(&claim).chain(others).map(site).collect();
    let help = format!("let one of them own it, and the other call `{}` for it", first.owner);
    Violation::of(rule, message, sites, WHY, help)
}

fn is_data(one: Claim<'_>, other: Claim<'_>) -> bool {
    one.part == Part::Data || other.part == Part::Data
}

/// The part of a boundary that a resource is listed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Data,
    State,
}

/// A resource and who owns it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim<'a> {
    pub(super) owner: &'a str,
    pub(super) resource: &'a Resource,
    part: Part,
}

fn claims(system: &System) -> impl Iterator<Item = Claim<'_>> {
    system.services.iter().flat_map(|service| {
        let claim = |part| move |resource| Claim { owner: service.name.as_str(), resource, part };
        let data = service.boundary.data.iter().map(claim(Part::Data));
        data.chain(service.boundary.state.iter().map(claim(Part::State)))
    })
}

/// Who owns what, by `kind:name`.
#[derive(Debug, Default)]
pub(super) struct Claims<'a>(BTreeMap<String, Vec<Claim<'a>>>);

impl<'a> Claims<'a> {
    pub(super) fn of(system: &'a System) -> Self {
        let mut all = Self::default();
        claims(system).for_each(|claim| all.insert(claim));
        all
    }

    fn insert(&mut self, claim: Claim<'a>) {
        self.0.entry(claim.resource.to_string()).or_default().push(claim);
    }

    /// Those of the resource itself, and of what it is within: the outermost first.
    pub(super) fn holders(&self, resource: &Resource) -> impl Iterator<Item = Claim<'a>> {
        let key = resource.to_string();
        let ends: Vec<usize> = key.match_indices('/').map(|(at, _)| at).chain([key.len()]).collect();
        ends.into_iter().filter_map(move |end| self.0.get(&key[..end])).flatten().copied()
    }

    /// Those of what is within the resource, and not itself.
    pub(super) fn within(&self, resource: &Resource) -> impl Iterator<Item = Claim<'a>> {
        let below = format!("{resource}/");
        let inner = self.0.range(below.clone()..).take_while(move |(key, _)| key.starts_with(&below));
        inner.flat_map(|(_, claims)| claims).copied()
    }

    /// Those of other owners that have something in common with the claim, at most [`OTHERS_MAX`], by their places.
    fn others(&self, claim: Claim<'a>) -> Vec<Claim<'a>> {
        let others =
            self.holders(claim.resource).chain(self.within(claim.resource)).filter(|other| other.owner != claim.owner);
        let mut others: Vec<_> = others.take(OTHERS_MAX).collect();
        others.sort_by_key(|other| other.resource.position);
        others
    }
}
