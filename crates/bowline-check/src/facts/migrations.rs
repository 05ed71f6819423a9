//! Finds the SQL migrations of services' packages, and the tables that they name.

use std::{
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
    sql::{self, Dialect},
    told,
};

/// The folder of a package that holds them.
const FOLDER: &str = "migrations";

/// The most files and folders of a package's migrations that are looked at.
const ENTRIES_MAX: usize = 4_000;

/// How many folders deep they may be, `migrations` included.
const DEPTH_MAX: usize = 8;

/// Every table that a migration names, once for each file.
pub(super) fn find(dir: &Path, packages: &[Package], owners: &Owners<'_>, notes: &mut Notes) -> Vec<TableUse> {
    let mut found = Vec::new();
    for (package, services) in &owners.packages {
        let services = whose(services);
        let dialect = services.iter().find_map(|declared| declared.dialect).unwrap_or_default();
        for path in list(dir, packages[*package].folder(), notes) {
            let file = files::relative(dir, &path);
            match tables(&path, dialect) {
                Ok(tables) => found.extend(uses(&services, &file, &tables)),
                Err(message) => notes.add(Some(file), message),
            }
        }
    }
    found.sort_by(|a, b| (&a.service, &a.file, a.position).cmp(&(&b.service, &b.file, b.position)));
    found
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
        file: file.to_owned(),
        position: table.position,
    };
    tables.iter().flat_map(|table| services.iter().map(move |declared| of(declared, table))).collect()
}

fn tables(path: &Path, dialect: Dialect) -> Result<Vec<sql::Named>, String> {
    let text = files::text(path).map_err(|error| told(&error))?;
    sql::tables(&text, dialect).map_err(|error| told(&error))
}

/// The SQL files in a package's `migrations` and below it, by their names.
fn list(dir: &Path, package: &Path, notes: &mut Notes) -> Vec<PathBuf> {
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
            Ok(Entry::Script) => files.push(path),
            Ok(Entry::Other) => {}
        }
    }
    files
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
        children.sort();
        return Ok(Entry::Folder(children));
    }
    Ok(if metadata.is_file() && is_script { Entry::Script } else { Entry::Other })
}
