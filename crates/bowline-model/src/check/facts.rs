//! B0011 and B0012: couplings that the workspace has and the file does not: packages and tables.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Dependency, Facts, OTHERS_MAX, Site, TableUse, Violation, rules,
    tables::{Fit, fit, reaches_databases},
};
use crate::{
    data,
    parse::in_ticks,
    system::{Resource, Service, System},
};

const WHY_PACKAGE: &str = "independence demands that every coupling is a declared edge: who builds on another's code \
                           must be built and released again when that changes";

const WHY_TABLE: &str = "isolation demands that data is reached through its owner alone: who names another's table \
                         breaks when that changes it";

/// What is known of the workspace, against what is declared.
pub(super) fn check(system: &System, facts: &Facts) -> Vec<Violation> {
    let mut violations: Vec<_> = facts.dependencies.iter().map(package).collect();
    let mut uses: BTreeMap<_, Vec<&TableUse>> = BTreeMap::new();
    for table in &facts.tables {
        uses.entry((table.service.as_str(), table.schema.as_deref(), table.table.as_str())).or_default().push(table);
    }
    // That a service owns nothing at all is told once, whatever its migrations name.
    let mut told = BTreeSet::new();
    for ((service, _, _), mut uses) in uses {
        let Some(user) = system.service(service) else { continue };
        uses.sort_by_key(|table| (&table.file, table.position));
        match belongs(system, user, uses[0]) {
            Belongs::ToUser => {}
            Belongs::To(owner, resource) => violations.push(foreign(user, owner, resource, &uses)),
            Belongs::ToNobody if uses.iter().all(|table| table.is_view) => {}
            Belongs::ToNobody if user.boundary.data.is_empty() && !told.insert(service) => {}
            Belongs::ToNobody => violations.push(unowned(user, &uses)),
        }
    }
    violations
}

// === packages ===

fn package(dependency: &Dependency) -> Violation {
    let Dependency { from, to, path, file, position } = dependency;
    let message = format!("the package of `{from}` depends on that of `{to}`");
    let label = match path.as_slice() {
        [] => "here".to_owned(),
        [only] => format!("on {}", in_ticks(only)),
        [first, between @ .., last] => {
            let between: Vec<String> = between.iter().map(|package| in_ticks(package)).collect();
            let way = if between.is_empty() { String::new() } else { format!(" by way of {}", between.join(", ")) };
            format!("{} depends on {}{way}", in_ticks(first), in_ticks(last))
        }
    };
    let sites = vec![Site { file: Some(file.clone()), position: *position, label }];
    let help = format!("call `{to}` for it, or move what both need into a package that is no service's");
    Violation::of(&rules::PACKAGE, message, sites, WHY_PACKAGE, help)
}

// === tables ===

/// Whose a table is.
#[derive(Debug)]
enum Belongs<'a> {
    ToUser,
    To(&'a Service, &'a Resource),
    ToNobody,
}

/// Whose the table is that a migration of `user` names.
///
/// A migration does not say which database it is run in, but that it is one of the kinds that its service owns. So
/// who owns a whole database owns what its migrations name, unless that leads to another's database, which no
/// migration of a PostgreSQL database does; who owns tables owns those.
fn belongs<'a>(system: &'a System, user: &'a Service, table: &TableUse) -> Belongs<'a> {
    let owned = &user.boundary.data;
    let is_kind = |resource: &Resource| owned.iter().any(|own| own.kind == resource.kind);
    let fits = |service: &'a Service| {
        let fit = move |resource| Some((fit(resource, table.schema.as_deref(), &table.table)?, service, resource));
        service.boundary.data.iter().filter(|resource| is_kind(resource)).filter_map(fit)
    };
    let own = fits(user).map(|(fit, _, _)| fit).max();
    if fits(user).any(|(fit, _, own)| fit == Fit::Whole && !reaches_databases(&own.kind)) {
        return Belongs::ToUser;
    }
    let others = system.services.iter().filter(|other| other.name != user.name).flat_map(fits);
    // That another owns some whole database says nothing.
    let other = others.filter(|(fit, _, _)| *fit != Fit::Whole).max_by_key(|(fit, _, _)| *fit);
    match (own, other) {
        (None, None) => Belongs::ToNobody,
        (own, Some((fit, owner, resource))) if own.is_none_or(|own| own < fit && fit == Fit::Schema) => {
            Belongs::To(owner, resource)
        }
        (_, _) => Belongs::ToUser,
    }
}

fn foreign(user: &Service, owner: &Service, resource: &Resource, uses: &[&TableUse]) -> Violation {
    let (user, owner) = (&user.name, &owner.name);
    let message = format!("a migration of `{user}` names {}, which belongs to `{owner}`", shown(uses[0]));
    let mut sites = sites(uses);
    sites.push(Site::of_system(resource.position, format!("owned by `{owner}`")));
    let help = format!("call `{owner}` for what is in it, and leave it to the migrations of `{owner}`");
    Violation::of(&rules::TABLE, message, sites, WHY_TABLE, help)
}

fn unowned(user: &Service, uses: &[&TableUse]) -> Violation {
    let Service { name, position, boundary, .. } = user;
    let mut sites = sites(uses);
    let section = format!("`[service.{name}.boundary]`");
    let (which, help) = if let Some(first) = boundary.data.first() {
        sites.push(Site::of_system(first.position, format!("what `{name}` owns")));
        let database = format!("{}:{}", first.kind, data::database(&first.name));
        let help = format!("add \"{database}/{}\" to the `data` of {section}", uses[0].table);
        (format!("which is not in the `data` of `{name}`"), help)
    } else {
        sites.push(Site::of_system(*position, "owns no data"));
        let help = format!("write which database it is in: `data = [\"sqlite:{name}.db\"]` in {section}");
        (format!("and `{name}` owns no data"), help)
    };
    let message = format!("a migration of `{name}` names {}, {which}", shown(uses[0]));
    Violation::of(&rules::TABLE, message, sites, WHY_TABLE, help)
}

fn shown(table: &TableUse) -> String {
    let schema = table.schema.as_ref().map_or(String::new(), |schema| format!("{schema}."));
    in_ticks(&format!("{schema}{}", table.table))
}

/// Where a table is named, at most [`OTHERS_MAX`] places.
fn sites(uses: &[&TableUse]) -> Vec<Site> {
    let site = |table: &&TableUse| Site {
        file: Some(table.file.clone()),
        position: table.position,
        label: format!("{} by a migration of `{}`", if table.is_written { "changed" } else { "read" }, table.service),
    };
    uses.iter().take(OTHERS_MAX).map(site).collect()
}
