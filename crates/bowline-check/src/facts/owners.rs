//! Which packages of a workspace a service is made of.

use std::collections::{BTreeMap, BTreeSet};

use bowline_model::{System, system::Service};

use super::{
    Notes,
    cargo::Package,
    command::{self, Named},
    sql::Dialect,
};

/// What a service declares that says which packages it is made of, and what is in them.
#[derive(Debug)]
pub(super) struct Declared {
    pub(super) service: String,
    /// What `run` and `build` of its releases name.
    releases: Vec<(Named, Named)>,
    /// The SQL of its databases; absent: it owns none.
    pub(super) dialect: Option<Dialect>,
}

/// The services of a system that are made of packages, and the packages.
#[derive(Debug, Default)]
pub(super) struct Owners<'a> {
    /// In the order of the file: a service, and its packages by their index.
    pub(super) services: Vec<(&'a Declared, BTreeSet<usize>)>,
    /// The services of a package, in the order of the file.
    pub(super) packages: BTreeMap<usize, Vec<&'a Declared>>,
}

/// The services whose commands name something that Cargo builds.
pub(super) fn declared(system: &System) -> Vec<Declared> {
    let all = system.services.iter().map(|service| Declared {
        service: service.name.to_string(),
        releases: releases(service),
        dialect: Dialect::of(&service.boundary),
    });
    all.filter(|declared| declared.releases.iter().any(|(run, build)| !run.is_empty() || sole(build).is_some()))
        .collect()
}

/// Finds the packages of each.
pub(super) fn find<'a>(declared: &'a [Declared], packages: &[Package], notes: &mut Notes) -> Owners<'a> {
    let mut owners = Owners::default();
    for declared in declared {
        let own: BTreeSet<usize> = declared.releases.iter().flat_map(|release| of_release(release, packages)).collect();
        if own.is_empty() {
            let Declared { service, .. } = declared;
            notes.add(None, format!("no package of the workspace is known to be service {service}'s"));
            continue;
        }
        for package in &own {
            owners.packages.entry(*package).or_default().push(declared);
        }
        owners.services.push((declared, own));
    }
    owners
}

/// The service's own release, and those beside it.
fn releases(service: &Service) -> Vec<(Named, Named)> {
    let named = |command: Option<&String>| command.map(|command| command::named(command)).unwrap_or_default();
    let own = (named(service.run.as_ref()), named(service.build.as_ref()));
    let beside = service.versions.iter().map(|version| {
        let run = version.run.as_ref().or(service.run.as_ref());
        (named(run), named(version.build.as_ref().or(service.build.as_ref())))
    });
    std::iter::once(own).chain(beside).collect()
}

/// The package with the program that is run, else the one that is run, else the only one that is built.
fn of_release((run, build): &(Named, Named), packages: &[Package]) -> Vec<usize> {
    let members = || (0..).zip(packages).filter(|(_, package)| package.is_member);
    let with_program = members().filter(|(_, package)| run.programs.iter().any(|name| package.has_program(name)));
    let is_named = |names: &[String], package: &Package| names.contains(&package.name);
    let mut own: Vec<usize> = with_program.map(|(index, _)| index).collect();
    if own.len() > 1 {
        // Programs of the same name: what is built tells them apart, if anything does.
        let built: Vec<usize> = own.iter().copied().filter(|at| is_named(&build.packages, &packages[*at])).collect();
        own = if built.is_empty() { own } else { built };
    }
    if own.is_empty() {
        own = members().filter(|(_, package)| is_named(&run.packages, package)).map(|(index, _)| index).collect();
    }
    if let Some(sole) = sole(build).filter(|_| own.is_empty()) {
        own = members().filter(|(_, package)| package.name == sole).map(|(index, _)| index).collect();
    }
    own
}

/// The only package that a command names. Services of one system often share a build of all.
fn sole(build: &Named) -> Option<&str> {
    let (first, others) = build.packages.split_first()?;
    others.iter().all(|other| other == first).then_some(first)
}
