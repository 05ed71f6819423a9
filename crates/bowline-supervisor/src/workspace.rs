//! Where a system's commands run, and where Cargo puts what they build. Runs no Cargo.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use bowline_runtime::fs;

/// Where a system's commands run, and where Cargo puts what they build. Both are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Where commands run.
    pub root: PathBuf,
    /// Cargo's target folder.
    pub target_dir: PathBuf,
}

/// Finds the layout of the system whose file is in `dir`.
///
/// The root is the Cargo workspace that holds `dir`: the nearest folder upwards whose `Cargo.toml`
/// has a `[workspace]` that does not exclude `dir`; else the nearest package; else `dir` itself.
/// The target folder is what Cargo would use there: `CARGO_TARGET_DIR`, else `build.target-dir` of
/// a Cargo settings file, else `target`. A manifest that cannot be read counts as absent; Cargo
/// complains better.
pub fn locate(dir: &Path) -> Layout {
    locate_with(dir, |name| std::env::var_os(name))
}

/// [`locate`] with an environment of its own.
pub fn locate_with(dir: &Path, env: impl Fn(&str) -> Option<OsString>) -> Layout {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let root = root_of(&dir);
    let target_dir = target_of(&root, &env);
    Layout { root, target_dir }
}

fn root_of(dir: &Path) -> PathBuf {
    let mut nearest_package = None;
    for folder in dir.ancestors() {
        let Some(manifest) = read_toml(&folder.join("Cargo.toml")) else { continue };
        if let Some(workspace) = manifest.get("workspace") {
            if !excludes(workspace, folder, dir) {
                return folder.to_owned();
            }
        } else if nearest_package.is_none() {
            nearest_package = Some(folder);
        }
    }
    nearest_package.unwrap_or(dir).to_owned()
}

fn excludes(workspace: &toml::Value, root: &Path, dir: &Path) -> bool {
    let excluded = workspace.get("exclude").and_then(toml::Value::as_array);
    let mut paths = excluded.into_iter().flatten().filter_map(toml::Value::as_str);
    paths.any(|path| dir.starts_with(root.join(path)))
}

fn target_of(root: &Path, env: &impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let named = ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"].into_iter().find_map(env);
    if let Some(path) = named.filter(|path| !path.is_empty()) {
        return root.join(path);
    }
    let cargo_home = env("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| env("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let mut folders = root.ancestors().map(|folder| folder.join(".cargo")).chain(cargo_home);
    folders.find_map(|folder| configured_target(&folder)).unwrap_or_else(|| root.join("target"))
}

/// What a Cargo settings file says; a relative path starts at the folder that holds `.cargo`.
fn configured_target(dot_cargo: &Path) -> Option<PathBuf> {
    let settings = ["config", "config.toml"].into_iter().find_map(|name| read_toml(&dot_cargo.join(name)))?;
    let path = settings.get("build")?.get("target-dir")?.as_str()?;
    Some(dot_cargo.parent()?.join(path))
}

fn read_toml(path: &Path) -> Option<toml::Table> {
    fs::read_to_string(path).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use bowline_testkit::temp_dir;

    use super::*;

    /// Makes these files, and locates `dir` among them; both answers are relative to the folder.
    #[track_caller]
    fn check(files: &[(&str, &str)], dir: &str, env: &[(&str, &str)], root: &str, target_dir: &str) {
        let temp = temp_dir();
        for (path, content) in files {
            let path = temp.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::replace(&path, content.as_bytes()).unwrap();
        }
        let dir = temp.path().join(dir);
        fs::create_dir_all(&dir).unwrap();
        let of = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        let expected = Layout { root: temp.path().join(root), target_dir: temp.path().join(target_dir) };
        assert_eq!(locate_with(&dir, of), expected);
    }

    const WORKSPACE: (&str, &str) = ("w/Cargo.toml", "[workspace]\nmembers = ['a']\nexclude = ['out']");
    const PACKAGE: (&str, &str) = ("w/a/Cargo.toml", "[package]\nname = 'a'");

    #[test]
    fn the_workspace_that_holds_the_folder_is_the_root() {
        check(&[WORKSPACE, PACKAGE], "w/a", &[], "w", "w/target");
        check(&[WORKSPACE], "w/examples/shop", &[], "w", "w/target");
        check(&[PACKAGE], "w/a/sub", &[], "w/a", "w/a/target");
        check(&[], "x/y", &[], "x/y", "x/y/target");
        check(&[WORKSPACE, ("w/out/Cargo.toml", "[package]")], "w/out/x", &[], "w/out", "w/out/target");
        check(&[WORKSPACE, ("w/a/Cargo.toml", "no toml [")], "w/a", &[], "w", "w/target");
    }

    #[test]
    fn the_target_folder_is_where_cargo_would_put_it() {
        let settings = ("w/.cargo/config.toml", "[build]\ntarget-dir = 'out'");
        check(&[WORKSPACE, settings], "w/a", &[], "w", "w/out");
        check(&[WORKSPACE, settings], "w/a", &[("CARGO_TARGET_DIR", "env")], "w", "w/env");
        check(&[WORKSPACE, settings], "w/a", &[("CARGO_TARGET_DIR", "")], "w", "w/out");
    }
}
