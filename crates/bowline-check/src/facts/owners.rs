//! Which packages of a workspace a service is made of.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use bowline_model::{System, system::Service};
use bowline_runtime::fs;

use super::{
    Notes,
    cargo::{Package, Workspaces},
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
    let says_something = |(run, build): &(Named, Named)| {
        !run.is_empty() || sole(&build.packages).is_some() || sole(&build.folders).is_some()
    };
    all.filter(|declared| declared.releases.iter().any(says_something)).collect()
}

/// The folders of workspaces that services are made from, as their commands name them.
pub(super) fn folders(declared: &[Declared]) -> BTreeSet<PathBuf> {
    let releases = declared.iter().flat_map(|declared| &declared.releases);
    let named = releases.flat_map(|(run, build)| run.folders.iter().map(String::as_str).chain(sole(&build.folders)));
    named.filter(|folder| !folder.is_empty()).map(PathBuf::from).collect()
}

/// Finds the packages of each.
pub(super) fn find<'a>(declared: &'a [Declared], known: &Workspaces, notes: &mut Notes) -> Owners<'a> {
    let mut owners = Owners::default();
    for declared in declared {
        let own: BTreeSet<usize> = declared.releases.iter().flat_map(|release| of_release(release, known)).collect();
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

/// Of the packages in the folder that is said, else of all: the one with the program that is run, else the one that is
/// run, else the only one that is built; else the one that is right in that folder.
fn of_release((run, build): &(Named, Named), known: &Workspaces) -> Vec<usize> {
    let said = if run.folders.is_empty() { sole(&build.folders).into_iter().collect() } else { strs(&run.folders) };
    let folders: Vec<PathBuf> = said.iter().map(|folder| in_full(&known.root.join(folder))).collect();
    let members: Vec<(usize, &Package)> = (0..).zip(&known.packages).filter(|(_, package)| package.is_member).collect();
    let mut within = members.clone();
    within.retain(|(_, package)| folders.iter().any(|folder| package.folder().starts_with(folder)));
    let mut own = named(run, build, &within);
    if own.is_empty() {
        own = named(run, build, &members);
    }
    if own.is_empty() {
        let right_there = members.iter().filter(|(_, package)| folders.iter().any(|folder| package.folder() == folder));
        own = right_there.map(|(index, _)| *index).collect();
    }
    own
}

/// Those of some packages that commands name.
fn named(run: &Named, build: &Named, packages: &[(usize, &Package)]) -> Vec<usize> {
    let those = |is_meant: &dyn Fn(&Package) -> bool| -> Vec<usize> {
        packages.iter().filter(|(_, package)| is_meant(package)).map(|(index, _)| *index).collect()
    };
    let mut own = those(&|package| run.programs.iter().any(|name| package.has_program(name)));
    if own.len() > 1 {
        // Programs of the same name: what is built tells them apart, if anything does.
        let built: Vec<usize> = those(&|package| build.packages.contains(&package.name));
        let both: Vec<usize> = built.into_iter().filter(|index| own.contains(index)).collect();
        own = if both.is_empty() { own } else { both };
    }
    if own.is_empty() {
        own = those(&|package| run.packages.contains(&package.name));
    }
    if let Some(sole) = sole(&build.packages).filter(|_| own.is_empty()) {
        own = those(&|package| package.name == sole);
    }
    own
}

/// A folder without links, as Cargo says it.
fn in_full(folder: &Path) -> PathBuf {
    fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned())
}

fn strs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

/// The only one that a command names. Services of one system often share a build of all.
fn sole(names: &[String]) -> Option<&str> {
    let (first, others) = names.split_first()?;
    others.iter().all(|other| other == first).then_some(first)
}
