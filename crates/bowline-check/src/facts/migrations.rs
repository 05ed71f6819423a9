//! Finds the SQL migrations of services' packages, and the tables that they name.

use std::{
    cmp::Ordering,
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use bowline_model::check::TableUse;
use bowline_runtime::fs;

use super::{
    Notes,
    cargo::Package,
    files,
    owners::{Declared, Owners},
    sql::{self, Scripts, Way},
    told,
};

/// The folder of a package that holds them.
const FOLDER: &str = "migrations";

/// The most files and folders of a package's migrations that are looked at.
const ENTRIES_MAX: usize = 4_000;

/// How many folders deep they may be, `migrations` included.
const DEPTH_MAX: usize = 8;

/// Every table that a migration names, once for each file, without those that migrations make and do away with.
pub(super) fn find(dir: &Path, packages: &[Package], owners: &Owners<'_>, notes: &mut Notes) -> Vec<TableUse> {
    let mut found = Vec::new();
    for (package, services) in &owners.packages {
        let services = whose(services);
        let dialect = services.iter().find_map(|declared| declared.dialect).unwrap_or_default();
        let mut scripts = Scripts::new(dialect);
        let mut read = Vec::new();
        for (path, way) in list(dir, packages[*package].folder(), notes) {
            let file = files::relative(dir, &path);
            match names(&mut scripts, &path, way) {
                Ok(names) => read.push((file, names)),
                Err(message) => notes.add(Some(file), message),
            }
        }
        found.extend(read.into_iter().flat_map(|(file, names)| uses(&services, &file, &scripts.lasting(names))));
    }
    found.sort_by(|a, b| (&a.service, &a.file, a.position).cmp(&(&b.service, &b.file, b.position)));
    found
}

/// Notes folders of migrations that are near the system's file and in none of those packages: nobody looks at them.
pub(super) fn unread(dir: &Path, packages: &BTreeSet<PathBuf>, notes: &mut Notes) {
    /// How many folders down they are looked for.
    const NEAR: usize = 3;
    /// What holds the migrations of strangers, if any.
    const STRANGE: [&str; 3] = ["target", "node_modules", "vendor"];

    let mut looked_at = 0;
    let mut unseen = vec![(dir.to_owned(), 0)];
    while let Some((path, depth)) = unseen.pop() {
        looked_at += 1;
        let Ok(Entry::Folder(children)) = entry(&path) else { continue };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_strange = name.starts_with('.') || STRANGE.contains(&name.as_ref());
        if name == FOLDER && depth > 0 {
            let is_read = path.parent().is_some_and(|package| packages.contains(package));
            let has_scripts = || !list(dir, path.parent().unwrap_or(dir), &mut Notes::default()).is_empty();
            if !is_read && has_scripts() {
                notes.add(Some(files::relative(dir, &path)), "it is not looked at: no service's package holds it");
            }
        } else if depth <= NEAR && looked_at <= ENTRIES_MAX && (depth == 0 || !is_strange) {
            unseen.extend(children.into_iter().rev().map(|child| (child, depth + 1)));
        }
    }
}

/// Whose the migrations of a package are that several services are made of: theirs who own data.
fn whose<'a>(services: &[&'a Declared]) -> Vec<&'a Declared> {
    let with_data: Vec<&Declared> = services.iter().copied().filter(|declared| declared.dialect.is_some()).collect();
    if with_data.is_empty() { services.to_vec() } else { with_data }
}

fn uses(services: &[&Declared], file: &str, tables: &[sql::Named]) -> Vec<TableUse> {
    let of = |declared: &&Declared, table: &sql::Named| TableUse {
        service: declared.service.clone(),
        table: table.table.clone(),
        schema: table.schema.clone(),
        is_written: table.is_written,
        is_view: table.is_view,
        file: file.to_owned(),
        position: table.position,
    };
    tables.iter().flat_map(|table| services.iter().map(move |declared| of(declared, table))).collect()
}

fn names(scripts: &mut Scripts, path: &Path, way: Way) -> Result<sql::Names, String> {
    let text = files::text(path).map_err(|error| told(&error))?;
    scripts.read(&text, way).map_err(|error| told(&error))
}

/// The SQL files in a package's `migrations` and below it, as they are run; those that undo others come last.
fn list(dir: &Path, package: &Path, notes: &mut Notes) -> Vec<(PathBuf, Way)> {
    let mut note = |path: &Path, message: String| notes.add(Some(files::relative(dir, path)), message);
    let root = package.join(FOLDER);
    let mut files = Vec::new();
    let mut looked_at = 0;
    // The last is looked at first.
    let mut unseen = vec![(root.clone(), 1)];
    while let Some((path, depth)) = unseen.pop() {
        looked_at += 1;
        if looked_at > ENTRIES_MAX {
            note(&root, format!("it has more than {ENTRIES_MAX} files, the others are left out"));
            break;
        }
        match entry(&path) {
            Err(error) if depth == 1 && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => note(&path, format!("it cannot be read: {error}")),
            Ok(Entry::Link) => note(&path, "a link, which is not followed".to_owned()),
            Ok(Entry::Folder(_)) if depth > DEPTH_MAX => {
                note(&path, format!("it is more than {DEPTH_MAX} folders deep"));
            }
            Ok(Entry::Folder(children)) => unseen.extend(children.into_iter().rev().map(|child| (child, depth + 1))),
            Ok(Entry::Script) => files.push((path.clone(), way(&path))),
            Ok(Entry::Other) => {}
        }
    }
    // Stable: each kind keeps its order.
    files.sort_by_key(|(_, way)| *way == Way::Down);
    files
}

/// By the name: `down.sql` and `0001_orders.down.sql` undo.
fn way(path: &Path) -> Way {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    if name == "down.sql" || name.ends_with(".down.sql") { Way::Down } else { Way::Up }
}

/// The order that migrations are run in: by their names, and `2_x` before `10_y`.
fn order(one: &Path, other: &Path) -> Ordering {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (one, other) = (name(one), name(other));
    let (mut left, mut right) = (pieces(&one), pieces(&other));
    loop {
        let ordering = match (left.next(), right.next()) {
            (None, None) => return one.cmp(&other),
            (left, right) => left.cmp(&right),
        };
        if ordering.is_ne() {
            return ordering;
        }
    }
}

/// A name's numbers, each by its length before its digits, and what stands between them.
fn pieces(name: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let is_number = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != is_number).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        rest = after;
        let digits = piece.trim_start_matches('0');
        Some(if is_number { (digits.len(), digits) } else { (usize::MAX, piece) })
    })
}

/// What may be in a folder of migrations.
enum Entry {
    /// With what is in it, by name.
    Folder(Vec<PathBuf>),
    Script,
    /// It may lead out of the package, or in a circle.
    Link,
    Other,
}

fn entry(path: &Path) -> io::Result<Entry> {
    let metadata = fs::symlink_metadata(path)?;
    let is_script = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("sql"));
    if metadata.is_symlink() {
        return Ok(Entry::Link);
    }
    if metadata.is_dir() {
        // One more than are looked at, so that it is told where there are more.
        let children = fs::read_dir(path)?.take(ENTRIES_MAX + 1).map(|entry| Ok(entry?.path()));
        let mut children = children.collect::<io::Result<Vec<_>>>()?;
        children.sort_by(|one, other| order(one, other));
        return Ok(Entry::Folder(children));
    }
    Ok(if metadata.is_file() && is_script { Entry::Script } else { Entry::Other })
}
