//! Finds services' packages that depend on packages of other services.

use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
};

use bowline_model::{check::Dependency, problem::Position};

use super::{
    Notes,
    cargo::{Package, Requirement},
    files, manifest,
    owners::{Declared, Owners},
    told,
};

/// A way along paths from a package of a service.
type Way = Vec<usize>;

/// For each two services the shortest way from one's package to the other's, if there is any.
///
/// Packages that are no service's are passed through, those of a third service are not: what lies
/// beyond is its dependency.
pub(super) fn find(dir: &Path, packages: &[Package], owners: &Owners<'_>, notes: &mut Notes) -> Vec<Dependency> {
    let by_folder: BTreeMap<&Path, usize> = packages.iter().map(Package::folder).zip(0..).collect();
    let next = |package: usize| packages[package].paths().filter_map(|(_, path)| by_folder.get(path).copied());
    let mut found = Vec::new();
    for (from, own) in &owners.services {
        let ways = ways(own.iter().copied(), |package| others(owners, from, package).is_some(), next);
        let mut reached: BTreeMap<&str, Way> = BTreeMap::new();
        for way in ways {
            let end = *way.last().expect("a way has its first package");
            for to in others(owners, from, end).into_iter().flatten() {
                reached.entry(&to.service).or_insert_with(|| way.clone());
            }
        }
        let told = reached.into_iter().map(|(to, way)| tell(dir, packages, (&from.service, to), &way, notes));
        found.extend(told);
    }
    found.sort();
    found
}

/// The other services that a package is of; absent where it is of none, or of this one.
fn others<'o, 'a>(owners: &'o Owners<'a>, from: &Declared, package: usize) -> Option<&'o [&'a Declared]> {
    let services = owners.packages.get(&package)?;
    (!services.iter().any(|service| service.service == from.service)).then_some(services)
}

/// The shortest ways from those packages to each that is an end, the shorter first.
fn ways<N: Iterator<Item = usize>>(
    from: impl Iterator<Item = usize>,
    is_end: impl Fn(usize) -> bool,
    next: impl Fn(usize) -> N,
) -> Vec<Way> {
    let mut queue: VecDeque<usize> = from.collect();
    let mut before: BTreeMap<usize, Option<usize>> = queue.iter().map(|package| (*package, None)).collect();
    let mut ways = Vec::new();
    while let Some(package) = queue.pop_front() {
        if is_end(package) {
            let mut way: Way = std::iter::successors(Some(package), |at| before[at]).collect();
            way.reverse();
            ways.push(way);
            continue;
        }
        for needed in next(package) {
            before.entry(needed).or_insert_with(|| {
                queue.push_back(needed);
                Some(package)
            });
        }
    }
    ways
}

fn tell(dir: &Path, packages: &[Package], (from, to): (&str, &str), way: &Way, notes: &mut Notes) -> Dependency {
    let first = &packages[way[0]];
    let second = packages[way[1]].folder();
    let file = files::relative(dir, &first.manifest_path);
    let position = match files::text(&first.manifest_path) {
        Ok(text) => earliest(&text, first.paths().filter(|(_, path)| *path == second).map(|(needed, _)| needed)),
        Err(error) => {
            notes.add(Some(file.clone()), told(&error));
            None
        }
    };
    Dependency {
        from: from.to_owned(),
        to: to.to_owned(),
        path: way.iter().map(|package| packages[*package].name.clone()).collect(),
        file,
        position: position.unwrap_or(Position { line: 1, column: 1 }),
    }
}

/// A package may be needed in several ways.
fn earliest<'r>(manifest: &str, needed: impl Iterator<Item = &'r Requirement>) -> Option<Position> {
    needed.map(|needed| manifest::position(manifest, needed)).min()
}
